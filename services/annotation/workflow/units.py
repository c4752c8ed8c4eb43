"""Reads units for a reader, without what the study withholds from the reader (see `blinding`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image
from sqlalchemy.orm import Session

from services.annotation import repository
from services.annotation.neighbours import Neighbours, neighbours
from services.annotation.opening import OVERVIEW_PICTURES
from services.annotation.picture import Picture, decode_pictures
from services.annotation.repository import Entry, UnitKey
from services.annotation.schemas import (
    PictureView,
    Place,
    ResponseView,
    UnitList,
    UnitRank,
    UnitSummary,
    UnitView,
)
from services.annotation.sources import GreySources, Region
from services.annotation.tables import MammogramRow, StudyRow, UnitRow
from services.annotation.workflow.blinding import Blinding, blinding_of, blindings_of, listed_study
from services.annotation.workflow.items import mammogram_view, no_picture, source_of, stored_mammogram
from services.annotation.workflow.readers import Reader
from services.common.errors import InvalidInput, NotFound
from services.common.redaction import quoted
from services.common.work.ports import Ports
from services.imaging.units import unit_name


@dataclass
class Units:
    """The use cases of units."""

    ports: Ports
    sources: GreySources = field(default_factory=GreySources)

    def part(self, reader: Reader, study_id: str, layer: str, place: Place, window: tuple[int, int]) -> UnitList:
        """A window (offset, limit) of a filtered list. InvalidInput if the study does not have the class or order."""
        offset, limit = window
        with self.ports.records.reading() as session:
            study = listed_study(session, study_id, reader)
            repository.layer_row(session, study_id, layer)
            blinding = blinding_of(session, study, reader)
            place = settle_place(study, blinding, place)
            entries = repository.entries(session, study_id, layer, place, reader.reader_id)
            found = [entry for entry in entries if _passes(entry, place)]
            part = found[offset : offset + limit]
            rows = repository.unit_rows(session, study_id, layer, [entry.unit for entry in part])
            return UnitList(units=_summaries(session, study, blinding, part, rows, place), total=len(found))

    def get(self, reader: Reader, key: UnitKey) -> UnitView:
        """A unit with all its pictures and the reader's own answer."""
        with self.ports.records.reading() as session:
            study = listed_study(session, key[0], reader)
            row = repository.unit_row(session, key)
            response = repository.response_row(session, key, reader.reader_id)
            revealed = blinding_of(session, study, reader).reveals(answered=response is not None)
            pictures = decode_pictures(row.pictures)
            mammograms = repository.mammograms(session, key[0], _numbers(pictures))
            return UnitView(
                study_id=row.study_id,
                layer=row.layer,
                unit=row.unit,
                name=unit_name(row.unit),
                silent=row.silent,
                best=row.best,
                answered=response is not None,
                revealed=revealed,
                pictures=picture_views(study, pictures, mammograms, revealed),
                has_sources=row.sources is not None,
                mammograms=[mammogram_view(mammogram) for mammogram in mammograms.values()],
                ranks=_ranks(session, study, key) if revealed else [],
                response=ResponseView.model_validate(response) if response is not None else None,
            )

    def neighbours(self, reader: Reader, key: UnitKey, place: Place) -> Neighbours:
        """The neighbours of a unit in a list; see `neighbours`."""
        with self.ports.records.reading() as session:
            study = listed_study(session, key[0], reader)
            place = settle_place(study, blinding_of(session, study, reader), place)
            return neighbours(session, key, place, reader.reader_id)

    def thumbs(self, reader: Reader, keys: list[UnitKey]) -> dict[UnitKey, list[PictureView]]:
        """The first pictures of units, with classes if this reader may see them."""
        with self.ports.records.reading() as session:
            rows = repository.units_by_key(session, keys)
            answered = repository.answered_keys(session, keys, reader.reader_id)
            studies = repository.study_rows(session, {key[0] for key in rows})
            blindings = blindings_of(session, studies.values(), reader)
        views = {}
        for key, row in rows.items():
            pictures = decode_pictures(row.pictures)[:OVERVIEW_PICTURES]
            views[key] = picture_views(studies[key[0]], pictures, {}, blindings[key[0]].reveals(key in answered))
        return views

    def picture(self, reader: Reader, key: UnitKey, rank: int) -> bytes:
        """The JPEG of one picture; `rank` starts at 1."""
        with self.ports.records.reading() as session:
            listed_study(session, key[0], reader, is_open=False)
            row = repository.unit_row(session, key)
        pictures = decode_pictures(row.pictures)
        if not 1 <= rank <= len(pictures):
            raise no_picture(key, rank, len(pictures))
        found = pictures[rank - 1]
        return self.ports.blobs.get_range(row.pack_bucket, row.pack_key, found.offset, found.size)

    def source(self, reader: Reader, key: UnitKey, rank: int) -> Image.Image:
        """The patch of one picture as the data set stores it, in grey with 8 or 16 bits; `rank` starts at 1."""
        with self.ports.records.reading() as session:
            listed_study(session, key[0], reader, is_open=False)
            found = source_of(session, key, rank)
        return self.sources.patch(self.ports.blobs, found)

    def sheet(self, reader: Reader, key: UnitKey) -> bytes:
        """The JPEG of the contact sheet."""
        with self.ports.records.reading() as session:
            listed_study(session, key[0], reader, is_open=False)
            row = repository.unit_row(session, key)
        if row.sheet_size == 0:
            raise NotFound(f"{unit_name(key[2])} of {key[1]} is silent and has no contact sheet")
        return self.ports.blobs.get_range(row.pack_bucket, row.pack_key, row.sheet_offset, row.sheet_size)

    def mammogram(self, reader: Reader, study_id: str, number: int) -> bytes:
        """The JPEG of the preview of a full mammogram."""
        row = self._mammogram(reader, study_id, number)
        return self.ports.blobs.get(row.preview_bucket, row.preview_key)

    def region(self, reader: Reader, study_id: str, number: int, region: Region | None) -> Image.Image:
        """A region of a full mammogram, in grey with 8 or 16 bits."""
        place = stored_mammogram(self._mammogram(reader, study_id, number))
        return self.sources.mammogram(self.ports.blobs, place, region)

    def _mammogram(self, reader: Reader, study_id: str, number: int) -> MammogramRow:
        """The row of a mammogram of a study. NotFound for any other number."""
        with self.ports.records.reading() as session:
            listed_study(session, study_id, reader, is_open=False)
            row = repository.mammograms(session, study_id, [number]).get(number)
        if row is None:
            raise NotFound(f"study {quoted(study_id)} has no mammogram {number}")
        return row


def settle_place(study: StudyRow, blinding: Blinding, place: Place) -> Place:
    """The place with the class of the ranked list filled in, or without it if the reader does not see ranks.
    InvalidInput if the study lacks the class or order."""
    if place.sort == "class" and study.labels_shown != "always":
        raise InvalidInput(f"study {study.study_id} withholds classes; its units are not sorted by class")
    if place.list != "ranked" or not blinding.shows_ranks:
        return place.model_copy(update={"label": None})
    label = len(study.classes) - 1 if place.label is None else place.label
    if label >= len(study.classes):
        raise InvalidInput(f"study {study.study_id} has no class {label}; it has 0 to {len(study.classes) - 1}")
    return place.model_copy(update={"label": label, "sort": "unit"})


def picture_views(
    study: StudyRow, pictures: list[Picture], mammograms: Mapping[int, MammogramRow], revealed: bool
) -> list[PictureView]:
    """Pictures by rank. Names are withheld like classes, because DDSM writes the pathology into file names."""
    views = []
    for rank, picture in enumerate(pictures, 1):
        view = PictureView(
            rank=rank,
            value=picture.value,
            row=picture.row,
            column=picture.column,
            height=picture.height,
            width=picture.width,
            mammogram=picture.mammogram,
        )
        views.append(view.model_copy(update=_withheld_fields(study, picture, mammograms)) if revealed else view)
    return views


def _withheld_fields(study: StudyRow, picture: Picture, mammograms: Mapping[int, MammogramRow]) -> dict[str, object]:
    mammogram = mammograms.get(picture.mammogram) if picture.mammogram is not None else None
    return {
        "label": picture.label,
        "class_name": study.classes[picture.label],
        "patch": picture.patch,
        "mammogram_name": mammogram.name if mammogram is not None else None,
        "phenomenon": picture.phenomenon,
    }


def _passes(entry: Entry, place: Place) -> bool:
    return place.filter == "all" or (not entry.silent and entry.answered == (place.filter == "answered"))


def _summaries(  # six parameters: what was read, and for whom
    session: Session,
    study: StudyRow,
    blinding: Blinding,
    part: list[Entry],
    rows: dict[int, UnitRow],
    place: Place,
) -> list[UnitSummary]:
    shown = {unit: decode_pictures(row.pictures)[:OVERVIEW_PICTURES] for unit, row in rows.items()}
    numbers = {number for pictures in shown.values() for number in _numbers(pictures)}
    mammograms = repository.mammograms(session, study.study_id, numbers)
    views = []
    for entry in part:
        revealed = blinding.reveals(entry.answered)
        view = UnitSummary(
            unit=entry.unit,
            name=unit_name(entry.unit),
            silent=entry.silent,
            answered=entry.answered,
            revealed=revealed,
            label=place.label,
            rank=entry.rank,
            score=entry.score,
            count=entry.count,
            pictures=picture_views(study, shown[entry.unit], mammograms, revealed),
        )
        views.append(view)
    return views


def _ranks(session: Session, study: StudyRow, key: UnitKey) -> list[UnitRank]:
    return [
        UnitRank(label=row.label, class_name=study.classes[row.label], rank=row.rank, score=row.score, count=row.count)
        for row in repository.ranks(session, key)
    ]


def _numbers(pictures: list[Picture]) -> set[int]:
    return {picture.mammogram for picture in pictures if picture.mammogram is not None}
