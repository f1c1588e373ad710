"""What any policy promises, over made up corpora through all stages that remove: what goes is covered as it says."""

import random
from collections import Counter
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from near_corpora import documents_of, families, similarity, verdicts_of, write_sources
from stepwise import build_stepwise
from test_loss import share_in_none
from test_paragraphs import RULES

from redpajama.corpus import spans
from redpajama.dedup.near import minhash
from redpajama.hashing import normal_text_digest

SIZE = 60  # min_bytes of substrings
NEAR = [
    "",
    "{ bands = 50, rows = 2 }",
    '{ bands = 50, rows = 2, prefer = ["longest"], verify = "exact" }',
    '{ bands = 50, rows = 2, keep = "none" }',
    '{ bands = 50, rows = 2, mode = "containment" }',
    '{ bands = 50, rows = 2, mode = "containment", containment = "order" }',
    '{ preset = "lossless", bands = 50, rows = 2 }',
]
STAGES = ("identity", "exact", "near", "copies", "substrings")


def corpus(seed):
    """Texts in lines: families of edited copies, whole copies in other white space, excerpts, passages in common."""
    rng = random.Random(seed)
    texts = [_in_lines(text.split(), rng) for text in families(seed, count=8, words=50)]
    passage = " ".join(f"passage{number}" for number in range(14))
    edited = [text.replace("\n", f"\n{passage}\n", 1) for text in rng.sample(texts, 4)]
    spaced = [text.replace(" ", "  ").replace("\n", " \n") for text in rng.sample(texts, 4)]
    excerpts = [text[: len(text) // 2] for text in rng.sample(texts, 3)]
    return rng.sample([*texts, *edited, *spaced, *excerpts, passage], len(texts) + 12)


def _in_lines(words, rng):
    places = sorted({0, len(words), *(rng.randrange(len(words)) for _ in range(4))})
    return "\n".join(" ".join(words[start:end]) for start, end in pairwise(places))


def wishes(is_cut, keep):
    """The tables of a source: of substrings and lines, and no guard."""
    cut = f"substrings = {{ min_bytes = {SIZE}, min_chars = 20 }}\n" if is_cut else ""
    return f"max_removed_fraction = 1\n{cut}" + (f'paragraphs = {{ rule = "c4", keep = "{keep}" }}\n' if keep else "")


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 30),
    near=st.sampled_from(NEAR),
    is_cut=st.booleans(),
    keep=st.sampled_from(["", "first", "none"]),
)
def test_what_any_policy_removes_is_covered_as_it_promises(tmp_path_factory, seed, near, is_cut, keep):
    folder, texts = tmp_path_factory.mktemp("promises"), corpus(seed)
    raw = {"a": texts[::2], "b": texts[1::2]}
    more = {"a": wishes(is_cut, ""), "b": wishes(is_cut, keep)}
    path = write_sources(folder / "raw", raw, near or '"default"', more, files=2)
    if not near:
        path.write_text(path.read_text().replace('near = "default"\n', ""))
    built = build_stepwise(path, folder / "root", "dedup")
    held = documents_of(built)
    assert len(held) > 20
    gone = {stage: verdicts_of(built, stage) if stage in built.removing else {} for stage in STAGES}
    _lines_are_covered(raw["b"], [text for doc_id, text in held.items() if doc_id.startswith("b/")], keep)
    assert gone["exact"]
    _copies_are_covered(held, gone, minhash.parse(built.manifest.dedup.near) if near else None)
    if is_cut:
        _spans_are_covered(built, held, gone)


def _lines_are_covered(before, after, keep):
    """With `first` a line that stood stays exactly once, with `none` what went stood twice; without neither goes."""
    stood, stands = (
        Counter(RULES["c4"](line) for text in each for line in text.split("\n")) for each in (before, after)
    )
    del stood[""]
    for line, count in stood.items():
        assert stands[line] == {"": count, "first": 1, "none": 1 if count == 1 else 0}[keep], line


def _copies_are_covered(held, gone, params):
    """Each removal names one that stayed when it went, and that is the same text, or alike as the manifest says."""
    lost = set(gone["identity"])
    for doc_id, (other, _, evidence) in gone["exact"].items():
        assert normal_text_digest(held[doc_id]) == normal_text_digest(held[other])
        assert other not in lost | gone["exact"].keys()
        assert ("other" in evidence) == (params is not None and params.keep == "none")
    for doc_id, (other, _, _) in gone["near"].items():
        assert similarity(held[doc_id], held[other], params) >= params.threshold
        assert other not in lost | gone["exact"].keys()
        assert (other in gone["near"]) == (params.keep == "none")
        if params.threshold == 1:
            assert share_in_none(held[doc_id], [held[other]], params) == 0
            assert len(held[doc_id].encode()) <= len(held[other].encode())
    for doc_id, (other, _, _) in gone["copies"].items():
        assert normal_text_digest(held[doc_id]) == normal_text_digest(held[other])
        assert other in gone["exact"]
    living = Counter(
        map(normal_text_digest, (held[each] for each in held if not any(each in lost for lost in gone.values())))
    )
    assert all(count == 1 for count in living.values())


def _spans_are_covered(built, held, gone):
    """Every window of a span stands in what is left of its source, or in what is left of its own document."""
    cut = {key: value for part in built.parts("documents") for key, value in spans.of_part(built, part).items()}
    before = held.keys() - {key for stage in STAGES[:-1] for key in gone[stage]}
    assert cut.keys() | gone["substrings"].keys() <= before
    for source in "ab":
        own = {key for key in before if key.startswith(f"{source}/")}
        left = {key: _pieces(held[key].encode(), cut.get(key, [])) for key in own}
        windows = {
            key: {piece[at : at + SIZE] for piece in left[key] for at in range(len(piece) - SIZE + 1)} for key in own
        }
        living = set().union(*(windows[key] for key in own - gone["substrings"].keys()))
        for key in own & cut.keys():
            reachable = living | windows[key]
            text = held[key].encode()
            for start, end in cut[key]:
                for byte in range(start, end):
                    around = range(max(0, byte - SIZE + 1), min(byte, len(text) - SIZE) + 1)
                    assert any(text[at : at + SIZE] in reachable for at in around)


def _pieces(text, cuts):
    edges = [0, *(place for span in cuts for place in span), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
