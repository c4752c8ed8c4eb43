"""The tables of the training service."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.records import UtcTime, WorkColumns, leases_table, now, outbox_table


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)


class DatasetRow(Base):
    """A data set whose manifest is written."""

    __tablename__ = "datasets"

    dataset_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    classes: Mapped[list[str]] = mapped_column(JSON)
    splits: Mapped[dict[str, int]] = mapped_column(JSON)
    mammograms: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class BuildRow(WorkColumns, Base):
    """The making of the sample data set."""

    __tablename__ = "builds"

    build_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.dataset_id"))


WITHOUT_CHECKPOINT = ("failed", "cancelled")
"""States in which a run's checkpoints are of no use any more: the collector removes them."""


class RunRow(WorkColumns, Base):
    """A training run; `checkpoint` is what later stages use, `last_checkpoint` what it goes on from, `checkpoints`
    those of every `checkpoint_epochs`, `epochs` the metrics so far."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    slices: Mapped[int] = mapped_column(Integer, default=0)
    epochs: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    best_checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    last_checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    checkpoints: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)


class EvaluationRow(WorkColumns, Base):
    """An evaluation of a checkpoint on a split; `manifest` once it is completed."""

    __tablename__ = "evaluations"

    evaluation_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    checkpoint: Mapped[dict[str, Any]] = mapped_column(JSON)
    split: Mapped[str] = mapped_column(String(8))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class ComparisonRow(Base):
    """A comparison of two evaluations, as it was answered."""

    __tablename__ = "comparisons"

    comparison_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    evaluation_a: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"))
    evaluation_b: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"))
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class PlanRow(Base):
    """A plan as it was asked for."""

    __tablename__ = "plans"

    plan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)
