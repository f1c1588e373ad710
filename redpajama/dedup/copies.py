"""The stage `copies`: with near-dedup's `keep = "none"`, the first of equal texts goes too.

Until then it stood for all of them: near-dedup has compared it, so what is like it is gone as well.
"""

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import verdicts
from redpajama.corpus.evidence import evidence_of
from redpajama.corpus.stages import per_documents
from redpajama.corpus.verdicts import VERDICT_SCHEMA
from redpajama.dedup import exact, guard
from redpajama.engine import homes
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import REMOVED, Build
from redpajama.manifest import Source
from redpajama.records import Reason


def asks(build: Build, documents: PartRecord) -> list[str]:
    """The firsts, and who is gone."""
    return [homes.digest(build, exact.NAME, documents, exact.FIRSTS), *verdicts.identity(build, documents)]


def remove_firsts(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """The firsts of equal texts in one part that are still there -> a verdict each."""
    firsts = homes.read(build, exact.NAME, documents, exact.FIRSTS)
    lost = firsts.filter(pc.invert(pc.is_in(firsts.column("doc_id"), value_set=verdicts.removed_ids(build, documents))))
    count = lost.num_rows
    nothing, reasons = pa.nulls(count, pa.float64()), pa.repeat(Reason.EXACT_DUPLICATE.value, count)
    evidence = evidence_of({"other": lost.column("other"), "other_part": lost.column("other_part")})
    columns = [lost.column("part"), lost.column("doc_id"), reasons, nothing, nothing, evidence]
    verdicts.write_beside(outputs, pa.table(columns, schema=VERDICT_SCHEMA))
    others = lost.select(["other"]).rename_columns(["doc_id"])
    dropped = {Reason.EXACT_DUPLICATE: count} if count else {}
    read = documents.counts["kept"]
    return {"read": read, "kept": read - count, "dropped": dropped, **guard.matrix(lost, others)}


STAGE = per_documents(
    "copies",
    version=1,
    libraries=("pyarrow",),
    after=(exact.NAME, REMOVED),
    asks=asks,
    work=remove_firsts,
    removes=True,
)
