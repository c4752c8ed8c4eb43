"""The tables of the training service, but for those of evaluations."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.blobs import ObjectRef
from services.common.records import (
    ModelColumn,
    Reference,
    UtcTime,
    WorkColumns,
    idempotency_keys_table,
    leases_table,
    now,
    outbox_table,
)
from services.training.schemas import LONGEST_NAME, EpochMetrics, KeptCheckpoint, StartBuildRequest, StartPlanRequest


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)


class DatasetRow(Base):
    """A registered data set: its manifest is stored."""

    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_newest", "created", "dataset_id"),)

    dataset_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    classes: Mapped[list[str]] = mapped_column(JSON)
    splits: Mapped[dict[str, int]] = mapped_column(JSON)
    mammograms: Mapped[int] = mapped_column(Integer)
    manifest: Mapped[ObjectRef] = mapped_column(Reference)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class BuildRow(WorkColumns, Base):
    """A build of the sample data set, or the import of a folder."""

    __tablename__ = "builds"
    __table_args__ = (Index("ix_builds_newest", "created", "build_id"),)

    build_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[StartBuildRequest | None] = mapped_column(ModelColumn(StartBuildRequest))
    """What was requested; None for the sample of a plan."""
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.dataset_id"))

    @property
    def folder(self) -> str:
        """The folder that is imported; empty: the sample is built."""
        return self.source.folder if self.source is not None else ""


WITHOUT_CHECKPOINT = ("failed", "cancelled")
"""States in which the checkpoints of a run are not needed any more: the collector removes them."""


class RunRow(WorkColumns, Base):
    """A training run.

    Later stages use `checkpoint`; the next slice continues from `last_checkpoint`; `checkpoints` are the ones kept
    every `checkpoint_epochs`; `epochs` are the metrics so far.
    """

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_newest", "created", "run_id"),)

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), default="", server_default="")
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    slices: Mapped[int] = mapped_column(Integer, default=0)
    epochs: Mapped[list[EpochMetrics]] = mapped_column(ModelColumn(list[EpochMetrics]), default=list)
    checkpoint: Mapped[ObjectRef | None] = mapped_column(Reference)
    best_checkpoint: Mapped[ObjectRef | None] = mapped_column(Reference)
    last_checkpoint: Mapped[ObjectRef | None] = mapped_column(Reference)
    checkpoints: Mapped[list[KeptCheckpoint]] = mapped_column(ModelColumn(list[KeptCheckpoint]), default=list)

    @property
    def stored_checkpoints(self) -> list[ObjectRef]:
        """The checkpoints that the run records, each once."""
        kept = [kept.checkpoint for kept in self.checkpoints]
        recorded = [self.checkpoint, self.best_checkpoint, self.last_checkpoint, *kept]
        return list({ref.key: ref for ref in recorded if ref is not None}.values())


class PlanRow(Base):
    """A plan as it was requested."""

    __tablename__ = "plans"
    __table_args__ = (Index("ix_plans_newest", "created", "plan_id"),)

    plan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    request: Mapped[StartPlanRequest] = mapped_column(ModelColumn(StartPlanRequest))
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)
