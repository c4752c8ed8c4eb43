"""Finds the cases of DDSM in the names of a source: which files belong to which case and film."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from services.training.raw.layouts.ddsm.ics import VIEWS
from services.training.raw.report import ImportReport


class VolumeType(StrEnum):
    """What the cases of a volume have in common."""

    NORMAL = "normal"
    CANCER = "cancer"
    BENIGN = "benign"
    BENIGN_WITHOUT_CALLBACK = "benign_without_callback"
    UNKNOWN = "unknown"


SECOND_ICS = "the case has a second .ics; the first one is read"
STRAY_OVERLAY = "the overlay does not lie in the folder of the .ics of its case"
NO_FILM = "the film of this overlay is missing"
OTHER_FORM = "the film is also there in a form that is read first"
OTHER_FILES = "files that are neither images nor .ics nor overlays"
NOT_A_FILM = "the name of the image is not that of a film of DDSM"

RAW_WORDS, LOSSLESS = ".LJPEG.1", ".LJPEG"
FORMS = (RAW_WORDS.lower(), LOSSLESS.lower(), ".pgm", ".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""The forms of a film, best first: raw words and lossless JPEG are the originals, 16 bits come before 8."""

_VOLUME = re.compile(r"(?i)(?P<type>benign_without_callback|benign|cancer|normal)s?(?P<number>_[0-9]{1,3})?")
_FILM = re.compile(
    r"(?i)(?:(?P<volume>[a-z_]{6,23}_[0-9]{1,3})-)?(?P<case>[A-D]_[0-9]{4}_[0-9])\.(?P<view>(?:LEFT|RIGHT)_(?:CC|MLO))"
    r"(?P<form>\.OVERLAY|\.LJPEG\.1|\.LJPEG|(?:\.LJPEG)?(?:\.1)?\.(?:pgm|png|tiff?|jpe?g))"
)
_ICS = re.compile(r"(?i)(?P<case>[A-D][-_][0-9]{4}[-_][0-9])\.ics")


@dataclass
class Case:
    """The files of a case. `volume` is as in the names of ddsm-visual-primitives: `cancer_01`."""

    volume: str
    name: str
    ics: str = ""
    images: dict[str, str] = field(default_factory=dict)
    """The image of each view."""
    overlays: dict[str, list[str]] = field(default_factory=dict)
    """The overlays of each view: a stray one may be there, too."""

    @property
    def type(self) -> VolumeType:
        """The type of its volume."""
        found = _VOLUME.fullmatch(self.volume)
        return VolumeType(found["type"]) if found else VolumeType.UNKNOWN

    @property
    def patient(self) -> str:
        """The exam key, such as `B_3024`, which stands for the patient."""
        return self.name.rpartition("_")[0]

    def overlay(self, view: str, report: ImportReport) -> str:
        """The overlay of a view, or empty. It must lie in the folder of the `.ics`, since two volumes of DDSM contain
        overlays of other cases."""
        found = ""
        for name in self.overlays.get(view, []):
            if view not in self.images:
                report.drop(NO_FILM, name)
            elif found or (self.ics and folder_of(name) != folder_of(self.ics)):
                report.drop(STRAY_OVERLAY, name)
            else:
                found = name
        return found


def find_cases(names: Sequence[str], report: ImportReport) -> list[Case]:
    """The cases of a source, sorted by volume and name. Images and overlays belong to a case by volume and name; the
    volume comes from the name of a converted image, or from the folders."""
    cases: dict[tuple[str, str], Case] = {}
    forms: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        if found := _ICS.fullmatch(path.name):
            case = _case(cases, volume_of(path), found["case"])
            if case.ics:
                report.drop(SECOND_ICS, name)
            case.ics = case.ics or name
        elif found := _FILM.fullmatch(path.name):
            case = _case(cases, _volume(found["volume"] or "") or volume_of(path), found["case"])
            view, form = found["view"].upper(), found["form"].lower()
            if form == ".overlay":
                case.overlays.setdefault(view, []).append(name)
            else:
                forms.setdefault((case.volume, case.name, view), []).append((_rank(form), name))
        elif name.lower().endswith(FORMS):
            report.drop(NOT_A_FILM, name)
        else:
            report.count(OTHER_FILES)
    for (volume, case_name, view), found_forms in forms.items():
        (_, best), *others = sorted(found_forms)
        cases[volume, case_name].images[view] = best
        for _, other in others:
            report.drop(OTHER_FORM, other)
    return [cases[key] for key in sorted(cases)]


def volume_of(path: PurePosixPath) -> str:
    """The volume in the folders of a file: `cancer_01`, `cancer` if no folder has a number, else `unknown`."""
    found = [volume for part in path.parts[:-1] if (volume := _volume(part))]
    numbered = [volume for volume in found if volume[-1].isdigit()]
    return (numbered or found or [VolumeType.UNKNOWN.value])[-1]


def ics_next_to(names: Sequence[str], image: str) -> str:
    """The `.ics` in the folder of an image that belongs to its case, or empty. `names` are sorted."""
    found = _FILM.fullmatch(PurePosixPath(image).name)
    for name in _in_folder(names, folder_of(image)):
        ics = _ICS.fullmatch(PurePosixPath(name).name)
        if found and ics and _case_name(ics["case"]) == _case_name(found["case"]):
            return name
    return ""


def folder_of(name: str) -> str:
    """The folder of a file, with a slash at its end; empty for a file without a folder."""
    return name[: name.rfind("/") + 1]


def in_view_order(views: Iterator[str]) -> list[str]:
    """Views in the order of an `.ics`."""
    return sorted(views, key=VIEWS.index)


def _in_folder(names: Sequence[str], folder: str) -> Iterator[str]:
    for place in range(bisect_left(names, folder), len(names)):
        if not names[place].startswith(folder):
            return
        if "/" not in names[place][len(folder) :]:
            yield names[place]


def _case(cases: dict[tuple[str, str], Case], volume: str, case: str) -> Case:
    name = _case_name(case)
    return cases.setdefault((volume, name), Case(volume, name))


def _case_name(case: str) -> str:
    return case.upper().replace("-", "_")


def _volume(folder: str) -> str:
    found = _VOLUME.fullmatch(folder)
    return (found["type"] + (found["number"] or "")).lower() if found else ""


def _rank(form: str) -> int:
    return next(rank for rank, ending in enumerate(FORMS) if form.endswith(ending))
