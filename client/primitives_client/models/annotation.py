"""Requests and answers of the annotation service.

Written by `python -m deploy.release.client_models`; do not edit.
"""

from typing import Literal

from pydantic import Field

from primitives_client.models.base import Answer, Exchanged, Request
from primitives_client.models.common import Progress


class Agreement(Answer):
    """A statistic with its interval. `value` is None if it is undefined; `low` and `high` if there is no interval.
    `reason` says why something is None, and is empty otherwise."""

    statistic: str
    value: float | None
    low: float | None
    high: float | None
    units: int
    readers: int
    pairs: int
    reason: str = ""


class AnswerReadingRequest(Request):
    """An answer. The same answer with the same idempotency key is saved once. Times are seconds that the browser
    measured: from the display to the first action, and to the answer without idle time."""

    answers: dict[str, str | list[str]] = Field(default_factory=dict)
    misfits: list[int] = Field(default_factory=list)
    base_version: int = 0
    idempotency_key: str = ""
    first_action_s: float | None = None
    active_s: float | None = None


class AnswerTrialRequest(Request):
    """The number of the patch that the reader chooses."""

    choice: int


class Members(Exchanged):
    """The readers of a study: all readers, or those with these names. Without either, no reader sees the study."""

    everyone: bool = False
    names: list[str] = Field(default_factory=list)


class ChangeStudyRequest(Request):
    """Change a study. What is absent stays as it is. Labels that a study shows cannot be withheld again."""

    members: Members | None = None
    labels_shown: str | None = None
    title: str | None = None


class ChangeTest(Answer):
    """A test of the change. `statistic` and `degrees` are None for an exact test."""

    name: str
    statistic: float | None
    degrees: int | None
    p_value: float


class Choice(Exchanged):
    """A possible answer to a question."""

    id: str
    title: str


class ConceptScore(Answer):
    """How well a unit detects a concept on patients whose patches did not choose its name; see docs/detection.md.
    Each score has a 95% interval over patients, which is null with too few of them. `random` and `sham` are the 95%
    quantiles of the correlation over units of networks with random weights and over sham units. `q` is the false
    discovery rate. `patients` and `patches` show the concept."""

    concept: str
    verdict: str
    correlation: float
    correlation_low: float | None
    correlation_high: float | None
    f1: float
    f1_low: float | None
    f1_high: float | None
    iou: float
    iou_low: float | None
    iou_high: float | None
    auprc: float
    auprc_low: float | None
    auprc_high: float | None
    p: float
    q: float
    floor: float
    random: float
    sham: float
    patients: int
    patches: int


class Coverage(Answer):
    """What carries the evidence for the class: the units with a name, those without one, and the rest, which is the
    bias of the class and what contributions do not explain. The three add up to 1. Below `floor` the names do not
    explain the prediction."""

    named: float
    unnamed: float
    rest: float
    floor: float
    sufficient: bool


class DraftReadingRequest(Request):
    """An unfinished answer. It is kept, and is no answer. `base_version` is the answer's version that it
    changes."""

    answers: dict[str, str | list[str]] = Field(default_factory=dict)
    misfits: list[int] = Field(default_factory=list)
    base_version: int = 0


class ExpectedKappa(Answer):
    """The expected 95% interval of Fleiss' kappa for a yes-or-no question, if both answers are equally frequent."""

    kappa: float
    half_width: float
    caution: str


class ExplainRequest(Request):
    """Explain an uploaded mammogram. All units of the layer that have a name are silenced together. The other
    fields are those of the same names in StartExplanationRequest of the extraction service."""

    extraction_id: str
    mammogram: str
    """The sha256 that the upload was answered with."""
    layer: str = ""
    class_name: str = ""
    row: float | None = None
    column: float | None = None
    fraction: float | None = None
    units: int = 20
    cases: int = 5
    leave_out: str = ""


class UnitNameView(Answer):
    """The name that readers gave a unit. `agreeing` of the `readers` who answered gave it. `source` says where it
    comes from: the `responses` to a study, or the label that the `majority` of the readers of a closed protocol or
    an `adjudicator` settled on. `associated` is whether the phenomenon is associated with cancer: yes, no, unsure,
    or empty. `verdict` is what held-out patients say of the name, and `scores` are those of the known concepts in
    it; without any the name is unverified."""

    unit: int
    name: str
    text: str
    readers: int
    agreeing: int
    associated: str
    source: str
    verdict: str = "unverified"
    scores: list[ConceptScore] = Field(default=[])


class NamedContribution(Answer):
    """A unit among those with the most influence. `label` is its name, if it has one, and `machine` the score of
    the name that a search over known concepts gave it."""

    unit: int
    name: str
    label: UnitNameView | None
    machine: ConceptScore | None = None
    influence: float
    contribution: float
    share: float
    necessity: float
    quantile: float


class ExplanationInWords(Answer):
    """An explanation in the words of readers. `sentences` say it as text. `primitives` are the named units with the
    most influence, at most three, as in the original; they are empty if the names carry too little. `units` are all
    units with the most influence. `silenced` and `alone` are the logit without the named units, and with them
    alone; null if no unit has a name."""

    explanation_id: str
    extraction_id: str
    layer: str
    class_name: str
    predicted: str
    probability: float
    logit: float
    silenced: float | None
    alone: float | None
    exact: bool
    coverage: Coverage
    primitives: list[NamedContribution]
    units: list[NamedContribution]
    sentences: list[str]
    notes: list[str]
    research_use_only: bool = True


class Proportion(Answer):
    """Successes out of trials that are independent of each other; `value` is None without trials."""

    successes: int
    trials: int
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


class ForcedChoice(Answer):
    """Correct answers in a game, with the exact interval, and the exact probability of at least that many by
    chance."""

    correct: Proportion
    chance: float
    p_value: float | None


class UnitChoice(Exchanged):
    """Which units are read. Silent units never are. `subset` and `all` are the lists of the study; `ranked` takes
    the first `top` units of the ranking of a class; `named` takes the units in `units`, by layer."""

    choose: str = "subset"
    layers: list[str] = Field(default=[])
    """Layers of the study; none for all."""
    label: int = -1
    """Class of the ranking; -1 for the last class."""
    top: int = 20
    """Units of each layer's ranking."""
    most_positives: int | None = None
    """Only units with at most this number of the first 8 patches of the last class."""
    least_positives: int | None = None
    """Only units with at least this number of the first 8 patches of the last class."""
    units: dict[str, list[int]] = Field(default_factory=dict)
    """By layer: channels from 0, for `named`."""


class GameDocument(Exchanged):
    """A game. It never changes: a change is another game."""

    format: int = 1
    kind: str
    """`intruder`: one of five patches belongs to another unit. `prediction`: which of four held-out patches does
    the unit answer to, from its description alone?"""
    title: str
    instructions: str = ""
    """Shown to readers before the first trial."""
    protocol: int = 1
    """Version of the study's protocol."""
    units: UnitChoice | None = None
    """null for the units of the protocol."""
    trials: int | None = None
    """Trials of each reader; null for one of each unit."""
    seconds: float = 20
    """Time for a trial."""
    algorithm: str = "sha256-1"
    seed: int | None = None
    """Drawn when the game opens if it is absent."""


class GameItem(Answer):
    """A unit of a game, with its description in words, which only predict-the-unit has."""

    layer: str
    unit: int
    description: str = ""


class Player(Answer):
    """A reader of a game. `known` are the items whose unit the reader has read, or whose label the reader has
    settled; `alone` are those that nobody else has described."""

    pseudonym: str
    known: list[int] = Field(default=[])
    alone: list[int] = Field(default=[])


class FrozenGame(Answer):
    """Everything that decides the trials of a game, except the ranked patches of the units, which never change.
    Items count from 0. `patches` is the number of patches that readers of the protocol saw of each unit."""

    document: GameDocument
    protocol_sha256: str
    patches: int
    items: list[GameItem]
    players: list[Player]
    left_out: int
    """Units that have no description."""


class GameProgress(Answer):
    """A reader of a game, with the numbers of trials: all, answered in time, late, and missed."""

    pseudonym: str
    name: str
    trials: int
    answered: int
    late: int
    missed: int


class GameDetails(Answer):
    """A game with everything that its hash covers."""

    game_id: str
    study_id: str
    version: int
    """Version of the study's protocol."""
    kind: str
    title: str
    sha256: str
    state: str
    options: int
    """Patches of a trial."""
    chance: float
    """Share of right answers by chance."""
    seconds: float
    opened: str
    closed: str
    units: int
    left_out: int
    """Units that have no description, in predict-the-unit."""
    readers: list[GameProgress]
    content: FrozenGame


class GameView(Answer):
    """A game, for the study's owner."""

    game_id: str
    study_id: str
    version: int
    """Version of the study's protocol."""
    kind: str
    title: str
    sha256: str
    state: str
    options: int
    """Patches of a trial."""
    chance: float
    """Share of right answers by chance."""
    seconds: float
    opened: str
    closed: str
    units: int
    left_out: int
    """Units that have no description, in predict-the-unit."""
    readers: list[GameProgress]


class GameList(Answer):
    """The games of a study, newest first."""

    games: list[GameView]


class Score(Answer):
    """Trials, and correct answers with the exact interval and the exact probability of at least that many by
    chance. `in_time` counts the trials that were answered in time. `ended` also counts late and missed ones, as
    wrong."""

    trials: int
    late: int
    missed: int
    in_time: ForcedChoice
    ended: ForcedChoice


class ReaderScore(Answer):
    """The score of a reader. `unfamiliar` are the trials of units that the reader had not read before the game."""

    pseudonym: str
    score: Score
    unfamiliar: Score


class LayerScore(Answer):
    """The score of all readers on the units of a layer."""

    layer: str
    score: Score


class UnitScore(Answer):
    """The score of all readers on a unit."""

    layer: str
    unit: int
    description: str
    score: Score


class GameResults(Answer):
    """The results of a game. Readers are pseudonyms. Intervals of 95% and chances are exact for independent
    trials."""

    game_id: str
    study_id: str
    version: int
    kind: str
    title: str
    sha256: str
    architecture: str
    state: str
    options: int
    chance: float
    seconds: float
    total: Score
    unfamiliar: Score
    readers: list[ReaderScore]
    layers: list[LayerScore]
    units: list[UnitScore]


class ImportedResponse(Request):
    """An answer that a reader gave elsewhere. `unit` is a name such as `unit_0001`, or a channel from 0. As in the
    survey, associated and multiplicity may be empty if recognizable is "no"."""

    reader: str
    layer: str
    unit: str | int
    recognizable: Literal["yes", "no", "unsure"]
    associated: Literal["", "yes", "no", "unsure", "not_applicable"] = ""
    multiplicity: Literal["", "single", "multiple", "not_applicable"] = ""
    description: str = ""
    saved: str | None = None
    """When it was given; now, if it is not known."""


class ImportResponsesRequest(Request):
    """Import answers, all of them or none."""

    rows: list[ImportedResponse]


class ImportedResponses(Answer):
    """The result of an import: answers that are new, and answers that the records have already."""

    imported: int
    unchanged: int


class UnitLabelView(Answer):
    """The label of a unit. `answers` has the choice of each question, and the terms, that more than half of the
    unit's readers chose; or what an adjudicator settled on. `conflicts` are the questions without a majority."""

    item: int
    layer: str
    unit: int
    part: int | None = None
    """1 or 2 if the unit was read in two parts."""
    readers: int
    """Readers who have answered."""
    answers: dict[str, str | list[str]]
    source: str
    conflicts: list[str]
    label_version: int
    """0 if no adjudicator has settled it."""


class OnlyIf(Exchanged):
    """A question applies only if an earlier question was answered with one of these choices."""

    question: str
    among: list[str]


class Question(Exchanged):
    """A question. `choice` takes one of the choices, `scale` one of the ordered choices, `terms` any number of
    terms of the vocabulary and free text, `text` free text."""

    id: str
    kind: str
    text: str
    help: str = ""
    required: bool = True
    choices: list[Choice] = Field(default=[])
    only_if: OnlyIf | None = None


class Questionnaire(Exchanged):
    """A version of a questionnaire."""

    name: str
    version: str
    title: str
    questions: list[Question]


class Term(Exchanged):
    """A term of a vocabulary."""

    id: str
    title: str


class TermGroup(Exchanged):
    """Terms that belong together, such as the margins of a mass."""

    id: str
    title: str
    terms: list[Term]


class Vocabulary(Exchanged):
    """A version of a vocabulary. `older_terms` maps words of earlier editions, such as DDSM's, to terms."""

    name: str
    version: str
    title: str
    groups: list[TermGroup]
    older_terms: dict[str, str] = Field(default_factory=dict)


class PatchView(Answer):
    """A patch of an item; numbers count from 1. The class and the phenomenon are null until they are revealed."""

    number: int
    value: float
    row: int
    column: int
    height: int
    width: int
    mammogram: int | None
    has_source: bool = False
    """Whether the patch can be read as the data set stores it."""
    label: int | None = None
    class_name: str | None = None
    phenomenon: str | None = None


class MammogramView(Answer):
    """A full mammogram, without its name."""

    number: int
    side: str
    view: str
    height: int
    width: int
    has_source: bool = False
    """Whether the full mammogram can be read, not only a preview."""
    may_be_deep: bool = False
    """Whether the full mammogram may have 16 bits."""


class ReaderAnswer(Answer):
    """The answer of one reader to a unit."""

    reader: str
    answers: dict[str, str | list[str]]
    misfits: list[int]


class LabelChange(Answer):
    """A version of an adjudicated label."""

    label_version: int
    answers: dict[str, str | list[str]]
    reason: str
    adjudicator: str
    saved: str


class LabelCase(Answer):
    """Everything that an adjudicator sees of a unit: its patches with their classes, all answers, and the
    history."""

    study_id: str
    version: int
    title: str
    label: UnitLabelView
    questionnaire: Questionnaire
    vocabulary: Vocabulary | None
    patches: list[PatchView]
    mammograms: list[MammogramView]
    answers: list[ReaderAnswer]
    history: list[LabelChange]
    next_conflict: int | None


class TermCount(Answer):
    """In how many units of a layer most readers chose a term."""

    term: str
    title: str
    units: int


class LayerSummary(Answer):
    """What the units of a layer show, by their labels: what more than half of their readers say, or what an
    adjudicator has settled on."""

    layer: str
    units: int
    """Units with at least one answer."""
    recognizable: int
    associated: int
    unsettled: int
    """Units on which readers disagree whether they are recognizable, and which nobody has settled."""
    phenomena: list[TermCount]


class ListProgress(Answer):
    """The number of units in a list that can be answered (all but silent ones), and how many this reader
    answered."""

    units: int
    answered: int


class LayerView(Answer):
    """A layer of a study with its three lists."""

    name: str
    units: int
    silent: int
    ranking_method: str
    subset: ListProgress
    ranked: ListProgress
    all: ListProgress


class TrialView(Answer):
    """A trial that its reader has opened. It names neither the unit nor the right answer."""

    trial_id: str
    game_id: str
    study_id: str
    kind: str
    position: int
    trials: int
    options: int
    """Patches, which are numbered from 1."""
    description: str
    """Of the unit, one term or text a line; empty in the intruder game."""
    state: str
    seconds: float
    remaining_s: float
    """Until the time has passed; 0 afterwards."""
    choice: int | None
    next: str | None
    """The trial that opens after this one; null after the last."""


class NextTrial(Answer):
    """The trial to play; null when all have ended."""

    trial: TrialView | None


class OpenGameRequest(Request):
    """Open a game for the readers with these names."""

    document: GameDocument
    readers: list[str]


class Version(Exchanged):
    """The name and version of a shipped questionnaire or vocabulary."""

    name: str
    version: str


class ProtocolDocument(Exchanged):
    """A protocol. It never changes: a change is another version of the study's protocol."""

    format: int = 1
    title: str
    instructions: str = ""
    """Shown to readers before the first item."""
    units: UnitChoice = Field(default_factory=UnitChoice)
    questionnaire: Questionnaire | Version | None = None
    """structured 1 if it is absent."""
    vocabulary: Vocabulary | Version | None = None
    """bi-rads 5 if it is absent."""
    patches: int = 16
    """Patches of an item, from the strongest."""
    split_units: bool = False
    """Whether a unit whose patches fall into two groups is read in two parts, one after the other."""
    readers_per_unit: int = 2
    shared_units: int = 0
    """Units that every pair of readers shares at least."""
    order: str = "sha256-1"
    seed: int | None = None
    """Drawn when the protocol opens if it is absent."""
    shams: int = 0
    """Sham units for each reader: patches of different units."""
    repeats: int = 0
    """Units that each reader reads twice."""
    reveal: str = "never"
    lease_hours: float = 336
    """Hours without activity after which others may read a unit."""


class OpenProtocolRequest(Request):
    """Open a version of a study's protocol for the readers with these names. An earlier version closes."""

    document: ProtocolDocument
    readers: list[str]


class OpenStudyRequest(Request):
    """Open a study of a rendering whose completion this service has received. Without `members` it is for all
    readers."""

    title: str = ""
    units_per_class: int = 20
    labels_shown: str = ""
    """When a reader sees the class of a patch. after_list, and empty: once the reader has answered the whole list,
    the subset of every layer; all answers to it are blind. after_answer: of a unit once it is answered; units share
    patches, and after 8 to 11 answers readers knew 41 to 56% of the classes of a unit that was not answered yet.
    always."""
    rendering_id: str
    members: Members | None = None


class OwnGame(Answer):
    """A game, for one of its readers. `played` counts the trials that have ended, also late and missed ones."""

    game_id: str
    study_id: str
    kind: str
    title: str
    instructions: str
    state: str
    options: int
    chance: float
    seconds: float
    trials: int
    played: int
    has_next: bool
    """Whether there is a trial to play: one whose time runs, or one to open."""


class OwnGames(Answer):
    """The games of a reader, newest first."""

    games: list[OwnGame]


class PictureView(Answer):
    """A picture of a unit. `label` and the fields after it are absent until the reader may see them."""

    rank: int
    value: float
    row: int
    column: int
    height: int
    width: int
    mammogram: int | None = None
    label: int | None = None
    class_name: str | None = None
    patch: str | None = None
    mammogram_name: str | None = None
    phenomenon: str | None = None


class ReaderProgress(Answer):
    """A reader of a protocol: pseudonym, progress, and the time of the last call. The name is for the study's
    owner."""

    pseudonym: str
    name: str | None = None
    readings: int
    answered: int
    skipped: int
    active: str


class ProtocolView(Answer):
    """A version of a protocol, for the study's owner."""

    study_id: str
    version: int
    sha256: str
    title: str
    state: str
    units: int
    split: int = 0
    """Units that are read in two parts."""
    shams: int
    opened: str
    closed: str
    document: ProtocolDocument
    readers: list[ReaderProgress]


class ProtocolList(Answer):
    """The versions of a study's protocol, newest first."""

    protocols: list[ProtocolView]


class ProtocolPreview(Answer):
    """What a protocol would be if it were opened now."""

    document: ProtocolDocument
    """The document in full, with the seed. Open this one."""
    sha256: str
    units: int
    units_by_layer: dict[str, int]
    split: int = 0
    """Units that are read in two parts."""
    shams: int
    repeats: int
    readers: int
    readings: int
    """Of all readers together, with shams and repeats."""
    fewest_readings: int
    """Readings of the reader who has the fewest."""
    most_readings: int
    fewest_shared: int
    """Units that a pair of readers shares at least."""
    most_shared: int
    expected: list[ExpectedKappa]
    """Empty if units have one reader: then there is no agreement."""


class PutResponseRequest(Request):
    """An answer to a unit; `base_version` is the version that the caller has read, 0 for a first answer.
    associated, multiplicity and description may be empty if recognizable is "no"."""

    recognizable: Literal["yes", "no", "unsure"]
    associated: Literal["", "yes", "no", "unsure", "not_applicable"] = ""
    multiplicity: Literal["", "single", "multiple", "not_applicable"] = ""
    description: str = ""
    base_version: int = 0
    idempotency_key: str = ""


class QuestionAgreement(Answer):
    """The statistics of a question, or of a term. `question` is the name of either."""

    question: str
    results: list[Agreement]


class TermAgreement(Answer):
    """The statistics of a term as a yes-or-no question, and the share of readings that chose it."""

    question: str
    results: list[Agreement]
    chosen: float | None


class TermsSummary(Answer):
    """A statistic over all terms of a question for which it is defined."""

    statistic: str
    median: float | None
    lowest: float | None
    highest: float | None
    defined: int
    undefined: int


class TermsAgreement(Answer):
    """The agreement on each term of a question, and a summary of each statistic over the terms."""

    question: str
    terms: list[TermAgreement]
    summary: list[TermsSummary]


class ShiftView(Answer):
    """How answers to a question changed after the reveal: rows are first answers, columns second ones."""

    choices: list[str]
    table: list[list[int]]
    changed: Proportion
    tests: list[ChangeTest]
    reason: str


class QuestionResult(Answer):
    """Agreement on a question, and the shift of its answers after the reveal if the protocol has a reveal."""

    question: str
    text: str
    kind: str
    titles: dict[str, str]
    """Of the choices, or of the terms, by identifier."""
    agreement: QuestionAgreement | TermsAgreement
    shift: ShiftView | None


class RepeatAgreement(Answer):
    """How far a reader agrees with their own first answer, when a unit comes again."""

    percent: Proportion
    kappa: Agreement


class ReaderResult(Answer):
    """What times and hidden controls show about one reader. Times are medians, in seconds, without idle time."""

    pseudonym: str
    readings: int
    answered: int
    active_s: float | None
    first_action_s: float | None
    false_recognition: Proportion
    """Shams in which the reader recognized something."""
    repeats: dict[str, RepeatAgreement]
    """By question: agreement with the own first answer."""


class UnitPlace(Answer):
    """The study, layer and channel of a unit."""

    study_id: str
    layer: str
    unit: int


class ReaderSummary(Answer):
    """A reader and the units that this reader answered, without the answers themselves. `answered` has the units on
    this page, `total` is the number of all."""

    name: str
    answered: list[UnitPlace]
    total: int


class ReadingListView(Answer):
    """What one reader reads under a protocol."""

    study_id: str
    version: int
    sha256: str
    title: str
    instructions: str
    state: str
    reveal: str
    questionnaire: Questionnaire
    vocabulary: Vocabulary | None
    pseudonym: str
    readings: int
    answered: int
    skipped: int
    next: str | None
    """The reading to do next; null when all are done."""


class ReadingLists(Answer):
    """All reading lists of a reader, newest first."""

    lists: list[ReadingListView]


class ReadingPlace(Answer):
    """A reading in a reader's list. Positions count from 1."""

    reading_id: str
    position: int
    state: str


class ReadingPlaces(Answer):
    """All readings of a reader's list, in its order."""

    readings: list[ReadingPlace]


class SavedAnswer(Answer):
    """An answer to a questionnaire. `misfits` are the numbers of patches that do not fit the others."""

    answers: dict[str, str | list[str]]
    misfits: list[int] = Field(default=[])


class ReadingView(Answer):
    """A reading: what is shown, and what this reader has answered. It does not name the unit."""

    reading_id: str
    study_id: str
    version: int
    position: int
    readings: int
    state: str
    patches: list[PatchView]
    mammograms: list[MammogramView]
    answer: SavedAnswer | None
    second_answer: SavedAnswer | None
    draft: SavedAnswer | None
    answer_version: int
    locked: bool
    """Whether the answer can no longer be changed."""
    may_reveal: bool
    revealed: bool
    previous: str | None
    next: str | None


class ResponseView(Answer):
    """A reader's own answer to a unit. `after_reveal`: whether the reader could see the classes of the unit's
    patches before this version was saved."""

    study_id: str
    layer: str
    unit: int
    recognizable: str
    associated: str
    multiplicity: str
    description: str
    version: int
    saved: str
    after_reveal: bool = False


class ResponseList(Answer):
    """A part of a reader's own answers; `total` is the number of all."""

    responses: list[ResponseView]
    total: int


class ResultsView(Answer):
    """The results of a version of a protocol. Readers are pseudonyms."""

    study_id: str
    version: int
    sha256: str
    title: str
    architecture: str
    state: str
    readings: int
    answered: int
    readers: list[ReaderResult]
    questions: list[QuestionResult]
    layers: list[LayerSummary]


class SettleLabelRequest(Request):
    """Settle the label of a unit. `base_version` is the label's version that the caller has read."""

    answers: dict[str, str | list[str]]
    reason: str = ""
    base_version: int = 0


class StartedExplanation(Answer):
    """An explanation that was started, and the number of units with a name."""

    explanation_id: str
    extraction_id: str
    layer: str
    named: int


class StudyView(Answer):
    """A study."""

    study_id: str
    plan_id: str
    rendering_id: str
    title: str
    architecture: str
    dataset: str
    notice: str
    classes: list[str]
    units_per_class: int
    labels_shown: str
    labels_cost: str = ""
    """What showing labels before the whole list is answered costs."""
    ranks_shown: bool = True
    """Whether the reader sees ranks of units without an answer."""
    read_by_protocol: bool = False
    """Whether the study has a protocol. Its lists of units are then closed to readers."""
    state: str
    error: str
    progress: Progress
    layers: list[LayerView]
    created: str
    started: str
    finished: str


class StudyList(Answer):
    """A page of all studies, newest first."""

    total: int
    next_offset: int | None
    studies: list[StudyView]


class Summary(Answer):
    """A page of the units that readers answered, by reader, study, layer and unit. A reader without an answer is
    also listed, and counts as one unit."""

    total: int
    next_offset: int | None
    readers: list[ReaderSummary]


class UnitLabels(Answer):
    """A page of the labels of a protocol; units on which readers disagree come first."""

    total: int
    next_offset: int | None
    labels: list[UnitLabelView]
    conflicts: int
    """Units with conflicts, on all pages."""


class UnitSummary(Answer):
    """A unit in a list, with its first pictures. Only the ranked list has label, rank, score and count, and only if
    the study does not withhold them from the reader."""

    unit: int
    name: str
    silent: bool
    answered: bool
    revealed: bool
    label: int | None = None
    rank: int | None = None
    score: float | None = None
    count: int | None = None
    pictures: list[PictureView]


class UnitList(Answer):
    """A part of a list; `total` is the length of the whole list."""

    units: list[UnitSummary]
    total: int


class UnitNames(Answer):
    """The names of the units of a layer, by unit."""

    extraction_id: str
    layer: str
    names: list[UnitNameView]


class UnitRank(Answer):
    """The rank of a unit for a class."""

    label: int
    class_name: str
    rank: int
    score: float
    count: int | None


class UnitView(Answer):
    """A unit with all its pictures, and the reader's answer to it."""

    study_id: str
    layer: str
    unit: int
    name: str
    silent: bool
    best: float
    answered: bool
    revealed: bool
    pictures: list[PictureView]
    has_sources: bool = False
    """Whether the patches of the pictures can be read as the data set stores them."""
    mammograms: list[MammogramView]
    ranks: list[UnitRank]
    response: ResponseView | None = None
