"""C4's lines, bad words and personal data: the kernels against their definitions, and whole builds."""

import gzip
import json
import re
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED, needs_shared
from corpora import build, cli
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.engine.store import Store
from redpajama.manifest import Clean
from redpajama.quality import cleaning, pii
from redpajama.quality.cleaning import BadWords, Cleaner, clean_lines, count_sentences
from redpajama.records import Document, Reason, Tally
from redpajama.report.verify import verify

GOOD = "This line has more than five words."


# ---- C4's lines


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (GOOD, ""),
        ("  Is it stripped at both ends?\t ", ""),
        ('He said that "it was done"', ""),
        ("It ends with no mark at all", "no_end_mark"),
        ("It trails off in the end...", "no_end_mark"),
        ("A curly end quote does not count.”", "no_end_mark"),
        ("Only four words here.", "few_words"),
        ("You must enable JavaScript to view this page.", "javascript"),
        ("Please read our Privacy Policy before you go.", "policy"),
        ("This site uses cookies to make you happy.", "policy"),
        ("We have used cookies for tea since long ago.", ""),
        (f"One very long word {'x' * 1000} is not too long.", ""),
        (f"One very long word {'x' * 1001} is too long.", "long_word"),
    ],
)
def test_a_line_stays_or_goes_by_the_first_of_c4s_rules(line, rule):
    page = clean_lines(line)
    assert page.removed == ({rule: 1} if rule else {})
    assert page.lines == ([] if rule else [line.strip()])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{GOOD}\nLorem Ipsum dolor sit amet, they say.", Reason.LOREM_IPSUM),
        (f"{GOOD}\nif (x) {{ return the value of y; }} and done.", Reason.CURLY_BRACKET),
        ("lorem ipsum", None),  # the line goes before it is looked at
        ("Turn on javascript { } please, will you now.", None),
    ],
)
def test_a_page_goes_where_a_line_that_would_stay_is_filler_or_code(text, reason):
    assert clean_lines(text).reason == reason


def test_citations_are_taken_out_before_the_end_of_a_line_is_looked_at():
    page = clean_lines("It was so in the year 1500.[12][citation needed][edit][]\nAnother [a] is no mark of that kind.")
    assert page.lines == ["It was so in the year 1500.", "Another [a] is no mark of that kind."]


@pytest.mark.parametrize(
    ("lines", "sentences"),
    [
        ([], 0),
        (["Dr. Smith went home to Mr. Jones."], 1),
        (["He went home. She did not. Then they met."], 3),
        ([GOOD, "He came by bus at 3.15 p.m. on Friday. It rained."], 3),
    ],
)
def test_sentences_are_punkts(lines, sentences):
    assert count_sentences(lines) == sentences


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from('aB \t.?!"[1]{x\u2028\x0b'), max_size=40), max_size=5))
def test_lines_that_stay_hold_to_every_rule(lines):
    page = clean_lines("\n".join(lines))
    for line in page.lines:
        assert line.endswith((".", "?", "!", '"'))
        assert len(line.split()) >= 5
        assert not re.search(r"\[\d*\]|\{", line) or "[" in line
        assert count_sentences([line]) >= 1  # so that three lines need no count
    if page.reason is None:
        assert len(page.lines) + sum(page.removed.values()) == len("\n".join(lines).splitlines())


# ---- bad words

ENTRIES = ["darn", "two words", "d@rn!", "ÄRGER", "", "x", "🖕", "a-b"]
LINES = st.lists(st.sampled_from(["darn", "two", "words", "d@rn!", "ärger", "x", "🖕", "a", "b", "-", " ", "_", "é"]))


@settings(deadline=None)
@given(pieces=LINES, language=st.sampled_from(["en", "zh"]), plain=st.booleans())
def test_a_bad_word_is_found_exactly_where_the_whole_pattern_finds_one(pieces, language, plain):
    text, wanted = "".join(pieces), ENTRIES + ["never"] * 20 * plain  # mostly ASCII: cut into words in another way
    entries = [entry.lower() for entry in ENTRIES if entry]
    either = "|".join(map(re.escape, entries))
    pattern = either if language == "zh" else rf"(?:\W|^)({either})(?:\W|$)"
    found = BadWords(wanted, language).find(text)
    assert bool(found) == bool(re.search(pattern, text.lower()))
    if found:
        index, offset = found
        assert text.lower()[offset:].startswith(ENTRIES[index].lower())


def test_words_that_are_part_of_others_in_a_language_without_spaces_are_allowed():
    assert BadWords(["性", "坏话"], "zh").find("男性与女性") is None
    assert BadWords(["性", "坏话"], "zh").find("说坏话的人") == (1, 1)


def test_a_document_in_another_language_is_not_compared_with_the_list(tmp_path):
    path = tmp_path / "en"
    path.write_text("darn\n")
    cleaner, tally = Cleaner(Clean(bad_words=str(path)), str(path)), Tally()
    texts = [("s/en", {"language": "en"}), ("s/us", {"language": "en-US"}), ("s/de", {"language": "de"}), ("s/no", {})]
    documents = [Document(doc_id, "Oh darn it.", meta) for doc_id, meta in texts]
    assert [d.doc_id for d in cleaner.after_dedup(documents, tally, again=False)] == ["s/de"]
    assert [(row.doc_id, row.evidence["entry"], row.evidence["offset"]) for row in tally.rows] == [
        ("s/en", 0, 3),
        ("s/us", 0, 3),
        ("s/no", 0, 3),
    ]


# ---- personal data


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Write to jane.doe+x@mail.example.co.uk.", "Write to <EMAIL>."),
        ("<a@b.org>, (c_d@e-f.com); 'g@h.io'", "<<EMAIL>>, (<EMAIL>); '<EMAIL>'"),
        ("mailto:björn@exämple.se!", "mailto:<EMAIL>!"),
        ("@user and user@host and a@b.c and 5@3.14", "@user and user@host and a@b.c and 5@3.14"),
        ("a@b.org" + "@c.org", "a@b.org@c.org".replace("b.org@c.org", "<EMAIL>")),
        ("x" * 70 + "@b.org", "x" * 70 + "@b.org"),
        ("from 93.184.216.34:80 and [2606:2800:220:1:248:1893:25c8:1946]", "from <IP_ADDRESS>:80 and [<IP_ADDRESS>]"),
        ("2606:4700::1111 is one", "<IP_ADDRESS> is one"),
        ("127.0.0.1 10.0.0.7 192.168.1.1 ::1 fe80::1 8.8.8.8 999.1.1.1", None),
        ("v1.2.3.4 and 1.2.3.4.5 and 2.0.1.5 of it, std::abc::dead at 12:30:45", None),
        ("192.0.0.8 192.0.0.200 3fff::1 2001:2::1 2001:db8::1 are nobody's", None),
        ("192.0.0.10 and 2001:20::1 are", "<IP_ADDRESS> and <IP_ADDRESS> are"),
        ("The dns is at 4.2.2.4 today", "The dns is at <IP_ADDRESS> today"),
        (
            "Call (212) 555-0187 or 212-555-0187, 1 212 555 0187.",
            "Call <PHONE_NUMBER> or <PHONE_NUMBER>, <PHONE_NUMBER>.",
        ),
        ("Ring +44 (0)20 7946 0958 or +4930123456", "Ring <PHONE_NUMBER> or <PHONE_NUMBER>"),
        ("In 2010-2011 of 1400000000 it cost 555-1234 at 3+4567890", None),
        ("ISBN 978-316-148-4100 and 2012-212-555-0187", None),
        ("AKIAIOSFODNN7EXAMPLE is one", "<KEY> is one"),
        (f"token={'ghp_' + 'a1B2' * 9};", "token=<KEY>;"),
        (f"ghp_{'a' * 35} is too short", None),
        (f"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.{'s' * 20} end", "Bearer <KEY> end"),
        # names with apostrophes, in other scripts, in Punycode
        ("Ask o'brien@example.org or d’angelo@x.it.", "Ask <EMAIL> or <EMAIL>."),
        ("{'to': u'jane@x.org', b'a@b.de'}", "{'to': u'<EMAIL>', b'<EMAIL>'}"),
        ("a@xn--bcher-kva.example, иван@почта.рф; x@xn--e1afmkfd.xn--p1ai", "<EMAIL>, <EMAIL>; <EMAIL>"),
        ("यूनीकोड@डाटामेल.भारत", "<EMAIL>"),
        # what only looks like an address
        ("40x40@2x.png icon@3x.webp logo@1.5x.jpg", None),
        ("react@18.2.0-rc.one x@1.0.0.tgz y@v2.10.x.js a@b.html git@github.com:a/b.git", None),
        ("me@163.com wrote", "<EMAIL> wrote"),
        ("224.0.0.251 240.1.2.3 255.255.255.0 93.184.216.0 ff02::1 2606:4700::/32", None),
        ("version 12.345.6.7, v103.2.1.4, EC 3.4.21.26, base-4.18.1.1 and pkg@12.1.0.2x", None),
        ("firmware 1.130.19.2 is old", None),
        ("Release 12.1.130.2 of it", None),
        ("Ping 12.34.56.78 from here, http://12.34.56.79/x", "Ping <IP_ADDRESS> from here, http://<IP_ADDRESS>/x"),
        # separators
        (
            "Call 212\u00a0555\u00a00187, 212–555–0187, 212\u2011555\u20110187",
            "Call " + ", ".join(["<PHONE_NUMBER>"] * 3),
        ),
        ("(212)\u202f555‐0187 +44\u00a020\u00a07946\u00a00958", "<PHONE_NUMBER> <PHONE_NUMBER>"),
        ("718/946-7424 and 0044 20 7946 0958.Then", "<PHONE_NUMBER> and <PHONE_NUMBER>.Then"),
        ("12/24/1996 at 00:12:34 5678, 0.0044 28 8774 1199, 003312345678", None),
        # keys
        (f"aws_secret_access_key = {'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'}", "aws_secret_access_key = <KEY>"),
        (f'"SecretAccessKey": "{"a1B2" * 10}"', '"SecretAccessKey": "<KEY>"'),
        (f"SECRET_ACCESS_KEY={'a1B2' * 10}a", None),
        ("https://hooks.slack.com/services/T00000000/B00000000/" + "X" * 24, "https://<KEY>"),
        (f"sk-{'a1B2' * 12}, sk-proj-{'a1_B' * 10}, sk-ant-api03-{'a1-B' * 10}!", "<KEY>, <KEY>, <KEY>!"),
        ("sk-folding-cube sk-learn risk-averse task-0123456789", None),
        (f"{'ghs_' + 'a1B2' * 9} {'github_pat_' + 'a' * 82} {'sk_live_' + 'a1' * 12}", "<KEY> <KEY> <KEY>"),
        (f"{'xoxb-12345-67890-' + 'a' * 24} {'glpat-' + 'a1' * 10} {'GOCSPX-' + 'a1B2' * 7}", "<KEY> <KEY> <KEY>"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n" + ("b3Bl" * 16 + "\n") * 3 + "and then", "<KEY>\nand then"),
        ("-----BEGIN PRIVATE KEY----- is how it begins", None),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz=\n-----END RSA PRIVATE KEY-----\nb", "a\n<KEY>\nb"),
        ("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----", None),
    ],
)
def test_personal_data_gives_way_to_a_word(text, wanted):
    redacted, counts = pii.redact(text, pii.KINDS)
    assert redacted == (text if wanted is None else wanted)
    assert sum(counts.values()) == sum(redacted.count(word) for word in pii.WORDS.values())
    assert list(counts) == list(pii.KINDS)


def test_only_what_is_asked_for_is_redacted():
    text = "jane@example.org, +44 20 7946 0958"
    assert pii.redact(text, ["phones"]) == ("jane@example.org, <PHONE_NUMBER>", {"phones": 1})
    assert pii.redact(text, []) == (text, {})


PIECES = [
    "a@b.org",
    "1.2.3.4",
    "93.184.216.34",
    "212-555-0187",
    "+44 20 7946 0958",
    "2606:4700::1",
    "é",
    " ",
    "\n",
    "x",
]
PIECES += ["AKIAIOSFODNN7EXAMPLE", "@", ".", "::", "-", "+", "ghp_" + "a" * 36, "server", "0", "-----BEGIN", "_"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_the_prefilter_hides_nothing_from_the_patterns(pieces):
    text = "".join(pieces)
    searched, counts = text, {}
    for kind in pii.KINDS:
        spans = pii.FINDERS[kind](searched)
        searched, counts[kind] = pii._replace(searched, spans, pii.WORDS[kind]), len(spans)
    assert pii.redact(text, pii.KINDS) == (searched, counts)


BAD_INPUT = ["@", "a@", "a.b@", "o'", "1.2.3.", "1.2.3.4 ", "::", "2001:", "+1 2", "(", "00", "212-", "eyJ", "sk-"]
BAD_INPUT += ["xox-1-", "xoxb-", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "aws_secret", "–", "ghp_"]


@pytest.mark.parametrize("unit", [*BAD_INPUT, "a'", "eyJaaaaaaaa."])
def test_no_text_takes_more_than_linear_time(unit):
    def seconds(size):
        text, tried = unit * (size // len(unit)), list[float]()
        for _ in range(3):
            started = time.process_time()
            pii.redact(text, pii.KINDS)
            tried.append(time.process_time() - started)
        return min(tried)

    least, most = seconds(50_000), seconds(800_000)  # 16 times as much
    assert most < 64 * max(least, 0.005)


# ---- the manifest


@pytest.mark.parametrize("wish", [{"pii": True}, {"c4_lines": True}, {"bad_words": "x", "bad_words_language": "zh"}])
def test_a_recorded_wish_can_be_read_again(wish):
    clean = Clean(**wish)
    assert Clean(**clean.model_dump(mode="json")) == clean


def test_no_wish_leaves_the_fingerprint_alone():
    assert cleaning.parameters(None, "", before=True, after=True) == {}
    assert cleaning.parameters(Clean(pii=True), "", before=True, after=False) == {}
    before = cleaning.parameters(Clean(c4_lines=True, pii=True), "", before=True, after=False)
    assert before == cleaning.parameters(Clean(c4_lines=True), "", before=True, after=False)
    one, two = (cleaning.parameters(Clean(bad_words="x"), sha, before=True, after=True) for sha in ("1", "2"))
    assert one != two


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("c4_line = true", "source[1].clean: unknown key 'c4_line'; did you mean 'c4_lines'?"),
        ("pii = { mails = true }", "source[1].clean.pii: unknown key 'mails'; did you mean 'emails'?"),
        ('bad_words_language = "zh"', "source[1].clean: bad_words_language goes with bad_words: name a list"),
        ('bad_words = "nowhere.txt"', "source[1].clean.bad_words: 'nowhere.txt' matches no file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, table, message):
    result = cli("plan", write(tmp_path, table), "--out", tmp_path / "r")
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


# ---- builds

MANIFEST = """
name = "clean"
seed = 3
[[source]]
name = "web"
pipeline = "c4"
inputs = ["{inputs}"]
{paragraphs}
[source.clean]
{clean}
"""
WISH = """
c4_lines = true
bad_words = "words.txt"
pii = { emails = true, phones = true }
"""


def write(folder: Path, clean: str, inputs: str = "pages.json.gz", paragraphs: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text("heck\ndarn\n")
    pages = [
        json.dumps({"text": text, "url": f"https://example.org/{n}", "timestamp": "t"}) for n, text in PAGES.items()
    ]
    (folder / "pages.json.gz").write_bytes(gzip.compress("\n".join(pages).encode() + b"\n", mtime=0))
    path = folder / "clean.toml"
    path.write_text(MANIFEST.format(inputs=inputs, paragraphs=paragraphs, clean=clean))
    return path


FOOTER = "This same footer stands on every page."
PAGES = {
    "good": f"Home | About\nA page says two things here. Two.\nWrite to jane@example.org about it now.\n{FOOTER}",
    "darn": f"A darn page says one thing here. It says two.\nAnd one more line for it.\n{FOOTER}",
    "code": f"A page with {{ code }} in it.\n{FOOTER}",
    "filler": f"A page of lorem ipsum and more.\n{FOOTER}",
    "short": f"A page that says two things. With the footer.\n{FOOTER}",
    "tiny": "Home | About\nA page that says one thing.",
}


def rows_of(root: Path, stage: str = "documents", folder: str = "*") -> dict[str, dict]:
    tables = [pq.read_table(path) for path in sorted(root.glob(f"{stage}/{folder}/part-*.parquet"))]
    return {json.loads(row["meta"])["url"].rpartition("/")[2]: row for row in pa.concat_tables(tables).to_pylist()}


def counts_of(root: Path) -> dict:
    return json.loads(next(root.glob("documents/*/_record-*.json")).read_text())["counts"]


def test_a_build_cleans_and_says_what_went(tmp_path):
    build(write(tmp_path, WISH), tmp_path / "r", "--until", "documents")
    rows, counts = rows_of(tmp_path / "r"), counts_of(tmp_path / "r")
    assert sorted(rows) == ["good", "short"]
    assert rows["good"]["text"].split("\n")[1] == "Write to <EMAIL> about it now."
    assert rows["good"]["q_bytes"] == len(rows["good"]["text"].encode())  # measured on the final text
    meta = json.loads(rows["good"]["meta"])
    assert (meta["pii_emails"], meta["pii_phones"], meta["removed_lines"]) == (1, 0, {"no_end_mark": 1})
    assert counts["dropped"] == {"bad-word": 1, "curly-bracket": 1, "few-sentences": 1, "lorem-ipsum": 1}
    assert counts["removed_lines"] == {"no_end_mark": 2}
    assert counts["redacted"] == {"emails": 1, "phones": 0}
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()) == len(PAGES)
    assert verify(Store(str(tmp_path / "r")), ["clean"]).problems == []
    said = {row["reason"]: json.loads(row["evidence"]) for row in ledger_of(tmp_path / "r")}
    assert (said["bad-word"]["entry"], said["bad-word"]["offset"]) == (1, 2)
    assert said["curly-bracket"]["text_line"] == 0
    assert said["few-sentences"]["removed_lines"] == {"no_end_mark": 1}
    for page, reason in [("darn", "bad-word"), ("code", "curly-bracket"), ("tiny", "few-sentences")]:
        assert f"dropped by the pipeline: {reason}" in cli("why", tmp_path / "r", f"https://example.org/{page}").stdout


def ledger_of(root: Path) -> list[dict]:
    return pa.concat_tables(pq.read_table(path) for path in root.glob("documents/*/ledger/*.parquet")).to_pylist()


def test_lines_are_cleaned_before_those_that_repeat_go_and_the_rest_after(tmp_path):
    build(write(tmp_path, WISH, paragraphs="[source.paragraphs]"), tmp_path / "r", "--until", "documents")
    assert sorted(rows_of(tmp_path / "r", "extracted")) == ["darn", "good", "short"]
    rows, counts = rows_of(tmp_path / "r"), counts_of(tmp_path / "r")
    assert list(rows) == ["good"]  # without its footer the short page has two sentences
    assert FOOTER not in rows["good"]["text"]
    assert counts["dropped"] == {"bad-word": 1, "curly-bracket": 1, "few-sentences": 2, "lorem-ipsum": 1}
    assert counts["removed_lines"] == {"no_end_mark": 2}
    assert counts["redacted"] == {"emails": 1, "phones": 0}
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()) == len(PAGES)


def test_another_wish_for_personal_data_reads_no_raw_file_again(tmp_path):
    build(write(tmp_path, WISH, paragraphs="[source.paragraphs]"), tmp_path / "r", "--until", "documents")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r/extracted").rglob("*.parquet")}
    (redacted,) = (tmp_path / "r/documents").iterdir()
    path = write(tmp_path, WISH + "\n", paragraphs="[source.paragraphs]")
    path.write_text(path.read_text().replace("emails = true, ", ""))
    build(path, tmp_path / "r", "--until", "documents")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r/extracted").rglob("*.parquet")} == before
    (made,) = set((tmp_path / "r/documents").iterdir()) - {redacted}
    assert "jane@example.org" in rows_of(tmp_path / "r", folder=made.name)["good"]["text"]
    assert "<EMAIL>" in rows_of(tmp_path / "r", folder=redacted.name)["good"]["text"]


def test_two_workers_give_the_same_bytes(tmp_path):
    path = write(tmp_path, WISH, paragraphs="[source.paragraphs]")
    wanted = build(path, tmp_path / "one", "--until", "documents")
    assert build(path, tmp_path / "two", "--until", "documents", "--workers", 2) == wanted


@needs_shared
def test_released_c4_passes_its_own_rules():
    """Rows of the release went through the same rules, so lines may go only for what later versions changed."""
    kept = dropped = 0
    for file in sorted(SHARED.glob("c4/olmo/*.json.gz")):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            page = clean_lines(json.loads(line)["text"])
            dropped += bool(page.reason) + sum(page.removed.values())
            kept += len(page.lines)
            assert page.reason or count_sentences(page.lines) >= 3
    assert kept > 200
    assert dropped == 0


def test_a_source_is_asked_once_what_to_redact(monkeypatch):
    asked, kinds = [], Clean.pii_kinds.fget
    monkeypatch.setattr(Clean, "pii_kinds", property(lambda clean: asked.append(clean) or kinds(clean)))
    cleaner = Cleaner(Clean(pii=True))
    documents = [Document(f"c4/{n}", "Write to ann@example.org.", {}) for n in range(9)]
    cleaned = list(cleaner.after_dedup(documents, Tally(), again=False))
    assert len(asked) == 1
    assert {document.meta["pii_emails"] for document in cleaned} == {1}
