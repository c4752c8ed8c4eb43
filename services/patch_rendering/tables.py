"""The tables of the patch rendering service."""

from datetime import datetime

from primitives.common.v1 import plan_pb2
from sqlalchemy import JSON, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.blobs import ObjectRef
from services.common.records import (
    MessageColumn,
    ModelColumn,
    Reference,
    UtcTime,
    WorkColumns,
    idempotency_keys_table,
    leases_table,
    now,
    outbox_table,
)
from services.common.work.plan_options import PictureFormat, PictureKind
from services.imaging.manifests import RenderedGroup


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)


class ReceivedExtractionRow(Base):
    """A completed extraction. This service has received its event."""

    __tablename__ = "extractions"

    extraction_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    manifest: Mapped[ObjectRef] = mapped_column(Reference)
    received: Mapped[datetime] = mapped_column("told", UtcTime, default=now)
    """When the event arrived. The column has an older name, which a rolling upgrade still reads."""


class RenderingRow(WorkColumns, Base):
    """A rendering of all layers of an extraction, in groups of `group_units` units."""

    __tablename__ = "renderings"
    __table_args__ = (Index("ix_renderings_newest", "created", "rendering_id"),)

    rendering_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan: Mapped[plan_pb2.Plan | None] = mapped_column(MessageColumn(plan_pb2.Plan))
    extraction_id: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer)
    kind: Mapped[PictureKind] = mapped_column(String(16), default="overlay")
    format: Mapped[PictureFormat] = mapped_column(String(8), default="jpeg")
    quality: Mapped[int] = mapped_column(Integer, default=85)
    groups: Mapped[int] = mapped_column(Integer)
    group_units: Mapped[int] = mapped_column(Integer)
    pictures_expected: Mapped[int] = mapped_column(Integer)
    layers: Mapped[dict[str, int] | None] = mapped_column(JSON)
    """The units of each layer, in order; null for renderings of versions without this column."""
    manifest: Mapped[ObjectRef | None] = mapped_column(Reference)


class GroupRow(Base):
    """A rendered group of a layer, which begins at unit `first`. The row exists once the group is stored."""

    __tablename__ = "groups"

    rendering_id: Mapped[str] = mapped_column(ForeignKey("renderings.rendering_id"), primary_key=True)
    layer: Mapped[str] = mapped_column(String(200), primary_key=True)
    first: Mapped[int] = mapped_column(Integer, primary_key=True)
    pictures: Mapped[int] = mapped_column(Integer)
    group: Mapped[RenderedGroup] = mapped_column(ModelColumn(RenderedGroup))
