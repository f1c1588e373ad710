"""Texts -> token ids with a Hugging Face tokenizer.json, and the training of a small one.

Arrow arrays of texts go in and flat arrays come out, a few MB a call, by `fastokens` where it gives the ids of Hugging
Face's `tokenizers` (`parity`), else by that. Which of them ran shows in no output.

No special token is ever added, and a special token's text in a document (`<|endoftext|>` in a README about tokenizers)
is encoded as the text it is: the end-of-document id stands where a document ends and nowhere else. Truncation, padding
and dropout of the file are switched off. So `decode(encode(text)) == normalise(text)` for the byte-level tokenizers
(GPT-2, GPT-NeoX, those of `train`), any Unicode text. Tokenizers that put a space or `▁` before the text
(`add_prefix_space`, Metaspace) or have an unknown token do not promise it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from redpajama.tokenize import parity, pieces
from redpajama.tokenize.backends import Encoded, Reference, bounds_of

END_OF_DOCUMENT = "<|endoftext|>"
USUAL_ENDS = (END_OF_DOCUMENT, "</s>", "<eos>", "<|end_of_text|>")
USUAL_PADS = ("<|padding|>", "<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>")
LONG_WORD = re.compile(r"\S{1000}(?=\S)")  # training is quadratic in a word's length: 5 s for 100,000 letters


class TokenizerError(ValueError):
    """The tokenizer cannot be used; the message is one line."""


@dataclass(frozen=True)
class Tokenizer:
    """A loaded tokenizer.json."""

    reference: Reference
    backend: Reference | parity.Checked
    fallback: str  # why `backend` is not fastokens, where nobody asked for that
    sha256: str  # of the file
    eod_id: int
    vocab_size: int  # one more than the largest id
    specials: tuple[str, ...]  # the special tokens' texts
    ends: np.ndarray | None  # after which bytes a long text may be cut, see `pieces`
    account: Counter[str] = field(default_factory=Counter)  # what the next report says

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """The ids of n texts, nothing added.

        Beside texts and ids it holds some tens of MB; 60 bytes for each of a word's that is longer than a call's 4 MB.

        Raises:
            BuildFailed: fastokens was found to differ from `tokenizers`.
        """
        done, firsts = self._each_call(texts, self.backend.encode)
        each = [encoded.ids for encoded in done] or [np.zeros(0, np.uint32)]
        ids = each[0] if len(each) == 1 else np.concatenate(each)
        return Encoded(ids, _bounds([encoded.sizes for encoded in done])[firsts])

    def count(self, texts: pa.LargeStringArray) -> np.ndarray:
        """int64[n]: how many ids each of n texts has; otherwise as `encode`."""
        done, firsts = self._each_call(texts, self.backend.count)
        return np.diff(_bounds(done)[firsts])

    def _each_call(self, texts: pa.LargeStringArray, call: Callable[[list[str]], Any]) -> tuple[list[Any], np.ndarray]:
        """What came of each call, and int64[n + 1]: the first piece of each text in these."""
        limit = self.backend.batch_bytes
        parts, firsts = pieces.cut(texts, self.ends, limit)
        self.account["longest"] = max(self.account["longest"], pieces.longest(parts, limit))
        found = []
        for batch in pieces.batches(parts, limit):  # Arrow's texts are UTF-8: there are no lone surrogates
            found.append(call(batch.to_numpy(zero_copy_only=False).tolist()))
            self.backend.check(batch)
        return found, firsts

    def offsets(self, text: str) -> np.ndarray:
        """int64[n, 2]: where each id of a text begins and ends in it, in characters; by the library that tells."""
        found = self.reference.library.encode(text, add_special_tokens=False).offsets
        return np.array(found, np.int64).reshape(-1, 2)

    def report(self) -> dict[str, Any]:
        """Which library worked and why, what was checked since the last report, and the longest piece that went alone.

        Nothing that is built may depend on it.
        """
        longest = self.account.pop("longest", 0)
        return {**self.backend.report(), "fallback": self.fallback, "longest_piece_bytes": longest}

    def literals(self, texts: pa.LargeStringArray) -> dict[str, int]:
        """How often special tokens' own texts stand in these, where they are encoded like any other text."""
        pattern = parity.pattern_of(self.specials)
        held = texts.filter(pc.match_substring_regex(texts, pattern)) if pattern else texts.slice(0, 0)
        found = re.findall(pattern, "\0".join(held.to_pylist())) if len(held) else []
        return {special: found.count(special) for special in sorted(set(found))}

    def decode(self, ids: Iterable[int]) -> str:
        """Ids -> text, special tokens included, nothing tidied up."""
        return self.reference.library.decode([int(each) for each in ids], skip_special_tokens=False)

    def normalise(self, text: str) -> str:
        """The text as the tokenizer sees it: NFC for GPT-NeoX, unchanged where it has no normaliser."""
        normaliser = self.reference.library.normalizer
        return normaliser.normalize_str(text) if normaliser else text


def _bounds(sizes: list[np.ndarray]) -> np.ndarray:
    return bounds_of(np.concatenate([np.zeros(0, np.int64), *sizes]))


def load(path: str | Path, end_of_document: str | None = None, backend: str | None = None) -> Tokenizer:
    """Read a tokenizer.json.

    Args:
        end_of_document: the token's text; by default the first of `USUAL_ENDS` it has.
        backend: "fastokens" or "tokenizers"; by default the first where it agrees with the other.

    Raises:
        TokenizerError: not a tokenizer.json, no such token, the token comes out of ordinary text too, or fastokens was
            asked for and does not agree.
    """
    data = Path(path).read_bytes()
    library = _parse(data, path)
    name, eod_id = _end_of_document(library, end_of_document, path)
    if eod_id in library.encode(name, add_special_tokens=False).ids:
        raise TokenizerError(f"{path}: a text that says '{name}' would end the document: name another end_of_document")
    specials = tuple(t.content for _, t in sorted(library.get_added_tokens_decoder().items()) if t.special)
    reference = Reference(library)
    chosen, why = _choose(reference, specials, backend)
    if why and backend:
        raise TokenizerError(f'{path}: {why}; set [tokenizer] backend = "tokenizers"')
    vocab_size = max(library.get_vocab().values()) + 1
    ends = pieces.word_ends(orjson.loads(data))
    return Tokenizer(reference, chosen, why, sha256(data).hexdigest(), eod_id, vocab_size, specials, ends)


def _choose(
    reference: Reference, specials: tuple[str, ...], wanted: str | None
) -> tuple[Reference | parity.Checked, str]:
    """The backend, and why it is not fastokens."""
    if wanted == reference.name:
        return reference, ""
    try:
        return parity.choose(reference, specials), ""
    except ValueError as error:
        return reference, str(error)


def train(texts: Iterable[str], vocab_size: int, path: str | Path) -> None:
    """Texts -> a byte-level BPE tokenizer.json with `<|endoftext|>` as id 0, then the 256 bytes, then merges.

    The file depends on the texts as a multiset: neither their order nor threads matter (ties go to the smaller ids).
    Nothing is normalised, but words of more than 1,000 characters are cut. `vocab_size` is a maximum: few texts have
    few pairs that occur twice.
    """
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((LONG_WORD.sub(r"\g<0> ", text) for text in texts), trainer)
    backend.save(str(path))


def ends_with(data: bytes, wanted: str | None, path: str | Path) -> tuple[str, int, int]:
    """The end of document of a tokenizer.json (its text and id), and the id that pads: of `USUAL_PADS`, else the same.

    Raises:
        TokenizerError: it has no such token.
    """
    library = _parse(data, path)
    name, eod_id = _end_of_document(library, wanted, path)
    pads = [number for each in USUAL_PADS if (number := library.token_to_id(each)) is not None]
    return name, eod_id, [*pads, eod_id][0]


def _parse(data: bytes, path: str | Path) -> tokenizers.Tokenizer:
    """The library's tokenizer with its switches as the module says."""
    try:
        library = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # noqa: BLE001  the library raises nothing narrower
        raise TokenizerError(f"{path}: not a tokenizer.json: {error}") from None
    library.no_truncation()
    library.no_padding()
    library.encode_special_tokens = True  # that is: as text
    if getattr(library.model, "dropout", None):
        library.model.dropout = None
    return library


def _end_of_document(library: tokenizers.Tokenizer, wanted: str | None, path: str | Path) -> tuple[str, int]:
    for name in [wanted] if wanted else USUAL_ENDS:
        if (number := library.token_to_id(name)) is not None:
            return name, number
    specials = [repr(t.content) for _, t in sorted(library.get_added_tokens_decoder().items()) if t.special]
    missing = f"no token '{wanted}'" if wanted else f"no end of document like {', '.join(map(repr, USUAL_ENDS))}"
    raise TokenizerError(
        f"{path}: {missing}; its special tokens: {', '.join(specials) or 'none'}; set tokenizer.end_of_document"
    )
