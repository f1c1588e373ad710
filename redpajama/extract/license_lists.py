"""Lists of licences that others have published, by name: which SPDX identifiers count as permissive.

Sources: The Stack, version 1.1, is the list of 193 in appendix B of its paper (arXiv 2211.15533), made with Blue Oak
Council's list of 2022, all ratings, and with Creative Commons attribution licences and a font exception besides. Blue
Oak's own is version 15.0.0 (https://blueoakcouncil.org/list, CC0-1.0) down to the rating that the name says: the last
one, "lead", is in neither.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_THE_STACK_V1_1 = """
    0BSD AAL Adobe-2006 Adobe-Glyph ADSL AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 Afmparse AMDPLPA AML AMPAS ANTLR-PD
    ANTLR-PD-fallback Apache-1.0 Apache-1.1 Apache-2.0 APAFML Artistic-1.0 Artistic-1.0-cl8 Artistic-1.0-Perl
    Artistic-2.0 Bahyph Barr Beerware blessing BlueOak-1.0.0 Borceux BSD-1-Clause BSD-2-Clause BSD-2-Clause-FreeBSD
    BSD-2-Clause-NetBSD BSD-2-Clause-Patent BSD-2-Clause-Views BSD-3-Clause BSD-3-Clause-Attribution
    BSD-3-Clause-Clear BSD-3-Clause-LBNL BSD-3-Clause-Modification BSD-3-Clause-No-Nuclear-License
    BSD-3-Clause-No-Nuclear-License-2014 BSD-3-Clause-No-Nuclear-Warranty BSD-3-Clause-Open-MPI BSD-4-Clause
    BSD-4-Clause-Shortened BSD-4-Clause-UC BSD-Source-Code BSL-1.0 bzip2-1.0.5 bzip2-1.0.6 CC-BY-1.0 CC-BY-2.0
    CC-BY-3.0 CC-BY-4.0 CC0-1.0 CECILL-B ClArtistic CNRI-Jython CNRI-Python CNRI-Python-GPL-Compatible Condor-1.1
    Crossword CrystalStacker Cube curl diffmark DOC DSDP ECL-1.0 ECL-2.0 EFL-1.0 EFL-2.0 eGenix Entessa Fair
    Font-exception-2.0 FSFAP FSFUL FSFULLR FTL Giftware HPND HTMLTIDY IBM-pibs ICU IJG ImageMagick Info-ZIP Intel ISC
    JasPer-2.0 Leptonica Libpng libpng-2.0 libtiff Linux-OpenIB LPL-1.0 LPL-1.02 LPPL-1.3c MirOS MIT MIT-0
    MIT-advertising MIT-CMU MIT-enna MIT-feh MIT-Modern-Variant MIT-open-group MITNFA mpich2 MS-PL MTLL MulanPSL-1.0
    MulanPSL-2.0 Multics Mup NASA-1.3 Naumen NBPL-1.0 NCSA Net-SNMP NetCDF Newsletr NLPL NRL NTP OGTSL OLDAP-1.1
    OLDAP-1.2 OLDAP-1.3 OLDAP-1.4 OLDAP-2.0 OLDAP-2.0.1 OLDAP-2.1 OLDAP-2.2 OLDAP-2.2.1 OLDAP-2.2.2 OLDAP-2.3
    OLDAP-2.4 OLDAP-2.5 OLDAP-2.6 OLDAP-2.7 OLDAP-2.8 OML OpenSSL PHP-3.0 PHP-3.01 Plexus PostgreSQL PSF-2.0 psutils
    Python-2.0 Qhull Rdisc RSA-MD Ruby Saxpath SGI-B-2.0 SMLNJ Spencer-86 Spencer-94 Spencer-99 SWL TCL TCP-wrappers
    TU-Berlin-1.0 TU-Berlin-2.0 Unicode-DFS-2015 Unicode-DFS-2016 Unlicense UPL-1.0 Vim VSL-1.0 W3C W3C-19980720
    W3C-20150513 Wsuipa WTFPL X11 Xerox XFree86-1.1 xinetd Xnet xpp Zed Zend-2.0 Zlib zlib-acknowledgement ZPL-1.1
    ZPL-2.0 ZPL-2.1
"""

_BLUE_OAK_SILVER = """
    ADSL Apache-2.0 APAFML BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-FreeBSD BSD-2-Clause-NetBSD
    BSD-2-Clause-Patent BSD-2-Clause-Views BSL-1.0 DSDP ECL-1.0 ECL-2.0 hdparm ImageMagick Intel-ACPI ISC Linux-OpenIB
    MIT MIT-Modern-Variant MIT-testregex MIT-Wu MS-PL MulanPSL-1.0 Mup PostgreSQL SHL-0.5 Spencer-99 UPL-1.0 Xerox
    Xfig
"""

_BLUE_OAK_BRONZE = """
    0BSD AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 AMDPLPA AML AMPAS ANTLR-PD ANTLR-PD-fallback Apache-1.0 Apache-1.1
    Artistic-2.0 Bahyph Barr bcrypt-Solar-Designer BSD-3-Clause BSD-3-Clause-Attribution BSD-3-Clause-Clear
    BSD-3-Clause-HP BSD-3-Clause-LBNL BSD-3-Clause-Modification BSD-3-Clause-No-Nuclear-License-2014
    BSD-3-Clause-No-Nuclear-Warranty BSD-3-Clause-Open-MPI BSD-3-Clause-Sun BSD-4-Clause BSD-4-Clause-Shortened
    BSD-4-Clause-UC BSD-Source-Code bzip2-1.0.5 bzip2-1.0.6 CC0-1.0 CFITSIO Clips CNRI-Jython CNRI-Python
    CNRI-Python-GPL-Compatible Cube curl eGenix Entessa FTL fwlw HPND-Fenneberg-Livingston HPND-sell-regexpr HTMLTIDY
    IBM-pibs ICU Info-ZIP Intel JasPer-2.0 Libpng libpng-2.0 libtiff LPPL-1.3c LZMA-SDK-9.22 MIT-0 MIT-advertising
    MIT-CMU MIT-enna MIT-feh MIT-open-group MITNFA MTLL MulanPSL-2.0 Multics Naumen NCSA Net-SNMP NetCDF NICTA-1.0
    NIST-Software NTP OGL-Canada-2.0 OLDAP-2.0 OLDAP-2.0.1 OLDAP-2.1 OLDAP-2.2 OLDAP-2.2.1 OLDAP-2.2.2 OLDAP-2.3
    OLDAP-2.4 OLDAP-2.5 OLDAP-2.6 OLDAP-2.7 OLDAP-2.8 OML OpenSSL PHP-3.0 PHP-3.01 Plexus PSF-2.0 Python-2.0 Ruby
    Saxpath SGI-B-2.0 SMLNJ SunPro SWL Symlinks TCL TCP-wrappers UCAR Unicode-DFS-2015 Unicode-DFS-2016 UnixCrypt
    Unlicense VSL-1.0 W3C X11 XFree86-1.1 xlock Xnet xpp Zlib zlib-acknowledgement ZPL-2.0 ZPL-2.1
"""

PROFILES: dict[str, tuple[str, ...]] = {
    "the-stack-v1.1": tuple(_THE_STACK_V1_1.split()),
    "blue-oak-silver": tuple(_BLUE_OAK_SILVER.split()),
    "blue-oak-bronze": tuple(f"{_BLUE_OAK_SILVER} {_BLUE_OAK_BRONZE}".split()),
}
_DEPRECATED = "deprecated_"  # go-license-detector puts it before identifiers that SPDX has replaced


def allowed(names: Iterable[str]) -> frozenset[str]:
    """Names of profiles and SPDX identifiers -> the identifiers they stand for, folded as `fold` does."""
    return frozenset(fold(license) for name in names for license in PROFILES.get(name, (name,)))


def fold(license: str) -> str:
    """An identifier as it is compared: in lower case, without the mark of a deprecated one."""
    return license.casefold().removeprefix(_DEPRECATED)


def misspelt(names: Iterable[str]) -> tuple[str, str] | None:
    """(name, the profile that was probably meant) of the first that is nearly a profile's name; None for no such."""
    for name in names:
        near = get_close_matches(name, PROFILES, n=1, cutoff=0.8)
        if near and name not in PROFILES:
            return name, near[0]
    return None
