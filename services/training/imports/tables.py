"""The tables of imports and their parts."""

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from services.common.blobs import ObjectRef
from services.common.records import ModelColumn, Reference, WorkColumns
from services.training.imports.schemas import StartImportRequest
from services.training.tables import Base


class ImportRow(WorkColumns, Base):
    """An import of raw mammograms. `planned` is the reference of its ImportPlan, once the source is read."""

    __tablename__ = "imports"
    __table_args__ = (Index("ix_imports_newest", "created", "import_id"),)

    import_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    request: Mapped[StartImportRequest] = mapped_column(ModelColumn(StartImportRequest))
    planned: Mapped[ObjectRef | None] = mapped_column(Reference)
    parts: Mapped[int] = mapped_column(Integer, default=0)
    mammograms: Mapped[int] = mapped_column(Integer, default=0)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.dataset_id"))


class ImportPartRow(Base):
    """A part that is cut. `result` is the reference of its PartResult."""

    __tablename__ = "import_parts"

    import_id: Mapped[str] = mapped_column(ForeignKey("imports.import_id"), primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True)
    result: Mapped[ObjectRef] = mapped_column(Reference)
