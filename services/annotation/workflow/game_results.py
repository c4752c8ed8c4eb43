"""Computes the results of a game from its trials, and decides who may see them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.annotation import game_queries as queries
from services.annotation import repository
from services.annotation.game_schemas import GameResults, LayerScore, ReaderScore, UnitScore
from services.annotation.games.document import FrozenGame
from services.annotation.games.draw import SHAPES
from services.annotation.games.scores import PlayedTrial, score, scores_by
from services.annotation.tables import GameReaderRow, GameRow
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.trials import state_of
from services.common.errors import Forbidden, NotFound
from services.common.records import now
from services.common.redaction import quoted
from services.common.work.ports import Ports


@dataclass
class GameScores:
    """The use cases of the results of games."""

    ports: Ports

    def of(self, game_id: str, reader: Reader | None, manages: bool, study_id: str = "") -> GameResults:
        """The results of a game, which belongs to `study_id` if that is given.

        While it is open they are for the study's owner only, and not even for an owner who plays. Once it is closed,
        its readers see them too. Forbidden or NotFound otherwise.
        """
        with self.ports.records.reading() as session:
            row = queries.game_row(session, game_id)
            plays = reader is not None and session.get(GameReaderRow, (game_id, reader.reader_id)) is not None
            if not (plays or manages) or study_id not in ("", row.study_id):
                raise NotFound(f"there is no game {quoted(game_id)}")
            if row.closed is None and (plays or not manages):
                raise Forbidden("Results are hidden from all who play a game until it is closed.")
            architecture = repository.study_row(session, row.study_id).architecture
            trials = list(played_trials(session, row))
        return compute_results(row, architecture, trials)


def played_trials(session: Session, game: GameRow) -> Iterator[PlayedTrial]:
    """All trials of a game, by pseudonym and position."""
    at = now()
    for row, reader in queries.trials_of_game(session, game.game_id):
        yield PlayedTrial(
            trial_id=row.trial_id,
            reader=reader,
            position=row.position,
            item=row.item,
            layer=row.layer,
            unit=row.unit,
            shown=tuple((unit, rank) for unit, rank in row.shown),
            right=row.right_place,
            known=row.known,
            state=state_of(game, row, at),
            opened=row.opened,
            answered=row.answered,
            choice=row.choice,
        )


def compute_results(row: GameRow, architecture: str, trials: Sequence[PlayedTrial]) -> GameResults:
    """Compute all scores of a game."""
    game = FrozenGame.model_validate_json(row.content)
    options = SHAPES[game.document.kind].options
    unfamiliar = [trial for trial in trials if not trial.known]
    readers = dict(scores_by(lambda trial: trial.reader, trials, options))
    of_unfamiliar = dict(scores_by(lambda trial: trial.reader, unfamiliar, options))
    none = score([], options)
    return GameResults(
        game_id=row.game_id,
        study_id=row.study_id,
        version=row.version,
        kind=game.document.kind,
        title=row.title,
        sha256=row.sha256,
        architecture=architecture,
        state="open" if row.closed is None else "closed",
        options=options,
        chance=1 / options,
        seconds=row.seconds,
        total=score(trials, options),
        unfamiliar=score(unfamiliar, options),
        readers=[
            ReaderScore(pseudonym=name, score=found, unfamiliar=of_unfamiliar.get(name, none))
            for name, found in readers.items()
        ],
        layers=[
            LayerScore(layer=layer, score=found)
            for layer, found in scores_by(lambda trial: trial.layer, trials, options)
        ],
        units=[
            UnitScore(
                layer=game.items[item].layer,
                unit=game.items[item].unit,
                description=game.items[item].description,
                score=found,
            )
            for item, found in scores_by(lambda trial: trial.item, trials, options)
        ],
    )
