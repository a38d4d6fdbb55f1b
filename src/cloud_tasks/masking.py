"""Decide what is a secret, and put ``***`` in its place: the one home of both.

    any text of ours     ──► masked        addresses with a password, signed addresses, NAME=VALUE
    a command line       ──► masked_words  the values of flags whose name is that of a secret
    a setting by name    ──► masked_value

Everything that is printed or kept goes through one of them: the banner, log lines, messages of
errors, events of the worker, settings, and the command line that a run directory records. What
tasks return, raise or print is theirs and stays as it is.

This module imports nothing at its top, because :mod:`cloud_tasks.errors` imports it, and with that
every child process does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from typing import Any

#: Stands for a secret.
MASK = "***"
#: Follows a command line that has a mask.
FILL_IN = f"{MASK} stands for a secret, which is not kept: fill it in"

# fmt: off
#: Words that make a name that of a secret, wherever they stand in it.
_SECRET = frozenset((
    "password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "signature", "sig",
    "credential", "credentials", "apikey", "accesskey", "secretkey", "authkey", "authorization",
    "bearer", "cookie", "jwt", "sas", "dsn",
))
#: Words that do so at the end of a name.
_SECRET_AT_END = frozenset(("auth", "pass"))
#: Words that make "key" a secret if they stand before it: others name keys of mappings.
_BEFORE_KEY = frozenset((
    "access", "account", "api", "app", "auth", "client", "encryption", "license", "master",
    "private", "secret", "service", "shared", "signing", "storage", "subscription",
))
#: Words at the end of a name whose value only describes the secret, or tells where it is.
_ABOUT = frozenset((
    "algorithm", "budget", "column", "count", "dir", "endpoint", "enabled", "expires", "expiry",
    "field", "file", "length", "lifetime", "limit", "method", "mode", "name", "path", "provider",
    "size", "timeout", "ttl", "type", "uri", "url", "version",
))
#: Words at the beginning of flags that take no value.
_SWITCHES = frozenset((
    "disable", "enable", "has", "no", "require", "skip", "use", "with", "without",
))
# fmt: on
#: Flags may be shortened to this many letters of the words of _SECRET.
_SHORTEST = 4

_patterns: tuple[re.Pattern[str], ...] = ()


def masked(text: str) -> str:
    """Return *text* with a mask in place of each secret in it."""
    if not ("=" in text or ":" in text or "%3D" in text or "%3d" in text):
        return text
    user, odd_user, name, value, quoted, header = _patterns or _compiled()
    if "://" in text:
        text = odd_user.sub(rf"\1{MASK}@", user.sub(rf"\1{MASK}@", text))
    text = _masked_pairs(text, name, value)
    text = quoted.sub(_masked_quoted, text)
    return header.sub(rf"\1{MASK}", text)


def _compiled() -> tuple[re.Pattern[str], ...]:
    global _patterns
    import re

    _patterns = (
        # user:password@ of an address; the second: a password with unescaped characters.
        re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>]*@"""),
        re.compile(
            r"""([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:?#"'<>]*:(?!\d*(?:[/?#]|$))[^\s@"'<>]*@"""
        ),
        # NAME= and VALUE, in the query of an address, as an assignment, or in a connection string;
        # also within an encoded address.
        re.compile(r"([?&]?)([A-Za-z](?:[\w.-]|%5F|%2D)*)(?:=|%3D)", re.IGNORECASE),
        re.compile(r"""(?:(?!%26)[^&\s;,"'<>`(){}|])+"""),
        # "NAME": "VALUE", as in JSON, and in the representation of a dict.
        re.compile(r"""(["'])([\w.-]+)\1(\s*:\s*)(["'])((?:\\.|(?!\4).)+)\4"""),
        re.compile(r"""(authorization["']?\s*[:=]\s*["']?)(?:\w+\s+)?[^\s"'*]+""", re.IGNORECASE),
    )
    return _patterns


def _masked_pairs(text: str, name: re.Pattern[str], value: re.Pattern[str]) -> str:
    """Return *text* with a mask for each *value* that follows the *name* of a secret."""
    parts, done = [], 0
    for found in name.finditer(text):
        # In an address "key" alone is the key of an interface; elsewhere it may be any key.
        secret = is_secret_name(found[2]) or (found[1] and found[2].lower() == "key")
        content = value.match(text, found.end()) if secret and found.start() >= done else None
        if content is not None:
            parts += [text[done : found.end()], MASK]
            done = content.end()
    return "".join(parts) + text[done:]


def _masked_quoted(found: re.Match[str]) -> str:
    mark, name, colon, other, value = found.groups()
    value = MASK if is_secret_name(name) else value
    return f"{mark}{name}{mark}{colon}{other}{value}{other}"


def is_secret_name(name: str) -> bool:
    """Tell whether *name*, of a flag, a setting, a variable or a parameter, is that of a secret.

    The words of a name are divided by hyphens, underscores and capitals.
    """
    words = _words(name)
    if not words or words[-1] in _ABOUT:
        return False
    if not _SECRET.isdisjoint(words) or words[-1] in _SECRET_AT_END:
        return True
    return any(
        (before == "connection" and word == "string") or (word == "key" and before in _BEFORE_KEY)
        for before, word in zip(words, words[1:], strict=False)  # noqa: RUF007 - no import here
    )


def _words(name: str) -> list[str]:
    import re

    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _takes_secret(flag: str) -> bool:
    """Tell whether the value of *flag*, which may be shortened, is a secret."""
    words = _words(flag)
    if not words or words[0] in _SWITCHES:
        return False
    last = words[-1]
    shortened = len(last) >= _SHORTEST and any(word.startswith(last) for word in _SECRET)
    return shortened or is_secret_name(flag)


def masked_words(words: Sequence[str]) -> list[str]:
    """Return the command line *words* with a mask in place of each secret in it."""
    shown: list[str] = []
    is_value = False
    for word in words:
        flag, sign, _ = word.partition("=")
        is_flag = word.startswith("-")
        if is_value and not is_flag:
            shown.append(MASK)
        elif is_flag and sign and _takes_secret(flag):
            shown.append(f"{flag}={MASK}")
        else:
            shown.append(masked(word))
        is_value = is_flag and not sign and _takes_secret(flag)
    return shown


def masked_value(name: str, value: Any) -> Any:
    """Return the *value* of the setting *name* as it may be shown and kept."""
    if isinstance(value, str):
        return MASK if value and is_secret_name(name) else masked(value)
    if isinstance(value, (list, tuple)):
        return type(value)(masked_value(name, part) for part in value)
    return value


def is_masked(text: str) -> bool:
    """Tell whether *text* has a mask in it."""
    return MASK in text
