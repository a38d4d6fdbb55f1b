"""Fetch a remote task file by filecache, and say why where it can't be fetched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_tasks.errors import ConfigurationError, SourceError, with_causes
from cloud_tasks.sources.base import SourceInterrupted
from cloud_tasks.sources.entries import raised, shown

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: What to do about an error of an SDK, by the name of its class.
_ADVICE = {
    "NoCredentialsError": "no credentials for AWS were found: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or run `aws configure`",
    "PartialCredentialsError": "the credentials for AWS are incomplete",
    "NoRegionError": "no AWS region is set: set AWS_DEFAULT_REGION",
    "ProfileNotFound": "the AWS profile does not exist",
    "DefaultCredentialsError": "no credentials for Google Cloud were found: set "
    "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    "RefreshError": "the credentials for Google Cloud are not valid any more",
    "SSLError": "there is no secure connection to the server",
    "ConnectTimeout": "the server does not answer",
    "ReadTimeout": "the server does not answer",
    "EndpointConnectionError": "the server can't be reached",
    "ConnectionError": "the server can't be reached",
}
#: The meaning of a status of HTTP, which all providers use.
_STATUS = {
    401: "it needs credentials",
    403: "access is denied: check credentials and permissions, and that it exists",
    404: "it does not exist: check bucket and name",
    410: "it is gone",
    429: "there were too many requests: try again later",
}


def is_fcpath(value: object) -> bool:
    """Tell whether *value* is a ``filecache.FCPath``, without importing that package."""
    return any(
        cls.__name__ == "FCPath" and cls.__module__.partition(".")[0] == "filecache"
        for cls in type(value).__mro__
    )


def is_remote(path: object) -> bool:
    """Tell whether *path* has to be fetched by filecache."""
    return is_fcpath(path) or (isinstance(path, str) and _SCHEME.match(path) is not None)


def fetch(path: Any, name: str) -> tuple[Path, Callable[[], None] | None]:
    """Fetch a remote file; blocks until all of it has come.

    Returns:
        The local copy, and a function to call when it is no longer needed, if it has to be.

    Raises:
        SourceError: it can't be fetched.
        ConfigurationError: filecache is not installed.
    """
    try:
        from filecache import FCPath, FileCache
    except ImportError as error:
        raise ConfigurationError(
            f"{name} can't be fetched without the package rms-filecache: pip install rms-filecache"
        ) from error
    # Without a cache of ours the copy belongs to the user's own cache, or is the file itself.
    discard: Callable[[], None] | None = None
    local: Any
    try:
        if is_fcpath(path):
            local = path.retrieve()
        else:
            url = _with_known_scheme(path, name, FileCache.registered_scheme_prefixes())
            # A cache of our own, because the default one is shared and persistent: it would
            # return an old copy after the remote file has changed.
            cache = FileCache(None)
            discard = cache.delete_cache
            local = FCPath(url, filecache=cache).retrieve()
    except BaseException as error:
        if discard:
            discard()
        # Every cloud SDK has its own tree of errors.
        if isinstance(error, (SourceError, SourceInterrupted, KeyboardInterrupt)):
            raise
        raise SourceError(f"{name} can't be fetched: {_reason(error)}") from error
    return Path(local), discard


def _with_known_scheme(url: str, name: str, prefixes: tuple[str, ...]) -> str:
    """Return *url* with its scheme in lower case, as filecache knows it.

    Raises:
        SourceError: it is none of those.
    """
    scheme, _, rest = url.partition("://")
    if f"{scheme.lower()}://" not in prefixes:
        known = ", ".join(sorted({p.removesuffix("://") for p in prefixes} - {"file", "fake"}))
        raise SourceError(
            f"{name} can't be fetched: {scheme!r} is not supported, but {known}; "
            "fetch it first, and give the local file"
        )
    return f"{scheme.lower()}://{rest}"


def _reason(error: BaseException) -> str:
    """Return why a file can't be fetched: filecache's own error hides that of the SDK."""
    for one in with_causes(error):
        status, words = _status(one)
        if status is not None:
            meaning = _STATUS.get(status) or ("the server failed" if status >= 500 else "")
            return f"{meaning + ' ' if meaning else ''}({status}{words})"
        if "CERTIFICATE_VERIFY_FAILED" in str(one):
            return f"the server's certificate can't be verified ({shown(str(one), 300)})"
        if advice := _ADVICE.get(type(one).__name__):
            return f"{advice} ({shown(str(one), 200)})"
    return raised(error)


def _status(error: BaseException) -> tuple[int | None, str]:
    """Return the status of the answer that *error* is about, and its words."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        found = response.get("Error", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        words = f"{found.get('Code', '')}: {found.get('Message', '')}"
    else:  # requests; Google's errors have the status themselves
        status = getattr(response, "status_code", getattr(error, "code", None))
        words = str(getattr(response, "reason", "") or getattr(error, "message", ""))
    if not isinstance(status, int):
        return None, ""
    return int(status), f" {shown(words, 200)}" if words.strip(": ") else ""
