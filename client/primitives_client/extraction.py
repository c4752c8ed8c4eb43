"""Extractions, their units and their analyses: the activation extraction service."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from primitives_client.connection import path_of
from primitives_client.errors import InvalidInput
from primitives_client.models import activation_extraction as models
from primitives_client.models.base import Request
from primitives_client.pages import Pages
from primitives_client.pictures import Kind, Source, UnitPictures, as_image
from primitives_client.resources import Connections, ControlledTask, Resource, channel_of, id_of, list_of, request
from primitives_client.tables import Row
from primitives_client.training import Run, Runs

if TYPE_CHECKING:
    from PIL.Image import Image

SETTINGS: dict[str, type[Request]] = {
    "dissection": models.DissectionSettings,
    "influence": models.InfluenceSettings,
    "gradient": models.GradientSettings,
    "ablation": models.AblationSettings,
    "detection": models.DetectionSettings,
}
"""The settings of each kind of analysis."""
ROWS = 1000
"""Rows of a page of an analysis."""
UNITS = 500
"""Units of a page of a layer."""


class Unit(Resource, models.UnitSummary):
    """A unit of an extraction, with its statistics over the split and its ranks."""

    _extraction: "Extraction" = PrivateAttr()
    _layer: str = PrivateAttr()

    def details(self) -> "UnitDetails":
        """Read everything that is recorded about the unit."""
        return self._extraction.unit(self._layer, self.unit)

    def picture(self, rank: int = 1, kind: Kind = "overlay", size: int = 227, source: Source = "top") -> "Image":
        """Draw the unit on the patch with a rank, from 1. MissingPackage without Pillow."""
        return as_image(self.picture_bytes(rank, kind, size, source))

    def picture_bytes(self, rank: int = 1, kind: Kind = "overlay", size: int = 227, source: Source = "top") -> bytes:
        """Draw the unit on the patch with a rank, from 1. Return a JPEG."""
        return self._pictures().read(rank, kind, size, source)

    def sheet(self, count: int = 64, kind: Kind = "overlay", size: int = 227, source: Source = "top") -> "Image":
        """Draw the first pictures in rows of eight, at half the size. MissingPackage without Pillow."""
        return as_image(self._pictures().read_sheet(count, kind, size, source))

    def row(self) -> Row:
        """The row of this unit in a table: statistics, the AUC of each class, and the rank in each ranking and
        class."""
        names = self._extraction.classes
        aucs = {f"auc_{_name(names, label)}": auc for label, auc in enumerate(self.auc_by_class)}
        ranks = {f"rank_{one.ranking}_{_name(names, one.label)}": one.rank for one in self.ranks}
        scores = {f"score_{one.ranking}_{_name(names, one.label)}": one.score for one in self.ranks}
        phenomenon = {"phenomenon": self.best.phenomenon, "iou": self.best.iou} if self.best else {}
        own = {name: value for name, value in super().row().items() if name != "best"}
        return {**own, **aucs, **ranks, **scores, **phenomenon}

    def _in(self, extraction: "Extraction", layer: str) -> "Unit":
        self._extraction, self._layer = extraction, layer
        return self

    def _pictures(self) -> UnitPictures:
        return UnitPictures(self._extraction._connections, self._extraction.extraction_id, self._layer, self.unit)


class UnitDetails(Unit, models.UnitView):
    """A unit with the distribution of its maxima, similar units, its dissection, its top patches and sample patches."""


class Analysis(ControlledTask, models.AnalysisView):
    """A further computation on a completed extraction."""

    _id_field: ClassVar[str] = "analysis_id"
    _plural: ClassVar[str] = "analyses"
    _service: ClassVar[str] = "activation_extraction"

    def table(self, layer: str) -> Pages[Row]:
        """Return the result for a layer: a row for each unit and phenomenon, or for each unit and class."""

        def read(offset: int, limit: int) -> tuple[Sequence[Row], int]:
            connection = self._connection()
            found = connection.get(models.AnalysisTable, self._path("layers", layer), offset=offset, limit=limit)
            return found.rows, found.total

        return Pages(read, lambda row: row, ROWS)


class Extraction(ControlledTask, models.ExtractionView):
    """The activations of some layers over a split."""

    _id_field: ClassVar[str] = "extraction_id"
    _plural: ClassVar[str] = "extractions"
    _service: ClassVar[str] = "activation_extraction"

    @property
    def run(self) -> Run:
        """The run whose network was used."""
        return Runs(self._connections).get(self.run_id)

    def unit(self, layer: str, unit: int | str) -> UnitDetails:
        """Read everything that is recorded about a unit: its channel from 0, or its name."""
        path = self._path("layers", layer, "units", str(channel_of(unit)))
        found = self._connection().get(UnitDetails, path)
        found._in(self, layer)
        return found

    def units(
        self,
        layer: str,
        sort: str = "unit",
        label: int | str | None = None,
        descending: bool | None = None,
        silent: bool | None = None,
        search: str = "",
    ) -> Pages[Unit]:
        """Return the units of a layer.

        They are sorted by unit, mean, deviation, maximum, active, auc or iou, or by a ranking: own, influence, gradient
        or ablation. `label` is the class of AUCs and ranks, by its number or name; by default the last one.
        """
        query = {
            "sort": sort,
            "label": self._label(label),
            "descending": descending,
            "silent": silent,
            "search": search,
        }

        def read(offset: int, limit: int) -> tuple[Sequence[Unit], int]:
            connection, path = self._connection(), self._path("layers", layer, "units")
            found = connection.get(models.UnitList, path, **query, offset=offset, limit=limit)
            return [Unit.model_validate(one.model_dump())._in(self, layer) for one in found.units], found.total

        return Pages(read, lambda unit: unit.row(), UNITS)

    def analyse(self, kind: str, key: str = "", **settings: Any) -> Analysis:
        """Start an analysis: dissection, influence, gradient, ablation or detection, with the settings of its kind."""
        if kind not in SETTINGS:
            raise InvalidInput(f"there is no analysis {kind!r}; there are {', '.join(SETTINGS)}")
        body = request(SETTINGS[kind], {"kind": kind, **settings})
        return self._connection().start(Analysis, self._path("analyses"), body, key)._of(self._connections)

    def analyses(self) -> Pages[Analysis]:
        """Return the analyses of this extraction, newest first."""
        path = self._path("analyses")
        return list_of(self._connections, self._connection(), path, models.AnalysisList, "analyses", Analysis)

    def row(self) -> Row:
        """The row of this extraction in a table."""
        return {
            "extraction_id": self.extraction_id,
            "state": self.state,
            "run_id": self.run_id,
            "split": self.split,
            "layers": ", ".join(self.layers),
            "top_k": self.top_k,
            "patches": self.patches,
            "created": self.created,
        }

    def _label(self, label: int | str | None) -> int | None:
        if not isinstance(label, str):
            return label
        if label not in self.classes:
            raise InvalidInput(f"{self.extraction_id} has no class {label!r}; it has {', '.join(self.classes)}")
        return self.classes.index(label)


class Extractions:
    """The extractions of the activation extraction service."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def start(self, run: Run | str, key: str = "", **options: Any) -> Extraction:
        """Extract layers of a completed run over a split; `options` are the fields of `StartExtractionRequest`."""
        values = {"run_id": id_of(run), **options}
        body = request(models.StartExtractionRequest, values)
        connection = self._connections.activation_extraction
        return connection.start(Extraction, path_of("extractions"), body, key)._of(self._connections)

    def get(self, extraction_id: str) -> Extraction:
        """Read one extraction."""
        path = path_of("extractions", extraction_id)
        return self._connections.activation_extraction.get(Extraction, path)._of(self._connections)

    def analysis(self, analysis_id: str) -> Analysis:
        """Read one analysis."""
        path = path_of("analyses", analysis_id)
        return self._connections.activation_extraction.get(Analysis, path)._of(self._connections)

    def list(self) -> Pages[Extraction]:
        """Return all extractions, newest first."""
        return list_of(
            self._connections, self._connections.activation_extraction, path_of("extractions"),
            models.ExtractionList, "extractions", Extraction,
        )  # fmt: skip


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)
