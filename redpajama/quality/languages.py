"""Language codes in any of their forms -> one form, so that they can be compared.

A crawl says `eng,fra` (ISO 639-3, CommonCrawl's WARC-Identified-Content-Language), a page `en-US` or `zh_Hant_TW`
(BCP 47: language, script, region), a library catalogue `fre` (639-2/B), an old program `iw`, a book `English`, a model
`eng_Latn`. The one form is the ISO 639-1 code where there is one, else the three letters as they are.

Codes of one language inside a wider one stand for the wider where Unicode's CLDR replaces them so (`cmn` is `zh`, `arb`
is `ar`; supplementalMetadata, languageAlias), and both written forms of Norwegian's majority are `no`. `als` stays: in
ISO 639-3 it is Tosk Albanian, but Wikipedia and the models trained on it mean Alemannic.
"""

import re
from functools import lru_cache
from typing import Any

# ISO 639-1, 639-3, 639-2/B where it is another one, and the English name; from the code tables of ISO 639
TABLE = """
aa/aar/afar ab/abk/abkhazian ae/ave/avestan af/afr/afrikaans ak/aka/akan am/amh/amharic an/arg/aragonese ar/ara/arabic
as/asm/assamese av/ava/avaric ay/aym/aymara az/aze/azerbaijani ba/bak/bashkir be/bel/belarusian bg/bul/bulgarian
bh/bih/bihari bi/bis/bislama bm/bam/bambara bn/ben/bengali bo/bod/tib/tibetan br/bre/breton bs/bos/bosnian
ca/cat/catalan ce/che/chechen ch/cha/chamorro co/cos/corsican cr/cre/cree cs/ces/cze/czech cu/chu/church_slavic
cv/chv/chuvash cy/cym/wel/welsh da/dan/danish de/deu/ger/german dv/div/divehi dz/dzo/dzongkha ee/ewe/ewe
el/ell/gre/greek en/eng/english eo/epo/esperanto es/spa/spanish et/est/estonian eu/eus/baq/basque fa/fas/per/persian
ff/ful/fulah fi/fin/finnish fj/fij/fijian fo/fao/faroese fr/fra/fre/french fy/fry/western_frisian ga/gle/irish
gd/gla/scottish_gaelic gl/glg/galician gn/grn/guarani gu/guj/gujarati gv/glv/manx ha/hau/hausa he/heb/hebrew
hi/hin/hindi ho/hmo/hiri_motu hr/hrv/croatian ht/hat/haitian hu/hun/hungarian hy/hye/arm/armenian hz/her/herero
ia/ina/interlingua id/ind/indonesian ie/ile/interlingue ig/ibo/igbo ii/iii/sichuan_yi ik/ipk/inupiaq io/ido/ido
is/isl/ice/icelandic it/ita/italian iu/iku/inuktitut ja/jpn/japanese jv/jav/javanese ka/kat/geo/georgian kg/kon/kongo
ki/kik/kikuyu kj/kua/kuanyama kk/kaz/kazakh kl/kal/kalaallisut km/khm/khmer kn/kan/kannada ko/kor/korean kr/kau/kanuri
ks/kas/kashmiri ku/kur/kurdish kv/kom/komi kw/cor/cornish ky/kir/kirghiz la/lat/latin lb/ltz/luxembourgish
lg/lug/ganda li/lim/limburgan ln/lin/lingala lo/lao/lao lt/lit/lithuanian lu/lub/luba-katanga lv/lav/latvian
mg/mlg/malagasy mh/mah/marshallese mi/mri/mao/maori mk/mkd/mac/macedonian ml/mal/malayalam mn/mon/mongolian
mr/mar/marathi ms/msa/may/malay mt/mlt/maltese my/mya/bur/burmese na/nau/nauru nb/nob/norwegian_bokmål
nd/nde/north_ndebele ne/nep/nepali ng/ndo/ndonga nl/nld/dut/dutch nn/nno/norwegian_nynorsk no/nor/norwegian
nr/nbl/south_ndebele nv/nav/navajo ny/nya/chichewa oc/oci/occitan oj/oji/ojibwa om/orm/oromo or/ori/oriya
os/oss/ossetian pa/pan/panjabi pi/pli/pali pl/pol/polish ps/pus/pushto pt/por/portuguese qu/que/quechua rm/roh/romansh
rn/run/rundi ro/ron/rum/romanian ru/rus/russian rw/kin/kinyarwanda sa/san/sanskrit sc/srd/sardinian sd/snd/sindhi
se/sme/northern_sami sg/sag/sango sh/hbs/serbo-croatian si/sin/sinhala sk/slk/slo/slovak sl/slv/slovenian
sm/smo/samoan sn/sna/shona so/som/somali sq/sqi/alb/albanian sr/srp/serbian ss/ssw/swati st/sot/southern_sotho
su/sun/sundanese sv/swe/swedish sw/swa/swahili ta/tam/tamil te/tel/telugu tg/tgk/tajik th/tha/thai ti/tir/tigrinya
tk/tuk/turkmen tl/tgl/tagalog tn/tsn/tswana to/ton/tonga tr/tur/turkish ts/tso/tsonga tt/tat/tatar tw/twi/twi
ty/tah/tahitian ug/uig/uighur uk/ukr/ukrainian ur/urd/urdu uz/uzb/uzbek ve/ven/venda vi/vie/vietnamese vo/vol/volapük
wa/wln/walloon wo/wol/wolof xh/xho/xhosa yi/yid/yiddish yo/yor/yoruba za/zha/zhuang zh/zho/chi/chinese zu/zul/zulu
"""
ALIASES = {  # of CLDR: codes that were withdrawn, and languages for which the wider code is in use
    **{"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro", "mol": "ro", "scr": "hr", "scc": "sr", "nb": "no"},
    **{"cmn": "zh", "arb": "ar", "zsm": "ms", "lvs": "lv", "ekk": "et", "swh": "sw", "pes": "fa", "khk": "mn"},
    **{"npi": "ne", "ory": "or", "uzn": "uz", "azj": "az", "plt": "mg", "pbt": "ps", "ydd": "yi", "gug": "gn"},
    **{"fuc": "ff", "kmr": "ku", "quz": "qu", "spy": "kln", "fil": "tl", "fat": "ak", "ayr": "ay", "knn": "kok"},
}
NO_LANGUAGE = {"und", "mul", "mis", "zxx", "unk"}  # undetermined, several, uncoded, no language (ISO 639-2)
CODE = re.compile(r"([a-z]{2,3})(?![^-_.@])")
BETWEEN = re.compile(r"[\s,;|/+&]+")  # of a list


def _known() -> dict[str, str]:
    rows = [row.split("/") for row in TABLE.split()]
    known = {form.replace("_", " "): row[0] for row in rows for form in row}
    known |= {form: ALIASES.get(code, code) for form, code in known.items()}
    return known | ALIASES | dict.fromkeys(NO_LANGUAGE, "")


KNOWN = _known()


@lru_cache(maxsize=4096)
def code_of(said: str) -> str:
    """`en` of en, EN, eng, en-GB, en_US.UTF-8, eng_Latn, English; "" of what names no language."""
    word = said.strip().casefold()
    if word in KNOWN:
        return KNOWN[word]
    match = CODE.match(word)
    if not match:
        return ""
    return KNOWN.get(match[1], match[1] if len(match[1]) == 3 else "")


def label_of(said: str) -> str:
    """As `code_of`; a model's label that names no language stays as it is."""
    return code_of(said) or said


def codes_of(said: Any) -> frozenset[str]:
    """The languages that a field of metadata names: one, or a list in one string or in an array; it may name none."""
    if isinstance(said, str):
        return _codes_in(said)
    if isinstance(said, list):
        return frozenset[str]().union(*map(codes_of, said))
    return frozenset()


@lru_cache(maxsize=4096)
def _codes_in(said: str) -> frozenset[str]:
    whole = code_of(said) if said.strip().casefold() in KNOWN else ""  # a name may be of two words
    return frozenset({whole} if whole else filter(None, map(code_of, BETWEEN.split(said))))
