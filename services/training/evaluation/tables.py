"""The tables of evaluations and their comparisons."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.common.blobs import ObjectRef
from services.common.records import ModelColumn, Reference, UtcTime, WorkColumns, now
from services.training.evaluation.schemas import ComparisonView
from services.training.tables import Base


class EvaluationRow(WorkColumns, Base):
    """An evaluation of a checkpoint on a split. It has a `manifest` once it is completed."""

    __tablename__ = "evaluations"
    __table_args__ = (Index("ix_evaluations_newest", "created", "evaluation_id"),)

    evaluation_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    checkpoint: Mapped[ObjectRef] = mapped_column(Reference)
    split: Mapped[str] = mapped_column(String(8))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    manifest: Mapped[ObjectRef | None] = mapped_column(Reference)


class ComparisonRow(Base):
    """A comparison of two evaluations, as it is answered."""

    __tablename__ = "comparisons"
    __table_args__ = (Index("ix_comparisons_newest", "created", "comparison_id"),)

    comparison_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    evaluation_a: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"))
    evaluation_b: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"))
    result: Mapped[ComparisonView] = mapped_column(ModelColumn(ComparisonView))
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)
