"""Raw files: what the manifest calls them, where their bytes are, and how these are opened: paths, gs://, s3://.

`listing` finds files, `fetch` brings those that cannot be read in place. Credentials and options are the libraries'
own: AWS_* and FSSPEC_S3_* for s3fs, Google's defaults for gcsfs, proxies from the environment.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, BinaryIO

from redpajama.errors import InputError, UserError
from redpajama.unsigned import unsigned


@dataclass(frozen=True)
class RawFile:
    """One raw input: what the manifest calls it, and where its bytes are."""

    url: str  # as the manifest names it: evidence and keys use this
    path: str  # where the bytes are read now: a local path or a URL that fsspec opens
    bytes: int
    sha256: str
    tree: str = ""  # URL of the directory input that this file belongs to
    start: int = 0  # of the range of bytes that a part reads
    end: int = 0  # 0: up to the end of the file

    @property
    def stop(self) -> int:
        """Where the range ends."""
        return self.end or self.bytes

    @property
    def length(self) -> int:
        """Bytes of the range."""
        return self.stop - self.start

    @property
    def whole(self) -> "RawFile":
        """The file without its range."""
        return replace(self, start=0, end=0)

    @property
    def rest(self) -> "RawFile":
        """What follows the range, for a reader whose last record ends there; `stop` must not be the file's end."""
        return replace(self, start=self.stop, end=0)

    @property
    def relative(self) -> str:
        """The path inside the directory input, or the URL's last part."""
        return self.url.removeprefix(self.tree) if self.tree else self.url.rsplit("/", 1)[-1]

    def open(self) -> BinaryIO:
        """The raw bytes, seekable."""
        return open_raw(self.path)


@dataclass(frozen=True)
class Listed:
    """One file that a pattern matched; its bytes are not read yet."""

    url: str  # as the manifest names it
    path: str  # where it is: a local path or a URL
    bytes: int  # 0 where a web server does not say
    etag: str  # another one when the content is another: ETag, Last-Modified, blob id or mtime_ns
    tree: str = ""  # URL of the directory that the manifest names, "" of a single file
    about_bytes: int = 0  # where `bytes` is 0: reckoned from others of its kind
    requester_pays: bool = False  # S3 bills the egress to whoever reads it
    signed: str = ""  # `path` with the password, token or signature that it needs; it is never written or printed

    @property
    def address(self) -> str:
        """Where it is asked for."""
        return self.signed or self.path

    @property
    def unsigned(self) -> "Listed":
        """The same, told apart by what is no secret: another signature makes no other file."""
        url, path, tree = map(unsigned, (self.url, self.path, self.tree))
        return (
            self
            if (url, path) == (self.url, self.path)
            else replace(self, url=url, path=path, tree=tree, signed=self.address)
        )

    @property
    def is_downloaded(self) -> bool:
        """Are its bytes brought here before they are read?"""
        return scheme_of(self.path) in ("http", "https", "hf") or self.requester_pays


def listed_of(entry: dict[str, Any], signed: dict[str, str]) -> Listed:
    """An input as it was listed; `signed` has the addresses that are not written down."""
    known = {field.name: entry[field.name] for field in fields(Listed) if field.name != "signed"}
    return Listed(**known, signed=entry.get("signed") or signed.get(entry["path"], ""))


def is_one_file(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two entries of one name are the same file, as far as a server tells: at one address, or with one ETag."""
    if (first.get("signed") or first["path"]) == (second.get("signed") or second["path"]):
        return True
    return bool(first["etag"]) and (first["etag"], first["bytes"]) == (second["etag"], second["bytes"])


def told_apart_by_secrets(url: str) -> str:
    """What to say of inputs that have one name and are two files."""
    return (
        f"{url}: two inputs differ only in what is taken for a password, a token or a signature, and nothing says that "
        "they are one file: leave one out, or give it another name"
    )


def without_secrets(listed: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """(entries that may be written down, {path: the address with its secret}).

    Raises:
        UserError: two of them differ in nothing that may be written down.
    """
    first: dict[str, dict[str, Any]] = {}
    for entry in listed:
        if not is_one_file(first.setdefault(entry["path"], entry), entry):
            raise UserError(told_apart_by_secrets(entry["url"]))
    told = [{name: value for name, value in entry.items() if name != "signed"} for entry in listed]
    return told, {entry["path"]: entry["signed"] for entry in listed if entry.get("signed")}


def open_raw(path: str) -> BinaryIO:
    """The bytes at a local path or an object store's URL, seekable.

    Raises:
        InputError: nothing is there.
    """
    scheme = scheme_of(path)
    try:
        return filesystem(scheme).open(path, "rb") if scheme else open(path, "rb")
    except FileNotFoundError:
        raise InputError(f"{path}: it was measured before and is gone; --rehash looks for it again") from None


def scheme_of(url: str) -> str:
    """`s3` of `s3://bucket/key`; "" of a local path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    return match[1].lower() if match else ""


def filesystem(scheme: str, requester_pays: bool = False) -> Any:
    """fsspec's file system, which asks the store each time: no listing is remembered."""
    import fsspec

    options = {"requester_pays": True} if requester_pays else {}
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, **options)
    except ImportError:
        extra = {"gs": "gcs"}.get(scheme, scheme)
        raise InputError(f"{scheme}:// needs an extra: pip install 'redpajama[{extra}]'") from None
