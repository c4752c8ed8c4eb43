"""Reader studies under a protocol: reading lists, readings, results, and labels of units."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import Field, PrivateAttr

from primitives_client.connection import new_key, path_of
from primitives_client.errors import Conflict, InvalidInput
from primitives_client.models import annotation as models
from primitives_client.pages import Pages
from primitives_client.pictures import as_image
from primitives_client.resources import Connections, Resource, of_view, request
from primitives_client.tables import Row, Table

if TYPE_CHECKING:
    from PIL.Image import Image

LABELS = 200
"""Labels of a page."""
ALL = 1_000_000
"""The page of a list that the service returns as a whole."""
STALE = "StaleAnswer"
"""The name that the service gives to a conflict of versions."""

Document = models.ProtocolDocument | Mapping[str, Any] | str | Path
"""The document of a protocol: a model, a dictionary, or the path of a JSON file."""
Region = tuple[int, int, int, int]
"""A part of a mammogram in its pixels: row, column, height and width."""
Answers = Mapping[str, str | Sequence[str]]
"""Answers by question: a choice or a text, or the terms of a question about terms."""

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class StaleAnswer(Conflict):
    """An answer was changed since its reading was read. `yours` was not saved; `saved` is the current answer."""

    def __init__(self, refusal: Conflict, yours: models.SavedAnswer, saved: models.SavedAnswer | None) -> None:
        saved_answers = saved.answers if saved else {}
        message = f"{refusal.message}. Not saved: {yours.answers!r}. Saved: {saved_answers!r}"
        super().__init__(message, refusal.status, refusal.name, refusal.call)
        self.yours, self.saved = yours, saved


class Results(Resource, models.ResultsView):
    """The results of a protocol. `questions`, `readers` and `layers` have everything, the methods make tables of it."""

    def agreement(self, question: str = "") -> Table:
        """Return the agreement on each question, or on one: a row for each statistic, with its interval.

        A question about terms has these rows for each term. `reason` says why a value or an interval is missing.
        """
        chosen = [one for one in self.questions if question in ("", one.question)]
        if not chosen:
            known = ", ".join(one.question for one in self.questions)
            raise InvalidInput(f"there is no agreement on a question {question!r}; there is on {known}")
        return Table([row for one in chosen for row in _agreement_rows(one)])

    def reader_table(self) -> Table:
        """Return a row for each reader: progress, median times, false recognition on shams, agreement on repeats."""
        return Table([_reader_row(one) for one in self.readers])

    def layer_table(self) -> Table:
        """Return a row for each layer: how many of its units most readers recognize, and the phenomena they show."""
        return Table([_layer_row(one) for one in self.layers])

    def row(self) -> Row:
        """The row of these results in a table."""
        names = ("study_id", "version", "title", "architecture", "state", "readings", "answered")
        return {name: getattr(self, name) for name in names}

    def _repr_html_(self) -> str:
        tables = (self.layer_table(), self.agreement(), self.reader_table())
        return super()._repr_html_() + "".join(table._repr_html_() for table in tables)


class UnitLabel(Resource, models.UnitLabelView):
    """The label of a unit: the answers of most of its readers, or of an adjudicator."""

    _place: tuple[str, int] = PrivateAttr()

    def details(self) -> models.LabelCase:
        """Read everything about the unit: patches with their classes, all answers, and the history of the label."""
        return self._connections.annotation.get(models.LabelCase, self._path())

    def settle(self, answers: Answers, reason: str = "") -> Self:
        """Settle the label as an adjudicator, who is the reader of the client, in place of the version that was read.

        Conflict if it was changed meanwhile, unless to the same answers for the same reason: a call that is sent again
        after a lost answer finds its own change.
        """
        values = {"answers": _plain(answers), "reason": reason, "base_version": self.label_version}
        body = request(models.SettleLabelRequest, values)
        try:
            settled = self._connections.annotation.put(type(self), self._path(), body)
        except Conflict:
            found = self.details()
            newest = [(one.label_version, one.answers, one.reason) for one in found.history[-1:]]
            if newest != [(body.base_version + 1, body.answers, body.reason)]:
                raise
            settled = type(self).model_validate(found.label.model_dump())
        return self._take(settled)

    def row(self) -> Row:
        """The row of this label in a table: a column for each answer."""
        names = ("item", "layer", "unit", "readers", "source", "label_version")
        answers = {f"answer_{name}": _written(value) for name, value in self.answers.items()}
        return {**{name: getattr(self, name) for name in names}, "conflicts": ", ".join(self.conflicts), **answers}

    def _path(self) -> str:
        study_id, version = self._place
        return path_of("studies", study_id, "protocols", version, "labels", self.item)


class Protocol(Resource, models.ProtocolView):
    """A version of a study's protocol. All its methods need a token with annotation:manage."""

    def refresh(self) -> Self:
        """Read the protocol again, with the progress of its readers."""
        return self._take(self._connections.annotation.get(type(self), self._path()))

    def close(self) -> Self:
        """Close the protocol: nothing more can be answered. Closing it again changes nothing."""
        return self._take(self._connections.annotation.act(type(self), self._path("close")))

    def reader_table(self) -> Table:
        """Return a row for each reader: pseudonym, name and progress, as they were when the protocol was read."""
        return Table([reader.model_dump() for reader in self.readers])

    def results(self) -> Results:
        """Compute the results from the current answers."""
        return self._connections.annotation.get(Results, self._path("results"))

    def labels(self) -> Pages[UnitLabel]:
        """Return the labels of all answered units, conflicts first. Forbidden before the protocol is closed.

        A label that is settled moves within the list, so read the list to its end before you settle its labels.
        """

        def read(offset: int, limit: int) -> tuple[Sequence[UnitLabel], int]:
            path = self._path("labels")
            found = self._connections.annotation.get(models.UnitLabels, path, offset=offset, limit=limit)
            return [self._label(one) for one in found.labels], found.total

        return Pages(read, lambda label: label.row(), LABELS)

    def row(self) -> Row:
        """The row of this protocol in a table."""
        names = ("study_id", "version", "title", "state", "units", "shams", "opened", "closed")
        return {
            **{name: getattr(self, name) for name in names},
            "readers": len(self.readers),
            "readings": sum(reader.readings for reader in self.readers),
            "answered": sum(reader.answered for reader in self.readers),
        }

    def _label(self, view: models.UnitLabelView) -> UnitLabel:
        label = of_view(UnitLabel, view, self._connections)
        label._place = self.study_id, self.version
        return label

    def _path(self, *more: str) -> str:
        return path_of("studies", self.study_id, "protocols", self.version, *more)


class Reading(Resource):
    """An item of a reading list: its patches, and the reader's answers. It does not name the unit.

    The fields are those of the service's answer; its `answer` is `saved` here.
    """

    reading_id: str
    study_id: str
    version: int
    position: int
    readings: int
    state: str
    patches: list[models.PatchView]
    mammograms: list[models.MammogramView]
    saved: models.SavedAnswer | None = Field(validation_alias="answer")
    second_answer: models.SavedAnswer | None
    draft: models.SavedAnswer | None
    answer_version: int
    locked: bool
    """Whether the answer can no longer be changed."""
    may_reveal: bool
    revealed: bool
    previous: str | None
    next: str | None

    def refresh(self) -> Self:
        """Read the reading again."""
        return self._take(self._connections.annotation.get(type(self), self._path()))

    # The times are two measurements of the same answer.
    def answer(
        self,
        answers: Answers,
        misfits: Collection[int] = (),
        key: str = "",
        first_action_s: float | None = None,
        active_s: float | None = None,
    ) -> Self:
        """Save an answer, after the reveal the second one, in place of the one that was read with this reading.

        `misfits` are the numbers of patches that do not fit. The times are seconds to the first action, and to the
        answer without idle time. StaleAnswer if the answer was changed meanwhile. The same answer with the same `key`
        is saved once.
        """
        content = _content(answers, misfits)
        times = {"first_action_s": first_action_s, "active_s": active_s}
        given = {name: value for name, value in times.items() if value is not None}
        version = {"base_version": self.answer_version, "idempotency_key": key or new_key()}
        body = request(models.AnswerReadingRequest, {**content.model_dump(), **version, **given})
        path = self._path("answer")
        return self._take(self._send(lambda: self._connections.annotation.put(type(self), path, body), content))

    def save_draft(self, answers: Answers, misfits: Collection[int] = ()) -> Self:
        """Keep an unfinished answer, which never counts. StaleAnswer if the answer was changed meanwhile."""
        content = _content(answers, misfits)
        body = request(models.DraftReadingRequest, {**content.model_dump(), "base_version": self.answer_version})
        self._send(lambda: self._connections.annotation.put_only(self._path("draft"), body), content)
        return self._take(self.model_copy(update={"draft": content}))

    def skip(self) -> Self:
        """Postpone the reading to the end of the list. An answered one stays answered."""
        return self._act("skip")

    def reveal(self) -> Self:
        """Lock the answer, and show the classes of the patches. Conflict before the protocol allows it."""
        return self._act("reveal")

    def picture(self, number: int = 1) -> "Image":
        """Read the picture of a patch as readers see it, with the unit's activation; numbers count from 1.
        MissingPackage without Pillow."""
        return as_image(self.picture_bytes(number))

    def pictures(self) -> "list[Image]":
        """Read the pictures of all patches."""
        return [self.picture(patch.number) for patch in self.patches]

    def picture_bytes(self, number: int = 1) -> bytes:
        """Read the picture of a patch as JPEG or WebP."""
        return self._connections.annotation.content(self._path("patches", str(number), "picture"))

    def source(self, number: int = 1) -> "Image":
        """Read a patch as the data set stores it: a grey image of 8 bits (mode L) or 16 bits (mode I;16).

        NotFound if its `has_source` is false: the study was opened by an earlier version.
        """
        return as_image(self._connections.annotation.content(self._path("patches", str(number), "source")))

    def mammogram(self, number: int = 1, region: Region | None = None) -> "Image":
        """Read the full mammogram of a patch: its preview, or a region of it with the bits of the data set.

        The region is row, column, height and width in pixels of the mammogram; a patch has `row`, `column`, `height`
        and `width`. More than 1,100 pixels a side are shrunk. InvalidInput if the patch has no full mammogram.
        """
        patch = next((one for one in self.patches if one.number == number), None)
        if patch is None or patch.mammogram is None:
            raise InvalidInput(f"reading {self.reading_id} has no patch {number} with a full mammogram")
        place = ("mammograms", str(patch.mammogram))
        if region is None:
            return as_image(self._connections.annotation.content(self._path(*place, "picture")))
        text = "-".join(map(str, region))
        return as_image(self._connections.annotation.content(self._path(*place, "source"), region=text))

    def row(self) -> Row:
        """The row of this reading in a table."""
        names = ("reading_id", "position", "readings", "state", "answer_version", "locked", "may_reveal", "revealed")
        answers = (self.second_answer or self.saved or models.SavedAnswer(answers={})).answers
        written = {f"answer_{name}": _written(value) for name, value in answers.items()}
        return {**{name: getattr(self, name) for name in names}, **written}

    def _act(self, verb: str) -> Self:
        return self._take(self._connections.annotation.act(type(self), self._path(verb)))

    def _send(self, send: Callable[[], T], content: models.SavedAnswer) -> T:
        """Send an answer or a draft. StaleAnswer has it, and the current answer of the service."""
        try:
            return send()
        except Conflict as refusal:
            if refusal.name != STALE:
                raise
            newer = self._connections.annotation.get(type(self), self._path())
            raise StaleAnswer(refusal, content, newer.second_answer if newer.revealed else newer.saved) from refusal

    def _path(self, *more: str) -> str:
        return path_of("readings", self.reading_id, *more)


class ReadingPlace(Resource, models.ReadingPlace):
    """A reading in a list, with its position and state."""

    def open(self) -> Reading:
        """Read what is shown. The first time is recorded as the start of the reading."""
        return _reading(self._connections, self.reading_id)


class ReadingList(Resource):
    """The reader's list under a protocol.

    The fields are those of the service's answer; its `readings` is `total` here, and its `next` is `next_id`.
    """

    study_id: str
    version: int
    sha256: str
    title: str
    instructions: str
    state: str
    reveal: str
    questionnaire: models.Questionnaire
    vocabulary: models.Vocabulary | None
    pseudonym: str
    total: int = Field(validation_alias="readings")
    answered: int
    skipped: int
    next_id: str | None = Field(validation_alias="next")
    """The reading to do next; None when all are done."""

    def refresh(self) -> Self:
        """Read the list again."""
        return self._take(self._connections.annotation.get(type(self), self._path()))

    def next(self) -> Reading | None:
        """Read the next reading to do; skipped ones come last. None when all are answered, or the protocol is
        closed."""
        next_id = self.refresh().next_id
        return _reading(self._connections, next_id) if next_id else None

    def readings(self) -> Pages[ReadingPlace]:
        """Return all readings of the list, in its order."""

        def read() -> Sequence[ReadingPlace]:
            found = self._connections.annotation.get(models.ReadingPlaces, self._path("readings"))
            return [of_view(ReadingPlace, one, self._connections) for one in found.readings]

        return whole(read)

    def take(self) -> Self:
        """Take over a reading of an inactive reader, at the end of this list. NotFound if none is free."""
        return self._take(self._connections.annotation.act(type(self), self._path("take")))

    def results(self) -> Results:
        """Compute the results, as a reader of the protocol. Forbidden before it is closed."""
        return self._connections.annotation.get(Results, self._path("results"))

    def row(self) -> Row:
        """The row of this list in a table."""
        names = ("study_id", "version", "title", "state", "pseudonym", "total", "answered", "skipped")
        return {name: getattr(self, name) for name in names}

    def _path(self, *more: str) -> str:
        return path_of("reading-lists", self.study_id, self.version, *more)


def preview_protocol(
    connections: Connections, study_id: str, document: Document, readers: Collection[str]
) -> models.ProtocolPreview:
    """Return what a protocol of a study would be if it were opened now."""
    path = path_of("studies", study_id, "protocol-preview")
    return connections.annotation.act(models.ProtocolPreview, path, _opening(document, readers))


def open_protocol(connections: Connections, study_id: str, document: Document, readers: Collection[str]) -> Protocol:
    """Open a version of a study's protocol."""
    path = path_of("studies", study_id, "protocols")
    return connections.annotation.act(Protocol, path, _opening(document, readers))._of(connections)


def protocols_of(connections: Connections, study_id: str) -> Pages[Protocol]:
    """Return the versions of a study's protocol."""

    def read() -> Sequence[Protocol]:
        found = connections.annotation.get(models.ProtocolList, path_of("studies", study_id, "protocols"))
        return [of_view(Protocol, one, connections) for one in found.protocols]

    return whole(read)


def reading_lists_of(connections: Connections) -> Pages[ReadingList]:
    """Return the reading lists of the client's reader."""

    def read() -> Sequence[ReadingList]:
        found = connections.annotation.get(models.ReadingLists, path_of("reading-lists"))
        return [of_view(ReadingList, one, connections) for one in found.lists]

    return whole(read)


def _opening(document: Document, readers: Collection[str]) -> models.OpenProtocolRequest:
    content = read_document(Path(document)) if isinstance(document, str | Path) else document
    values = {"document": request(models.ProtocolDocument, content), "readers": readers}
    return request(models.OpenProtocolRequest, values)


def read_document(path: Path) -> Any:
    """Read a JSON document. InvalidInput names a file that has none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as a JSON document: {error}") from error


def _reading(connections: Connections, reading_id: str) -> Reading:
    return connections.annotation.get(Reading, path_of("readings", reading_id))._of(connections)


def whole(read: Callable[[], Sequence[R]]) -> Pages[R]:
    """Return a list that the service returns in one answer."""

    def part(offset: int, limit: int) -> tuple[Sequence[R], int]:
        found = read()
        return found[offset : offset + limit], len(found)

    return Pages(part, lambda one: one.row(), ALL)


def _content(answers: Answers, misfits: Collection[int]) -> models.SavedAnswer:
    return request(models.SavedAnswer, {"answers": _plain(answers), "misfits": sorted(misfits)})


def _plain(answers: Answers) -> dict[str, Any]:
    return {name: value if isinstance(value, str) else list(value) for name, value in answers.items()}


def _written(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _agreement_rows(question: models.QuestionResult) -> list[Row]:
    found = question.agreement
    if isinstance(found, models.QuestionAgreement):
        return [_statistic_row(question.question, None, one) for one in found.results]
    return [
        _statistic_row(question.question, question.titles.get(term.question, term.question), one)
        for term in found.terms
        for one in term.results
    ]


def _statistic_row(question: str, term: str | None, found: models.Agreement) -> Row:
    return {"question": question, "term": term, **found.model_dump()}


def _reader_row(reader: models.ReaderResult) -> Row:
    names = ("pseudonym", "readings", "answered", "active_s", "first_action_s")
    shams = reader.false_recognition
    return {
        **{name: getattr(reader, name) for name in names},
        "shams": shams.trials,
        "false_recognition": shams.value,
        "false_recognition_low": shams.low,
        "false_recognition_high": shams.high,
        **{f"repeats_{question}": one.percent.value for question, one in reader.repeats.items()},
    }


def _layer_row(layer: models.LayerSummary) -> Row:
    names = ("layer", "units", "recognizable", "associated", "unsettled")
    phenomena = ", ".join(f"{one.title} ({one.units})" for one in layer.phenomena if one.units)
    return {**{name: getattr(layer, name) for name in names}, "phenomena": phenomena}
