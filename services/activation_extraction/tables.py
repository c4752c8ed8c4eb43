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
    """What one shard of an extraction gave, as references (see job.extract_shard); that it is here says that the shard
    is done."""

    __tablename__ = "shards"

    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.extraction_id"), primary_key=True)
    shard: Mapped[int] = mapped_column(Integer, primary_key=True)
    patches: Mapped[int] = mapped_column(Integer)
    state: Mapped[dict[str, Any]] = mapped_column(JSON)


class AnalysisRow(WorkColumns, Base):
    """An analysis of a completed extraction, whose manifest is `extraction`; `settings` are those of its kind."""

    __tablename__ = "analyses"

    analysis_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.extraction_id"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    extraction: Mapped[dict[str, Any]] = mapped_column(JSON)
    pieces: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class PieceRow(Base):
    """The stored state of one piece of an analysis: that it is here says that the piece is done."""

    __tablename__ = "analysis_pieces"

    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.analysis_id"), primary_key=True)
    piece: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
