"""Reads the `.OVERLAY` file of a DDSM film: its abnormalities with their words and chain codes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.training.raw.layouts.ddsm.chain_code import Chain
from services.training.raw.layouts.ddsm.terms import descriptors, pathology_word, whole_number
from services.training.raw.report import ImportReport

LARGEST_OVERLAY = 4 << 20
"""Bytes of an overlay that is read; real ones have up to 100 kB."""
LONGEST_CHAIN = 200_000
"""Steps of a chain; more than the circumference of any film."""

FEWER_ABNORMALITIES = "TOTAL_ABNORMALITIES is not the number of abnormalities; those that are there are read"
FEWER_OUTLINES = "TOTAL_OUTLINES is not the number of outlines; those that are there are read"
BROKEN_CHAIN = "the outline is no chain code"
SECOND_BOUNDARY = "the abnormality has a second boundary"
NO_END = "the outline has no # at its end"

_KEYWORDS = frozenset(
    [
        *("TOTAL_ABNORMALITIES", "ABNORMALITY", "LESION_TYPE", "ASSESSMENT", "SUBTLETY", "PATHOLOGY"),
        *("TOTAL_OUTLINES", "BOUNDARY", "CORE"),
    ]
)
_ATTRIBUTES = ("SHAPE", "MARGINS", "TYPE", "DISTRIBUTION")
_START = re.compile(r"-?[0-9]{1,6}")
_CODES = frozenset("01234567")


@dataclass(frozen=True)
class LesionType:
    """A line LESION_TYPE: `mass`, `calcification` or `other`, and its descriptors, such as shape and margins."""

    kind: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Abnormality:
    """An abnormality of a film. Missing numbers are None and missing words empty; without a `boundary` its place is
    not known. `cores` are the parts inside of the boundary that are outlined too, mostly of calcifications."""

    where: str
    types: tuple[LesionType, ...]
    assessment: int | None
    subtlety: int | None
    pathology: str
    boundary: Chain | None
    cores: tuple[Chain, ...]


@dataclass(frozen=True)
class Overlay:
    """The abnormalities of a film. `complete` if their number is the one that the file states."""

    abnormalities: tuple[Abnormality, ...]
    complete: bool


@dataclass
class _Section:
    keyword: str
    words: list[str] = field(default_factory=list)


def parse_overlay(content: bytes, where: str, report: ImportReport) -> Overlay:
    """Read an overlay. A chain that is broken is reported as dropped, a wrong number of abnormalities or outlines as
    mended."""
    groups: list[list[_Section]] = [[]]
    for section in _sections(content):
        if section.keyword == "ABNORMALITY":
            groups.append([])
        groups[-1].append(section)
    abnormalities = tuple(
        _abnormality(group, f"{where}:{number}", report) for number, group in enumerate(groups[1:], 1)
    )
    complete = _words(groups[0], "TOTAL_ABNORMALITIES") == [str(len(abnormalities))]
    if not complete:
        report.mend(FEWER_ABNORMALITIES, where)
    return Overlay(abnormalities, complete)


def _sections(content: bytes) -> Iterator[_Section]:
    """A keyword with the words behind it, on its line and on lines that begin with no keyword."""
    section = _Section("")
    for line in content.decode("ascii", errors="replace").splitlines():
        words = line.upper().split()
        if words and words[0] in _KEYWORDS:
            yield section
            section = _Section(words[0], words[1:])
        else:
            section.words.extend(words)
    yield section


def _abnormality(group: Sequence[_Section], where: str, report: ImportReport) -> Abnormality:
    boundaries = [_chain(section, where, report) for section in group if section.keyword == "BOUNDARY"]
    cores = [_chain(section, where, report) for section in group if section.keyword == "CORE"]
    for _ in boundaries[1:]:
        report.drop(SECOND_BOUNDARY, where)
    if _words(group, "TOTAL_OUTLINES") != [str(len(boundaries) + len(cores))]:
        report.mend(FEWER_OUTLINES, where)
    return Abnormality(
        where=where,
        types=tuple(_lesion_type(section.words) for section in group if section.keyword == "LESION_TYPE"),
        assessment=whole_number("".join(_words(group, "ASSESSMENT")), 0, 6),
        subtlety=whole_number("".join(_words(group, "SUBTLETY")), 1, 5),
        pathology=pathology_word(" ".join(_words(group, "PATHOLOGY"))),
        boundary=boundaries[0] if boundaries else None,
        cores=tuple(core for core in cores if core is not None),
    )


def _words(group: Sequence[_Section], keyword: str) -> list[str]:
    """The words behind the first section of a keyword; empty if there is none."""
    return next((section.words for section in group if section.keyword == keyword), [])


def _lesion_type(words: Sequence[str]) -> LesionType:
    kind = words[0].lower() if words else ""
    stated = dict(zip(words[1::2], words[2::2], strict=False))
    named = {name.lower(): descriptors(stated[name]) for name in _ATTRIBUTES if name in stated}
    return LesionType(kind, {name: text for name, text in named.items() if text})


def _chain(section: _Section, where: str, report: ImportReport) -> Chain | None:
    codes, end, _ = "".join(section.words[2:]).partition("#")
    start = section.words[:2]
    starts = len(start) == 2 and all(_START.fullmatch(word) for word in start)
    if not starts or len(codes) > LONGEST_CHAIN or not _CODES.issuperset(codes):
        report.drop(BROKEN_CHAIN, where)
        return None
    if not end:
        report.mend(NO_END, where)
    return Chain(int(start[0]), int(start[1]), codes)
