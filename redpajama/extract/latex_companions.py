"""What says that a complete LaTeX document is a paper's companion: its class, its title, first words or name.

Letters, replies to referees, supplements, templates of journals, figures, talks, posters.
"""

import re

HEAD_CHARS = 5000  # of a file: where it says what it is
TITLE_CHARS = 300  # of a document: where its title stands
BEGIN = re.compile(r"\\begin\s*\{document\}")

_OTHER_CLASS = re.compile(
    r"\\document(?:class|style)\s*+(?:\[[^\[\]]{0,1000}\])?\s*\{"
    r"\s*(?:subfiles|standalone|letter|scrlttr2|newlfm|lettre|g?-?brief|dinbrief"
    r"|beamer\w*|[a-z0-9]*poster|powerdot|prosper|seminar|slides|moderncv|minimal|ltxdoc)\s*\}"
)
_OF_OTHERS = (
    r"suppl[eé]ment(?:ary|al) [a-z]|supporting (?:information|material|text)|(?<=\\)appendix(?![a-z])"
    r"|online (?:appendix|resource)|cover letter|(?:repl(?:y|ies)|respon[sd]\w*|answers?) to (?:the )?(?:\w+ )?"
    r"(?:referee|review|editor|comments)|r[eé]ponses? aux? |antwort an|respuesta a|rebuttal|(?:list|summary) of changes"
    r"|(?:instructions|guidelines|guide) (?:for|to) (?:the )?(?:authors|contributors|preparing)"
    r"|(?:declaration|conflicts?|statement) of (?:competing |conflicting )?interests?|zusatzmaterial|приложение"
)
_OTHER_TITLE = re.compile(
    r"\\title\s*+(?:\[[^\[\]]{0,300}\])?\s*\{[^\n]{0,100}?(?i:"
    + _OF_OTHERS
    + r"|suppl[eé]ment|template|class file|annexe|anhang|(?:\\\\|[:(])\s*appendi(?:x|ces)"
    r"|bare demo|(?:paper|article|contribution|manuscript) title|title of (?:the|your|this) "
    r"|insert (?:your |the )?title"
    r"|(?:sample|example) (?:document|article|paper|manuscript)|preparation of (?:papers|manuscripts)"
    r"|(?:formatting |submission )?instructions for|--? ?sample|how to (?:use|prepare)|author guidelines)"
)
_OTHER_BEGINNING = re.compile(f"(?i:{_OF_OTHERS})")
_OTHER_COMMANDS = re.compile(
    r"\\(?:opening\s*\{|(?:providecommand|DeclareRobustCommand)\s*\{\\DIFadd|(?:lipsum|blindtext|Blindtext)(?![A-Za-z])"
    r"|the(?:figure|table|equation|section|page)\}?\s*\{\s*S[-.~]?\s*\\)"
)
_OTHER_WORDS = re.compile(
    r"Lorem ipsum dolor|Dear (?:\w+ ){0,2}(?:Editors?|Referees?|Reviewers?|Sirs?|Madam|Prof)\b"
    r"|\bDear [^\n,:{}]{2,60}[,:]"
    r"|Sehr geehrte|(?:Monsieur|Madame|Mesdames|Messieurs)(?: [^\n,]{0,50})?,|Estimad[oa]s? |Gentili? |Уважаем"
)
_TO_REFEREES = re.compile(  # at the beginning; a paper thanks them at its end
    r"\bthank (?:both |all )?the (?:anonymous )?(?:\w+ )?(?:referee|reviewer|editor)"
    r"|\b(?:[Rr]eferee|[Rr]eviewer)(?:'?s'?)? ?(?:#|\\#)?(?:\d|[A-C]\b|(?i:comment|report|remark))"
)
_OTHER_NAME = re.compile(
    r"(?<![a-z])(?:suppl?(?:s|em\w*|mat\w*|info\w*)?|si|sm|esm|esi|s\d|supporting\w*"
    r"|extended-data|abstracts?|appendi(?:x|ces)|annexe?s?|anhang|repl(?:y|ies)"
    r"|respon[sd]\w*|rebuttal|referees?|reviewers?|answers?|antwort\w*|r[eé]ponse\w*|respuesta\w*|cover\w*"
    r"|letter_?to\w*|templates?|samples?|examples?|skeleton|howto|instructions?|guide\w*|demo|chap(?:ter|itre)?s?\d*"
    r"|ch\d+|cv|changes|checklist|declarations?|disclosure|coi|kapitel\d*|cap[ií]tulo\d*|preamble|header"
    r"|macros?|definitions?|defs?|notations?|commands?|diff|old|backup\w*"
    r"|bak|poster|slides?|talk|presentation|highlights?|graphical\w*|title-?page|fig(?:ure)?s?\d*|tikz)"
    r"(?![a-z])"
)


def otherness(name: str, text: str) -> int:
    """How much says that a document is no paper, from 0."""
    begin = BEGIN.search(text)
    end = begin.end() if begin else 0
    head = text[: max(0, min(end, HEAD_CHARS))] + text[end : end + HEAD_CHARS]
    words = _OTHER_WORDS.search(head)
    title = _OTHER_TITLE.search(head) or _OTHER_BEGINNING.search(text, end, end + TITLE_CHARS)
    words = words or _TO_REFEREES.search(text, end, end + 2 * TITLE_CHARS)
    signs = (_OTHER_CLASS.search(head), title, _OTHER_COMMANDS.search(head), words)
    return sum(map(bool, signs)) + bool(_OTHER_NAME.search(name.rpartition(".")[0].replace("_", "-").lower()))
