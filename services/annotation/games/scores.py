"""What the trials of a game show: correct answers against chance, for units, readers, layers and in all."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, TypeVar

from services.annotation.agreement.controls import ForcedChoice, forced_choice

TrialState = Literal["waiting", "shown", "answered", "late", "missed"]
"""`late`: answered after the time had passed. `missed`: the time has passed without an answer."""

K = TypeVar("K", bound=Hashable)


class PlayedTrial(NamedTuple):
    """A trial of a game. `reader` is the pseudonym, `right` and `choice` are places from 1."""

    trial_id: str
    reader: str
    position: int
    item: int
    layer: str
    unit: int
    shown: tuple[tuple[int, int], ...]
    right: int
    known: bool
    state: TrialState
    opened: datetime | None
    answered: datetime | None
    choice: int | None

    @property
    def correct(self) -> bool:
        """Whether the answer was right and in time."""
        return self.state == "answered" and self.choice == self.right


@dataclass(frozen=True)
class Score:
    """Trials, and correct answers with the exact interval and the exact probability of at least that many by chance.

    `in_time` counts the trials that were answered in time. `ended` also counts late and missed ones, as wrong.
    """

    trials: int
    late: int
    missed: int
    in_time: ForcedChoice
    ended: ForcedChoice


def score(trials: Sequence[PlayedTrial], options: int) -> Score:
    """Return the score of some trials of a game with this number of options."""
    states = [trial.state for trial in trials]
    answered, late, missed = (states.count(state) for state in ("answered", "late", "missed"))
    correct = sum(trial.correct for trial in trials)
    return Score(
        trials=len(trials),
        late=late,
        missed=missed,
        in_time=forced_choice(correct, answered, options),
        ended=forced_choice(correct, answered + late + missed, options),
    )


def scores_by(key: Callable[[PlayedTrial], K], trials: Iterable[PlayedTrial], options: int) -> list[tuple[K, Score]]:
    """Return the scores of groups of trials, by ascending key."""
    groups: dict[K, list[PlayedTrial]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    return [(name, score(groups[name], options)) for name in sorted(groups)]  # type: ignore[type-var]
