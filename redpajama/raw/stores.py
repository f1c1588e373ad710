"""Listings of object stores: S3 and Google Cloud Storage."""

import glob
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from redpajama.raw.download import State, Unavailable, one_line
from redpajama.raw.io import Listed, filesystem

REQUESTER_PAYS = ("arxiv",)  # buckets of S3 that are known to bill whoever reads them


def list_store(pattern: str, scheme: str, requester_pays: bool = False) -> Iterator[Listed]:
    """Objects of S3 or Google Cloud Storage."""
    bucket = pattern.split("/")[2]
    pays = scheme == "s3" and (requester_pays or _pays_by_environment())
    if scheme == "s3" and bucket in REQUESTER_PAYS and not pays:
        raise _reader_pays(pattern)
    store = filesystem(scheme, pays)
    try:
        if pattern.endswith("/"):
            for folder in _store_matches(store, pattern.rstrip("/"), "directory"):
                tree = f"{scheme}://{folder}/"
                for path, info in store.find(folder, detail=True).items():
                    is_file = info["type"] == "file" and not path.endswith("/")  # as some tools mark a folder
                    if is_file and ".git" not in path.split("/"):
                        yield _stored(scheme, path, info, pays, tree)
        else:
            for path, info in _store_matches(store, pattern, "file").items():
                yield _stored(scheme, path, info, pays)
    except _store_errors(scheme) as error:
        if scheme == "s3" and not pays and "x-amz-request-payer" in _headers_of(error):
            raise _reader_pays(pattern) from None
        raise Unavailable(f"'{pattern}': {type(error).__name__}: {one_line(error)}", _store_state(error)) from None


def _pays_by_environment() -> bool:
    """FSSPEC_S3_REQUESTER_PAYS, or fsspec's own configuration, accepts the cost for all buckets."""
    import fsspec.config

    return bool(fsspec.config.conf.get("s3", {}).get("requester_pays"))


def _reader_pays(pattern: str) -> Unavailable:
    why = "whoever reads this bucket pays Amazon for the egress"
    wanted = "requester_pays = true in [[source]] accepts that, for your AWS credentials"
    return Unavailable(f"'{pattern}': {why}; {wanted}", State.REQUESTER_PAYS)


def _headers_of(error: BaseException) -> dict[str, str]:
    """The headers of S3's answer, as far as s3fs passes them on."""
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "response"):
        cause = cause.__cause__
    return getattr(cause, "response", {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})


def _store_state(error: Exception) -> State:
    """What a store's refusal means."""
    if isinstance(error, FileNotFoundError):
        return State.DEAD
    refused = isinstance(error, PermissionError) or "Credential" in type(error).__name__
    return State.FORBIDDEN if refused or getattr(error, "code", 0) in (401, 403) else State.NO_ANSWER


def _store_matches(store: Any, pattern: str, kind: str) -> dict[str, Any]:
    try:
        info = store.info(pattern)
        found = {info["name"]: info}
    except FileNotFoundError:
        found = _globbed(store, pattern.partition("://")[2]) if glob.has_magic(pattern) else {}
    return {path: info for path, info in found.items() if info["type"] == kind}


def _globbed(store: Any, pattern: str) -> dict[str, Any]:
    """{path: what the store says of it} of all that a pattern matches; a folder that cannot be listed raises.

    fsspec's `glob` has the same order of requests, but passes over such folders.
    """
    segments = pattern.split("/")
    found: dict[str, Any] = {segments[0]: {}}  # the bucket
    for place, segment in enumerate(segments[1:], 1):
        if segment == "**":
            rest = "/".join(segments[place:])
            return _matching(rest, found, lambda folder: store.find(folder, withdirs=True, detail=True).values())
        if glob.has_magic(segment):
            found = _matching(segment, found, lambda folder: _entries(store, folder))
        else:
            found = {f"{folder}/{segment}": {} for folder in found}
    return {path: info or asked for path, info in found.items() if info or (asked := _info(store, path))}


def _matching(pattern: str, folders: Iterable[str], listed: Callable[[str], Iterable[Any]]) -> dict[str, Any]:
    """What matches a pattern below each of some folders."""
    from fsspec.utils import glob_translate

    is_match = re.compile(glob_translate(pattern)).match
    below = ((f"{folder}/", info) for folder in folders for info in listed(folder))
    return {
        info["name"]: info
        for start, info in below
        if info["name"].startswith(start) and is_match(info["name"].removeprefix(start))
    }


def _entries(store: Any, folder: str) -> list[Any]:
    """What is in a folder; nothing where it is none."""
    try:
        return store.ls(folder, detail=True)
    except FileNotFoundError:
        return []


def _info(store: Any, path: str) -> Any:
    try:
        return store.info(path)
    except FileNotFoundError:
        return None


def _stored(scheme: str, path: str, info: dict[str, Any], pays: bool, tree: str = "") -> Listed:
    url = f"{scheme}://{path}"
    etag = info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("updated")
    return Listed(url, url, info["size"], str(etag or "").strip('"'), tree, requester_pays=pays)


def _store_errors(scheme: str) -> tuple[type[Exception], ...]:
    if scheme == "s3":
        from botocore.exceptions import BotoCoreError, ClientError

        return OSError, BotoCoreError, ClientError
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    return OSError, HttpError, GoogleAuthError
