"""Decides what a study withholds from a reader. No other module decides whether the class of a patch is shown.

Units share patches: a reader who sees the classes of one unit's patches knows some classes of other units. So a blind
study shows no class of any unit before the reader has answered the whole list, which is the subset of every layer.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.annotation import repository
from services.annotation.tables import LayerRow, StudyRow
from services.annotation.workflow.readers import Reader
from services.common.errors import Forbidden

COSTS = {
    "after_list": "",
    "after_answer": (
        "Labels are shown after each answer, and units share patches. Measured cost: after 8 to 11 answers, a reader "
        "knew 41 to 56% of the classes of a unit that was not answered yet. Only the first answers of this study are "
        "blind. With after_list all of the list are."
    ),
    "always": "Labels are shown before every answer. No answer of this study is blind.",
}
"""What each mode costs, for the owner of a study."""
DEFAULT_MODE = "after_list"
MODES = tuple(COSTS)
"""When labels are shown, the latest first. A study may change to a later mode of this list, and never back."""


@dataclass(frozen=True)
class Blinding:
    """What a study withholds from a reader."""

    labels_shown: str
    list_revealed: bool
    """Whether the reader sees all labels of the study because the subset of every layer is answered."""
    sees_units: bool
    """Whether the reader may open the unit browser, which shows all ranks."""

    def reveals(self, answered: bool) -> bool:
        """Whether the reader sees the classes of the patches of a unit that the reader has answered, or has not."""
        shown = {"always": True, "after_answer": answered}
        return self.list_revealed or shown.get(self.labels_shown, False)

    @property
    def shows_ranks(self) -> bool:
        """Whether the reader sees ranks, scores and counts of units without an answer, and lists in their order."""
        return self.sees_units or self.reveals(answered=False)


def listed_study(session: Session, study_id: str, reader: Reader, is_open: bool = True) -> StudyRow:
    """The row of a study whose lists of units a reader may use, and open if `is_open`.

    Forbidden if the study has a protocol and the reader may not see units: its lists would reveal shams and
    repeats, and show labels before the protocol does.
    """
    find = repository.open_study if is_open else repository.readable_study
    study = find(session, study_id, reader.reader_id)
    if study.read_by_protocol and not reader.sees_units:
        raise Forbidden("This study is read under a protocol. Please use your reading list on the home page.")
    return study


def blindings_of(session: Session, studies: Collection[StudyRow], reader: Reader) -> dict[str, Blinding]:
    """What each of some studies withholds from a reader now, by its id."""
    answered: repository.AnsweredByLayer = {}
    layers: defaultdict[str, list[LayerRow]] = defaultdict(list)
    if listed := [study.study_id for study in studies if study.list_reveals]:
        answered = repository.answered_by_layer(session, reader.reader_id, listed)
        for layer in repository.layers(session, listed):
            layers[layer.study_id].append(layer)
    return {
        study.study_id: blinding_with(study, layers[study.study_id], answered, reader.sees_units) for study in studies
    }


def blinding_of(session: Session, study: StudyRow, reader: Reader) -> Blinding:
    """What a study withholds from a reader now."""
    return blindings_of(session, [study], reader)[study.study_id]


def blinding_with(
    study: StudyRow, layers: Iterable[LayerRow], answered: repository.AnsweredByLayer, sees_units: bool
) -> Blinding:
    """What a study withholds from a reader who has answered these numbers of units. A study whose layers have no subset
    has no list to answer. A study with a protocol reveals labels on the pages of its readings only."""
    if study.read_by_protocol and not sees_units:
        return Blinding("never", list_revealed=False, sees_units=False)
    listed = [(row.in_subset, answered.get((row.study_id, row.layer), (0, 0, 0))[1]) for row in layers]
    complete = any(units for units, _ in listed) and all(done >= units for units, done in listed)
    return Blinding(study.labels_shown, study.list_reveals and complete, sees_units)
