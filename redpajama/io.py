"""Open anything: local paths, http(s)://, gs://, s3://, hf://; globs, trees, checksums, mirrors.

`expand` turns a manifest's patterns into `Listed` files; `fetch` turns each of them into a `RawFile` whose bytes can
be read here. Object stores are read in place; http(s) and the Hugging Face hub are downloaded first, and so is what an
S3 bucket bills its readers for: the egress is paid once. Credentials and options are the libraries' own: AWS_* and
FSSPEC_S3_* for s3fs, Google's defaults for gcsfs, HF_TOKEN and HF_ENDPOINT for the hub, proxies from the environment.
"""

import functools
import glob
import itertools
import os
import posixpath
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from redpajama import hashing
from redpajama.download import InputError, State, Unavailable, copy, download, look_up

READ_BYTES = 1 << 20
PARALLEL_LISTINGS = 8  # requests under way while inputs are listed
REQUESTER_PAYS = ("arxiv",)  # buckets of S3 that are known to bill whoever reads them
_ONE_AT_A_TIME = threading.Lock()


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

    @property
    def is_downloaded(self) -> bool:
        """Are its bytes brought here before they are read?"""
        return scheme_of(self.path) in ("http", "https", "hf") or self.requester_pays


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


# --- list


def expand(
    patterns: Iterable[str],
    mirrors: dict[str, str],
    base: str | Path,
    *,
    requester_pays: bool = False,
    unavailable: list[tuple[str, Unavailable]] | None = None,
) -> list[Listed]:
    """Every file that the patterns match, sorted by URL, each once, whatever the patterns' order.

    Args:
        patterns: paths relative to `base`, or URLs, with `*`, `?`, `[...]` and `**`. One that ends in `/` is a
            directory: all regular files beneath it, without `.git` and symbolic links.
        mirrors: URL prefix -> local directory that is read instead; URLs stay as the manifest has them.
        requester_pays: read S3 buckets that bill their readers.
        unavailable: if given, patterns that are not to be had are put there, and the others are listed.

    Raises:
        InputError: a pattern matches nothing, has an unknown scheme, or needs a missing extra.
    """

    def try_one(pattern: str) -> list[Listed] | Unavailable:
        try:
            return matches_of(pattern, mirrors, Path(base), requester_pays)
        except Unavailable as error:
            return error

    found: dict[str, Listed] = {}
    wanted = sorted(set(patterns))
    with ThreadPoolExecutor(PARALLEL_LISTINGS) as pool:
        matched = list(zip(wanted, pool.map(try_one, wanted), strict=True))
    for pattern, matches in matched:
        if not isinstance(matches, Unavailable):
            found.update((listed.url, listed) for listed in matches if listed.url not in found)
        elif unavailable is None:
            raise matches
        else:
            unavailable.append((pattern, matches))
    return [found[url] for url in sorted(found)]


def matches_of(pattern: str, mirrors: dict[str, str], base: Path, requester_pays: bool = False) -> list[Listed]:
    """The files of one pattern, in no promised order; at least one.

    Raises:
        Unavailable: nothing is there, or it is not to be had.
        InputError: the pattern cannot be right; among them a local one that matches nothing.
    """
    if found := list(list_files(pattern, mirrors, base, requester_pays)):
        return found
    message = f"'{pattern}' matches no file{_hint(pattern, mirrors, base)}"
    if scheme_of(pattern) and not mirror_of(pattern, mirrors):
        raise Unavailable(message, State.DEAD)
    raise InputError(message)


def list_files(pattern: str, mirrors: dict[str, str], base: Path, requester_pays: bool = False) -> Iterable[Listed]:
    """The files of one pattern, in no promised order."""
    scheme = scheme_of(pattern)
    if prefix := mirror_of(pattern, mirrors):
        return list_local(pattern[len(prefix) :], Path(mirrors[prefix]), prefix)
    if not scheme:
        return list_local(pattern, base)
    if scheme in ("s3", "gs"):
        return list_store(pattern, scheme, requester_pays)
    if scheme == "hf":
        return list_hub(pattern)
    if scheme in ("http", "https"):
        return list_web(pattern)
    raise InputError(f"'{pattern}': {scheme}:// is unknown; wanted a path, s3://, gs://, hf://, https:// or http://")


def mirror_of(url: str, mirrors: dict[str, str]) -> str:
    """The longest mirrored prefix of a URL, or ""."""
    return max((prefix for prefix in mirrors if prefix and url.startswith(prefix)), key=len, default="")


def _hint(pattern: str, mirrors: dict[str, str], base: Path) -> str:
    prefix = mirror_of(pattern, mirrors)
    if scheme_of(pattern) and not prefix:
        return ""
    folder = Path(mirrors[prefix]) if prefix else base
    if any((folder / name).is_dir() for name in _globbed(pattern[len(prefix) :].lstrip("/"), folder)):
        return f"; all files of a directory are '{pattern}/'"
    return f" in {folder}"


def list_local(pattern: str, root: Path, prefix: str = "") -> Iterator[Listed]:
    """Local files; `prefix` goes before their names to make URLs, and is a mirror's."""
    is_tree = f"{prefix}{pattern}".endswith("/")
    if prefix:
        bare = pattern.lstrip("/")
        prefix += pattern[: len(pattern) - len(bare)]
        pattern = bare
    for name in _globbed(posixpath.normpath(pattern), root):
        path = os.path.abspath(root / name)
        url = prefix if prefix and name == "." else prefix + name
        if is_tree and os.path.isdir(path):
            yield from _walk(path, f"{url.removesuffix('/')}/")
        elif not is_tree and os.path.isfile(path):
            yield _listed(url, path)


def _globbed(pattern: str, root: Path) -> list[str]:
    """Names under `root`; a file whose name only looks like a pattern is itself."""
    return [pattern] if (root / pattern).exists() else glob.glob(pattern, root_dir=root, recursive=True)


def _walk(folder: str, tree: str) -> Iterator[Listed]:
    def refuse(error: OSError) -> None:
        raise InputError(f"'{tree}': cannot read {error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = (name for name in folders if name != ".git")
        for name in names:
            path = os.path.join(place, name)
            if name != ".git" and stat.S_ISREG(os.lstat(path).st_mode):
                yield _listed(tree + os.path.relpath(path, folder), path, tree)


def _listed(url: str, path: str, tree: str = "") -> Listed:
    found = os.stat(path)
    try:
        url.encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fsencode(path)!r}: a file name must be UTF-8") from None
    return Listed(url, path, found.st_size, str(found.st_mtime_ns), tree)


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
        raise Unavailable(f"'{pattern}': {type(error).__name__}: {_one_line(error)}", _store_state(error)) from None


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
    while error and not hasattr(error, "response"):
        error = error.__cause__
    return error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if error else {}


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
        found = store.glob(pattern, detail=True) if glob.has_magic(pattern) else {}
    return {path: info for path, info in found.items() if info["type"] == kind}


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


def list_web(url: str) -> Iterator[Listed]:
    """One file of a web server, which has no listing."""
    check_web(url)
    size, etag = look_up(url)
    yield Listed(url, url, size, etag)


def check_web(url: str) -> None:
    """Raises InputError where the URL asks a web server for more than one file."""
    if "*" in url or url.endswith("/"):
        raise InputError(f"'{url}': the web has no listing; name each file, or read a copy with --mirror PREFIX=DIR")


# --- the Hugging Face hub


class HubPath(NamedTuple):
    """`hf://[datasets/]ORG/NAME[@REVISION]/PATH`, taken apart."""

    kind: str  # "datasets/", "spaces/", or "" of a model
    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, url: str) -> "HubPath":
        """Raises InputError where a part is missing."""
        match = re.fullmatch(r"hf://(datasets/|spaces/|)([^/@]+/[^/@]+)(?:@([^/]+))?/(.*)", url)
        if not match:
            raise InputError(f"'{url}': wanted hf://datasets/ORG/NAME[@REVISION]/PATH or hf://ORG/NAME[@REVISION]/PATH")
        return cls(match[1], match[2], match[3] or "", match[4])

    def url(self, revision: str, path: str) -> str:
        """The URL of a file of the same repository."""
        return f"hf://{self.kind}{self.repo}@{revision}/{path}"

    @property
    def web(self) -> str:
        """Where the hub serves it."""
        return f"{hub_endpoint()}/{self.kind}{self.repo}/resolve/{self.revision}/{quote(self.path)}"


def hub_endpoint() -> str:
    """The hub's address: HF_ENDPOINT at the time of the call."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def hub_address(path: str) -> tuple[str, str]:
    """(web address, the user's token or "") of a file of the hub."""
    from huggingface_hub import get_token

    return HubPath.parse(path).web, get_token() or ""


@functools.cache
def _commit(endpoint: str, repo: str, kind: str, revision: str) -> str:
    """The hash of a revision, asked once in a run: all patterns of a repository see the same files."""
    from huggingface_hub import HfApi

    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    return HfApi(endpoint=endpoint).repo_info(repo, repo_type=kind, revision=unquote(revision) or None).sha or ""


def list_hub(pattern: str) -> Iterator[Listed]:
    """Files of a repository on the hub; the path, and the URL if it names no revision, get the commit's hash."""
    from huggingface_hub import HfApi, errors

    wanted = HubPath.parse(pattern)
    api = HfApi(endpoint=hub_endpoint())
    where = {"repo_id": wanted.repo, "repo_type": wanted.kind.rstrip("s/") or "model"}
    try:
        with _ONE_AT_A_TIME:
            commit = _commit(hub_endpoint(), where["repo_id"], where["repo_type"], wanted.revision)
        for file, tree in _hub_matches(api, {**where, "revision": commit}, wanted.path):
            shown = wanted.revision or commit
            etag = file.lfs.sha256 if file.lfs else file.blob_id
            root = wanted.url(shown, tree) if pattern.endswith("/") else ""
            yield Listed(wanted.url(shown, file.path), wanted.url(commit, file.path), file.size, etag, root)
    except errors.EntryNotFoundError:
        return
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise Unavailable(f"'{pattern}': {_one_line(error)}", _hub_state(error)) from None


def _hub_state(error: Exception) -> State:
    """What the hub's refusal means. It says "not found" too of a private repository."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return State.FORBIDDEN
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return State.DEAD
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return State.FORBIDDEN if status in (401, 403) else State.NO_ANSWER


def _hub_matches(api: Any, where: dict[str, str], pattern: str) -> Iterator[tuple[Any, str]]:
    """(file, the directory that the pattern names, with its `/`)."""
    from fsspec.utils import glob_translate

    is_tree = pattern.endswith("/") or not pattern
    if is_tree or glob.has_magic(pattern):
        folder = "/".join(itertools.takewhile(lambda part: not glob.has_magic(part), pattern.split("/")[:-1]))
        entries = api.list_repo_tree(path_in_repo=folder or None, recursive=True, **where)
    else:
        entries = api.get_paths_info(paths=[pattern], **where)
    matches = re.compile(glob_translate(pattern.rstrip("/"))).match
    depth = pattern.count("/")
    for file in (entry for entry in entries if hasattr(entry, "blob_id")):  # not a folder
        parts = file.path.split("/")
        root = "/".join(parts[:depth])
        if not is_tree and (file.path == pattern or matches(file.path)):
            yield file, ""
        elif is_tree and len(parts) > depth and matches(root) and ".git" not in parts:
            yield file, f"{root}/" if root else ""


# --- fetch


def fetch(listed: Listed, cache_dir: str | Path, sha256: str = "") -> RawFile:
    """The file, with its size and SHA-256 measured; from the web and the hub it is downloaded to `cache_dir` first.

    Args:
        sha256: the checksum it must have; "" takes any. A file of the hub must have the one that the hub records.

    Raises:
        InputError: not to be had, or of another size or checksum than it must have.
    """
    path = _bring(listed, Path(cache_dir))
    size, found = measure(path)
    wanted = sha256 or (listed.etag if listed.path.startswith("hf://") and len(listed.etag) == 64 else "")
    problem = ""
    if listed.bytes and size != listed.bytes:
        problem = f"has {size} bytes, wanted {listed.bytes}"
    elif wanted and found != wanted:
        problem = f"has sha256 {found}, wanted {wanted}"
    if problem:
        if path != listed.path:
            Path(path).unlink()
        raise InputError(f"{listed.url}: {problem}")
    return RawFile(listed.url, path, size, found, listed.tree)


def _bring(listed: Listed, cache_dir: Path) -> str:
    """Where the bytes can be read: in place, or in the cache after a download."""
    if not listed.is_downloaded:
        return listed.path
    scheme = scheme_of(listed.path)
    url, token = hub_address(listed.path) if scheme == "hf" else (listed.path, "")
    name = urlsplit(url).path.rsplit("/", 1)[-1].strip(".")[-200:]  # quoted, so never a path
    target = cache_dir / hashing.short_id(listed.path) / (name or "file")
    if scheme in ("s3", "gs"):
        store = filesystem(scheme, listed.requester_pays)
        copy(lambda: store.open(listed.path, "rb"), listed.path, target, listed.bytes, listed.etag)
    else:
        download(url, target, listed.bytes, listed.etag, token)
    return str(target)


def measure(path: str) -> tuple[int, str]:
    """(bytes, SHA-256) of a file, read once."""
    with open_raw(path) as file:
        digest = hashing.sha256_of(iter(lambda: file.read(READ_BYTES), b""))
        return file.tell(), digest


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
