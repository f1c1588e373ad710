"""Where long texts may be cut without changing an id, and which texts go into one call.

A text is cut in front of a space or a line break after an ASCII letter or digit, a Cyrillic letter or an ideograph: the
word ends there for every usual pattern, and no normalisation or run of spaces as a token (NeoX) reaches across. GPT-2's
pattern ends a word after any visible ASCII character. A tokenizer of another kind gets its texts whole.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.arrow import buffers

GPT4 = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORD_PATTERNS = {  # none of their words goes on with white space after a letter or digit
    f"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{GPT4}",  # Llama 3, and GPT-4 as most files have it
    f"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{GPT4}".replace("{1,3}", ""),  # Qwen 2
}
SPACES = np.isin(np.arange(256), [0x0A, 0x20])
VISIBLE = (np.arange(256) > 0x20) & (np.arange(256) < 0x7F)
LETTERS = np.isin(np.arange(256), [ord(each) for each in map(chr, range(128)) if each.isalnum()])
CYRILLIC = np.isin(np.arange(256), [0xD0, 0xD1])  # first of two bytes: U+0400 to U+047F
IDEOGRAPH = np.isin(np.arange(256), range(0xE5, 0xE9))  # first of three bytes: with U+4E00 on, to U+8FFF


def word_ends(file: dict[str, Any]) -> np.ndarray | None:
    """bool[256]: the bytes after which a text may be cut, as above; None for a tokenizer.json whose kind is not known.

    An added token that takes the white space around it, or holds some beside spaces, could reach across.
    """
    plain = [token for token in file.get("added_tokens", []) if not token["special"]]
    if (file.get("normalizer") or {}).get("type", "NFC") != "NFC":
        return None
    if any(token["lstrip"] or token["rstrip"] or _breaks(token["content"]) for token in plain):
        return None
    wanted = file.get("pre_tokenizer") or {}
    if _is_gpt2(wanted):
        return VISIBLE
    steps = wanted.get("pretokenizers", [wanted])
    words = [step for step in steps if _is_gpt2(step) or _is_known_split(step)]
    return LETTERS if words and all(step in words or _keeps_words(step) for step in steps) else None


def _breaks(token: str) -> bool:
    return bool(token.strip(" ")) and any(each.isspace() for each in token)


def _is_gpt2(step: dict[str, Any]) -> bool:
    return step.get("type") == "ByteLevel" and not step.get("add_prefix_space") and step.get("use_regex", True)


def _is_known_split(step: dict[str, Any]) -> bool:
    return step.get("type") == "Split" and step["pattern"].get("Regex") in WORD_PATTERNS and not step.get("invert")


def _keeps_words(step: dict[str, Any]) -> bool:
    bytes_only = step.get("type") == "ByteLevel" and not step.get("add_prefix_space")
    return bytes_only or step.get("type") == "Digits"


def cut(texts: pa.LargeStringArray, ends: np.ndarray | None, limit: int) -> tuple[pa.LargeStringArray, np.ndarray]:
    """Texts -> pieces of at most `limit` bytes where a cut allows it, and int64[n + 1]: the first piece of each text.

    The pieces share the texts' memory. One that is larger has no cut inside.
    """
    data, bounds = buffers(texts)
    cuts = [np.zeros(0, np.int64)]
    if ends is not None:
        for row in np.flatnonzero(np.diff(bounds) > limit):
            cuts.append(bounds[row] + _cuts(data[bounds[row] : bounds[row + 1]], ends, limit))
    inner = np.concatenate(cuts)
    if not len(inner):
        return texts, np.arange(len(texts) + 1)
    places = np.sort(np.concatenate([bounds, inner]), kind="stable")
    pieces = pa.LargeStringArray.from_buffers(len(places) - 1, pa.py_buffer(places), pa.py_buffer(data))
    return pieces, np.arange(len(texts) + 1) + np.searchsorted(np.sort(inner), bounds)


def _cuts(data: np.ndarray, ends: np.ndarray, limit: int) -> np.ndarray:
    """Places inside a text (uint8[bytes]): each piece ends at the last that keeps it within the limit, or the next."""
    allowed = ends[data[:-1]]
    allowed[1:] |= CYRILLIC[data[:-2]]
    allowed[2:] |= IDEOGRAPH[data[:-3]] | ((data[:-3] == 0xE4) & (data[1:-2] >= 0xB8))
    places = 1 + np.flatnonzero(allowed & SPACES[data[1:]])
    found, start = [], 0
    while len(data) - start > limit and len(places):
        index = int(np.searchsorted(places, start + limit, "right")) - 1
        if index < 0 or places[index] <= start:
            index += 1
        if index == len(places):
            break
        start = int(places[index])
        found.append(start)
    return np.array(found, np.int64)


def longest(pieces: pa.LargeStringArray, limit: int) -> int:
    """Bytes of the longest piece above the limit; 0 for none."""
    sizes = np.diff(buffers(pieces)[1])
    return int(sizes.max(initial=0, where=sizes > limit))


def batches(pieces: pa.LargeStringArray, limit: int) -> Iterator[pa.LargeStringArray]:
    """Consecutive pieces of at most `limit` bytes together; a larger one goes alone."""
    _, bounds = buffers(pieces)
    start = 0
    while start < len(pieces):
        end = max(start + 1, int(np.searchsorted(bounds, bounds[start] + limit, "right")) - 1)
        yield pieces.slice(start, end - start)
        start = end
