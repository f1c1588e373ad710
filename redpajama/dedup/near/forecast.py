"""What near-dedup will find and what it will cost, before it reads a text: for `plan`."""

from typing import Any

from redpajama.dedup.near import candidates, minhash, rows
from redpajama.dedup.near.minhash import MinHashParams, curve
from redpajama.manifest import Kind, Manifest, given

SIMILARITIES = tuple(number / 20 for number in range(10, 21))  # 0.5 ... 1
SIZES = (1.0, 0.75, 0.5, 0.25, 0.1)  # n-grams of the smaller text by those of the larger one
MILLION = 1_000_000


def forecast(manifest: Manifest, params: MinHashParams) -> dict[str, Any]:
    """Rules by kind of text, recall of the candidates, and the bytes of 1,000,000 documents."""
    kinds: list[Kind] = sorted({given(source.kind) for source in manifest.source})
    found = {
        "rules": {kind: params.rule(kind) for kind in kinds},
        "policy": {key: getattr(params, key) for key in ("keep", "prefer", "only_between", "verify", "permutations")},
        "recall": {f"{level:.2f}": round(curve(params.bands, params.rows, level), 4) for level in SIMILARITIES},
        "bytes_per_million_documents": _bytes(params),
    }
    if params.mode == "containment":
        found["recall_by_size"] = {f"{size:.2f}": round(contained(params, size), 4) for size in SIZES}
    return found


def contained(params: MinHashParams, size: float) -> float:
    """Recall where the smaller text has `size` times the n-grams of the larger one and is contained in it whole.

    Bands see the Jaccard similarity alone, and that is `size` at most: what is much shorter is seldom found.
    """
    return curve(params.bands, params.rows, size)


def _bytes(params: MinHashParams) -> dict[str, int]:
    """On disk, through the regroup, and in the memory of the one reducer of `clusters`; upper bounds."""
    return {
        "signatures_on_disk": MILLION * 4 * params.permutations,
        "sketches_on_disk": MILLION * 8 * minhash.SKETCH,
        "band_keys_regrouped": MILLION * 16 * params.bands,
        "clusters_memory": 9 * MILLION,
    }


def lines(manifest: Manifest, params: MinHashParams, raw_bytes: int, text_bytes: int) -> list[str]:
    """The forecast for people; `text_bytes` of all documents, 0 where they were not built yet."""
    found = forecast(manifest, params)
    rules = [f"near-dedup  {kind}: {rule}" for kind, rule in found["rules"].items()]
    recall = "  ".join(f"{level} {value:.2%}" for level, value in found["recall"].items())
    mega = {name: f"{value / 1e6:,.0f} MB" for name, value in found["bytes_per_million_documents"].items()}
    reducer = max(2 * 16 * candidates.BAND_ROWS, 2 * rows.REDUCE_BYTES) >> 20
    return [
        *rules,
        f"  keep = {params.keep}, prefer = {', '.join(params.prefer) or 'the smaller id'}, verify = {params.verify}",
        f"  candidates by Jaccard similarity: {recall}",
        *_containment_lines(found),
        f"  of 1,000,000 documents: signatures {mega['signatures_on_disk']}, sketches at most "
        f"{mega['sketches_on_disk']} on disk, band keys {mega['band_keys_regrouped']} regrouped, clusters "
        f"{mega['clusters_memory']} of memory; a reducer about {reducer:,} MiB at most, or its largest cluster",
        f"  verify = {params.verify}: {_verification(params, raw_bytes, text_bytes)}",
    ]


def _containment_lines(found: dict[str, Any]) -> list[str]:
    if "recall_by_size" not in found:
        return []
    recall = "  ".join(f"{size} {value:.2%}" for size, value in found["recall_by_size"].items())
    return [f"  whole texts inside longer ones, by their size: {recall}: bands find what has about the same length"]


def _verification(params: MinHashParams, raw_bytes: int, text_bytes: int) -> str:
    """What it reads and holds."""
    size = f"{text_bytes / 1e6:,.1f} MB of text" if text_bytes else f"the text of {raw_bytes / 1e6:,.1f} MB raw"
    held = f"a cluster holds at most {8 * rows.CLUSTER_NGRAMS >> 20:,} MiB of n-grams"
    if params.verify == "exact":
        unit = "character" if params.unit == "char" else "word"
        return f"reads every clustered document again, at most {size}, and regroups 8 bytes a {unit} of it; {held}"
    return f"reads again only documents in doubt, at most {size}, and regroups 8 bytes an n-gram of them; {held}"
