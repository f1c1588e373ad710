"""Keys and tokens of known services in a text, by the formats that they publish.

As detect-secrets (github.com/Yelp/detect-secrets, plugins) and GitHub's secret scanning know them. A text is searched
for what it has the beginning of; each beginning costs a pass, so those of rare services are left out. StarCoder's
high-entropy strings with a gibberish model are left out too: hashes and ids look the same.

Private keys in PEM (RFC 7468): from BEGIN to END; of one that is cut off, the lines of Base64 that follow.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest

FORMATS = {  # how a key begins, and how it goes on
    **dict.fromkeys(("AKIA", "ASIA"), "[0-9A-Z]{16}"),  # AWS
    "AIza": "[0-9A-Za-z_-]{35}",  # Google
    "GOCSPX-": "[0-9A-Za-z_-]{28}",
    "xox": r"(?:e\.xox)?[abeoprs]-(?:[0-9]+-)+[0-9A-Za-z]{10,}",  # Slack
    "hooks.slack.com/": "(?:services|workflows|triggers)/[0-9A-Za-z/_-]{20,}",
    "sk-": "(?:(?:proj|ant|svcacct|admin|or-v1)-[0-9A-Za-z_-]{32,}|[0-9A-Za-z]{32,})",  # OpenAI, Anthropic, OpenRouter
    "SG.": r"[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",  # SendGrid
    "glpat-": "[0-9A-Za-z_-]{20,}",  # GitLab
    "pypi-": "AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}",
    "eyJ": r"[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{16,}",  # JSON web token
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), "[0-9A-Za-z]{36,251}"),  # GitHub
    "github_pat_": "[0-9A-Za-z_]{82}",
    **dict.fromkeys(("sk_live_", "rk_live_", "sk_test_", "rk_test_"), "[0-9A-Za-z]{24,}"),  # Stripe
    "whsec_": "[0-9A-Za-z+/]{32,}",
    "npm_": "[0-9A-Za-z]{36}",
    "hf_": "[0-9A-Za-z]{34}",  # Hugging Face
    "dop_v1_": "[0-9a-f]{64}",  # DigitalOcean
    **dict.fromkeys(("shpat_", "shpca_", "shppa_", "shpss_"), "[0-9A-Fa-f]{32}"),  # Shopify
}
AFTER = "(?![0-9A-Za-z_-])"
KEY = {  # each begins with what it must have, and looks back past it: that way `re` skips fast
    begin: re.compile(rf"{re.escape(begin)}(?<![0-9A-Za-z_-]{re.escape(begin)}){rest}{AFTER}")
    for begin, rest in FORMATS.items()
}
NAMED = re.compile(  # the secret half of an AWS key pair is 40 characters of Base64 that only their name betrays
    r"(?i:secret_?access_?key|aws_?secret(?:_?key)?)[\"']?\s{0,4}(?:=>|[:=])\s{0,4}[\"']?"
    r"([0-9A-Za-z/+]{40})(?![0-9A-Za-z/+=])"
)
NAMED = re.compile(  # the secret half of an AWS key pair is 40 characters of Base64 that only their name betrays
    r"(?i:secret_?access_?key|aws_?secret(?:_?key)?)[\"']?\s{0,4}(?:=>|[:=])\s{0,4}[\"']?"
    r"([0-9A-Za-z/+]{40})(?![0-9A-Za-z/+=])"
)
NAMED_MARKS = ("ecretAccessKey", "ecret_access_key", "SECRET_ACCESS_KEY", "aws_secret", "AWS_SECRET")
PEM_MARK = "-----BEGIN"
PEM = re.compile(r"-----(BEGIN|END) (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----")
PEM_CHARS = 20_000  # of the longest key: RSA of 16,384 bits has 12,700
PEM_BODY = re.compile(r"[0-9A-Za-z+/=:,.\s\\-]*")
CUT_BODY = re.compile(r"(?:(?:\s|\\[nr])*[0-9A-Za-z+/=]{16,76})+")
WITH_LINE = tuple(mark for mark in (*FORMATS, *NAMED_MARKS) if "_" in mark)
WITHOUT_LINE = tuple(mark for mark in (*FORMATS, *NAMED_MARKS, PEM_MARK) if "_" not in mark)


def may_hold(text: str) -> bool:
    """Whether a text has what one of the keys must have."""
    return any(mark in text for mark in WITHOUT_LINE) or ("_" in text and any(mark in text for mark in WITH_LINE))


def find(text: str) -> list[tuple[int, int]]:
    """(start, end) of each key, in order; they do not meet. Time is linear in the text."""
    begins = [begin for begin in FORMATS if begin in text]
    found = [match.span() for begin in begins for match in KEY[begin].finditer(text)]
    if any(mark in text for mark in NAMED_MARKS):
        found += [match.span(1) for match in NAMED.finditer(text)]
    if PEM_MARK in text:
        found += _private_keys(text)
    return apart(sorted(found))


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    marks = list(PEM.finditer(text))
    for mark, following in zip_longest(marks, marks[1:]):
        if mark[1] == "END":
            continue
        stop = min(following.start() if following else len(text), mark.end() + PEM_CHARS)
        if following and following[1] == "END" and PEM_BODY.fullmatch(text, mark.end(), following.start()):
            if following.start() == stop:
                yield mark.start(), following.end()
        elif cut := CUT_BODY.match(text, mark.end(), stop):
            yield mark.start(), cut.end()


def apart(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans without those that begin in another."""
    kept: list[tuple[int, int]] = []
    for span in spans:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept
