"""The layout `ddsm` over a source with all the dirt of DDSM."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.imaging.patches import exam_of
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts import layout_named
from services.training.raw.layouts.ddsm import chain_code
from services.training.raw.layouts.ddsm.cases import NO_FILM, NOT_A_FILM, OTHER_FILES, OTHER_FORM, STRAY_OVERLAY
from services.training.raw.layouts.ddsm.ics import BROKEN_FILM
from services.training.raw.layouts.ddsm.layout import (
    COUNTED_FROM_1,
    LEAVES_IMAGE,
    NO_IMAGE,
    NO_OUTLINE,
    NO_OVERLAY,
    NORMAL_WITH_OVERLAY,
    NOT_CALIBRATED,
    NOT_STATED,
    OUTSIDE,
    SAME_NUMBER,
    UNKNOWN_VOLUME,
    UNREADABLE_OVERLAY,
    UNSTATED_OVERLAY,
)
from services.training.raw.layouts.ddsm.optical_density import Digitizer, tissue_bright
from services.training.raw.layouts.ddsm.overlay import BROKEN_CHAIN, FEWER_ABNORMALITIES, FEWER_OUTLINES, NO_END
from services.training.raw.layouts.ddsm.raw_words import SWAPPED
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.ddsm import (
    BEYOND,
    BOX,
    DIAMOND,
    HEIGHT,
    OCTAGON,
    TO_THE_EDGES,
    WIDTH,
    abnormality,
    chain,
    encoded,
    grey,
    ics,
    overlay,
    words,
    write_ddsm,
)
from tests.fakes.raw.pvrg_jpeg import write_lossless

BY_IMAGE = LabelUnit.IMAGE, LabelSource.PATHOLOGY


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderFiles:
    """The source of the tests' writer."""
    root = tmp_path_factory.mktemp("ddsm")
    write_ddsm(root)
    return FolderFiles(root)


@pytest.fixture(scope="module")
def report() -> ImportReport:
    """The report of the scan of `films`."""
    return ImportReport()


@pytest.fixture(scope="module")
def films(source: FolderFiles, report: ImportReport) -> dict[str, RawMammogram]:
    """All films by their names without `.LJPEG.1`."""
    scanned = list(layout_named("ddsm").scan(source, report))
    assert [film.name for film in scanned] == sorted(film.name for film in scanned)
    return {film.name.removesuffix(".LJPEG.1"): film for film in scanned}


def scan(root: Path) -> tuple[list[RawMammogram], ImportReport]:
    """The films of a folder, and the report."""
    own = ImportReport()
    return list(layout_named("ddsm").scan(FolderFiles(root), own)), own


def counts(reasons: object) -> dict[str, int]:
    """The number of places of each reason."""
    assert isinstance(reasons, dict)
    return {reason: found.count for reason, found in reasons.items()}


def test_what_is_dropped_mended_and_flagged_is_counted(films: dict[str, RawMammogram], report: ImportReport) -> None:
    """Each trap of the source has its reason, and nothing else is reported."""
    assert len(films) == 25
    assert counts(report.dropped) == {
        NOT_A_FILM: 1,
        OTHER_FORM: 1,
        NO_IMAGE: 2,
        STRAY_OVERLAY: 1,
        BROKEN_CHAIN: 1,
        NO_OUTLINE: 1,
        OUTSIDE: 1,
        BROKEN_FILM: 1,
        NOT_STATED: 1,
        NO_OVERLAY: 2,
        NO_FILM: 1,
    }
    assert counts(report.mended) == {
        FEWER_OUTLINES: 1,
        FEWER_ABNORMALITIES: 1,
        NO_END: 1,
        chain_code.PASSES_START: 1,
        chain_code.RETURNS_EARLY: 1,
        chain_code.OPEN: 1,
        COUNTED_FROM_1: 1,
        UNSTATED_OVERLAY: 1,
    }
    assert counts(report.flagged) == {SAME_NUMBER: 1, LEAVES_IMAGE: 1}
    assert report.flagged[SAME_NUMBER].examples == ["C_0020: benign_01, normal_02"]
    assert report.counts == {OTHER_FILES: 1, "abnormalities": 14}


def test_names_are_those_of_the_original(films: dict[str, RawMammogram]) -> None:
    """Names contain volume, exam, side and view, so that the exam can be read from them."""
    for film in films.values():
        assert exam_of(film.name) == film.patient
        assert film.name.endswith(f".{film.side}_{film.view}.LJPEG.1")
    assert films["cancer_01-B_3024_1.LEFT_CC"].exam == "cancer_01-B_3024_1"
    assert Counter(film.side for film in films.values()) == {"LEFT": 13, "RIGHT": 12}
    assert Counter(film.view for film in films.values()) == {"CC": 13, "MLO": 12}
    assert Counter(film.density for film in films.values()) == {"": 7, "a": 4, "b": 4, "c": 7, "d": 3}


def test_labels_have_the_unit_that_is_known(films: dict[str, RawMammogram]) -> None:
    """Findings label their film, and the other view of their breast. The other breast has no label."""
    labels = {name: film.label for name, film in films.items()}
    malignant, benign = Label(Outcome.MALIGNANT, *BY_IMAGE), Label(Outcome.BENIGN, *BY_IMAGE)
    assert labels["cancer_01-B_3024_1.LEFT_CC"] == malignant
    assert labels["cancer_01-B_3024_1.LEFT_MLO"] == Label(Outcome.MALIGNANT, LabelUnit.BREAST, LabelSource.PATHOLOGY)
    assert labels["cancer_01-B_3024_1.RIGHT_CC"] is None
    assert labels["cancer_10-A_1589_1.LEFT_CC"] == malignant  # one of its findings is benign
    assert labels["benign_04-C_0334_1.LEFT_CC"] == benign
    assert labels["benign_04-C_0334_1.RIGHT_CC"] is None  # unproven
    without = "benign_without_callback_01-C_0241_1"
    assert labels[f"{without}.LEFT_CC"] == Label(Outcome.BENIGN, LabelUnit.IMAGE, LabelSource.SCREENING)
    assert labels[f"{without}.LEFT_MLO"] == Label(Outcome.BENIGN, LabelUnit.BREAST, LabelSource.SCREENING)
    assert labels[f"{without}.RIGHT_CC"] is None


def test_normal_volumes_are_normal(films: dict[str, RawMammogram]) -> None:
    """All films of a normal case have the label of their patient, by screening, and nothing in them needs a mark."""
    normal = [film for film in films.values() if film.name.startswith("normal")]
    assert len(normal) == 5
    assert {film.label for film in normal} == {Label(Outcome.NORMAL, LabelUnit.PATIENT, LabelSource.SCREENING)}
    assert all(film.all_marked and not film.findings for film in normal)
    others = [film for film in films.values() if not film.name.startswith("normal")]
    assert all(film.label is None or film.label.outcome is not Outcome.NORMAL for film in others)


def test_converted_films_have_the_label_of_their_volume(films: dict[str, RawMammogram]) -> None:
    """Without an .ics only the type of the volume is known: it labels the patient, and nothing is marked."""
    cancer, benign = films["cancer_05-B_3091_1.LEFT_CC"], films["benign_01-C_0020_1.LEFT_MLO"]
    recalled = films["benign_without_callback_02-A_1632_1.RIGHT_CC"]
    assert cancer.label == Label(Outcome.MALIGNANT, LabelUnit.PATIENT, LabelSource.PATHOLOGY)
    assert benign.label == Label(Outcome.BENIGN, LabelUnit.PATIENT, LabelSource.PATHOLOGY)
    assert recalled.label == Label(Outcome.BENIGN, LabelUnit.PATIENT, LabelSource.SCREENING)
    assert not (cancer.all_marked or benign.all_marked or recalled.all_marked)


def test_outlines_read_back_to_the_polygons_that_made_them(films: dict[str, RawMammogram]) -> None:
    """Also those that pass their start, return early, leave the image, have no end, or count from 1."""

    def outlines(name: str) -> list[object]:
        return [finding.outlines for finding in films[name].findings]

    assert outlines("cancer_01-B_3024_1.LEFT_CC") == [(OCTAGON,)]
    assert outlines("benign_04-C_0334_1.LEFT_CC") == [(OCTAGON,), (BOX,), (BEYOND,)]
    assert outlines("benign_04-C_0334_1.LEFT_MLO") == [(OCTAGON,), ((*DIAMOND, (47.0, 27.0)),), (), ()]
    assert outlines("benign_13-D_4070_1.RIGHT_MLO") == [(TO_THE_EDGES,), (DIAMOND,)]
    assert outlines("cancer_10-A_1589_1.LEFT_CC") == [(OCTAGON,), (OCTAGON,), (BOX,)]


def test_all_is_marked_only_where_each_abnormality_has_an_outline(films: dict[str, RawMammogram]) -> None:
    """A film without an overlay, with fewer abnormalities than stated, or with a broken outline is not."""
    marked = {name for name, film in films.items() if film.all_marked and not name.startswith("normal")}
    assert marked == {
        "cancer_01-B_3024_1.LEFT_CC",
        "cancer_10-A_1589_1.LEFT_CC",
        "benign_04-C_0334_1.LEFT_CC",
        "benign_04-C_0334_1.RIGHT_CC",
        "benign_13-D_4070_1.RIGHT_MLO",
        "benign_without_callback_01-C_0241_1.LEFT_CC",
    }


def test_findings_have_the_words_of_their_type(films: dict[str, RawMammogram]) -> None:
    """A mass with calcifications is two findings with one outline; cores are counted."""
    calcification, mass, other = films["cancer_10-A_1589_1.LEFT_CC"].findings
    malignant = {"pathology": "malignant"}
    words_of_type = {"type": "fine linear branching, pleomorphic", "distribution": "clustered", **malignant}
    assert calcification == Finding("calcification", (OCTAGON,), Outcome.MALIGNANT, 5, 4, words_of_type)
    assert mass == Finding(
        "mass", (OCTAGON,), Outcome.MALIGNANT, 5, 4, {"shape": "architectural distortion", **malignant}
    )
    assert other == Finding("other", (BOX,), Outcome.BENIGN, 5, 4, {"pathology": "benign"})
    assert films["cancer_01-B_3024_1.LEFT_CC"].findings[0].attributes["cores"] == "1"
    unproven = films["benign_04-C_0334_1.RIGHT_CC"].findings[0]
    assert (unproven.outcome, unproven.attributes["pathology"]) == (None, "unproven")


def test_originals_become_optical_density(source: FolderFiles, films: dict[str, RawMammogram]) -> None:
    """Raw words in both orders and lossless JPEG are mapped by their digitizer; the spacing is that of the .ics."""
    layout = layout_named("ddsm")
    for name, seed, bits, digitizer, notes in (
        ("cancer_01-B_3024_1.LEFT_CC", 0, 12, Digitizer.LUMISYS, ()),
        ("cancer_01-B_3024_1.RIGHT_MLO", 3, 12, Digitizer.LUMISYS, (SWAPPED,)),
        ("benign_13-D_4070_1.RIGHT_CC", 2, 12, Digitizer.HOWTEK_ISMD, ()),
        ("cancer_10-A_1589_1.LEFT_CC", 5, 16, Digitizer.DBA, ()),
        ("cancer_10-A_1589_1.LEFT_MLO", 6, 16, Digitizer.DBA, ()),
        ("normal_02-C_0020_1.RIGHT_CC", 2, 12, Digitizer.LUMISYS, ()),
    ):
        pixels = layout.read(source, films[name])
        assert pixels.grey.dtype == np.uint16
        assert (pixels.grey == tissue_bright(grey(seed, bits), digitizer)).all()
        assert (pixels.spacing, pixels.notes) == (0.05, notes)


def test_pictures_are_taken_as_they_are(source: FolderFiles, films: dict[str, RawMammogram]) -> None:
    """PGM and PNG keep their 16 bits, 8 bits stay 8 bits."""
    layout = layout_named("ddsm")
    for name, seed in (("benign_04-C_0334_1.LEFT_CC", 0), ("benign_04-C_0334_1.LEFT_MLO", 1)):
        pixels = layout.read(source, films[name])
        assert (pixels.grey == grey(seed)).all()
        assert pixels.spacing == 0.05
    shallow = layout.read(source, films["benign_without_callback_01-C_0241_1.LEFT_MLO"])
    assert (shallow.grey == grey(1) >> 4).all()
    converted = layout.read(source, films["cancer_05-B_3091_1.LEFT_CC"])
    assert (converted.grey.dtype, converted.grey.shape, converted.spacing) == (np.uint8, (HEIGHT, WIDTH), 0.0)


def test_a_film_of_another_size_is_refused(source: FolderFiles, films: dict[str, RawMammogram]) -> None:
    """The message names the file, and both sizes."""
    with pytest.raises(InvalidInput, match=r"A_1589_1.RIGHT_CC.LJPEG has 79 x 60 pixels; its .ics states 80 x 60"):
        layout_named("ddsm").read(source, films["cancer_10-A_1589_1.RIGHT_CC"])


def test_a_picture_of_another_size_is_refused_only_with_outlines(tmp_path: Path) -> None:
    """A film that was made smaller is read if nothing in it is outlined."""
    folder = tmp_path / "benign_01"
    folder.mkdir()
    (folder / "B-3024-1.ics").write_text(ics("B_3024_1", overlays=("LEFT_CC",)))
    small = encoded((grey(0) >> 4).astype(np.uint8)[::2, ::2], "PNG")
    for view in ("LEFT_CC", "LEFT_MLO"):
        (folder / f"B_3024_1.{view}.LJPEG.1.png").write_bytes(small)
    (folder / "B_3024_1.LEFT_CC.OVERLAY").write_text(overlay(abnormality(chain(BOX))))
    (outlined, plain), _ = scan(tmp_path)
    layout, files = layout_named("ddsm"), FolderFiles(tmp_path)
    with pytest.raises(InvalidInput, match=r"LEFT_CC.LJPEG.1.png has 40 x 30 pixels; its .ics states 80 x 60"):
        layout.read(files, outlined)
    pixels = layout.read(files, plain)
    assert (pixels.grey.shape, pixels.spacing) == ((40, 30), 0.0)


def test_another_source_is_refused(tmp_path: Path) -> None:
    """A folder without any case names what was expected."""
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InvalidInput, match=r"no \.ics of a DDSM case"):
        scan(tmp_path)


def test_images_without_ics_are_read_as_far_as_possible(tmp_path: Path) -> None:
    """Lossless JPEG has its size in itself; raw words without a size are dropped. An unknown volume is flagged."""
    (tmp_path / "B_3000_1.LEFT_CC.LJPEG").write_bytes(write_lossless(grey(1), 12, 6))
    (tmp_path / "B_3000_1.LEFT_MLO.LJPEG.1").write_bytes(words(grey(1)))
    (film,), report = scan(tmp_path)
    assert (film.name, film.label) == ("unknown-B_3000_1.LEFT_CC.LJPEG.1", None)
    assert exam_of(film.name) == "B_3000"
    pixels = layout_named("ddsm").read(FolderFiles(tmp_path), film)
    assert (pixels.grey == grey(1)).all()
    assert pixels.notes == (NOT_CALIBRATED,)
    assert counts(report.dropped) == {NOT_STATED: 1}
    assert counts(report.flagged) == {UNKNOWN_VOLUME: 1}


def test_a_normal_case_with_an_overlay_is_not_normal(tmp_path: Path) -> None:
    """The findings label their breast; the other breast has no label."""
    folder = tmp_path / "normals" / "normal_01" / "case0001"
    folder.mkdir(parents=True)
    (folder / "A-0001-1.ics").write_text(ics("A_0001_1", overlays=("LEFT_CC",)))
    for view in ("LEFT_CC", "RIGHT_CC"):
        (folder / f"A_0001_1.{view}.LJPEG.1").write_bytes(words(grey(0)))
    (folder / "A_0001_1.LEFT_CC.OVERLAY").write_text(overlay(abnormality(chain(BOX))))
    (left, right), report = scan(tmp_path)
    assert left.label == Label(Outcome.MALIGNANT, *BY_IMAGE)
    assert (right.label, right.all_marked) == (None, False)
    assert counts(report.flagged) == {NORMAL_WITH_OVERLAY: 1}


def test_converted_films_are_joined_with_the_texts_of_their_case(tmp_path: Path) -> None:
    """JPEG in one folder and .ics and overlay in another belong together by volume and case."""
    write_ddsm(tmp_path / "all")
    texts = tmp_path / "source" / "cancers" / "cancer_01" / "case3024"
    texts.mkdir(parents=True)
    for name in ("B-3024-1.ics", "B_3024_1.LEFT_CC.OVERLAY"):
        (texts / name).write_bytes((tmp_path / "all/cases/cancers/cancer_01/case3024" / name).read_bytes())
    picture = (tmp_path / "all/converted/cancer_05-B_3091_1.LEFT_CC.LJPEG.1.jpg").read_bytes()
    (tmp_path / "source" / "cancer_01-B_3024_1.LEFT_CC.LJPEG.1.jpg").write_bytes(picture)
    (film,), _ = scan(tmp_path / "source")
    assert (film.density, film.height, film.width) == ("c", HEIGHT, WIDTH)
    assert [finding.outlines for finding in film.findings] == [(OCTAGON,)]
    assert layout_named("ddsm").read(FolderFiles(tmp_path / "source"), film).grey.shape == (HEIGHT, WIDTH)


def test_an_overlay_that_is_too_large_is_dropped(tmp_path: Path) -> None:
    """The film is kept without findings, and is not all marked."""
    folder = tmp_path / "cancer_01"
    folder.mkdir()
    (folder / "B-3024-1.ics").write_text(ics("B_3024_1", overlays=("LEFT_CC",)))
    (folder / "B_3024_1.LEFT_CC.LJPEG.1").write_bytes(words(grey(0)))
    (folder / "B_3024_1.LEFT_CC.OVERLAY").write_bytes(b"BOUNDARY\n" + b"1 " * (3 << 20))
    (film,), report = scan(tmp_path)
    assert (film.label, film.findings, film.all_marked) == (None, (), False)
    assert report.dropped[UNREADABLE_OVERLAY].count == 1
