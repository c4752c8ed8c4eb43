"""What the extraction service answers about its extractions and their units."""

from dataclasses import dataclass

import pyarrow as pa
from safetensors.numpy import load as load_arrays
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.activation_extraction.schemas import ExtractionList, ExtractionView, LayerView, TopPatch, UnitView
from services.activation_extraction.tables import ExtractionRow, ShardRow
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, NotFound
from services.common.service import Ports
from services.common.views import PlanStages, Progress, Stage
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, read_table, unit_name


@dataclass
class Queries:
    """Reading, over the ports."""

    ports: Ports

    def get(self, extraction_id: str) -> ExtractionView:
        """One extraction, with its layers once it is completed."""
        with self.ports.records.reading() as session:
            extraction = extraction_row(session, extraction_id)
            view = _view(extraction, shards_done(session, extraction_id))
        if view.manifest is not None:
            view.results = [LayerView.model_validate(layer.model_dump()) for layer in self._manifest(view).layers]
        return view

    def all(self) -> ExtractionList:
        """All extractions, newest first."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(ExtractionRow).order_by(ExtractionRow.created.desc())).all()
            return ExtractionList(extractions=[_view(row, shards_done(session, row.extraction_id)) for row in rows])

    def plan(self, plan_id: str) -> PlanStages:
        """The stage of a plan that this service does. NotFound before it has begun."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(ExtractionRow).where(ExtractionRow.plan_id == plan_id)).all()
            if not rows or not plan_id:
                raise NotFound(f"there is no extraction of a plan {plan_id!r}")
            return PlanStages(plan_id=plan_id, stages=[Stage.of("extraction", row.extraction_id, row) for row in rows])

    def unit(self, extraction_id: str, layer: str, unit: int) -> UnitView:
        """Statistics and top patches of one unit (channel from 0). NotFound names what there is."""
        manifest = self._manifest(self.get(extraction_id))
        result = _layer(manifest, layer)
        if not 0 <= unit < result.units:
            raise NotFound(f"layer {layer} has units 0 to {result.units - 1}; asked for {unit}")
        row = read_table(self.ports.blobs, result.statistics).slice(unit, 1).to_pylist()[0]
        top = self._top(manifest, result, unit)
        return UnitView(layer=layer, name=unit_name(unit), silent=top[0].value <= 0, top=top, **row)

    def _top(self, manifest: ExtractionManifest, layer: ExtractedLayer, unit: int) -> list[TopPatch]:
        state = load_arrays(read_verified(self.ports.blobs, layer.top))
        index: pa.Table = Dataset.open(self.ports.blobs, manifest.dataset).index
        patches = index.take(state["ids"][unit]).to_pylist()
        return [
            TopPatch(
                rank=rank,
                value=float(value),
                patch_id=patch["patch_id"],
                patch=patch["name"],
                label=patch["label"],
                mammogram=patch["mammogram"],
                row=int(row),
                column=int(column),
            )
            for rank, (value, (row, column), patch) in enumerate(
                zip(state["values"][unit], state["positions"][unit], patches, strict=True), 1
            )
        ]

    def _manifest(self, view: ExtractionView) -> ExtractionManifest:
        """The manifest of a completed extraction. Conflict for one that is not."""
        if view.manifest is None:
            raise Conflict(f"extraction {view.extraction_id} is {view.state}; its units are known once it is completed")
        return ExtractionManifest.model_validate_json(read_verified(self.ports.blobs, view.manifest))


def extraction_row(session: Session, extraction_id: str) -> ExtractionRow:
    """The record of an extraction."""
    row = session.get(ExtractionRow, extraction_id)
    if row is None:
        raise NotFound(f"there is no extraction {extraction_id!r}")
    return row


def shards_done(session: Session, extraction_id: str) -> int:
    """How many shards of an extraction are in."""
    return session.scalar(select(func.count()).where(ShardRow.extraction_id == extraction_id)) or 0


def _view(row: ExtractionRow, done: int) -> ExtractionView:
    return ExtractionView(
        extraction_id=row.extraction_id,
        plan_id=row.plan_id,
        run_id=row.run_id,
        split=row.split,
        layers=row.layers,
        top_k=row.top_k,
        batch_size=row.batch_size,
        shards=row.shards,
        shards_done=done,
        patches=row.patches,
        state=row.state,
        error=row.error,
        progress=Progress.model_validate(row.progress),
        manifest=ObjectRef.model_validate(row.manifest) if row.manifest else None,
        created=row.created,
        started=row.started,
        finished=row.finished,
    )


def _layer(manifest: ExtractionManifest, name: str) -> ExtractedLayer:
    for layer in manifest.layers:
        if layer.name == name:
            return layer
    raise NotFound(
        f"extraction {manifest.extraction_id} has no layer {name!r}; it has "
        f"{', '.join(layer.name for layer in manifest.layers)}"
    )
