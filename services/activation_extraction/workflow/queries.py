"""Queries about extractions."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.activation_extraction.schemas import ExtractionList, ExtractionView, LayerView
from services.activation_extraction.tables import ExtractionRow, ShardRow
from services.common.blobs.port import read_verified
from services.common.errors import Conflict
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.work.fan_out import count_parts, counts_of_parts
from services.common.work.ports import Ports
from services.common.work.views import PlanStages, plan_stages, task_fields
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractionManifest


@dataclass
class Queries:
    """The queries, over the ports."""

    ports: Ports

    def get(self, extraction_id: str) -> ExtractionView:
        """One extraction, with its results once it is completed. NotFound if there is none."""
        with self.ports.records.reading() as session:
            extraction = extraction_row(session, extraction_id)
            view = _view(extraction, count_parts(session, ShardRow, extraction_id))
        if view.manifest is not None:
            self._add_results(view, self._manifest(view))
        return view

    def all(self, window: Window = FIRST_PAGE) -> ExtractionList:
        """A page of all extractions, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, ExtractionRow, window)
            done = counts_of_parts(session, ShardRow, [row.extraction_id for row in page.rows])
            views = [_view(row, done.get(row.extraction_id, 0)) for row in page.rows]
        return ExtractionList(extractions=views, total=page.total, next_offset=page.next_offset)

    def plan(self, plan_id: str) -> PlanStages:
        """The stage of a plan that this service performs. NotFound before it has begun."""
        return plan_stages(self.ports.records, ExtractionRow, plan_id, "extraction")

    def manifest(self, extraction_id: str) -> ExtractionManifest:
        """The manifest of a completed extraction. Conflict if it is not completed."""
        with self.ports.records.reading() as session:
            return self._manifest(_view(extraction_row(session, extraction_id), done=0))

    def _add_results(self, view: ExtractionView, manifest: ExtractionManifest) -> None:
        dataset = Dataset.open(self.ports.blobs, manifest.dataset).manifest
        view.results = [LayerView.model_validate(layer.model_dump()) for layer in manifest.layers]
        view.architecture, view.classes = manifest.network.architecture, list(manifest.network.classes)
        view.dataset, view.notice = dataset.name, dataset.notice

    def _manifest(self, view: ExtractionView) -> ExtractionManifest:
        if view.manifest is None:
            raise Conflict(f"extraction {view.extraction_id} is {view.state}; its units are known once it is completed")
        return ExtractionManifest.model_validate_json(read_verified(self.ports.blobs, view.manifest))


def extraction_row(session: Session, extraction_id: str) -> ExtractionRow:
    """The record of an extraction. NotFound if there is none."""
    return get_row(session, ExtractionRow, extraction_id, "extraction")


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
        manifest=row.manifest,
        **task_fields(row),
    )
