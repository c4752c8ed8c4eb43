"""Queries about analyses and their results."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.activation_extraction.analyses.schemas import AnalysisList, AnalysisTable, AnalysisView, TableQuery
from services.activation_extraction.tables import AnalysisRow, ExtractionRow, PieceRow
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, NotFound
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_first, newest_page
from services.common.redaction import quoted
from services.common.work.fan_out import count_parts, counts_of_parts
from services.common.work.ports import Ports
from services.common.work.views import task_fields
from services.imaging.manifests import AnalysisManifest, read_table
from services.imaging.units import unit_name


@dataclass
class AnalysisQueries:
    """The queries, over the ports."""

    ports: Ports

    def get(self, analysis_id: str) -> AnalysisView:
        """One analysis, with its layers once it is completed. NotFound if there is none."""
        with self.ports.records.reading() as session:
            row = get_row(session, AnalysisRow, analysis_id, "analysis")
            view = _view(row, count_parts(session, PieceRow, analysis_id))
        if view.manifest is not None:
            view.layers = [layer.name for layer in self._manifest(view).layers]
        return view

    def of(self, extraction_id: str, window: Window = FIRST_PAGE) -> AnalysisList:
        """A page of the analyses of an extraction, newest first. NotFound if there is no such extraction."""
        with self.ports.records.reading() as session:
            get_row(session, ExtractionRow, extraction_id, "extraction")
            page = newest_page(session, AnalysisRow, window, AnalysisRow.extraction_id == extraction_id)
            done = counts_of_parts(session, PieceRow, [row.analysis_id for row in page.rows])
            views = [_view(row, done.get(row.analysis_id, 0)) for row in page.rows]
        return AnalysisList(analyses=views, total=page.total, next_offset=page.next_offset)

    def completed(self, extraction_id: str) -> list[tuple[str, ObjectRef]]:
        """Kind and manifest of the completed analyses of an extraction, newest first."""
        of_extraction, completed = AnalysisRow.extraction_id == extraction_id, AnalysisRow.state == "completed"
        with self.ports.records.reading() as session:
            rows = newest_first(session, AnalysisRow, of_extraction, completed)
            return [(row.kind, row.manifest) for row in rows if row.manifest is not None]

    def table(self, analysis_id: str, layer: str, query: TableQuery) -> AnalysisTable:
        """Rows of the result of a completed analysis for a layer. NotFound names the layers that it has."""
        view = self.get(analysis_id)
        found = [one for one in self._manifest(view).layers if one.name == layer]
        if not found:
            raise NotFound(f"analysis {analysis_id} has no layer {quoted(layer)}; it has {', '.join(view.layers)}")
        table = read_table(self.ports.blobs, found[0].table)
        if query.units:
            table = table.filter(pc.is_in(table["unit"], pa.array(query.units, type=pa.int32())))
        rows = table.slice(min(query.offset, len(table)), query.limit).to_pylist()
        return AnalysisTable(
            analysis_id=analysis_id,
            kind=view.kind,
            layer=layer,
            offset=query.offset,
            total=len(table),
            rows=[row | {"name": unit_name(row["unit"])} for row in rows],
        )

    def _manifest(self, view: AnalysisView) -> AnalysisManifest:
        """The manifest of a completed analysis. Conflict if it is not completed."""
        if view.manifest is None:
            raise Conflict(f"analysis {view.analysis_id} is {view.state}; it has results once it is completed")
        return AnalysisManifest.model_validate_json(read_verified(self.ports.blobs, view.manifest))


def _view(row: AnalysisRow, done: int) -> AnalysisView:
    return AnalysisView(
        analysis_id=row.analysis_id,
        extraction_id=row.extraction_id,
        plan_id=row.plan_id,
        kind=row.kind,
        settings=row.settings,
        pieces=row.pieces,
        pieces_done=done,
        manifest=row.manifest,
        **task_fields(row),
    )
