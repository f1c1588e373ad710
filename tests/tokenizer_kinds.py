"""Small tokenizers of the kinds that are in use, trained on a few lines, and texts that are hard for any of them."""

import json
import random
from collections.abc import Callable

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from redpajama.tokenize import adversarial, pieces

LINES = ["the quick brown fox jumps over the lazy dog's back, 12345 times!\n\n"] * 50
LINES += [
    "été naïve Ωmega 你好 世界 привет мир",
    "def f(x):\n    return x  # 42\n\n\n",
    "e\u0301 <b>A&amp;B</b> I'M we'LL",
] * 50
SPECIALS = ["<|endoftext|>", "<|padding|>"]
LLAMA3, QWEN2 = sorted(pieces.WORD_PATTERNS, key=lambda pattern: "{1,3}" not in pattern)
ODD = [
    "<|endoftext|>",
    "<s>",
    "</s>",
    "'s",
    "é",
    "e\u0301",
    "\u0301",
    "\u1112\u1161\u11ab",
    "한",
    "ffi",
    "\u00a0",
    "\u2028",
]
ODD += [
    "\u3000",
    "\u200b",
    "\x1c",
    "\x00",
    "😀",
    "1",
    "!",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    " " * 25,
    "a",
    "B",
    "字",
    "ж",
    "\u07fd",
]
ODD += [
    "\U000113c2",
    "\u0323",
    "\u0307",
    "ſ",
    "K",
    "İ",
    "ß",
    "٣",
    "½",
    "_",
    "<",
    "|",
    ">",
    "word",
    " the",
    "'LL",
    "\u200d",
    "\ufe0f",
]


def byte_level(*steps: pre_tokenizers.PreTokenizer, **options) -> Tokenizer:
    """A BPE of bytes, after these steps."""
    library = Tokenizer(models.BPE(**options))
    library.pre_tokenizer = pre_tokenizers.Sequence(list(steps)) if len(steps) > 1 else steps[0]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(LINES, trainer)
    return library


def split(pattern: str) -> Tokenizer:
    words = pre_tokenizers.Split(Regex(pattern), "isolated")
    return byte_level(words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))


def gpt2() -> Tokenizer:
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


def neox() -> Tokenizer:
    """With NFC, and runs of spaces as tokens."""
    library = gpt2()
    library.normalizer = normalizers.NFC()
    library.add_tokens([AddedToken(" " * size, normalized=True) for size in range(24, 1, -1)])
    return library


def byte_fallback() -> Tokenizer:
    """As Llama 2: no words, spaces are a letter, and an unknown character is its bytes, which no merge makes."""
    library = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    library.train_from_iterator(LINES, trainer)
    file = json.loads(library.to_str())
    vocabulary = file["model"]["vocab"]
    vocabulary |= {f"<0x{value:02X}>": len(vocabulary) + value for value in range(256)}
    return Tokenizer.from_str(json.dumps(file))


def unigram() -> Tokenizer:
    scores = [("<unk>", 0.0), *((each, -float(n)) for n, each in enumerate("▁ethoinasr", 1))]
    library = Tokenizer(models.Unigram(scores, 0, False))
    library.normalizer = normalizers.NFKC()
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.add_special_tokens(["<eos>"])
    return library


def word_piece() -> Tokenizer:
    library = Tokenizer(models.WordPiece({"[UNK]": 0, "the": 1, "##s": 2, "a": 3}, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.add_special_tokens(["<eos>"])
    return library


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": gpt2,
    "neox": neox,
    "llama3": lambda: split(LLAMA3),
    "qwen2": lambda: split(QWEN2),
    "digits": lambda: byte_level(pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "prefix space": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "byte fallback": byte_fallback,
}
OTHERS = {"unigram": unigram, "wordpiece": word_piece}


def generated(count: int, seed: int = 0) -> list[str]:
    """Texts of odd pieces, of characters from anywhere, and of both."""
    rng = random.Random(seed)
    hard = [*ODD, *(each for each in adversarial.ordinary() if len(each) < 30)]

    def piece() -> str:
        if rng.random() < 0.7:
            return rng.choice(hard)
        code = rng.choice(
            (rng.randrange(0x250), rng.randrange(0x3000), rng.randrange(0x20000), rng.randrange(0x110000))
        )
        return chr(code) if not 0xD800 <= code < 0xE000 else "x"

    return ["".join(piece() for _ in range(rng.randrange(1, 12))) for _ in range(count)]
