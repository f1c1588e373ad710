"""Texts in which tokenizers have been found to differ: fastokens is used where it encodes them as `tokenizers` does."""

from collections.abc import Sequence

# fmt: off
WORDS = [
    "Hello world", "it's we'LL I'M 'tis ''s", "don\u2019t", "naïve café", "привет мир", "你好世界", "こんにちは。",
    "안녕 하세요", "नमस्ते दुनिया", "สวัสดีชาวโลก", "שלום עולם", "مرحبا بالعالم", "x" * 3000, "ab" * 1500, "é" * 1000,
    "字" * 1000, "a" * 999 + " b", "1" * 1000, "!?" * 800, "0 12 345 6789 3.14 1,000", "٣٤٥ ½ ² Ⅷ ①",
    "1e-9 0xFF 2024-05-20T10:00:00Z", "a1b22c333",
]
MARKS = [
    "a\u07fd\u0301", "\U000113c2\U000113c2", "e\u0301", "\u0301", "\u0301e", " \u0301", "a\u0323\u0307",
    "a\u0307\u0323", "\u1112\u1161\u11ab", "\uac00\u11a8", "\u212b \u2126 \u00c5", "\u0958 \u0915\u093c",
    "\u0dd9\u0dca \u0ddd", "\U00011347\U0001133e", "\u0f71\u0f72\u0f74", "\ufb1d \u05d9\u05b4", "n\u0303\u0303\u0303",
    "\u1e9b\u0323", "\u2adc", "\u0344", "A\u030a\u0301 o\u0302\u0301\u0323", "\u09c7\u09be", "\u1b05\u1b35",
    "z\u0361z", "e" + "\u0301" * 40,
]
SPACES = [
    " ", "  ", "   ", "a  b", "a   b    c", " " * 24, " " * 25, " " * 49, "\n", "\n\n\n", "\r\n", "\r\n \r\n", "\t\t",
    " \t \n x", "x \n", "x\n ", "\u00a0", "\u00a0x", "\u2003x", "\u3000字", "a\u2028b\u2029c", "\x85a",
    "\u200b a\u200bb", " \u00a0 ", "\x0b\x0c", "  \n  \n  code", "\tdef f(x):\n\t\treturn x  # y\n",
    "x" + " " * 300 + "y", "\n" * 300, "\ufeffBOM",
]
CONTROLS = [
    "\x00", "a\x00b", "\x1b[0m", "\x7f\x80\x9f", "\ufffd\ufffe\uffff", "\U0010ffff", "\ue000",
    "".join(map(chr, range(33))), "".join(map(chr, range(127, 256))),
]
SYMBOLS = [
    "😀", "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈", "🇩🇪🇫🇷", "👍🏽", "𝒳 ℝ ∀x∈S", "— – … “q” ‘q’ «q»", "€£¥",
    "<|", "|>", "<s", "</", "#!$%&()*+,-./:;<=>?@[\\]^_`{|}~", "<0x41>", "▁a ▁▁", "Ġa Ċ", "##a [UNK]",
    "<html><p class='a'>&amp;</p>", "\\section{x} $\\alpha_{i}^2$ % c", "if (a<b && c>d) { x->y += 1; } // z",
    "ﬁﬂ ﬀ ſt", "İ ı ß ẞ ς", "ǅ ǆ", "A\u200dB", "\u202eabc\u202c", "カ\u309b ｶﾞ",
]
# fmt: on


def ordinary() -> list[str]:
    """The texts: each alone, one after another, inside a word, between spaces, and all together."""
    single = [*WORDS, *MARKS, *SPACES, *CONTROLS, *SYMBOLS]
    short = [each for each in single if len(each) < 60]
    pairs = [one + other for one, other in zip(short, [*short[7:], *short[:7]], strict=True)]
    return ["", *single, *pairs, *(f"a{each}b" for each in short), *(f" {each} " for each in short), " ".join(short)]


def literal(specials: Sequence[str]) -> list[str]:
    """Texts that hold special tokens' own."""
    few = [*specials[:20], *specials[-20:]] if len(specials) > 40 else specials
    frames = ("{}", "a {} b", "x{}y", " {}", "{} ", "{0}{0}", "\n{}\n", "e\u0301{}\u0301", "  {}  ")
    return [frame.format(each) for each in few for frame in frames]
