"""Studies, their units, and the responses of readers: the annotation service."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PrivateAttr

from primitives_client.connection import new_key, path_of
from primitives_client.errors import Conflict
from primitives_client.games import Game, GameDocument, games_of, open_game
from primitives_client.models import annotation as models
from primitives_client.pages import Pages
from primitives_client.reading import Document, Protocol, open_protocol, preview_protocol, protocols_of
from primitives_client.rendering import Rendering, Renderings
from primitives_client.resources import Connections, Resource, Task, channel_of, id_of, list_of, request
from primitives_client.tables import Row

if TYPE_CHECKING:
    from PIL.Image import Image

UNITS = 200
"""Units or responses of a page."""
STALE = "StaleVersion"
"""The name that the service gives to a conflict of versions."""

ListName = Literal["subset", "ranked", "all"]
Filter = Literal["all", "unanswered", "answered"]


class StaleVersion(Conflict):
    """A response was changed since it was read. `yours` was not saved; `saved` is the current response."""

    def __init__(self, refusal: Conflict, yours: models.PutResponseRequest, saved: models.ResponseView | None) -> None:
        saved_text = saved.description if saved else ""
        message = f"{refusal.message}. Not saved: {yours.description!r}. Saved: {saved_text!r}"
        super().__init__(message, refusal.status, refusal.name, refusal.call)
        self.yours, self.saved = yours, saved


class Response(Resource, models.ResponseView):
    """A reader's own answer to a unit."""


class StudyUnit(Resource, models.UnitSummary):
    """A unit in a list of a study."""

    _study: "Study" = PrivateAttr()
    _layer: str = PrivateAttr()

    def details(self) -> "StudyUnitDetails":
        """Read all pictures of the unit, and the reader's answer."""
        return self._study.unit(self._layer, self.unit)

    def picture(self, rank: int = 1) -> "Image":
        """Read the picture of the unit with a rank, as the study shows it. MissingPackage without Pillow."""
        return self._study.rendering.picture(self._layer, self.unit, rank)


class StudyUnitDetails(Resource, models.UnitView):
    """A unit with all its pictures, and the reader's answer to it."""

    _study: "Study" = PrivateAttr()

    def picture(self, rank: int = 1) -> "Image":
        """Read the picture of the unit with a rank, as the study shows it. MissingPackage without Pillow."""
        return self._study.rendering.picture(self.layer, self.unit, rank)

    def respond(
        self,
        recognizable: str,
        associated: str = "",
        multiplicity: str = "",
        description: str = "",
        key: str = "",
    ) -> Response:
        """Save the reader's answer, in place of the one that was read with this unit. StaleVersion if that was changed
        meanwhile."""
        version = self.response.version if self.response else 0
        answer = (recognizable, associated, multiplicity, description)
        saved = self._study.respond(self.layer, self.unit, *answer, version=version, key=key)
        self._take(self._study.unit(self.layer, self.unit))
        return saved


class Study(Task, models.StudyView):
    """A study: units, questions and readers. The counts of answers are those of the reader of the client."""

    _id_field: ClassVar[str] = "study_id"
    _plural: ClassVar[str] = "studies"
    _service: ClassVar[str] = "annotation"

    @property
    def rendering(self) -> Rendering:
        """The rendering with the pictures of the study."""
        return Renderings(self._connections).get(self.rendering_id)

    def units(
        self,
        layer: str,
        list: ListName = "all",
        label: int | None = None,
        sort: Literal["unit", "class"] = "unit",
        filter: Filter = "all",
    ) -> Pages[StudyUnit]:
        """Return the units of a list of a layer. The ranked list is that of a class, by default of the last one."""
        query: dict[str, Any] = {"list": list, "label": label, "sort": sort, "filter": filter}

        def read(offset: int, limit: int) -> tuple[Sequence[StudyUnit], int]:
            connection, path = self._connection(), self._path("layers", layer, "units")
            found = connection.get(models.UnitList, path, **query, offset=offset, limit=limit)
            return [self._listed(layer, one) for one in found.units], found.total

        return Pages(read, lambda unit: unit.row(), UNITS)

    def unit(self, layer: str, unit: StudyUnit | int | str) -> StudyUnitDetails:
        """Read a unit with its pictures and the reader's answer."""
        path = self._path("layers", layer, "units", str(channel_of(unit)))
        found = self._connection().get(StudyUnitDetails, path)
        found._study = self
        return found

    # The questions of the survey, and what makes a change safe, are parameters of their own.
    def respond(
        self,
        layer: str,
        unit: StudyUnit | int | str,
        recognizable: str,
        associated: str = "",
        multiplicity: str = "",
        description: str = "",
        version: int = 0,
        key: str = "",
    ) -> Response:
        """Save the reader's answer to a unit. `version` is that of the response that it replaces, 0 for a first answer.

        StaleVersion if another one was saved meanwhile. The same answer with the same `key` is saved once.
        """
        channel = str(channel_of(unit))
        answer = {
            "recognizable": recognizable, "associated": associated, "multiplicity": multiplicity,
            "description": description, "base_version": version, "idempotency_key": key or new_key(),
        }  # fmt: skip
        body = request(models.PutResponseRequest, answer)
        path = self._path("layers", layer, "units", channel, "response")
        try:
            return self._connection().put(Response, path, body)._of(self._connections)
        except Conflict as refusal:
            if refusal.name != STALE:
                raise
            raise StaleVersion(refusal, body, self.unit(layer, int(channel)).response) from refusal

    def members(self) -> models.Members:
        """Read who may see the study. Needs a token with annotation:manage."""
        return self._connection().get(models.Members, self._path("members"))

    def change(
        self, members: Collection[str] | None = None, labels_shown: str | None = None, title: str | None = None
    ) -> "Study":
        """Change readers or title of the study, or show its labels earlier. Needs a token with annotation:manage.

        Without names in `members` no reader sees the study any more.
        """
        values: dict[str, Any] = {}
        if members is not None:
            values["members"] = models.Members(names=sorted(members))
        if labels_shown is not None:
            values["labels_shown"] = labels_shown
        if title is not None:
            values["title"] = title
        body = models.ChangeStudyRequest(**values)
        return self._take(self._connection().change(type(self), self._path(), body))

    def preview_protocol(self, document: Document, readers: Collection[str]) -> models.ProtocolPreview:
        """Read what a protocol would be: units, readings of each reader, the expected interval. Nothing is saved.

        `document` is a dictionary, the path of a JSON file or a model. Needs a token with annotation:manage.
        """
        return preview_protocol(self._connections, self.id, document, readers)

    def open_protocol(self, document: Document, readers: Collection[str]) -> Protocol:
        """Open a version of the protocol for the readers with these names. An open earlier version closes.

        `document` is a dictionary, the path of a JSON file or a model. Needs a token with annotation:manage.
        """
        return open_protocol(self._connections, self.id, document, readers)

    def protocols(self) -> Pages[Protocol]:
        """Return the versions of the protocol, newest first. Needs a token with annotation:manage."""
        return protocols_of(self._connections, self.id)

    def open_game(self, document: GameDocument, readers: Collection[str]) -> Game:
        """Open a game about units of the study's protocol, for the readers with these names.

        `document` is a dictionary, the path of a JSON file or a model. Needs a token with annotation:manage.
        """
        return open_game(self._connections, self.id, document, readers)

    def games(self) -> Pages[Game]:
        """Return the games of the study, newest first. Needs a token with annotation:manage."""
        return games_of(self._connections, self.id)

    def row(self) -> Row:
        """The row of this study in a table."""
        return {
            "study_id": self.study_id,
            "title": self.title,
            "state": self.state,
            "architecture": self.architecture,
            "layers": ", ".join(layer.name for layer in self.layers),
            "labels_shown": self.labels_shown,
            "created": self.created,
        }

    def _listed(self, layer: str, view: models.UnitSummary) -> StudyUnit:
        unit = StudyUnit.model_validate(view.model_dump())
        unit._study, unit._layer = self, layer
        return unit


class Studies:
    """The studies of the annotation service."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def open(
        self, rendering: Rendering | str, members: Collection[str] | None = None, key: str = "", **options: Any
    ) -> Study:
        """Open a study of a completed rendering, for all readers or for members. Needs a token with annotation:manage.

        `options` are title, units_per_class and labels_shown.
        """
        values: dict[str, Any] = {"rendering_id": id_of(rendering), **options}
        if members is not None:
            values["members"] = models.Members(names=sorted(members))
        body = request(models.OpenStudyRequest, values)
        return self._connections.annotation.start(Study, path_of("studies"), body, key)._of(self._connections)

    def get(self, study_id: str) -> Study:
        """Read one study."""
        path = path_of("studies", study_id)
        return self._connections.annotation.get(Study, path)._of(self._connections)

    def list(self) -> Pages[Study]:
        """Return the studies that the reader sees, newest first; without a reader all."""
        return list_of(
            self._connections, self._connections.annotation, path_of("studies"), models.StudyList, "studies", Study
        )

    def responses(self) -> Pages[Response]:
        """Return the reader's own answers in all studies, by study, layer and unit."""

        def read(offset: int, limit: int) -> tuple[Sequence[Response], int]:
            found = self._connections.annotation.get(
                models.ResponseList, path_of("responses"), offset=offset, limit=limit
            )
            return [Response.model_validate(one.model_dump()) for one in found.responses], found.total

        return Pages(read, lambda response: response.row(), UNITS)

    def answered(self, study: Study | str = "") -> dict[str, Sequence[models.UnitPlace]]:
        """Read which units each reader answered, in one study or in all, without the answers."""
        places: dict[str, Any] = {}
        offset: int | None = 0
        while offset is not None:
            query = {"study_id": id_of(study) if study else "", "offset": offset, "limit": 10_000}
            page = self._connections.annotation.get(models.Summary, path_of("summary"), **query)
            for reader in page.readers:
                places.setdefault(reader.name, []).extend(reader.answered)
            offset = page.next_offset
        return places
