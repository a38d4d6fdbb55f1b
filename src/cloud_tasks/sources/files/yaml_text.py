"""The text of a YAML file, for its parser and for those who read entries past the parser."""

from __future__ import annotations

import yaml

from cloud_tasks.errors import SourceError, TaskFormatError
from cloud_tasks.sources.files.opening import MAX_ENTRY
from cloud_tasks.sources.files.text_feed import TextFeed

_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE

#: So much is kept of what the parser was given: it reads ahead, but not as far.
_BEHIND = 64 * 1024


class YamlText:
    """A buffer that slides over the text, and the file that the parser reads.

    Attributes:
        name: what messages call the file.
        buffer: what has been read, without what lies far behind.
        origin: where in the buffer the parser began; negative if that is no longer there.
        ended: no more can be read; the parser learns why.
    """

    def __init__(self, feed: TextFeed) -> None:
        self.name = feed.name
        self.buffer = ""
        self.origin = 0
        self.ended = False
        self._feed = feed
        self._given = 0  # to the parser, up to here
        self._size = 0  # of what it was given since the entry began
        self._failure: SourceError | None = None

    def new_entry(self) -> None:
        """Note that the parser has come to another entry."""
        self._size = 0

    def begin_at(self, place: int) -> None:
        """Give a new parser the text from *place* in the buffer on."""
        self.origin = self._given = place
        self._size = 0

    def read(self, size: int) -> str:
        """Return up to *size* characters for the parser, none at the end; blocks for them.

        Raises:
            SourceError: reading failed.
            TaskFormatError: there is something that YAML does not allow, or an entry has no end.
        """
        if self._given == len(self.buffer):
            self.read_on()
        text = self.buffer[self._given : self._given + size]
        if not text and self._failure:
            raise self._failure
        self._given += len(text)
        self._size += len(text)
        if self._size > MAX_ENTRY:
            raise TaskFormatError(
                f"{self.name} has an entry of more than {MAX_ENTRY} characters: "
                "put large data into a file of its own and name that in the task"
            )
        return text

    def read_on(self) -> None:
        """Have more in the buffer, if there is more, and drop what lies far behind."""
        if self.ended:
            return
        before = self._feed.place
        try:
            text = self._feed.read()
        except SourceError as error:
            text, self._failure = "", error
        # The parser would find these as well, but at once and without telling the line, and so
        # would swallow the good entries before.
        if bad := _UNPRINTABLE.search(text):
            text = text[: bad.start()]
            self._failure = self._feed.error(
                before.after(text, len(text)),
                f"YAML does not allow the character {bad.group()!a}",
            )
        self.ended = not text or self._failure is not None
        far = max(0, self._given - _BEHIND)
        self.buffer = self.buffer[far:] + text
        self._given -= far
        self.origin -= far
