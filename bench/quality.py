"""Quality signals and rules: ours beside datatrove 0.10.1 and beside plain Python, on the same pages, in one run.

    python bench/quality.py [--data ../shared/data] [--rounds 3] [--documents 2000]

Pages: English web text (1,000 rows of C4; 281 pages of CommonCrawl from DCLM's annotation study). Rules: Gopher's
repetition and quality rules and FineWeb's own, with their published thresholds: presets gopher-repetition,
gopher-quality, fineweb; datatrove's GopherRepetitionFilter, GopherQualityFilter and FineWebQualityFilter, once with its
own words (spaCy's English tokenizer) and once with `str.split` in its place: then decisions must agree.

Everything runs on one core, and seconds are those of the processor (`time.process_time`), the best round of ours and
one round of the peers; ours is warm (compiled). datatrove's filters are called document by document, without its
readers and writers, and stop at the first rule that fails; ours measure all. datatrove is installed into
.venv-bench-quality. C4's rules are compared with C4's own code (`c4_rules.py`), line by line and page by page. Plain
Python for RedPajama-V2's signals is tests/reference_signals.py: `Counter`, `re`, `str.translate`, a Python object for
each word, as RedPajama-V2's own code.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c4_rules
import pyarrow as pa
from peers import peer_python
from timing import best_seconds

from redpajama.manifest import Classifier
from redpajama.quality import rules
from redpajama.quality.measures import batch as measures
from redpajama.quality.measures import inline
from redpajama.quality.measures.catalogue import SETS
from redpajama.quality.models import classifier, language, model_files

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
PEER = ("datatrove==0.10.1", "spacy", "nltk", "regex", "ftfy", "tldextract")
PRESETS = ["gopher-repetition", "gopher-quality", "fineweb"]
DATATROVE = r"""
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter
splitter, path = sys.argv[1:]
pages = json.load(open(path, encoding="utf-8"))
modules = [gopher_repetition_filter, gopher_quality_filter, fineweb_quality_filter]
if splitter == "split":
    for module in modules:
        module.split_into_words = lambda text, language: text.split()
filters = [modules[0].GopherRepetitionFilter(), modules[1].GopherQualityFilter(), modules[2].FineWebQualityFilter()]

def decide(page):
    document = Document(text=page, id="")
    for filter in filters:
        outcome = filter.filter(document)
        if outcome is not True:
            return outcome[1]
    return None

decide("To load what is loaded once.\n" * 3)
started = time.process_time()
reasons = [decide(page) for page in pages]
print(json.dumps([time.process_time() - started, reasons]))
"""
REASONS = {
    "dup_para_frac": "max_gopher_repeated_paragraph_fraction",
    "dup_para_char_frac": "max_gopher_repeated_paragraph_char_fraction",
    "dup_line_frac": "max_gopher_repeated_line_fraction",
    "dup_line_char_frac": "max_gopher_repeated_line_char_fraction",
    **{f"top_{n}_gram": f"max_gopher_top_{n}gram_char_ratio" for n in range(2, 5)},
    **{f"duplicated_{n}_n_grams": f"max_gopher_repeated_{n}gram_char_fraction" for n in range(5, 11)},
    "gopher_short_doc": "min_gopher_words",
    "gopher_long_doc": "max_gopher_words",
    "gopher_below_avg_threshold": "min_gopher_mean_word_chars",
    "gopher_above_avg_threshold": "max_gopher_mean_word_chars",
    "gopher_too_many_hashes": "max_gopher_hash_ratio",
    "gopher_too_many_ellipsis": "max_gopher_ellipsis_ratio",
    "gopher_too_many_bullets": "max_gopher_bullet_line_fraction",
    "gopher_too_many_end_ellipsis": "max_gopher_ellipsis_line_fraction",
    "gopher_below_alpha_threshold": "min_gopher_alpha_word_fraction",
    "gopher_enough_stop_words": "min_gopher_stop_words",
    "line_punct_ratio": "min_fineweb_stopped_line_fraction",
    "short_line_ratio": "max_fineweb_short_line_fraction",
    "char_dup_ratio": "max_fineweb_repeated_line_char_fraction",
    "list_ratio": "max_fineweb_line_feed_ratio",
}


def read_pages(data: Path, limit: int) -> list[str]:
    """Texts that are not empty, at most `limit`."""
    with gzip.open(data / "c4/wimbd/c4-sample.00000-of-00001.json.gz", "rt", encoding="utf-8") as file:
        pages = [json.loads(line)["text"] for line in file]
    lines = (data / "commoncrawl/dclm/agreement_data.jsonl").read_text(encoding="utf-8").splitlines()
    pages += [json.loads(line)["text"] for line in lines]
    return [page for page in pages if page][:limit]


def decide(texts: pa.LargeStringArray) -> list[str | None]:
    """For each text the rule that removes it: signals and rules of the three presets."""
    columns = measures.measure(texts, ["gopher", "fineweb"])
    failing = rules.judge(pa.table(columns), rules.parse({"preset": PRESETS}))
    gone = dict(zip(failing.rows.to_pylist(), failing.rules.to_pylist(), strict=True))
    return [gone.get(row) for row in range(len(texts))]


def train_classifier(pages: list[str]) -> Any:
    """A fastText model of the usual size: its speed does not hang on what it learnt, here even pages from odd ones."""
    wish = Classifier(name="bench", positive="even", negative="odd", epoch=1)
    with tempfile.TemporaryDirectory() as folder:
        examples, target = Path(folder, "examples.txt"), Path(folder, "model.bin")
        labels = (wish.positive_label, wish.negative_label)
        lines = (classifier.example(labels[number % 2], page) for number, page in enumerate(pages))
        examples.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")
        model_files.train(examples, wish, 1, target)
        return model_files.load(model_files.ModelFile("bench", str(target), "bench"))


def run_datatrove(pages: list[str], splitter: str) -> tuple[float, list[str | None]]:
    """(seconds, for each page the rule that removes it, by our name)"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pages.json")
        path.write_text(json.dumps(pages), encoding="utf-8")
        command = [peer_python("quality", PEER), "-c", DATATROVE, splitter, str(path)]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, reasons = json.loads(result.stdout.splitlines()[-1])
    return seconds, [reason and REASONS[reason] for reason in reasons]


def run_plain(pages: list[str]) -> float:
    """Seconds of RedPajama-V2's signals in plain Python."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reference_signals import redpajama_v2

    started = time.process_time()
    for page in pages:
        redpajama_v2(page)
    return time.process_time() - started


def compare(title: str, ours: list[str | None], theirs: list[str | None]) -> None:
    """How many pages are decided differently, and by which rules."""
    differ = [(one, other) for one, other in zip(ours, theirs, strict=True) if (one is None) != (other is None)]
    reasons = sum(one != other for one, other in zip(ours, theirs, strict=True)) - len(differ)
    show(
        f"{title}: {len(differ):,} of {len(ours):,} pages decided differently, {reasons:,} gone for another rule first"
    )
    for (one, other), count in Counter(differ).most_common(8):
        show(f"    {count:4}  ours: {one or 'kept'}; datatrove: {other or 'kept'}")


def compare_c4(pages: list[str]) -> None:
    """C4's own code beside ours, on released rows and on pages as they were crawled."""
    for title, some in (("C4, released rows", pages[:1000]), ("C4, crawled pages", pages[1000:])):
        if some:
            differ = c4_rules.compare(some)
            show(f"{title}: " + ", ".join(f"{what} {number:,}" for what, number in differ.items()))


def show(line: str) -> None:
    sys.stdout.write(line + "\n")


def result(name: str, ours: float, peer: float) -> None:
    show(f"RESULT {name} ours={ours:.1f} peer={peer:.3f} unit=MB/s per core ratio={ours / peer:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=2000)
    given = parser.parse_args()
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])  # peers inherit it
    pages = read_pages(given.data, given.documents)
    texts, megabytes = pa.array(pages, pa.large_string()), sum(len(page.encode()) for page in pages) / 1e6
    show(f"{len(pages):,} pages, {megabytes:.2f} MB, one core")

    def speed(title: str, work: Callable[[], Any]) -> float:
        found = megabytes / best_seconds(work, given.rounds)
        show(f"{title:<44}{found:9.1f} MB/s")
        return found

    ours = speed("ours: three presets, signals and rules", lambda: decide(texts))
    version_2 = speed("ours: signals of RedPajama-V2", lambda: measures.measure(texts, ["redpajama-v2"]))
    for name in SETS[1:]:
        speed(f"ours: signals of the set {name}", lambda name=name: measures.measure(texts, [name]))
    every = speed("ours: all sets", lambda: measures.measure(texts, list(SETS)))
    speed("ours: the eight signals of every document", lambda: inline.measure(texts))
    lid = model_files.load(language.EMBEDDED)
    speed("language id, lid.176.ftz (fastText)", lambda: language.identify(lid, model_files.one_line(texts)))
    quality_model = train_classifier(pages)
    title = "classifier, dimension 100 (fastText)"
    speed(title, lambda: classifier.score(quality_model, model_files.one_line(texts), "__label__wiki"))
    own_words, own = run_datatrove(pages, "spacy")
    same_words, same = run_datatrove(pages, "split")
    show(f"{'datatrove 0.10.1, its words (spaCy)':<44}{megabytes / own_words:9.3f} MB/s")
    show(f"{'datatrove 0.10.1, words by str.split':<44}{megabytes / same_words:9.3f} MB/s")
    plain = megabytes / run_plain(pages)
    show(f"{'plain Python: signals of RedPajama-V2':<44}{plain:9.3f} MB/s")
    mine = decide(texts)
    show(f"removed by ours {sum(map(bool, mine)):,}, by datatrove {sum(map(bool, own)):,}")
    compare("same words (str.split)", mine, same)
    compare("its own words (spaCy)", mine, own)
    compare_c4(pages)
    result("quality_rpv2_signals", version_2, plain)
    result("quality_rules_same_words", ours, megabytes / same_words)
    result("quality_rules", ours, megabytes / own_words)
    show(f"all signals together: {every:.1f} MB/s per core")


if __name__ == "__main__":
    main()
