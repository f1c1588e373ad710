"""An export -> a data set on the Hugging Face hub: exactly the files of its record, and of those what is not there.

The hub keeps what was uploaded even where no commit names it yet, so a second run sends nothing twice; a commit takes
COMMIT_FILES files. The last one brings the card, and the record, by which a later push knows what of an earlier one is
to go. HF_TOKEN and HF_ENDPOINT are the user's token and the hub's address.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from redpajama.engine.parts import describe_whole
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed, UserError
from redpajama.exports.card import CARD, data_files, of_splits
from redpajama.exports.folder import OWN, PLAN, read_record
from redpajama.hashing import canonical_json

COMMIT_FILES = 50
REFUSED = 401  # the status of who is not known


class Pushed(NamedTuple):
    """What a data set is to hold of an export."""

    files: dict[str, Path | bytes]
    digests: dict[str, str]  # SHA-256 of each
    split: str


def push(folder: str, repo: str) -> str:
    """Upload the export in a local folder, and take away what an earlier one of that split had; the data set's address.

    Raises:
        UserError: the folder is on an object store, the data set has other files in this one's place, or the hub
            refuses. BuildFailed: a file is not as it was exported, or the hub does not answer.
    """
    from huggingface_hub import HfApi, errors

    if "://" in folder:
        raise UserError(f"--push takes a folder on this machine, and {folder} is none")
    wanted = _wanted(folder)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    where: Any = {"repo_id": repo, "repo_type": "dataset"}
    try:
        url = str(api.create_repo(**where, exist_ok=True))
        _commit(api, where, wanted)
    except errors.HFValidationError as error:
        raise UserError(f"--push {repo}: {_one_line(error)}") from None
    except (errors.HfHubHTTPError, errors.HTTPError, OSError) as error:
        if getattr(getattr(error, "response", None), "status_code", 0) == REFUSED:
            raise UserError(f"--push {repo}: the hub refuses it (401): HF_TOKEN is missing, or not valid") from None
        raise BuildFailed(f"--push {repo}: {_one_line(error)}; the same command goes on from there") from None
    return url


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _record_of(split: str) -> str:
    """Where the data set keeps the record of the export of a split."""
    return f"{OWN}/{split}.json"


def _wanted(folder: str) -> Pushed:
    """What the record of an export names, and the record; every file is as it was written."""
    record = read_record(Store(folder), PLAN)
    if record is None or "files" not in record:
        raise UserError(f"--push: {folder} holds no finished export")
    files: dict[str, Path | bytes] = {name: Path(folder, name) for name in record["files"]}
    for name, (size, sha256) in record["files"].items():
        if not Path(folder, name).is_file() or list(describe_whole(Path(folder, name))) != [size, sha256]:
            said = "not as it was exported: remove it, and the same command writes it anew"
            raise BuildFailed(f"{folder}/{name}: {said}")
    split, body = record["export"]["split"], canonical_json(record)
    digests = {name: sha256 for name, (_, sha256) in record["files"].items()}
    own = _record_of(split)
    return Pushed({**files, own: body}, {**digests, own: hashlib.sha256(body).hexdigest()}, split)


def _commit(api: Any, where: dict[str, str], wanted: Pushed) -> None:
    """Bring the data set to what is wanted, in as many commits as it takes; what goes goes with the last one."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = {each.path: each for each in api.list_repo_tree(**where, recursive=True) if hasattr(each, "blob_id")}
    wanted = _with_all_splits(wanted, [Path(name).stem for name in there if fnmatch(name, f"{OWN}/*.json")])
    old = _stale(api, where, wanted, set(there))
    names = [name for name in wanted.files if name not in there or not _is_same(there[name], wanted, name)]
    names.sort(key=lambda name: (name in (CARD, _record_of(wanted.split)), name))
    steps: list[Any] = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=_body(wanted, name)) for name in names]
    blocks = [steps[start : start + COMMIT_FILES] for start in range(0, len(steps), COMMIT_FILES)] or [[]]
    blocks[-1] += [CommitOperationDelete(path_in_repo=name) for name in old]
    for number, block in enumerate(filter(None, blocks)):
        said = f"Add files of the export, {number + 1} of {len(blocks)}"
        api.create_commit(**where, operations=block, commit_message=said)


def _with_all_splits(wanted: Pushed, splits: list[str]) -> Pushed:
    """The card is one for all splits that the data set has."""
    if not isinstance(path := wanted.files.get(CARD), Path):
        return wanted
    body = of_splits(path.read_bytes(), sorted({*splits, wanted.split}))
    digests = {**wanted.digests, CARD: hashlib.sha256(body).hexdigest()}
    return wanted._replace(files={**wanted.files, CARD: body}, digests=digests)


def _body(wanted: Pushed, name: str) -> str | bytes:
    found = wanted.files[name]
    return found if isinstance(found, bytes) else str(found)


def _is_same(entry: Any, wanted: Pushed, name: str) -> bool:
    """Whether the data set has a file as it is here: by its SHA-256, or git's SHA-1 of a small one."""
    if entry.lfs:
        return bool(entry.lfs.sha256 == wanted.digests[name])
    found = wanted.files[name]
    body = found if isinstance(found, bytes) else found.read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\x00" % len(body) + body, usedforsecurity=False).hexdigest())


def _stale(api: Any, where: dict[str, str], wanted: Pushed, there: set[str]) -> list[str]:
    """Files of an earlier push of this split that no export has any more.

    Raises:
        UserError: files of others stand where `load_dataset` would take them for this export's.
    """
    others = [name for name in there if fnmatch(name, f"{OWN}/*.json") and name != _record_of(wanted.split)]
    kept = {name for other in others for name in _names(api, where, other)} | wanted.files.keys()
    own = set(_names(api, where, _record_of(wanted.split))) if _record_of(wanted.split) in there else set()
    strangers = sorted(name for name in there - kept - own if fnmatch(name, data_files(wanted.split)))
    if strangers:
        said = f"it has {strangers[0]}, which is none of this export's, and `load_dataset` would read it"
        raise UserError(f"--push {where['repo_id']}: {said}: name another data set, or delete that file")
    return sorted((own & there) - kept)


def _names(api: Any, where: dict[str, str], record: str) -> Iterator[str]:
    """The files that a record in the data set names."""
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        path = api.hf_hub_download(**where, filename=record, local_dir=folder)
        try:
            found = json.loads(Path(path).read_bytes())
            yield from found["files"]
        except (ValueError, KeyError, TypeError):
            return
