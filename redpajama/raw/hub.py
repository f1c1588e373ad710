"""The Hugging Face hub: listings of its repositories, each at one commit, and where its files are served.

HF_TOKEN and HF_ENDPOINT are the user's token and the hub's address.
"""

import functools
import glob
import itertools
import os
import re
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from redpajama.errors import InputError
from redpajama.raw.download import State, Unavailable, one_line
from redpajama.raw.io import Listed

_ONE_AT_A_TIME = threading.Lock()


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
        raise Unavailable(f"'{pattern}': {one_line(error)}", hub_state(error)) from None


def hub_state(error: Exception) -> State:
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
