"""What readers and adjudicators see of a unit or an item: its patches and the mammograms that they were cut from."""

from typing import Protocol

from sqlalchemy.orm import Session

from services.annotation import repository
from services.annotation.picture import Picture, decode_pictures, decode_sources
from services.annotation.protocol_schemas import PatchView
from services.annotation.repository import UnitKey
from services.annotation.schemas import MammogramView
from services.annotation.sources import StoredPatch
from services.annotation.tables import ItemRow, MammogramRow, StudyRow, UnitRow
from services.common.blobs import Blobs
from services.common.errors import NotFound
from services.imaging.units import unit_name

ShownPictures = list[tuple[UnitRow, Picture]]
"""The pictures of an item, in order, each with the unit that it belongs to."""


class ItemKey(Protocol):
    """A row that names an item."""

    study_id: str
    version: int
    item: int


def shown_pictures(session: Session, row: ItemKey) -> ShownPictures:
    """The pictures of an item, in order, each with the unit that it belongs to."""
    item = session.get_one(ItemRow, (row.study_id, row.version, row.item))
    units = repository.unit_rows(session, row.study_id, item.layer, {unit for unit, _ in item.shown})
    pictures = {unit: decode_pictures(found.pictures) for unit, found in units.items()}
    return [(units[unit], pictures[unit][rank - 1]) for unit, rank in item.shown]


def picture_of(blobs: Blobs, shown: ShownPictures, number: int) -> bytes:
    """The picture of a patch; numbers count from 1. NotFound if the item has fewer."""
    if not 1 <= number <= len(shown):
        raise NotFound(f"this item has no patch {number}; it has {len(shown)}")
    unit, picture = shown[number - 1]
    return blobs.get_range(unit.pack_bucket, unit.pack_key, picture.offset, picture.size)


def stored_patch(session: Session, row: ItemKey, number: int) -> StoredPatch:
    """Where the source of a patch of an item is stored; numbers count from 1. NotFound if the item has fewer, or if
    there is no source (see `source_of`)."""
    item = session.get_one(ItemRow, (row.study_id, row.version, row.item))
    if not 1 <= number <= len(item.shown):
        raise NotFound(f"this item has no patch {number}; it has {len(item.shown)}")
    unit, rank = item.shown[number - 1]
    return source_of(session, (row.study_id, item.layer, unit), rank)


def source_of(session: Session, key: UnitKey, rank: int) -> StoredPatch:
    """Where the source of a picture of a unit is stored; ranks count from 1. NotFound if the unit has fewer pictures,
    or if the study was opened before sources were recorded."""
    row, shards = repository.unit_row(session, key), repository.study_row(session, key[0]).shards
    if row.sources is None or shards is None:
        raise NotFound("this study was opened before the sources of patches were recorded")
    sources = decode_sources(row.sources)
    if not 1 <= rank <= len(sources):
        raise no_picture(key, rank, len(sources))
    source = sources[rank - 1]
    bucket, name = shards[source.shard]
    return StoredPatch((bucket, name), source.offset, source.size)


def no_picture(key: UnitKey, rank: int, count: int) -> NotFound:
    """The error for a rank that none of a unit's pictures has."""
    return NotFound(f"{unit_name(key[2])} of {key[1]} has no picture of rank {rank}; it has {count}")


def stored_mammogram(row: MammogramRow) -> tuple[str, str]:
    """Bucket and key of a full mammogram. NotFound if the study was opened before sources were recorded."""
    if row.source_key is None:
        raise NotFound("this study was opened before the sources of mammograms were recorded")
    return row.preview_bucket, row.source_key


def preview_of(session: Session, row: ItemKey, number: int) -> MammogramRow:
    """The row of a mammogram that a patch of an item was cut from. NotFound for any other number."""
    numbers = {picture.mammogram for _, picture in shown_pictures(session, row)}
    found = repository.mammograms(session, row.study_id, [number]).get(number) if number in numbers else None
    if found is None:
        raise NotFound(f"no patch of this item was cut from a mammogram {number}")
    return found


def patch_view(study: StudyRow, number: int, shown: tuple[UnitRow, Picture], revealed: bool) -> PatchView:
    """A patch, with its class and phenomenon if they are revealed."""
    unit, picture = shown
    view = PatchView(
        number=number,
        value=picture.value,
        row=picture.row,
        column=picture.column,
        height=picture.height,
        width=picture.width,
        mammogram=picture.mammogram,
        has_source=unit.sources is not None,
    )
    labels = {"label": picture.label, "class_name": study.classes[picture.label], "phenomenon": picture.phenomenon}
    return view.model_copy(update=labels) if revealed else view


def mammogram_view(row: MammogramRow) -> MammogramView:
    """A mammogram, without its name. Only a PNG can have 16 bits."""
    return MammogramView(
        number=row.number,
        side=row.side,
        view=row.view,
        height=row.height,
        width=row.width,
        has_source=row.source_key is not None,
        may_be_deep=row.source_key is not None and row.source_key.endswith(".png"),
    )
