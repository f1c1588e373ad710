"""`[source.clean]`: C4's line rules, pages with bad words, and personal data, on documents before they are measured.

C4 (TensorFlow Datasets, text/c4_utils.py, `clean_page`): a line is stripped and loses its citation marks (`[3]`,
`[edit]`, `[citation needed]`); it stays if it has no word above 1,000 characters, ends with `.`, `?`, `!` or `"` but
not with `...`, has five words, and speaks neither of javascript nor of one of six matters of policy. A page goes where
a line that would stay says "lorem ipsum" or holds `{`, and where fewer than three sentences are left, counted line by
line as NLTK's Punkt does (`sentences.py`), so a page of three lines needs no count; after line dedup in the whole page.
Words (`get_badwords_filter_fn`): a page goes where an entry of the list stands between characters that are no letter,
digit or underscore; in Japanese, Thai and Chinese wherever it stands.

Order: lines, then the line dedup of `[source.paragraphs]`, then (as C4 does) sentences again, bad words, personal data.

Differs from C4
    An entry of the list with capitals is compared in lower case, as the text is; C4's could never match.
    The list is one of the source's: documents whose meta names other languages alone are not compared with it. Codes
    are compared as `languages.py` has them (CommonCrawl says `eng,fra`); what names no language hides no document.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from redpajama.engine.stages import versions
from redpajama.manifest import Clean
from redpajama.once import once
from redpajama.quality import languages, lists, pii, sentences
from redpajama.records import Document, Reason, Tally

VERSION = 2
INPUT = "clean.bad_words"  # the list's name among the inputs, after the source's
LIBRARIES = (sentences.LIBRARY,)
MIN_WORDS, MAX_WORD_CHARS, MIN_SENTENCES = 5, 1000, 3
END_MARKS, ELLIPSIS = (".", "?", "!", '"'), "..."
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
WORD = re.compile(r"\w+")
BREAKS = bytes(byte if byte < 128 and (chr(byte).isalnum() or chr(byte) == "_") else 0x20 for byte in range(256))
WITHOUT_SPACES = ("ja", "th", "zh")
ALLOWED = {"ja": {"sm", "グロ", "女の子"}, "zh": {"性"}}  # of each, in more than a tenth of its language's pages


class Page(NamedTuple):
    """What C4's line rules leave of a page."""

    lines: list[str]
    removed: dict[str, int]  # lines, by rule
    reason: Reason | None = None  # why nothing is left
    line: int | None = None  # the one that took the page with it, from 0


# ---- C4's lines


def clean_lines(text: str) -> Page:
    """C4's rules on the lines of a page, but for the number of its sentences."""
    kept: list[str] = []
    removed: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines()):
        line, rule = _clean_line(line.strip())
        if isinstance(rule, Reason):
            return Page([], dict(removed), rule, number)
        if rule:
            removed[rule] += 1
        else:
            kept.append(line)
    return Page(kept, dict(removed))


def _clean_line(line: str) -> tuple[str, str | Reason]:
    """The line without citations, and the rule that it breaks: "" for none, a Reason where the page goes."""
    if len(line) > MAX_WORD_CHARS and max(map(len, line.split())) > MAX_WORD_CHARS:
        return line, "long_word"
    if "[" in line:
        line = CITATION.sub("", line)
    if not line.endswith(END_MARKS) or line.endswith(ELLIPSIS):
        return line, "no_end_mark"
    if len(line.split(maxsplit=MIN_WORDS - 1)) < MIN_WORDS:
        return line, "few_words"
    lower = line.lower()
    if "lorem ipsum" in lower:
        return line, Reason.LOREM_IPSUM
    if "javascript" in lower:
        return line, "javascript"
    if "{" in line:
        return line, Reason.CURLY_BRACKET
    return line, "policy" if any(phrase in lower for phrase in POLICY) else ""


def count_sentences(lines: list[str]) -> int:
    """Sentences of C4's lines; where lines alone make MIN_SENTENCES, the number of lines."""
    if len(lines) >= MIN_SENTENCES:
        return len(lines)
    return sum(sentences.count(line, MIN_SENTENCES) for line in lines)


# ---- bad words


class Entry(NamedTuple):
    """One entry of a list; `words`: what a text must have among its own before the pattern is tried."""

    number: int
    text: str
    words: frozenset[Any]
    pattern: re.Pattern[str]


class BadWords:
    """A list of words, one a line; an entry's index is its line in the file, from 0."""

    def __init__(self, lines: Iterable[str], language: str) -> None:
        code = languages.code_of(language)
        allowed = ALLOWED.get(code, set())
        entries = [(line.strip().lower(), index) for index, line in enumerate(lines)]
        self._entries = [(entry, index) for entry, index in entries if entry and entry not in allowed]
        self._is_spaced = code not in WITHOUT_SPACES
        plain = sum(entry.isascii() for entry, _ in self._entries)
        self._words = _ascii_words if plain > 0.9 * len(self._entries) else _words
        self._by_word: dict[Any, list[Entry]] = {}
        for entry, index in self._entries if self._is_spaced else []:
            words = self._words(entry)
            pattern = re.compile(rf"(?:\W|^)({re.escape(entry)})(?:\W|$)")
            known = Entry(index, entry, frozenset(words), pattern)
            self._by_word.setdefault(max(words, key=len, default=None), []).append(known)
        self._wordless = self._by_word.pop(None, [])

    def find(self, text: str) -> tuple[int, int] | None:
        """The index of the first entry in the list that the text holds, and where (of the text in lower case)."""
        lower = text.lower()
        if not self._is_spaced:
            return next(((index, lower.index(entry)) for entry, index in self._entries if entry in lower), None)
        found, words = list(self._wordless), self._words(lower)
        if not self._by_word.keys().isdisjoint(words):  # an entry stands between other characters: its words are whole
            there = set(words)
            found += [one for word in there & self._by_word.keys() for one in self._by_word[word] if one.words <= there]
        for one in sorted(found, key=lambda one: one.number):
            if one.text in lower and (match := one.pattern.search(lower)):
                return one.number, match.start(1)
        return None


def _words(text: str) -> list[str]:
    return WORD.findall(text)


def _ascii_words(text: str) -> list[bytes]:
    """Runs of ASCII letters, digits and `_`: of any text a finer cut than that of `_words`, and three times as fast."""
    return text.encode().translate(BREAKS).split()


@once(16)
def load_bad_words(path: str, url: str, language: str) -> BadWords:
    """A list, once per process; errors call it `url`.

    Raises:
        ListError: it is none.
    """
    return BadWords(lists.read_words(path, url), language)


# ---- documents


def check(clean: Clean) -> None:
    """Raises ValueError, one line that names the key, if the list's language is none."""
    if not languages.code_of(language := clean.bad_words_language):
        raise ValueError(f"clean.bad_words_language: '{language}' is no code of a language, such as \"en\"")


def parameters(clean: Clean | None, bad_words: str, *, before: bool, after: bool) -> dict[str, Any]:
    """What the cleaning adds to a fingerprint: nothing where none is asked for.

    Args:
        bad_words: SHA-256 of the list.
        before, after: which side of line dedup the stage cleans.
    """
    if not clean or not ((before and clean.c4_lines) or after):
        return {}
    wish: dict[str, Any] = {"version": VERSION, "c4_lines": clean.c4_lines}
    if clean.c4_lines:
        wish["libraries"] = versions(*LIBRARIES)
    if after and clean.bad_words:
        wish["bad_words"] = [bad_words, clean.bad_words_language]
    if after and clean.pii_kinds:
        wish["pii"] = [pii.VERSION, clean.pii_kinds]
    return {"clean": wish}


class Cleaner:
    """The wishes of one source, on the documents of one part."""

    def __init__(self, clean: Clean | None, bad_words: str = "") -> None:
        self.clean = clean or Clean()
        self._kinds = self.clean.pii_kinds  # once a source: it walks through a model
        self._language = languages.code_of(own := self.clean.bad_words_language)
        self.list = load_bad_words(bad_words, self.clean.bad_words, own) if self.clean.bad_words else None
        self._removed_lines: Counter[str] = Counter()
        self._redacted: Counter[str] = Counter()
        self._compared = 0  # documents, with the list

    def counts(self, before: dict[str, Any] | None = None) -> dict[str, dict[str, int]]:
        """For the part's record: lines removed by rule, of all pages, what was redacted, and how many documents were
        compared with the list; nothing not asked for.

        Args:
            before: the counts of the part whose texts these are.
        """
        lines = self._removed_lines + Counter((before or {}).get("removed_lines", {}))
        found: dict[str, dict[str, int]] = {"removed_lines": lines} if self.clean.c4_lines else {}
        found |= {"redacted": self._redacted} if self._kinds else {}
        found |= {"compared": {"bad_words": self._compared}} if self.list else {}
        return {name: dict(sorted(counts.items())) for name, counts in found.items()}

    def before_dedup(self, documents: Iterable[Document], tally: Tally) -> Iterator[Document]:
        """C4's lines; meta says how many each rule took."""
        for document in documents:
            if not self.clean.c4_lines:
                yield document
                continue
            page = clean_lines(document.text)
            self._removed_lines.update(page.removed)
            if page.reason:
                tally.drop(document.doc_id, page.reason, text_line=page.line, **_url(document))
            elif self._has_sentences(document, count_sentences(page.lines), tally, **page.removed):
                meta = {**document.meta, "removed_lines": page.removed}
                yield Document(document.doc_id, "\n".join(page.lines).strip(), meta)

    def after_dedup(self, documents: Iterable[Document], tally: Tally, *, again: bool) -> Iterator[Document]:
        """Sentences `again` (lines went since), bad words, personal data."""
        for document in documents:
            if again and self.clean.c4_lines:
                found = sentences.count(document.text, MIN_SENTENCES)
                if not self._has_sentences(document, found, tally):
                    continue
            if word := self._bad_word(document):
                tally.drop(document.doc_id, Reason.BAD_WORD, entry=word[0], offset=word[1], **_url(document))
                continue
            yield self._redact(document)

    def _has_sentences(self, document: Document, found: int, tally: Tally, **removed: int) -> bool:
        if found < MIN_SENTENCES:
            evidence = _url(document) | ({"removed_lines": removed} if removed else {})
            tally.drop(document.doc_id, Reason.FEW_SENTENCES, value=found, threshold=MIN_SENTENCES, **evidence)
        return found >= MIN_SENTENCES

    def _bad_word(self, document: Document) -> tuple[int, int] | None:
        said = languages.codes_of(document.meta.get("language"))
        is_own = not said or self._language in said
        if not self.list or not is_own:
            return None
        self._compared += 1
        return self.list.find(document.text)

    def _redact(self, document: Document) -> Document:
        if not self._kinds:
            return document
        text, counts = pii.redact(document.text, self._kinds)
        self._redacted.update(counts)
        return Document(document.doc_id, text, document.meta | {f"pii_{kind}": n for kind, n in counts.items()})


def _url(document: Document) -> dict[str, Any]:
    """What the ledger says of a document beside its id, so that it can be found by its URL."""
    return {"url": document.meta["url"]} if "url" in document.meta else {}
