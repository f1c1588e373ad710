"""What the commands print: tables for people, JSON for programs. Each function returns the exit status."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from redpajama.artifacts import BuildFailed, Store, read_stage
from redpajama.download import State
from redpajama.io import Listed
from redpajama.manifest import Manifest, Source
from redpajama.report.funnel import DUPLICATES, SourceRow, duplicate_matrix, find_builds, funnel, read_build

if TYPE_CHECKING:
    from redpajama.doctor import Finding

WIDTH = 120  # where the output is no terminal


def console() -> Console:
    """Standard output, wide enough for tables when it is piped."""
    plain = {"highlight": False, "markup": False, "emoji": False}  # ids and paths may hold brackets and colons
    out = Console(**plain)
    return out if out.is_terminal else Console(width=WIDTH, **plain)


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


# ---- plan


def show_plan(
    manifest: Manifest, listed: list[dict[str, Any]], lost: list[dict[str, str]], store: Store, as_json: bool
) -> int:
    """Every source with its files and bytes, what of them must be fetched, what is gone, and what is already there."""
    rows = plan_rows(manifest, listed)
    if as_json:
        manifest_json = manifest.model_dump(mode="json")
        near = {"near": _near(manifest)} if manifest.dedup.near is not None else {}
        show_json({"manifest": manifest_json, "sources": rows, "inputs": listed, "unavailable": lost, **near})
        return 1 if lost else 0
    out = console()
    out.print(_plan_table(manifest, rows))
    size, fetched, egress = (sum(row[key] for row in rows.values()) for key in ("bytes", "fetch_bytes", "egress_bytes"))
    sign = _sign(rows.values())
    budget = f", to {manifest.mixture.budget_tokens:,} tokens" if manifest.mixture else ""
    files = sum(row["files"] for row in rows.values())
    fetch = f", {fetched / 1e6:,.2f} MB of them to fetch" if fetched else ""
    out.print(f"{files:,} files, {sign}{size / 1e6:,.2f} MB{fetch}{budget}; nothing was written.")
    if any(row["estimates"] for row in rows.values()):
        out.print("~ sizes are reckoned: of a dump only a few files are asked.")
    if egress:
        out.print(f"{egress / 1e6:,.2f} MB leave buckets whose reader pays: Amazon bills you for the egress.")
    for each in lost:
        out.print(f"{each['state']}: {each['source']}: {each['said']}", soft_wrap=True)
    for line in _near_lines(manifest, store, size):
        out.print(line, soft_wrap=True)
    for source in manifest.source:
        if source.substrings:
            memory = _substrings_memory(store, manifest.name, source.name)
            out.print(f"substrings  {source.name}: {memory}", soft_wrap=True)
    if store.exists(f"builds/{manifest.name}.json"):
        out.print(f"{store.url} holds a finished build '{manifest.name}': what did not change is kept.")
    return 1 if lost else 0


def plan_rows(manifest: Manifest, listed: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """{source: files, bytes (reckoned where `estimates`), files of unknown size, bytes to fetch, and to pay for}."""
    keys = ("files", "bytes", "unknown_sizes", "estimates", "fetch_bytes", "egress_bytes")
    rows = {source.name: dict.fromkeys(keys, 0) for source in manifest.source}
    for entry in listed:
        file = Listed(**{field.name: entry[field.name] for field in fields(Listed)})
        row = rows.setdefault(entry["source"], dict.fromkeys(keys, 0))
        size = file.bytes or file.about_bytes
        row["files"] += 1
        row["bytes"] += size
        row["unknown_sizes"] += not size and "://" in file.url  # the server does not say
        row["estimates"] += not file.bytes and file.about_bytes > 0
        row["fetch_bytes"] += size if file.is_downloaded else 0
        row["egress_bytes"] += size if file.requester_pays else 0
    return rows


def _plan_table(manifest: Manifest, rows: dict[str, dict[str, int]]) -> Table:
    names = ("source", "pipeline", "files", "raw MB", "to fetch", "quality rules", "weight", "max epochs")
    table = _table(*names, left=(0, 1, 5))
    shares = {share.source: share for share in manifest.mixture.slice} if manifest.mixture else {}
    for source in manifest.source:
        row, share = rows[source.name], shares.get(source.name)
        rules = ", ".join([*(f"{key} {_shown(value)}" for key, value in source.quality.items()), *_limits(source)])
        sizes = [f"{_sign([row])}{row[key] / 1e6:,.2f}" for key in ("bytes", "fetch_bytes")]
        more = "+" if row["unknown_sizes"] else ""
        mixture = (f"{share.weight:g}", f"{share.max_epochs:g}") if share else ("", "")
        fetch = sizes[1] + more if row["fetch_bytes"] or more else ""
        table.add_row(source.name, source.pipeline, f"{row['files']:,}", sizes[0] + more, fetch, rules, *mixture)
    return table


def _sign(rows: Iterable[dict[str, int]]) -> str:
    return "~" if any(row["estimates"] for row in rows) else ""


def _substrings_memory(store: Store, build: str, source: str) -> str:
    """What cutting one source's repeated spans takes, in bytes where a finished build tells the size of its text."""
    from redpajama.dedup import substrings

    words = f"{substrings.memory(1)} bytes of memory a byte of living text, at most {substrings.MAX_BYTES:,} of these"
    if not store.exists(f"builds/{build}.json"):
        return words
    entry = read_build(store, build)["stages"]["documents"].get(source)
    size = read_stage(store, entry["record"]).counts["text_bytes"] if entry else 0
    return f"{words}; {substrings.memory(size) / 1e6:,.0f} MB for all documents of the last build"


def _near(manifest: Manifest) -> dict[str, Any]:
    from redpajama.dedup import forecast, minhash

    return forecast.forecast(manifest, minhash.parse(manifest.dedup.near))


def _near_lines(manifest: Manifest, store: Store, raw_bytes: int) -> list[str]:
    """What near-dedup would find and cost; none where the manifest asks for none."""
    from redpajama.dedup import forecast, minhash

    if manifest.dedup.near is None:
        return []
    params = minhash.parse(manifest.dedup.near)
    return forecast.lines(manifest, params, raw_bytes, _text_bytes(store, manifest.name))


def _text_bytes(store: Store, name: str) -> int:
    """Of all documents of the finished build called `name`; 0 where there is none."""
    if not store.exists(f"builds/{name}.json"):
        return 0
    entries = read_build(store, name)["stages"]["documents"].values()
    return sum(read_stage(store, entry["record"]).counts["text_bytes"] for entry in entries)


# ---- doctor


def show_doctor(findings: list["Finding"], as_json: bool) -> int:
    """One line an input; status 1 if any is dead."""
    dead = sum(finding.state is State.DEAD for finding in findings)
    if as_json:
        show_json([finding._asdict() for finding in findings])
        return 1 if dead else 0
    table = _table("state", "source", "files", "MB", "input", left=(0, 1, 4))
    for found in findings:
        size = f"{'~' if found.is_estimate else ''}{found.bytes / 1e6:,.2f}" if found.files else ""
        note = f"{found.input}\n{found.said}" if found.said else found.input
        table.add_row(found.state, found.source, f"{found.files:,}" if found.files else "", size, note)
    out = console()
    out.print(table)
    counts = Counter(finding.state for finding in findings)
    summary = ", ".join(f"{counts[state]:,} {state}" for state in State if counts[state])
    out.print(f"{len(findings):,} inputs: {summary}")
    return 1 if dead else 0


def _limits(source: Source) -> list[str]:
    """What the models' limits keep, in words."""
    found = []
    if source.language:
        kept = "/".join(source.language.keep) or "any language"
        found.append(f"{kept} from {source.language.min_score:g}")
    if source.perplexity:
        found.append(f"perplexity {'/'.join(source.perplexity.keep)}")
    if source.classifier:
        found.append(f"{source.classifier.name}_prob {source.classifier.keep}")
    return found


def _shown(bound: float | str | list[str]) -> str:
    """The value of a quality key: a bound, or the names of presets."""
    if isinstance(bound, list):
        return " + ".join(bound)
    return bound if isinstance(bound, str) else f"{bound:g}"


def show_signals(as_json: bool) -> int:
    """Every signal with its set, unit, definition, source, and the presets that have a rule on it."""
    from redpajama.quality.catalogue import SIGNALS
    from redpajama.quality.presets import PRESETS, presets_of

    rows = [{**signal._asdict(), "presets": presets_of(signal.name)} for signal in SIGNALS.values()]
    if as_json:
        presets = {name: {key: bound._asdict() for key, bound in rules.items()} for name, rules in PRESETS.items()}
        show_json({"signals": rows, "presets": presets})
        return 0
    out = console()
    table = _table("signal", "set", "unit", "definition", "presets", left=(0, 1, 2, 3, 4))
    for row in rows:
        presets = "; ".join(f"{name} {bound}" for name, bound in row["presets"].items())
        table.add_row(row["name"], row["set"], row["unit"], f"{row['definition']} [{row['source']}]", presets)
    out.print(table)
    out.print(f"{len(rows)} signals; --json adds where each threshold is from.")
    return 0


# ---- build and status


def show_build(record: dict[str, Any], root: str, seconds: float, as_json: bool) -> int:
    """The table of sources, where the shards lie, and the corpus hash."""
    store = Store(root)
    if as_json:
        show_json(_summary(store, record))
        return 0
    out = console()
    manifest = Manifest(**record["manifest"])
    rows = funnel(store, record)
    out.print()
    out.print(_funnel_table(rows))
    _print_matrices(out, duplicate_matrix(store, record))
    for line in _totals(store, record, manifest, rows):
        out.print(line, soft_wrap=True)
    out.print(f"corpus   {record['corpus']}", style="bold", soft_wrap=True)
    out.print(f"built in {seconds:,.1f} s; `redpajama verify {root}` checks it, `redpajama why {root} ID` explains it")
    return 0


def _summary(store: Store, record: dict[str, Any]) -> dict[str, Any]:
    shards = [part["part"] for entry in record["stages"].get("tokens", {}).values() for part in _parts(store, entry)]
    return {
        "build": record["manifest"]["name"],
        "until": record["until"],
        "corpus": record["corpus"],
        "sources": [row.to_json() for row in funnel(store, record)],
        "duplicates": duplicate_matrix(store, record),
        "shards": [f"{stem}_text_document" for stem in shards],
    }


def _parts(store: Store, entry: dict[str, str]) -> list[dict[str, str]]:
    return read_stage(store, entry["record"]).parts


def _funnel_table(rows: list[SourceRow]) -> Table:
    counts = ("read", "merged", "dropped", "bad", "documents", "removed")
    table = _table("source", *counts, "why", "drawn", "tokens", "wanted", "got", left=(0, 7))
    for row in rows:
        why = _reasons(row.dropped + row.removed)
        if row.cut_spans:
            cut = f"{row.cut_spans:,} repeated spans cut ({row.cut_bytes:,} B)"
            why.append(f"{', ' if why else ''}{cut}")
        table.add_row(
            row.source,
            f"{row.read:,}",
            f"{row.merged:,}",
            f"{sum(row.dropped.values()):,}",
            f"{row.quarantined + row.damaged_ranges:,}",
            f"{row.documents:,}",
            f"{sum(row.removed.values()):,}",
            why,
            f"{row.drawn_copies:,}",
            f"{row.drawn_tokens:,}",
            f"{row.wanted_share:.1%}",
            f"{row.got_share:.1%}",
        )
    return table


def _reasons(reasons: dict[str, int]) -> Text:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return Text(", ".join(f"{reason} {number:,}" for reason, number in ordered), style="dim")


def _print_matrices(out: Console, matrices: dict[str, dict[str, dict[str, int]]]) -> None:
    """A table for each dedup stage that removed something."""
    for stage, matrix in matrices.items():
        out.print(_matrix_table(DUPLICATES[stage], matrix))
    if matrices:
        out.print("(documents that went, and their tokens; bytes, B, where no tokens were counted)", style="dim")


def _matrix_table(reason: str, matrix: dict[str, dict[str, int]]) -> Table:
    """Losers by row, survivors by column: documents, and their tokens or else their bytes."""
    pairs = {tuple(pair.split(" < ")): cell for pair, cell in matrix.items()}
    survivors = sorted({survivor for _, survivor in pairs})
    table = _table(f"{reason} of →", *survivors)
    for loser in sorted({loser for loser, _ in pairs}):
        table.add_row(loser, *(_matrix_cell(pairs.get((loser, survivor))) for survivor in survivors))
    return table


def _matrix_cell(cell: dict[str, int] | None) -> str:
    if cell is None:
        return "·"
    size = f"{cell['tokens']:,}" if "tokens" in cell else f"{cell['bytes']:,} B"
    return f"{cell['documents']:,} ({size})"


def _totals(store: Store, record: dict[str, Any], manifest: Manifest, rows: list[SourceRow]) -> list[str]:
    lines = []
    if "tokens" in record["stages"]:
        entry = record["stages"]["tokens"][manifest.name]
        stage = read_stage(store, entry["record"])
        tokens = stage.counts["tokens"]
        lines.append(
            f"tokens   {tokens:,} of {manifest.mixture.budget_tokens:,} wanted, "
            f"{stage.counts['kept']:,} documents in {len(stage.parts):,} shard(s)"
        )
        lines.append(f"shards   {store.path(entry['record'].rpartition('/')[0])}/")
    return lines


def show_status(store: Store, name: str, as_json: bool) -> int:
    """Stages, parts and counts of a finished build."""
    record = read_build(store, name)
    if as_json:
        stages = {
            stage: {name: _stage_summary(store, entry) for name, entry in names.items()}
            for stage, names in record["stages"].items()
        }
        show_json({**_summary(store, record), "stages": stages})
        return 0
    table = _table("stage", "name", "parts", "read", "kept", "dropped", left=(0, 1))
    for stage, names in record["stages"].items():
        for part, entry in names.items():
            found = read_stage(store, entry["record"])
            dropped = sum(found.counts.get("dropped", {}).values())
            numbers = (len(found.parts), found.counts.get("read", 0), found.counts.get("kept", 0), dropped)
            table.add_row(stage, part, *(f"{number:,}" for number in numbers))
    out = console()
    out.print(table)
    out.print(_funnel_table(funnel(store, record)))
    _print_matrices(out, duplicate_matrix(store, record))
    out.print(f"corpus   {record['corpus']}", style="bold", soft_wrap=True)
    return 0


def _stage_summary(store: Store, entry: dict[str, str]) -> dict[str, Any]:
    stage = read_stage(store, entry["record"])
    return {"parts": len(stage.parts), "counts": stage.counts}


def _table(*titles: str, left: tuple[int, ...] = (0,)) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number in left else "right", overflow="fold")
    return table


# ---- verify, why, gc


def show_verify(store: Store, name: str, as_json: bool) -> int:
    """Status 0 if every file is as the records say, else 1."""
    from redpajama.report.verify import verify

    findings = verify(store, find_builds(store, name))
    if as_json:
        show_json(vars(findings))
        return 1 if findings.problems else 0
    out = console()
    for problem in findings.problems:
        out.print(problem, style="red", soft_wrap=True)
    if findings.strangers:
        out.print(f"{len(findings.strangers):,} file(s) that no build names (`redpajama gc` lists them)", style="dim")
    verdict = f"{len(findings.problems):,} problem(s)" if findings.problems else "everything is as the records say"
    out.print(f"{findings.files:,} files, {findings.bytes / 1e6:,.2f} MB: {verdict}")
    return 1 if findings.problems else 0


def show_why(store: Store, what: str, name: str, as_json: bool) -> int:
    """Status 0 if something is on record, else 1."""
    from redpajama.report.why import why

    stories = why(store, read_build(store, name), what)
    if as_json:
        show_json(stories)
        return 0 if stories else 1
    out = console()
    for story in stories:
        out.print(story["doc_id"] or "(a unit without an id)", style="bold", soft_wrap=True)
        for key, value in story.items():
            if key == "difference" and value:
                out.print(_difference_text(value), soft_wrap=True)
            elif key != "doc_id" and value not in (None, [], {}):
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                out.print(Text(f"  {key:14} {shown}"), soft_wrap=True)
    if not stories:
        out.print(f"nothing on record has the id, the URL or the text {what[:80]!r}", soft_wrap=True)
    return 0 if stories else 1


def _difference_text(pieces: list[tuple[str, str]]) -> Text:
    """Words of this text alone [-so-], of the other alone {+so+}; in colour where there is any."""
    text = Text("  difference     ")
    shown = {"=": ("{}", ""), "-": ("[-{}-]", "red"), "+": ("{{+{}+}}", "green")}
    for kind, words in pieces:
        form, style = shown[kind]
        text.append(form.format(words) + " ", style)
    return text


def show_clusters(store: Store, top: int, name: str, as_json: bool) -> int:
    """The largest clusters of near-duplicates."""
    from redpajama.report.clusters import largest_clusters

    clusters = largest_clusters(store, read_build(store, name), top)
    if as_json:
        show_json(clusters)
        return 0
    out = console()
    for cluster in clusters:
        likeness = ", similarity {:g} to {:g}".format(*cluster["similarity"]) if cluster["similarity"] else ""
        sources = ", ".join(f"{source} {number:,}" for source, number in cluster["sources"].items())
        out.print(cluster["survivor"], style="bold", soft_wrap=True)
        counts = f"{cluster['size']:,} documents ({sources}): {cluster['removed']:,} removed, {cluster['kept']:,} kept"
        out.print(f"  {counts}{likeness}", soft_wrap=True)
        for example in cluster["examples"]:
            value = "" if example["similarity"] is None else f" {example['similarity']:g}"
            out.print(Text(f"  {example['fate']}{value}: {example['text']}", style="dim"), soft_wrap=True)
    if not clusters:
        out.print("no two documents were candidates")
    return 0


def write_explorer(store: Store, name: str, to: str) -> int:
    """Write the explorer's page for a build."""
    from redpajama.report.explore import explore, render

    page = render(explore(store, read_build(store, name))).encode("utf-8", "replace")
    Path(to).write_bytes(page)
    console().print(f"{to}: {len(page) / 1e6:,.2f} MB; open it in a browser", soft_wrap=True)
    return 0


def collect_garbage(store: Store, yes: bool) -> int:
    """List, or remove, the files that no build names; not while a build runs, nor where a record is broken."""
    from redpajama.report.verify import verify
    from redpajama.workers import hold_root

    out = console()
    with hold_root(store.url) if yes else nullcontext():
        findings = verify(store, find_builds(store), contents=False)
        if findings.problems:
            raise BuildFailed(f"{findings.problems[0]}; nothing was removed: what it names would look like garbage")
        strangers = findings.strangers + findings.scratch
        for key in strangers:
            if yes:
                store.remove(key)
            out.print(f"{'removed ' if yes else ''}{key}", soft_wrap=True)
    hint = "" if yes or not strangers else "; --yes removes them"
    out.print(f"{len(strangers):,} file(s) that no build names{hint}")
    return 0
