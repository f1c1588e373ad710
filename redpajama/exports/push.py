"""An export -> a data set on the Hugging Face hub: file by file, and only those that are not there as they are here.

The hub keeps what was uploaded even where no commit names it yet, so a second run sends nothing twice; a commit takes
COMMIT_FILES files. HF_TOKEN and HF_ENDPOINT are the user's token and the hub's address.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redpajama.errors import BuildFailed, UserError
from redpajama.exports.folder import LEFT_BY_OTHERS, OWN

COMMIT_FILES = 50


def push(folder: str, repo: str) -> str:
    """Upload every file of a local folder; the address of the data set.

    Raises:
        UserError: the folder is on an object store, or the hub refuses. BuildFailed: it does not answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    if "://" in folder:
        raise UserError(f"--push takes a folder on this machine, and {folder} is none")
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    where: Any = {"repo_id": repo, "repo_type": "dataset"}
    try:
        url = str(api.create_repo(**where, exist_ok=True))
        missing = list(_missing(Path(folder), _there(api, where)))
        for start in range(0, len(missing), COMMIT_FILES):
            some = missing[start : start + COMMIT_FILES]
            added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in some]
            said = f"Add files {start + 1} to {start + len(some)} of {len(missing)}"
            api.create_commit(**where, operations=added, commit_message=said)
    except errors.HFValidationError as error:
        raise UserError(f"--push {repo}: {_one_line(error)}") from None
    except (errors.HfHubHTTPError, errors.HTTPError, OSError) as error:
        raise BuildFailed(f"--push {repo}: {_one_line(error)}; the same command goes on from there") from None
    return url


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _there(api: Any, where: dict[str, str]) -> dict[str, str]:
    """{file: SHA-256, or the id that git gives it} of what the data set has."""
    found = api.list_repo_tree(**where, recursive=True)
    return {each.path: each.lfs.sha256 if each.lfs else each.blob_id for each in found if hasattr(each, "blob_id")}


def _missing(folder: Path, there: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Files that the data set has not, or has otherwise; the card last, so that none says what is not there yet."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in sorted(paths, key=lambda each: each.name == "README.md"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith((f"{OWN}/", *LEFT_BY_OTHERS)) and there.get(name) not in _digests(path, there.get(name)):
            yield name, path


def _digests(path: Path, wanted: str | None) -> tuple[str, ...]:
    """What the hub may call a file: its SHA-256, or git's SHA-1 of it. Nothing is read where it has none."""
    if wanted is None:
        return ()
    if len(wanted) == 64:
        with path.open("rb") as file:
            return (hashlib.file_digest(file, "sha256").hexdigest(),)
    body = path.read_bytes()
    return (hashlib.sha1(b"blob %d\x00" % len(body) + body, usedforsecurity=False).hexdigest(),)
