"""The tables of the activation extraction service."""

from datetime import datetime
from typing import Any

from primitives.common.v1 import plan_pb2
from sqlalchemy import JSON, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.activation_extraction.specs import ShardState
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


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)

ReferenceOrEmpty = ModelColumn(ObjectRef, never_null=True)
"""A reference in a column that is NOT NULL: None is stored as `{}`."""


class NetworkRow(Base):
    """The network of a completed run, as RunCompleted described it."""

    __tablename__ = "networks"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset: Mapped[ObjectRef] = mapped_column(Reference)
    checkpoint: Mapped[ObjectRef] = mapped_column(Reference)
    received: Mapped[datetime] = mapped_column("told", UtcTime, default=now)
    """When the event arrived. The column has an older name, which a rolling upgrade still reads."""


class ExtractionRow(WorkColumns, Base):
    """An extraction of chosen layers over a split. One that failed before it began has no data set or checkpoint."""

    __tablename__ = "extractions"
    __table_args__ = (Index("ix_extractions_newest", "created", "extraction_id"),)

    extraction_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan: Mapped[plan_pb2.Plan | None] = mapped_column(MessageColumn(plan_pb2.Plan))
    run_id: Mapped[str] = mapped_column(String(64))
    dataset: Mapped[ObjectRef | None] = mapped_column(ReferenceOrEmpty, nullable=False)
    checkpoint: Mapped[ObjectRef | None] = mapped_column(ReferenceOrEmpty, nullable=False)
    split: Mapped[str] = mapped_column(String(8))
    layers: Mapped[list[str]] = mapped_column(JSON)
    top_k: Mapped[int] = mapped_column(Integer)
    batch_size: Mapped[int] = mapped_column(Integer)
    shards: Mapped[int] = mapped_column(Integer)
    patches: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[ObjectRef | None] = mapped_column(Reference)


class ShardRow(Base):
    """The stored result of a finished shard."""

    __tablename__ = "shards"

    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.extraction_id"), primary_key=True)
    shard: Mapped[int] = mapped_column(Integer, primary_key=True)
    patches: Mapped[int] = mapped_column(Integer)
    state: Mapped[ShardState] = mapped_column(ModelColumn(ShardState))


class AnalysisRow(WorkColumns, Base):
    """An analysis of a completed extraction, whose manifest is `extraction`. `settings` are empty if it could not
    begin."""

    __tablename__ = "analyses"
    __table_args__ = (Index("ix_analyses_newest", "extraction_id", "created", "analysis_id"),)

    analysis_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.extraction_id"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    extraction: Mapped[ObjectRef] = mapped_column(Reference)
    pieces: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[ObjectRef | None] = mapped_column(Reference)


class PieceRow(Base):
    """The stored state of a finished piece of an analysis."""

    __tablename__ = "analysis_pieces"

    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.analysis_id"), primary_key=True)
    piece: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[ObjectRef] = mapped_column(Reference)


class ExplanationRow(WorkColumns, Base):
    """An explanation of a mammogram with the network of a completed extraction, whose manifest is `extraction`."""

    __tablename__ = "explanations"
    __table_args__ = (Index("ix_explanations_newest", "created", "explanation_id"),)

    explanation_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.extraction_id"))
    extraction: Mapped[ObjectRef] = mapped_column(Reference)
    mammogram: Mapped[ObjectRef] = mapped_column(Reference)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    manifest: Mapped[ObjectRef | None] = mapped_column(Reference)
