"""The manifest: TOML -> a typed, frozen model. Every error is one line that names the file and the key."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator

from redpajama import weights
from redpajama.mistakes import READ_KEYS, Examined, Mistake, Several, examine
from redpajama.mistakes import ManifestError as ManifestError
from redpajama.mistakes import suggestion as suggestion
from redpajama.tables import NAME, Condition, Mixture, Shards, Table, Tokens, with_pipelines

PART_BYTES = 256 << 20
Kind = Literal["prose", "code", "tables"]  # of text: dedup compares within one
VersionRule = Literal["longest", "newest"]  # which of the texts that a source gives one id stays
KINDS: tuple[Kind, ...] = get_args(Kind)
T = TypeVar("T")
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$", to_lower=True)]


def given(value: T | None) -> T:
    """What a stage takes for granted, since the flow has it only where this is there: its table, what it reads.

    Raises:
        LookupError: it is not there.
    """
    if value is None:
        raise LookupError("a stage asks for what this build does not have")
    return value


class Train(Table):
    """`train = { vocab_size = 4096 }`: a byte-level BPE from the corpus itself."""

    vocab_size: int = Field(ge=257, le=1_000_000)
    max_bytes: int = Field(default=100_000_000, gt=0)  # text used, chosen by hash of the id


class Tokenizer(Table):
    """`[tokenizer]`: a tokenizer.json by path or URL, or one trained on the spot."""

    path: str | None = None
    train: Train | None = None
    end_of_document: str | None = None  # the token's text; found by its usual names when not given
    # which library encodes; not given: fastokens where it agrees with tokenizers. Outputs are the same: in no hash
    backend: Annotated[Literal["fastokens", "tokenizers"] | None, Field(exclude=True)] = None

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


class Dataset(Table):
    """`dataset = { path = "allenai/c4", name = "en" }`: the files of a split of a data set, instead of `inputs`."""

    path: str  # on the Hugging Face hub, or a folder relative to the manifest's
    name: str | None = None  # of the configuration; not given: the only one, or the one called default
    split: str = "train"
    revision: str | None = None  # a branch, tag or commit of the hub; not given: main


class Language(Table):
    """`[source.language]`: every document's language by fastText, and which languages stay."""

    keep: list[str] = Field(default=[])  # "en" say, in any form of its code; none named: any language stays
    min_score: float = Field(default=0.5, ge=0, le=1)  # CCNet's
    path: str | None = None  # lid.176.bin, say; not given: the lid.176.ftz that comes with the package


class LanguageModel(Table):
    """`[source.perplexity.models.<language>]`: a KenLM model over SentencePiece pieces, and where its buckets end."""

    model: str
    tokenizer: str
    # perplexities below it; not given: CCNet's for the language
    head: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    middle: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Perplexity(Table):
    """`[source.perplexity]`: CCNet's buckets by the perplexity under a language model of Wikipedia."""

    keep: list[Literal["head", "middle", "tail", "all"]] = Field(
        default=["head", "middle"]
    )  # "all": languages without a model
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
    # of each side: fewer are refused. By fastText's defaults, 800 pages of each score all others from 0.47 to 0.55
    min_documents: int = Field(default=1000, ge=1)
    dim: int = Field(default=100, ge=1)  # this and what follows: fastText's defaults
    epoch: int = Field(default=5, ge=1)
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)
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
    # not said where it is the default: a record of the manifest is read again
    bad_words_language: str = Field(default="en", exclude_if=lambda language: language == "en")
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
    categories: list[str] = Field(default=[])  # of the folders

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
    pipeline: str  # of a source made of a reading: that of the reading
    # the [[reading]] that it is made of, and what of it: conditions on the meta. The first source that takes one has it
    reading: str | None = Field(default=None, exclude_if=lambda value: value is None)
    where: dict[str, Condition] | None = Field(default=None, exclude_if=lambda value: value is None)
    inputs: list[str] = Field(default=[], min_length=1, exclude_if=lambda inputs: not inputs)
    dump: list[Dump] = Field(default=[], min_length=1, exclude_if=lambda dumps: not dumps)
    dataset: Dataset | None = Field(default=None, exclude_if=lambda value: value is None)
    # of its raw parts, drawn by hash of the seed and the part's name; not given: all
    sample: float | None = Field(default=None, gt=0, le=1, exclude_if=lambda value: value is None)
    requester_pays: bool = Field(default=False, exclude_if=lambda pays: not pays)  # S3 bills whoever reads: accepted
    sha256: dict[str, Sha256] = Field(default={})  # URL -> expected SHA-256 (hex)
    groups: int | None = Field(default=None, ge=1)  # files below 16 MB are grouped by name into so many parts
    # larger files are read in ranges of about so much, where their format allows it
    part_bytes: int = Field(default=PART_BYTES, ge=256, exclude_if=lambda value: value == PART_BYTES)
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)  # of raw units
    options: dict[str, Any] = Field(default={})
    paragraphs: Paragraphs | None = Field(default=None, exclude_if=lambda value: value is None)
    clean: Clean | None = Field(default=None, exclude_if=lambda value: value is None)
    quality: dict[str, float | str | list[str]] = Field(default={})
    tokens: Tokens | None = Field(default=None, exclude_if=lambda value: value is None)  # that it is said to hold
    # of its texts; not given: what its pipeline says
    kind: Kind | None = Field(default=None, exclude_if=lambda value: value is None)
    blocklist: Blocklist | None = Field(default=None, exclude_if=lambda value: value is None)
    # sets of signals to measure beside those of the rules; see `redpajama signals`
    signals: list[str] | Literal["all"] | None = Field(default=None, exclude_if=lambda value: value is None)
    stop_words: str | None = Field(default=None, exclude_if=lambda value: value is None)  # a file; not given: English
    bad_words: str | None = Field(default=None, exclude_if=lambda value: value is None)  # a file: a phrase a line
    # of its documents that near-dedup may remove; not given: what its pipeline says
    max_removed_fraction: float | None = Field(default=None, ge=0, le=1, exclude_if=lambda value: value is None)
    language: Language | None = Field(default=None, exclude_if=lambda value: value is None)
    perplexity: Perplexity | None = Field(default=None, exclude_if=lambda value: value is None)
    classifier: Classified | None = Field(default=None, exclude_if=lambda value: value is None)
    substrings: Substrings | None = Field(default=None, exclude_if=lambda value: value is None)  # off when absent

    @property
    def wants_models(self) -> bool:
        """Whether a model scores its documents."""
        return bool(self.language or self.perplexity or self.classifier)

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
        given, found = [key for key in READ_KEYS if getattr(self, key)], []
        if len(given) > 1:
            found.append(f"give either {' or '.join(given)}, and not both")
        if not given and not self.reading:
            found.append("nothing to read: give inputs, a dataset, or a dump of CommonCrawl")
        if given and self.reading:
            found.append(f"give either {given[0]} or reading, and not both")
        if self.where is not None and not self.reading:
            found.append("where goes with reading: to draw from a part of a source say so in its [[mixture.slice]]")
        if self.reading and self.paragraphs:
            found.append("paragraphs does not go with reading: its lines are compared in the source that reads them")
        if self.perplexity and not self.language:
            found.append("perplexity needs to know the language: add [source.language]")
        if found:
            raise Several(found)
        return self

    @property
    def read_key(self) -> str:
        """The key that says what is read."""
        return next((key for key in READ_KEYS if getattr(self, key)), "reading")


class Dedup(Table):
    """`[dedup]`: which copy of a text survives."""

    exact: bool = True
    order: list[str] = Field(default=[])  # source names; the earlier keeps its copy. Default: order of the manifest
    versions: VersionRule = Field(default="longest", exclude_if=lambda value: value == "longest")
    near: dict[str, Any] | str | None = Field(default=None, exclude_if=lambda value: value is None)  # off when absent
    # how clusters are found, to the same rows: in one process at 9 bytes a document, or by regroups
    components: Literal["auto", "union-find", "star"] = Field(default="auto", exclude_if=lambda value: value == "auto")


class Manifest(Table):
    """The whole manifest. `folder` is where relative inputs are looked up; it is no part of any hash."""

    name: str
    seed: int = Field(ge=0, lt=1 << 64)
    subset_shape: Literal["redpajama-1t"] = "redpajama-1t"
    tokenizer: Tokenizer | None = None
    reading: list[Source] = Field(default=[], exclude_if=lambda value: not value)  # raw files that several are made of
    source: list[Source] = Field(min_length=1)
    classifier: list[Classifier] = Field(default=[], exclude_if=lambda value: not value)
    dedup: Dedup = Dedup()
    mixture: Mixture | None = None
    shards: Shards = Shards()
    withdrawn: list[str] = Field(default=[], exclude_if=lambda value: not value)  # lists that `remove` wrote elsewhere
    folder: Annotated[str, Field(exclude=True)] = "."

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        return Source._is_a_name(name)

    @model_validator(mode="before")
    @classmethod
    def _tell_pipelines(cls, values: Any) -> Any:
        """A source made of a reading has its pipeline."""
        return with_pipelines(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _names_agree(self) -> "Manifest":
        names = [source.name for source in self.source]
        found = [f"source '{name}' is named twice" for name in _twice(names)]
        found += self._readings_disagree(names)
        found += self._classifiers_disagree(names)
        found += _no_permutation("dedup.order", self.dedup.order, names) if self.dedup.order else []
        if self.mixture:
            drawn = list(dict.fromkeys(share.source for share in self.mixture.slice))
            found += _no_permutation("mixture.slice", drawn, names)
        if self.mixture and self.tokenizer is None:
            found.append("a mixture is counted in tokens: add a [tokenizer]")
        found += self._counts_disagree()
        if found:
            raise Several(found)
        return self

    def _readings_disagree(self, names: list[str]) -> list[str]:
        readings = [reading.name for reading in self.reading]
        found = [f"'{name}' is the name of two readings, or of a source too" for name in _twice([*names, *readings])]
        found = [] if _twice(names) else found
        for source in self.source:
            if source.reading and source.reading not in readings:
                hint = suggestion(source.reading, readings) if readings else "; add a [[reading]]"
                found.append(f"source '{source.name}': no reading is called '{source.reading}'{hint}")
        used = {source.reading for source in self.source}
        return found + [f"reading '{name}': no source is made of it" for name in readings if name not in used]

    def _counts_disagree(self) -> list[str]:
        """Counts that another tokenizer made."""
        own = self.tokenizer.path if self.tokenizer else None
        return [
            f"source '{source.name}': its tokens were counted by '{other}', and the mixture counts by "
            f"'{own or 'a tokenizer of its own'}'; leave tokens.tokenizer out if both have the same vocabulary"
            for source in self.source
            if source.tokens and (other := source.tokens.tokenizer) and other != own
        ]

    def _classifiers_disagree(self, names: list[str]) -> list[str]:
        known = [classifier.name for classifier in self.classifier]
        found = [f"classifier '{name}' is named twice" for name in _twice(known)]
        for source in self.source:
            if source.classifier and (wanted := source.classifier.name) not in known:
                hint = suggestion(wanted, known) if known else "; add a [[classifier]]"
                found.append(f"source '{source.name}': no classifier is named '{wanted}'{hint}")
        for classifier in self.classifier:
            where = f"classifier '{classifier.name}'"
            for key in ("positive", "cited_by", "negative"):
                if (name := getattr(classifier, key)) and name not in names:
                    found.append(f"{where}.{key}: no source is named '{name}'{suggestion(name, names)}")
            cited = classifier.cited_by if classifier.cited_by in names else None
            if cited and (reader := self.source_named(cited).pipeline) != "wikipedia":
                found.append(f"{where}.cited_by: '{cited}' is read by {reader}, not wikipedia")
        return found

    @property
    def dedup_order(self) -> list[str]:
        """Source names, the one whose copies survive first."""
        return self.dedup.order or [source.name for source in self.source]

    def source_named(self, name: str) -> Source:
        """The `[[source]]`, or `[[reading]]`, of that name."""
        return next(source for source in [*self.source, *self.reading] if source.name == name)

    @property
    def readers(self) -> list[Source]:
        """All that read raw files: sources of their own, and readings."""
        return [*(source for source in self.source if not source.reading), *self.reading]

    def classifier_named(self, name: str) -> Classifier:
        """The `[[classifier]]` of that name."""
        return next(classifier for classifier in self.classifier if classifier.name == name)


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _no_permutation(where: str, given: list[str], names: list[str]) -> list[str]:
    """Why `given` does not name each source once."""
    unknown = [f"{where}: no source is named '{name}'{suggestion(name, names)}" for name in given if name not in names]
    twice = [f"{where}: '{name}' stands there twice" for name in _twice(given)]
    hint = "; weight = 0 leaves it out" if where == "mixture.slice" else ""
    missing = [f"{where}: source '{name}' is missing{hint}" for name in names if name not in given]
    return unknown + twice + (missing if len(unknown) < len(missing) or not unknown else [])


def load(path: str) -> Manifest:
    """Read a manifest file.

    Raises:
        ManifestError: not readable, not TOML, or against the model; one line.
    """
    return parse(read(path), path)


def read(path: str) -> dict[str, Any]:
    """The values of a manifest file.

    Raises:
        ManifestError: not readable, or not TOML; one line.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(path, [Mistake("", error.strerror or str(error))]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(path, [Mistake("", f"not TOML: {error}")]) from None


def parse(values: dict[str, Any], path: str) -> Manifest:
    """A manifest from parsed TOML; `path` names the file in errors and gives the folder of relative inputs.

    Raises:
        ManifestError: it is against the model.
    """
    found = examine_all(values, path)
    if found.mistakes:
        raise ManifestError(path, found.mistakes)
    return found.model


def examine_all(values: dict[str, Any], path: str) -> Examined:
    """The same, with every mistake, and what could be understood."""
    reserved = [Mistake("", "unknown key 'folder'")] if "folder" in values else []
    folder = Path(path).resolve().parent
    values, misread = weights.filled(values, folder)
    found = examine(Manifest, {**values, "folder": str(folder)})
    return found._replace(mistakes=[*reserved, *misread, *found.mistakes])
