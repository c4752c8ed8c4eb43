"""The tables of the patch rendering service."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.records import UtcTime, WorkColumns, leases_table, now, outbox_table


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)


class ExtractionRow(Base):
    """A completed extraction that this service was told of."""

    __tablename__ = "extractions"

    extraction_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    told: Mapped[datetime] = mapped_column(UtcTime, default=now)


class RenderingRow(WorkColumns, Base):
    """A rendering of all layers of an extraction."""

    __tablename__ = "renderings"

    rendering_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    extraction_id: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16), default="overlay")
    format: Mapped[str] = mapped_column(String(8), default="jpeg")
    quality: Mapped[int] = mapped_column(Integer, default=85)
    groups: Mapped[int] = mapped_column(Integer)
    group_units: Mapped[int] = mapped_column(Integer)
    pictures_expected: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class GroupRow(Base):
    """Rendered units `first` to `last` of a layer: its presence says that they are done."""

    __tablename__ = "groups"

    rendering_id: Mapped[str] = mapped_column(ForeignKey("renderings.rendering_id"), primary_key=True)
    layer: Mapped[str] = mapped_column(String(200), primary_key=True)
    first: Mapped[int] = mapped_column(Integer, primary_key=True)
    pictures: Mapped[int] = mapped_column(Integer)
    group: Mapped[dict[str, Any]] = mapped_column(JSON)
