"""The manifest: TOML -> a typed, frozen model. Every error is one line that names the file and the key."""

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from redpajama.artifacts import UserError

MIXTURE_PART_TOKENS = 8_000_000  # about 35 MB of text
PART_BYTES = 256 << 20
NAME = re.compile(r"[a-z][a-z0-9_-]*")
Kind = Literal["prose", "code", "tables"]  # of text: near-dedup compares within one
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$", to_lower=True)]


class ManifestError(UserError):
    """The manifest is wrong; the message is one line that says where, what, and what would be right."""


def suggestion(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` where a known word is near, else the list of known words."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(sorted(known))}"


class Table(BaseModel):
    """A TOML table: closed (an unknown key is an error with a suggestion) and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and (unknown := sorted(values.keys() - cls.model_fields.keys())):
            raise ValueError(f"unknown key '{unknown[0]}'" + suggestion(unknown[0], list(cls.model_fields)))
        return values


class Train(Table):
    """`train = { vocab_size = 4096 }`: a byte-level BPE from the corpus itself."""

    vocab_size: int = Field(ge=257, le=1_000_000)
    max_bytes: int = Field(default=100_000_000, gt=0)  # text used, chosen by hash of the id


class Tokenizer(Table):
    """`[tokenizer]`: a tokenizer.json by path or URL, or one trained on the spot."""

    path: str | None = None
    train: Train | None = None
    end_of_document: str | None = None  # the token's text; found by its usual names when not given

    @model_validator(mode="after")
    def _one_of_both(self) -> "Tokenizer":
        if (self.path is None) == (self.train is None):
            raise ValueError("give either path or train, and not both")
        if self.train and self.end_of_document:
            raise ValueError("end_of_document goes with path: a trained tokenizer has its own")
        return self


class Substrings(Table):
    """`substrings = { min_bytes = 200 }`: repeated spans of a source's text, of at least so many bytes, go but once."""

    min_bytes: int = Field(ge=50, le=100_000, strict=True)  # of UTF-8; 50 BPE tokens of English are about 200
    min_chars: int = Field(default=200, ge=1, strict=True)  # a document of which fewer are left goes whole


class Paragraphs(Table):
    """`[source.paragraphs]`: lines that stand more than once in the source go; rules in `dedup/paragraphs.py`."""

    rule: Literal["ccnet", "c4"] = "ccnet"
    keep: Literal["first", "none"] | None = None  # of the copies; not given: as the rule's makers did

    @property
    def copies_kept(self) -> str:
        """What `keep` says, or the rule's own: CCNet keeps none, C4 the first."""
        return self.keep or {"ccnet": "none", "c4": "first"}[self.rule]


class Dump(Table):
    """`[[source.dump]]`: files of one CommonCrawl dump, from its list of paths, instead of `inputs`."""

    id: str = Field(pattern=r"^CC-MAIN-\d{4}-\d{2}$")
    kind: Literal["wet", "warc"] = "wet"
    shards: str = ""  # places in the list of paths, from 0: "0-99,500"; none: all
    sample: float | None = Field(default=None, gt=0, le=1)  # of the files, drawn by hash of the seed and the path
    root: str = Field(default="https://data.commoncrawl.org/", pattern="/$")

    @property
    def ranges(self) -> list[range]:
        """The places that `shards` names."""
        pairs = [part.strip().partition("-") for part in self.shards.split(",")] if self.shards else []
        return [range(int(first), int(last or first) + 1) for first, _, last in pairs]

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "Dump":
        if self.shards and self.sample is not None:
            raise ValueError("give either shards or sample, and not both")
        if self.shards and not re.fullmatch(r"(\d+(-\d+)?)(\s*,\s*\d+(-\d+)?)*", self.shards):
            raise ValueError(f'shards: \'{self.shards}\' is no list of ranges; write "0-99" or "0-9,20"')
        if any(not places for places in self.ranges):
            raise ValueError(f"shards: '{self.shards}' has a range that ends before it begins")
        return self


class Language(Table):
    """`[source.language]`: every document's language by fastText, and which languages stay."""

    keep: list[str] = []  # the model's labels, "en" say; none named: any language stays
    min_score: float = Field(default=0.5, ge=0, le=1)  # CCNet's
    path: str | None = None  # lid.176.bin, say; not given: the lid.176.ftz that comes with the package


class LanguageModel(Table):
    """`[source.perplexity.models.<language>]`: a KenLM model over SentencePiece pieces, and where its buckets end."""

    model: str
    tokenizer: str
    head: float | None = Field(default=None, gt=0)  # perplexities below it; not given: CCNet's for the language
    middle: float | None = Field(default=None, gt=0)


class Perplexity(Table):
    """`[source.perplexity]`: CCNet's buckets by the perplexity under a language model of Wikipedia."""

    keep: list[Literal["head", "middle", "tail", "all"]] = ["head", "middle"]  # "all": languages without a model
    models: dict[str, LanguageModel] = Field(min_length=1)


class Classified(Table):
    """`[source.classifier]`: every document's score by a `[[classifier]]`, and which scores stay."""

    name: str
    keep: Annotated[float, Field(ge=0, le=1)] | Literal["pareto"] = 0.25  # the least score, or GPT-3's noisy bound


class Classifier(Table):
    """`[[classifier]]`: a fastText model, given by `path` or trained on documents of this build."""

    name: str  # the score is called `<name>_prob`
    path: str | None = None
    positive_label: str = "__label__wiki"
    negative_label: str = "__label__cc"
    positive: str | None = None  # the source of the good examples
    cited_by: str | None = None  # only pages whose URL stands in a <ref> of this Wikipedia source
    negative: str | None = None  # the source that the others are drawn from
    min_chars: int = Field(default=1000, ge=1)  # of the examples of both sides
    max_documents: int = Field(default=300_000, ge=1)  # of each side
    dim: int = Field(default=100, ge=1)  # this and what follows: fastText's defaults
    epoch: int = Field(default=5, ge=1)
    lr: float = Field(default=0.1, gt=0)
    word_ngrams: int = Field(default=1, ge=1)
    min_count: int = Field(default=1, ge=1)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise ValueError(f"'{name}' is not a name: lower-case letters, digits and _, a letter first")
        return name

    @model_validator(mode="after")
    def _given_or_trained(self) -> "Classifier":
        if self.path and (self.positive or self.cited_by or self.negative):
            raise ValueError("give either path, or the sources to train on, and not both")
        if not self.path and not (self.positive and self.negative):
            raise ValueError("give path, or positive and negative: the sources to train on")
        if self.positive and self.positive == self.negative and not self.cited_by:
            raise ValueError(f"positive and negative are both '{self.positive}': only cited_by could tell them apart")
        for label in (self.positive_label, self.negative_label):
            if not re.fullmatch(r"__label__\S+", label):
                raise ValueError(f"'{label}' is not a label: __label__ and a word")
        if self.positive_label == self.negative_label:
            raise ValueError(f"positive_label and negative_label are both '{self.positive_label}'")
        return self


class Pii(Table):
    """`pii = { emails = true, ... }`: kinds of personal data, see `quality/pii.py`."""

    emails: bool = False
    ips: bool = False
    phones: bool = False
    keys: bool = False


class Clean(Table):
    """`[source.clean]`: what is done to texts before they are measured; rules in `quality/cleaning.py`."""

    c4_lines: bool = False
    bad_words: str | None = None  # a list of words, one a line: documents that hold one go
    bad_words_language: str = "en"
    pii: Pii = Pii()  # `true`: all kinds

    @field_validator("pii", mode="before")
    @classmethod
    def _all_kinds(cls, wish: Any) -> Any:
        return dict.fromkeys(Pii.model_fields, wish) if isinstance(wish, bool) else wish

    @property
    def pii_kinds(self) -> list[str]:
        """The kinds of personal data to redact, sorted."""
        return sorted(kind for kind, is_asked in self.pii.model_dump().items() if is_asked)

    @model_validator(mode="after")
    def _languages_agree(self) -> "Clean":
        if "bad_words_language" in self.model_fields_set and not self.bad_words:
            raise ValueError("bad_words_language goes with bad_words: name a list")
        return self


class Blocklist(Table):
    """`[source.blocklist]`: documents from listed domains and URLs go; formats in `quality/blocklist.py`."""

    lists: list[str] = Field(min_length=1)  # files of entries; one that ends in / is a folder of UT1's categories
    categories: list[str] = []  # of the folders

    @model_validator(mode="after")
    def _folders_have_categories(self) -> "Blocklist":
        folders = [place for place in self.lists if place.endswith("/")]
        if folders and not self.categories:
            raise ValueError(f"'{folders[0]}' is a folder: name the categories wanted, for example [\"adult\"]")
        if self.categories and not folders:
            raise ValueError("categories go with a folder: a list that ends in /")
        return self


class Source(Table):
    """`[[source]]`: raw inputs, the pipeline that reads them, and the rules its documents must pass."""

    name: str
    pipeline: str
    inputs: list[str] = Field(default=[], min_length=1, exclude_if=lambda inputs: not inputs)
    dump: list[Dump] = Field(default=[], min_length=1, exclude_if=lambda dumps: not dumps)
    requester_pays: bool = Field(default=False, exclude_if=lambda pays: not pays)  # S3 bills whoever reads: accepted
    sha256: dict[str, Sha256] = {}  # URL -> expected SHA-256 (hex)
    groups: int | None = Field(default=None, ge=1)  # files below 16 MB are grouped by name into so many parts
    # larger files are read in ranges of about so much, where their format allows it
    part_bytes: int = Field(default=PART_BYTES, ge=1, exclude_if=lambda value: value == PART_BYTES)
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)  # of raw units
    options: dict[str, Any] = {}
    paragraphs: Paragraphs | None = Field(default=None, exclude_if=lambda value: value is None)
    clean: Clean | None = Field(default=None, exclude_if=lambda value: value is None)
    quality: dict[str, float | str | list[str]] = {}
    # of its texts; not given: code for github and the_stack, prose for others
    kind: Kind | None = Field(default=None, exclude_if=lambda value: value is None)
    blocklist: Blocklist | None = Field(default=None, exclude_if=lambda value: value is None)
    # sets of signals to measure beside those of the rules; see `redpajama signals`
    signals: list[str] | Literal["all"] | None = Field(default=None, exclude_if=lambda value: value is None)
    stop_words: str | None = Field(default=None, exclude_if=lambda value: value is None)  # a file; not given: English
    bad_words: str | None = Field(default=None, exclude_if=lambda value: value is None)  # a file: a phrase a line
    # of its documents that near-dedup may remove; not given: 0.9 for common_crawl and c4, 0.5 for others
    max_removed_fraction: float | None = Field(default=None, ge=0, le=1, exclude_if=lambda value: value is None)
    language: Language | None = Field(default=None, exclude_if=lambda value: value is None)
    perplexity: Perplexity | None = Field(default=None, exclude_if=lambda value: value is None)
    classifier: Classified | None = Field(default=None, exclude_if=lambda value: value is None)
    substrings: Substrings | None = Field(default=None, exclude_if=lambda value: value is None)  # off when absent

    @property
    def wants_models(self) -> bool:
        """Whether a model scores its documents."""
        return bool(self.language or self.perplexity or self.classifier)

    @model_validator(mode="after")
    def _language_comes_first(self) -> "Source":
        if self.perplexity and not self.language:
            raise ValueError("perplexity needs to know the language: add [source.language]")
        return self

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"'{name}' is not a name: lower-case letters, digits, _ and -, a letter first")
        return name

    @field_validator("dump", mode="before")
    @classmethod
    def _one_table_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _reads_one_thing(self) -> "Source":
        if self.inputs and self.dump:
            raise ValueError("give either inputs or dump, and not both")
        if not self.inputs and not self.dump:
            raise ValueError("nothing to read: give inputs, or a dump of CommonCrawl")
        return self


class Dedup(Table):
    """`[dedup]`: which copy of a text survives."""

    exact: bool = True
    order: list[str] = []  # source names; the earlier keeps its copy. Default: order of the manifest
    near: dict[str, Any] | str | None = Field(default=None, exclude_if=lambda value: value is None)  # off when absent
    # how clusters are found, to the same bytes: in one process at 9 bytes a document, or by regroups
    components: Literal["union-find", "star"] = Field(
        default="union-find", exclude_if=lambda value: value == "union-find"
    )


class Slice(Table):
    """`[[mixture.slice]]`: a source's share of the budget."""

    source: str
    weight: float = Field(ge=0, allow_inf_nan=False)
    max_epochs: float = Field(default=1, gt=0, le=16)


class Mixture(Table):
    """`[mixture]`: how many tokens, and how much of each source."""

    budget_tokens: int = Field(gt=0)
    allow_shortfall: bool = False
    slice: list[Slice] = Field(min_length=1)

    @model_validator(mode="after")
    def _draws_from_something(self) -> "Mixture":
        if not any(share.weight for share in self.slice):
            raise ValueError("every weight is 0: nothing to draw from; give at least one slice a weight")
        return self


class Shards(Table):
    """`[shards]`: the training files."""

    tokens_per_shard: int = Field(default=100_000_000, gt=0)
    formats: list[Literal["megatron"]] = ["megatron"]

    def count(self, total_tokens: int) -> int:
        """How many shards a corpus of so many tokens has."""
        return max(1, -(-total_tokens // self.tokens_per_shard))

    def ranges(self, total_tokens: int) -> int:
        """How many parts of the mixture make one shard: each is sorted in memory."""
        return max(1, -(-min(self.tokens_per_shard, total_tokens) // MIXTURE_PART_TOKENS))


class Manifest(Table):
    """The whole manifest. `folder` is where relative inputs are looked up; it is no part of any hash."""

    name: str
    seed: int = Field(ge=0, lt=1 << 64)
    subset_shape: Literal["redpajama-1t"] = "redpajama-1t"
    tokenizer: Tokenizer | None = None
    source: list[Source] = Field(min_length=1)
    classifier: list[Classifier] = Field(default=[], exclude_if=lambda value: not value)
    dedup: Dedup = Dedup()
    mixture: Mixture | None = None
    shards: Shards = Shards()
    folder: Annotated[str, Field(exclude=True)] = "."

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        return Source._is_a_name(name)

    @model_validator(mode="after")
    def _names_agree(self) -> "Manifest":
        names = [source.name for source in self.source]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"source '{twice[0]}' is named twice")
        self._check_classifiers(names)
        self._check_permutation("dedup.order", self.dedup.order, names, optional=True)
        if self.mixture:
            self._check_permutation("mixture.slice", [part.source for part in self.mixture.slice], names)
            if self.tokenizer is None:
                raise ValueError("a mixture is counted in tokens: add a [tokenizer]")
        return self

    def _check_classifiers(self, names: list[str]) -> None:
        known = [classifier.name for classifier in self.classifier]
        if twice := [name for name in known if known.count(name) > 1]:
            raise ValueError(f"classifier '{twice[0]}' is named twice")
        for source in self.source:
            if source.classifier and (wanted := source.classifier.name) not in known:
                hint = suggestion(wanted, known) if known else "; add a [[classifier]]"
                raise ValueError(f"source '{source.name}': no classifier is named '{wanted}'{hint}")
        for classifier in self.classifier:
            for key in ("positive", "cited_by", "negative"):
                if (name := getattr(classifier, key)) and name not in names:
                    hint = suggestion(name, names)
                    raise ValueError(f"classifier '{classifier.name}'.{key}: no source is named '{name}'{hint}")
            if (name := classifier.cited_by) and (found := self.source_named(name).pipeline) != "wikipedia":
                raise ValueError(f"classifier '{classifier.name}'.cited_by: '{name}' is read by {found}, not wikipedia")

    @staticmethod
    def _check_permutation(where: str, given: list[str], names: list[str], optional: bool = False) -> None:
        if optional and not given:
            return
        for name in given:
            if name not in names:
                raise ValueError(f"{where}: no source is named '{name}'" + suggestion(name, names))
        if len(set(given)) < len(given):
            raise ValueError(f"{where}: '{next(n for n in given if given.count(n) > 1)}' stands there twice")
        if missing := [name for name in names if name not in given]:
            hint = "; weight = 0 leaves it out" if where == "mixture.slice" else ""
            raise ValueError(f"{where}: source '{missing[0]}' is missing{hint}")

    @property
    def dedup_order(self) -> list[str]:
        """Source names, the one whose copies survive first."""
        return self.dedup.order or [source.name for source in self.source]

    def source_named(self, name: str) -> Source:
        """The `[[source]]` of that name."""
        return next(source for source in self.source if source.name == name)

    def classifier_named(self, name: str) -> Classifier:
        """The `[[classifier]]` of that name."""
        return next(classifier for classifier in self.classifier if classifier.name == name)


def load(path: str) -> Manifest:
    """Read a manifest file.

    Raises:
        ManifestError: not readable, not TOML, or against the model; one line.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: not TOML: {error}") from None
    return parse(values, path)


def parse(values: dict[str, Any], path: str) -> Manifest:
    """A manifest from parsed TOML; `path` names the file in errors and gives the folder of relative inputs."""
    if "folder" in values:
        raise ManifestError(f"{path}: unknown key 'folder'")
    try:
        return Manifest(**values, folder=str(Path(path).resolve().parent))
    except ValidationError as error:
        raise ManifestError(f"{path}: {_first_line(error)}") from None


def _first_line(error: ValidationError) -> str:
    """`source[2].inputs: Field required (got …)` of the first problem that pydantic found."""
    problem = error.errors(include_url=False)[0]
    where = ""
    for step in problem["loc"]:
        where += f"[{step + 1}]" if isinstance(step, int) else f".{step}"
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if problem["type"] in ("missing", "value_error") else f", not {problem['input']!r:.80}"
    return f"{where.lstrip('.')}: {message}{got}".removeprefix(": ")
