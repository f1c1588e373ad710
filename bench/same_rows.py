"""Do two ROOTs hold the same corpus? Documents, verdicts, the order of the mixture and the shards, row by row.

    python bench/same_rows.py ROOT ROOT

Names of parts, and what names a part in a row, may differ: they are hashes of how a part was made. Each ROOT holds one
build; files are found by the folders of their stages, so builds of an older layout can be compared with new ones.
"""

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq

VERDICTS = ("quality", "identity", "exact", "near", "copies", "substrings")
PARTS = ("survivor_part", "other_part")  # of evidence


def documents(root: Path) -> Iterator[str]:
    for path in root.glob("documents/*/part-*.parquet"):
        yield from _rows(path)


def _rows(path: Path) -> Iterator[str]:
    for row in pq.ParquetFile(path).read().to_pylist():
        yield json.dumps({name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()})


def verdicts(root: Path) -> Iterator[str]:
    for stage in VERDICTS:
        for path in [*root.glob(f"{stage}/*/part-*.parquet"), *root.glob(f"{stage}-homes/*/*.verdicts.parquet")]:
            for row in pq.ParquetFile(path).read().to_pylist():
                evidence = {key: value for key, value in json.loads(row["evidence"]).items() if key not in PARTS}
                yield json.dumps([stage, *(row[name] for name in ("doc_id", "reason", "value", "threshold")), evidence])


def mixture(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("mixture/*/range-*.parquet")):
        for row in pq.ParquetFile(path).read().to_pylist():
            yield json.dumps({name: value for name, value in row.items() if name != "part"})


def shards(root: Path) -> Iterator[str]:
    for ending in (".bin", ".idx"):
        for path in sorted(root.glob(f"tokens/*/*{ending}")):
            yield f"{ending} {sha256(path.read_bytes()).hexdigest()}"


def main(one: Path, other: Path) -> int:
    """Print a line for each kind of row; 1 if any differs."""
    differs = False
    for kind, is_ordered in ((documents, False), (verdicts, False), (mixture, True), (shards, True)):
        rows = [list(kind(root)) if is_ordered else sorted(kind(root)) for root in (one, other)]
        hashes = [sha256("\n".join(each).encode("utf-8", "surrogatepass")).hexdigest()[:16] for each in rows]
        is_same = rows[0] == rows[1]
        differs |= not is_same
        said, counts = "same" if is_same else "DIFFERENT", f"{len(rows[0]):,} / {len(rows[1]):,} rows"
        sys.stdout.write(f"{kind.__name__:<10} {said:<10} {counts}  {hashes[0]} {hashes[1]}\n")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
