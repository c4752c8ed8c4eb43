"""The tables of the activation extraction service."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.records import UtcTime, WorkColumns, leases_table, now, outbox_table


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)


class NetworkRow(Base):
    """A completed run that this service was told of."""

    __tablename__ = "networks"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset: Mapped[dict[str, Any]] = mapped_column(JSON)
    checkpoint: Mapped[dict[str, Any]] = mapped_column(JSON)
    told: Mapped[datetime] = mapped_column(UtcTime, default=now)


class ExtractionRow(WorkColumns, Base):
    """An extraction of chosen layers over a split."""

    __tablename__ = "extractions"

    extraction_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    run_id: Mapped[str] = mapped_column(String(64))
    dataset: Mapped[dict[str, Any]] = mapped_column(JSON)
    checkpoint: Mapped[dict[str, Any]] = mapped_column(JSON)
    split: Mapped[str] = mapped_column(String(8))
    layers: Mapped[list[str]] = mapped_column(JSON)
    top_k: Mapped[int] = mapped_column(Integer)
    batch_size: Mapped[int] = mapped_column(Integer)
    shards: Mapped[int] = mapped_column(Integer)
    patches: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class ShardRow(Base):
    """The stored state of one shard of an extraction: its presence says that the shard is done."""

    __tablename__ = "shards"

    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.extraction_id"), primary_key=True)
    shard: Mapped[int] = mapped_column(Integer, primary_key=True)
    patches: Mapped[int] = mapped_column(Integer)
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
