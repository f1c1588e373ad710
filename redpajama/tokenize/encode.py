"""Text -> token ids with a Hugging Face tokenizer.json, and the training of a small one.

No special token is ever added, and a special token's text in a document (`<|endoftext|>` in a README about tokenizers)
is encoded as the text it is: the end-of-document id stands where a document ends and nowhere else. Truncation, padding
and dropout of the file are switched off. So `decode(encode(text)) == normalise(text)` for the byte-level tokenizers
(GPT-2, GPT-NeoX, those of `train`), any Unicode text. Tokenizers that put a space or `▁` before the text
(`add_prefix_space`, Metaspace) or have an unknown token do not promise it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

END_OF_DOCUMENT = "<|endoftext|>"
USUAL_ENDS = (END_OF_DOCUMENT, "</s>", "<eos>", "<|end_of_text|>")
BATCH_CHARS = 1_000_000  # the library holds about 100 bytes for each character that it encodes (measured)
# GPT-2's pattern ends a word before a space or a line break that follows a visible character, so a text can be cut
# there: no pattern, added token (NeoX's runs of spaces) or normalisation reaches across.
SAFE_CUT = re.compile(r"(?<=[!-~\u3001-\u9fff])(?=[ \n])")


LONG_WORD = re.compile(r"\S{1000}(?=\S)")  # training is quadratic in a word's length: 5 s for 100,000 letters


class TokenizerError(ValueError):
    """The tokenizer cannot be used; the message is one line."""


@dataclass(frozen=True)
class Tokenizer:
    """A loaded tokenizer.json."""

    backend: tokenizers.Tokenizer
    sha256: str  # of the file
    eod_id: int
    vocab_size: int  # one more than the largest id
    can_cut: bool  # long texts may be encoded piece by piece, see SAFE_CUT

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, uint32[tokens], nothing added; memory is bounded where `can_cut`."""
        ids: list[list[np.ndarray]] = [[] for _ in texts]
        for rows, pieces in _batches((row, piece) for row, text in enumerate(texts) for piece in self._pieces(text)):
            encodings = self.backend.encode_batch_fast(pieces, add_special_tokens=False)
            for row, encoding in zip(rows, encodings, strict=True):
                ids[row].append(np.array(encoding.ids, np.uint32))
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Ids -> text, special tokens included, nothing tidied up."""
        return self.backend.decode([int(each) for each in ids], skip_special_tokens=False)

    def normalise(self, text: str) -> str:
        """The text as the tokenizer sees it: NFC for GPT-NeoX, unchanged where it has no normaliser."""
        normaliser = self.backend.normalizer
        return normaliser.normalize_str(text) if normaliser else text

    def _pieces(self, text: str) -> Iterator[str]:
        start = 0
        while self.can_cut and (cut := SAFE_CUT.search(text, start + BATCH_CHARS)):
            yield text[start : cut.start()]
            start = cut.start()
        yield text[start:]


def load(path: str | Path, end_of_document: str | None = None) -> Tokenizer:
    """Read a tokenizer.json. `end_of_document` is the token's text; by default the first of `USUAL_ENDS` it has.

    Raises:
        TokenizerError: not a tokenizer.json, no such token, or the token comes out of ordinary text too.
    """
    data = Path(path).read_bytes()
    backend = _parse(data, path)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # that is: as text
    if getattr(backend.model, "dropout", None):
        backend.model.dropout = None
    name, eod_id = _end_of_document(backend, end_of_document, path)
    if eod_id in backend.encode(name, add_special_tokens=False).ids:
        raise TokenizerError(f"{path}: a text that says '{name}' would end the document: name another end_of_document")
    vocab_size = max(backend.get_vocab().values()) + 1
    return Tokenizer(backend, sha256(data).hexdigest(), eod_id, vocab_size, _can_cut(orjson.loads(data)))


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


def _parse(data: bytes, path: str | Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # noqa: BLE001  the library raises nothing narrower
        raise TokenizerError(f"{path}: not a tokenizer.json: {error}") from None


def _end_of_document(backend: tokenizers.Tokenizer, wanted: str | None, path: str | Path) -> tuple[str, int]:
    for name in [wanted] if wanted else USUAL_ENDS:
        if (number := backend.token_to_id(name)) is not None:
            return name, number
    specials = [repr(t.content) for _, t in sorted(backend.get_added_tokens_decoder().items()) if t.special]
    missing = f"no token '{wanted}'" if wanted else f"no end of document like {', '.join(map(repr, USUAL_ENDS))}"
    raise TokenizerError(
        f"{path}: {missing}; its special tokens: {', '.join(specials) or 'none'}; set tokenizer.end_of_document"
    )


def _can_cut(file: dict[str, Any]) -> bool:
    """Whether SAFE_CUT holds: GPT-2's pattern on the text as it is, and no added token that takes more than spaces."""
    pattern = file.get("pre_tokenizer") or {}
    plain = [token for token in file.get("added_tokens", []) if not token["special"]]
    return (
        pattern.get("type") == "ByteLevel"
        and not pattern.get("add_prefix_space")
        and pattern.get("use_regex", True)
        and (file.get("normalizer") or {}).get("type", "NFC") == "NFC"
        and not any(token["lstrip"] or token["rstrip"] or token["content"].strip(" ") for token in plain)
    )


def _batches(pieces: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], list[str]]]:
    """Numbered pieces -> (numbers, pieces) of about BATCH_CHARS together."""
    rows, batch, chars = [], [], 0
    for row, piece in pieces:
        rows.append(row)
        batch.append(piece)
        chars += len(piece)
        if chars >= BATCH_CHARS:
            yield rows, batch
            rows, batch, chars = [], [], 0
    if rows:
        yield rows, batch
