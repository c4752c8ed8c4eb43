"""Requests and answers about protocols and readings, for HTTP."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.annotation.protocol.document import ProtocolDocument, RevealRule
from services.annotation.protocol.questionnaire import AnswerValue, FormAnswer, Questionnaire
from services.annotation.protocol.vocabulary import Vocabulary
from services.annotation.schemas import MammogramView
from services.common.requests import RequestModel
from services.common.work.views import Moment

MOST_READERS = 200
ReadingState = Literal["waiting", "shown", "skipped", "answered"]


class OpenProtocolRequest(RequestModel):
    """Open a version of a study's protocol for the readers with these names. An earlier version closes."""

    document: ProtocolDocument
    readers: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=MOST_READERS)


class ExpectedKappa(BaseModel):
    """The expected 95% interval of Fleiss' kappa for a yes-or-no question, if both answers are equally frequent."""

    kappa: float
    half_width: float
    caution: str


class ProtocolPreview(BaseModel):
    """What a protocol would be if it were opened now."""

    document: ProtocolDocument = Field(description="The document in full, with the seed. Open this one.")
    sha256: str
    units: int
    units_by_layer: dict[str, int]
    split: int = Field(default=0, description="Units that are read in two parts.")
    shams: int
    repeats: int
    readers: int
    readings: int = Field(description="Of all readers together, with shams and repeats.")
    fewest_readings: int = Field(description="Readings of the reader who has the fewest.")
    most_readings: int
    fewest_shared: int = Field(description="Units that a pair of readers shares at least.")
    most_shared: int
    expected: list[ExpectedKappa] = Field(description="Empty if units have one reader: then there is no agreement.")


class ReaderProgress(BaseModel):
    """A reader of a protocol: pseudonym, progress, and the time of the last call. The name is for the study's owner."""

    pseudonym: str
    name: str | None = None
    readings: int
    answered: int
    skipped: int
    active: Moment


class ProtocolView(BaseModel):
    """A version of a protocol, for the study's owner."""

    study_id: str
    version: int
    sha256: str
    title: str
    state: Literal["open", "closed"]
    units: int
    split: int = Field(default=0, description="Units that are read in two parts.")
    shams: int
    opened: Moment
    closed: Moment
    document: ProtocolDocument
    readers: list[ReaderProgress]


class ProtocolList(BaseModel):
    """The versions of a study's protocol, newest first."""

    protocols: list[ProtocolView]


class ReadingListView(BaseModel):
    """What one reader reads under a protocol."""

    study_id: str
    version: int
    sha256: str
    title: str
    instructions: str
    state: Literal["open", "closed"]
    reveal: RevealRule
    questionnaire: Questionnaire
    vocabulary: Vocabulary | None
    pseudonym: str
    readings: int
    answered: int
    skipped: int
    next: str | None = Field(description="The reading to do next; null when all are done.")


class ReadingLists(BaseModel):
    """All reading lists of a reader, newest first."""

    lists: list[ReadingListView]


class ReadingPlace(BaseModel):
    """A reading in a reader's list. Positions count from 1."""

    reading_id: str
    position: int
    state: ReadingState


class ReadingPlaces(BaseModel):
    """All readings of a reader's list, in its order."""

    readings: list[ReadingPlace]


class PatchView(BaseModel):
    """A patch of an item; numbers count from 1. The class and the phenomenon are null until they are revealed."""

    number: int
    value: float
    row: int
    column: int
    height: int
    width: int
    mammogram: int | None
    has_source: bool = Field(default=False, description="Whether the patch can be read as the data set stores it.")
    label: int | None = None
    class_name: str | None = None
    phenomenon: str | None = None


class SavedAnswer(BaseModel):
    """An answer to a questionnaire. `misfits` are the numbers of patches that do not fit the others."""

    answers: FormAnswer
    misfits: list[int] = []


class ReadingView(BaseModel):
    """A reading: what is shown, and what this reader has answered. It does not name the unit."""

    reading_id: str
    study_id: str
    version: int
    position: int
    readings: int
    state: ReadingState
    patches: list[PatchView]
    mammograms: list[MammogramView]
    answer: SavedAnswer | None
    second_answer: SavedAnswer | None
    draft: SavedAnswer | None
    answer_version: int
    locked: bool = Field(description="Whether the answer can no longer be changed.")
    may_reveal: bool
    revealed: bool
    previous: str | None
    next: str | None


TypedAnswers = dict[Annotated[str, Field(max_length=64)], AnswerValue]
Misfits = Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(max_length=64)]
Seconds = Annotated[float | None, Field(ge=0, le=7 * 24 * 3600, allow_inf_nan=False)]


class DraftReadingRequest(RequestModel):
    """An unfinished answer. It is kept, and is no answer. `base_version` is the answer's version that it changes."""

    answers: TypedAnswers = Field(default_factory=dict)
    misfits: Misfits = Field(default_factory=list)
    base_version: int = Field(default=0, ge=0, lt=2**31)


class AnswerReadingRequest(DraftReadingRequest):
    """An answer. The same answer with the same idempotency key is saved once.

    Times are seconds that the browser measured: from the display to the first action, and to the answer without idle
    time.
    """

    idempotency_key: str = Field(default="", max_length=64, pattern="^[!-~]*$")
    first_action_s: Seconds = None
    active_s: Seconds = None
