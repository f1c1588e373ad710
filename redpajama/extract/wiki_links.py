"""Links of wikitext: which show nothing.

A title's prefix decides, as in MediaWiki's `Parser::handleInternalLinks2`: files, categories and, from an article,
links to other languages show no text where they stand. Any other prefix (`wikt:`, `s:`, one that no wiki has) shows,
and so does each of them after a leading colon, which itself does not.
"""

import re
from collections.abc import Iterable

LANGUAGES = frozenset(  # codes of Wikipedias, closed ones and aliases too; operations/mediawiki-config, langlist
    """aa ab ace ady af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar
    bat-smg bbc bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr ca cbk-zam cdo
    ce ceb ch cho chr chy ckb cmn co cr crh cs csb cu cv cy cz da dag de dga din diq dk dsb dtp dty dv dz ee egl
    el eml en eo epo es et eu ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd gl glk gn gom
    gor got gpe gsw gu guc gur guw gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba id ie ig igl ii ik ilo
    inh io is it iu ja jam jbo jp jv ka kaa kab kai kbd kbp kcg kg kge ki kj kk kl km kn knc ko koi kr krc ks ksh
    ku kus kv kw ky la lad lb lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr
    mi min minnan mk ml mn mni mnw mo mos mr mrj ms mt mus mwl my myv mzn na nah nan nap nb nds nds-nl ne new ng
    nia nl nn no nov nqo nr nrm nso nup nv ny oc olo om or os pa pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt
    ps pt pwn qu rki rm rmy rn ro roa-rup roa-tara rsk rsm ru rue rup rw sa sah sat sc scn sco sd se sg sgs sh shi
    shn shy si simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw syl szl szy ta tay tcy tdd te tet tg th
    ti tig tk tl tly tn to tok tpi tr trv ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo vro wa war wo
    wuu xal xh xmf yi yo yue za zea zgh zh zh-cfr zh-classical zh-cn zh-min-nan zh-tw zh-yue zu""".split()  # noqa: SIM905
)
FILE_PREFIXES = """file image datei bild fichier archivo imagen immagine bestand afbeelding plik grafika ficheiro
    imagem файл изображение зображення датотека слика slika datoteka картинка soubor fil billede fájl kép fitxer
    imatge fișier fişier imagine ficheru kuva tiedosto dosiero
    bilde pilt berkas gambar dosya resim súbor obrázok vaizdas fitxategi αρχείο εικόνα ملف صورة پرونده תמונה קובץ
    ファイル 画像 文件 檔案 档案 图像 圖像 파일 그림 ไฟล์ चित्र ფაილი պատկեր""".split()  # noqa: SIM905
CATEGORY_PREFIXES = """category kategorie kategori catégorie categoría categoria categorie kategoria категория категорія
    категорија kategorija kategória luokka kategooria kategorio κατηγορία تصنيف رده קטגוריה カテゴリ 分类 分類 분류
    kategory kategorî kategoriya flokkur категори ангилал زمرہ หมวดหมู่ श्रेणी კატეგორია կատեգորիա""".split()  # noqa: SIM905
SHOWN_PREFIXES = frozenset({"media", "special", "user", "project", "wikipedia", "help", "template", "talk", "commons"})

IMAGE = re.compile(r"\.(?:gif|jpe?g|png|svg|tiff?|webp|xcf)\s*\Z", re.IGNORECASE)


def hidden_prefixes(local: Iterable[str]) -> frozenset[str]:
    """Prefixes, in lower case, of links that show nothing; `local`: the wiki's own names of files and categories."""
    return LANGUAGES.union(FILE_PREFIXES, CATEGORY_PREFIXES, (name.lower() for name in local))


def is_hidden(title: str, hidden: frozenset[str]) -> bool:
    """Whether a link to this title shows nothing where it stands.

    An image is a file under any prefix that may be one: a dump's head may lack the names of another wiki's namespaces.
    """
    prefix, colon, name = title.partition(":")
    prefix = " ".join(prefix.replace("_", " ").split()).lower()
    if not colon or prefix in hidden:
        return bool(colon)
    return prefix != "" and prefix not in SHOWN_PREFIXES and ":" not in name and IMAGE.search(name) is not None
