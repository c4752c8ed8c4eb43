"""The life of a game: opening, trials with their time, answers, results, and what stays withheld."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text

from services.annotation.agreement.controls import forced_choice
from services.annotation.audit_verification import BrokenChain, verify_records
from services.annotation.game_schemas import GameDetails
from services.annotation.label_schemas import SettleLabelRequest
from services.annotation.picture import decode_pictures
from services.annotation.roles import Role
from services.annotation.tables import UnitRow
from services.annotation.workflow.exports import Exports
from services.annotation.workflow.labels import Labels
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.fakes.annotation import LAYER, SILENT, Annotation
from tests.fakes.games import SECONDS, GameStudy, game_request
from tests.fakes.reading import FORM, NOTHING
from tests.fakes.rendering import PHENOMENA
from tests.fakes.replayed_games import replayed_items, replayed_trial

READERS = ["Ana", "Ben", "Cleo"]
OWNER = Reader("", "Olga", role=Role.RESEARCHER)
UNITS: dict[str, Any] = {"choose": "named", "units": {LAYER: [unit for unit in range(13) if unit != SILENT]}}
FEW: dict[str, Any] = {"choose": "named", "units": {LAYER: [0, 1, 2]}}


def studied(annotation: Annotation) -> GameStudy:
    """A study that three readers have described, with an open game of three trials for two of them and a fourth."""
    study = GameStudy(annotation, READERS, units=UNITS)
    study.describe()
    study.close_protocol()
    study.open(["Ana", "Ben", "Dan"], trials=3)
    return study


@pytest.fixture
def study(annotation: Annotation) -> GameStudy:
    return studied(annotation)


@pytest.fixture
def study_everywhere(annotation_everywhere: Annotation) -> GameStudy:
    """The study over both kinds of records, for tests that depend on their locks."""
    return studied(annotation_everywhere)


def patch_names(annotation: Annotation) -> dict[int, list[str]]:
    """The names of the patches of each unit of the layer that is not silent, by rank."""
    query = select(UnitRow).where(UnitRow.study_id == annotation.study_id, UnitRow.layer == LAYER, ~UnitRow.silent)
    with annotation.ports.records.reading() as session:
        return {row.unit: [one.patch for one in decode_pictures(row.pictures)] for row in session.scalars(query)}


@pytest.mark.parametrize("kind", ["intruder", "prediction"])
def test_the_trials_of_a_game_are_those_of_an_independent_implementation(study: GameStudy, kind: str) -> None:
    """Everything that another program needs is in the game and in the study: the same trials in the same order."""
    game = study.open(["Ben", "Dan"], kind=kind, trials=9, seed=77)
    names, content = patch_names(study.annotation), game.content
    texts = {item.unit: item.description for item in content.items}
    for name, player in zip(["Ben", "Dan"], content.players, strict=True):
        start = (77, player.pseudonym)
        items = replayed_items(start, len(content.items), set(player.known), set(player.alone), 9)
        rows = study.rows(name)
        assert [row.item for row in rows] == items
        for row in rows:
            shown, right = replayed_trial((*start, row.item), kind, row.unit, names, texts, content.patches)
            assert ([tuple(one) for one in row.shown], row.right_place) == (shown, right)


def test_a_game_is_frozen_and_hashed(study: GameStudy) -> None:
    """The same document on the same study has the same hash, another seed has another, and no field is left open."""
    first, same, other = (study.open(["Ana"], seed=seed, trials=2) for seed in (5, 5, 6))
    assert first.sha256 == same.sha256 != other.sha256
    assert first.content.document.seed == 5
    assert study.open(["Ana"], seed=None).content.document.seed is not None
    assert study.games.all(study.annotation.study_id).games[0].game_id == study.game_id


def test_units_that_a_reader_has_not_read_come_first(study: GameStudy) -> None:
    """Ana has read eight of twelve units: with few trials she plays the others. Dan, who is new, knows none."""
    ana, _, dan = study.game.content.players if study.game else ()
    assert len(ana.known) == 8 and dan.known == () == dan.alone
    assert [row.known for row in study.rows("Ana") + study.rows("Dan")] == [False] * 6
    study.open(["Ana"])
    assert sorted(row.known for row in study.rows("Ana")).count(True) == 8


def test_nobody_predicts_a_unit_that_they_alone_have_described(annotation: Annotation) -> None:
    """With one reader a unit, the own units are left out; the label of an adjudicator is the adjudicator's alone."""
    study = GameStudy(annotation, READERS, readers_per_unit=1, units=UNITS)
    study.describe()
    study.close_protocol()
    settle = SettleLabelRequest(answers=FORM | {"description": "rays"}, base_version=0)
    for item in range(4):
        Labels(annotation.ports).settle(study.study.key, item, study.reader("Zoe"), settle, True)
    game = study.open(["Ana", "Zoe"], kind="prediction")
    ana, zoe = game.content.players
    assert set(zoe.alone) == {0, 1, 2, 3} and not set(ana.alone) & {0, 1, 2, 3}
    assert {row.item for row in study.rows("Zoe")} == set(range(12)) - {0, 1, 2, 3}
    assert {row.item for row in study.rows("Ana")} == set(range(12)) - set(ana.alone)
    assert game.content.items[0].description == "spiculated margin\nrays"


def test_a_description_has_the_terms_of_the_label_and_the_texts_of_the_readers(study: GameStudy) -> None:
    """A majority has no text, so that of its readers is shown; neither class nor choice is a description."""
    game = study.open(["Dan"], kind="prediction")
    lines = game.content.items[0].description.splitlines()
    assert lines[0] == "spiculated margin" and len(lines) == 3
    assert {line.partition(" on ")[0] for line in lines[1:]} < set(READERS)


def test_units_without_a_description_are_left_out_and_counted(annotation: Annotation) -> None:
    """A unit in which nobody recognized anything cannot be predicted; without any description the game is refused."""
    study = GameStudy(annotation, ["Ana"], readers_per_unit=1, units=FEW)
    first, *others = study.study.ids("Ana")
    study.study.answer("Ana", first)
    for reading_id in others:
        study.study.answer("Ana", reading_id, answers=NOTHING)
    with pytest.raises(Conflict, match="close version 1 of the protocol first"):
        study.open(["Dan"], kind="prediction")
    study.close_protocol()
    game = study.open(["Dan"], kind="prediction")
    assert (game.units, game.left_out, game.options, game.chance) == (1, 2, 4, 0.25)
    study.study.open(["Ana"], readers_per_unit=1, units=FEW, patches=8)
    study.close_protocol()
    with pytest.raises(InvalidInput, match="of the 3 units of the game, none has a description"):
        study.open(["Dan"], kind="prediction", protocol=2)


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ({"protocol": 7}, NotFound, "no protocol of version 7"),
        ({"trials": 13}, InvalidInput, "P01 can have 12 trials; the game requires 13"),
        ({"units": {"choose": "all", "layers": ["nowhere"]}}, InvalidInput, "no layer .*nowhere"),
        ({"units": {"choose": "named", "units": {LAYER: [SILENT]}}}, InvalidInput, "no unit 5 that can be answered"),
    ],
)
def test_what_the_study_lacks_is_named(
    study: GameStudy, document: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The error names the thing, and no reader is created for a refused game."""
    with pytest.raises(error, match=words):
        study.open(["Nobody"], **document)
    assert study.annotation.readers.known("Nobody").reader_id == ""
    with pytest.raises(InvalidInput, match="is named twice"):
        study.open(["Dan", "DAN"])


def test_a_protocol_that_shows_all_patches_leaves_none_for_predictions(annotation: Annotation) -> None:
    """The error names the unit and what to change."""
    study = GameStudy(annotation, READERS, patches=64, units=FEW)
    study.describe()
    study.close_protocol()
    with pytest.raises(InvalidInput, match=r"unit_000. .* has 64 patches, and readers of the protocol saw 64"):
        study.open(["Dan"], kind="prediction")


def test_a_trial_is_answered_once(study_everywhere: GameStudy) -> None:
    """The same answer again changes nothing; another one is refused; each is in the log once, and in the chain."""
    study = study_everywhere
    trial, ana = study.next("Ana"), study.reader("Ana")
    assert trial.state == "shown" and 0 < trial.remaining_s <= SECONDS
    for _ in range(2):
        saved = study.trials.answer(ana, trial.trial_id, 2)
    assert (saved.state, saved.choice) == ("answered", 2)
    with pytest.raises(Conflict, match="answered this trial already: patch 2"):
        study.trials.answer(ana, trial.trial_id, 3)
    with pytest.raises(InvalidInput, match="no patch 6; it has 5"):
        study.trials.answer(ana, study.next("Ana").trial_id, 6)
    assert study.log(trial.trial_id) == [("opened", None), ("answer", 2)]
    records = study.annotation.ports.records
    before = verify_records(records).answers
    study.next("Ben")
    assert verify_records(records).answers == before + 1


def test_a_changed_row_of_the_log_is_found(study: GameStudy) -> None:
    """Somebody who changes the choice of a logged answer, or removes it, breaks the chain. Without the log there is
    nothing to verify, and the error says what to do."""
    study.answer("Ana", study.next("Ana"))
    records = study.annotation.ports.records
    for change, words in (("UPDATE trial_log SET choice = 9 WHERE position = 2", "trial_log/2 was changed"),
                          ("DELETE FROM trial_log WHERE position = 2", "trial_log/2 is gone")):  # fmt: skip
        with records.transaction() as session:
            session.execute(text(change))
        with pytest.raises(BrokenChain, match=words):
            verify_records(records)
    with records.transaction() as session:
        session.execute(text("DROP TABLE trial_log"))
    with pytest.raises(InvalidInput, match="run `primitives migrate`"):
        verify_records(records)


def test_two_answers_at_once_leave_one(study_everywhere: GameStudy) -> None:
    """Of eight different answers at the same moment, exactly one is saved and logged, and the others are refused."""
    study = study_everywhere
    trial, ana = study.next("Ana"), study.reader("Ana")

    def attempt(number: int) -> int:
        try:
            return study.trials.answer(ana, trial.trial_id, number % 5 + 1).choice or 0
        except Conflict:
            return 0

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(8)))
    saved = study.row(trial.trial_id).choice
    assert {choice for choice in found if choice} == {saved}
    assert study.log(trial.trial_id) == [("opened", None), ("answer", saved)]


def test_two_windows_open_the_same_trial(study_everywhere: GameStudy) -> None:
    """Eight calls at the same moment open one trial, once: its time has one beginning."""
    study = study_everywhere
    dan = study.reader("Dan")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: study.trials.next(dan, study.game_id).trial, range(8)))
    assert len({trial.trial_id for trial in found if trial}) == 1
    assert [row.opened is not None for row in study.rows("Dan")] == [True, False, False]


def test_a_late_answer_is_recorded_and_does_not_count(study: GameStudy) -> None:
    """One second after the time, an answer still counts, for its way; later it is late, also if it is right."""
    for ahead, state in ((SECONDS + 0.5, "answered"), (SECONDS + 1.5, "late")):
        trial = study.next("Ana")
        study.clock_ahead += timedelta(seconds=ahead)
        assert study.answer("Ana", trial).state == state
    total = study.scores.of(study.game_id, OWNER, manages=True).total
    assert (total.in_time.correct.successes, total.in_time.correct.trials, total.late) == (1, 1, 1)
    assert total.ended.correct.trials == 2
    assert study.log(trial.trial_id)[-1][0] == "late"


def test_time_does_not_begin_again(study: GameStudy) -> None:
    """Opening a running trial again gives the time that is left; once it has passed, the next one opens."""
    first = study.next("Ana")
    study.clock_ahead = timedelta(seconds=15)
    again = study.next("Ana")
    assert again.trial_id == first.trial_id and again.remaining_s < 5.1
    assert study.trials.get(study.reader("Ana"), first.trial_id).remaining_s < 5.1
    study.clock_ahead = timedelta(seconds=21.5)
    second = study.next("Ana")
    assert second.position == 2
    assert study.trials.get(study.reader("Ana"), first.trial_id).state == "missed"
    [ana] = [row for row in study.games.get(study.annotation.study_id, study.game_id).readers if row.name == "Ana"]
    assert (ana.answered, ana.late, ana.trials) == (0, 0, 3)
    own = study.trials.game(study.reader("Ana"), study.game_id)
    assert (own.played, own.has_next) == (1, True)


def test_missed_trials_are_counted_apart(study: GameStudy) -> None:
    """A trial that was shown and never answered is missed: at the end of its time, or when the game closes."""
    study.next("Ana")
    study.next("Ben")
    study.answer("Ben", study.next("Ben"), right=False)
    study.games.close(study.annotation.study_id, study.game_id)
    total = study.scores.of(study.game_id, OWNER, manages=True).total
    assert (total.trials, total.missed, total.late) == (9, 1, 0)
    assert (total.in_time.correct.trials, total.ended.correct.trials) == (1, 2)
    assert study.games.get(study.annotation.study_id, study.game_id).readers[0].missed == 1


def test_a_closed_game_takes_no_answers(study: GameStudy) -> None:
    """Neither an answer nor a new trial, and a saved answer can still be sent again."""
    saved, running = study.next("Ana"), study.next("Ben")
    study.answer("Ana", saved)
    study.games.close(study.annotation.study_id, study.game_id)
    for attempt in (lambda: study.answer("Ben", running), lambda: study.next("Dan")):
        with pytest.raises(Conflict, match="Nothing was saved"):
            attempt()
    assert study.answer("Ana", saved).state == "answered"
    assert study.trials.game(study.reader("Dan"), study.game_id).has_next is False


def test_scores_are_those_of_the_trials(study: GameStudy) -> None:
    """In all, by reader, layer and unit, correct answers equal a count of the rows, with exact interval and chance."""
    for name, rights in (("Ana", [True, True, False]), ("Ben", [True, False, True]), ("Dan", [True])):
        for right in rights:
            study.answer(name, study.next(name), right)
    found = study.scores.of(study.game_id, OWNER, manages=True)
    assert found.total.in_time == forced_choice(5, 7, 5) and found.chance == 0.2
    assert [(one.pseudonym, one.score.in_time.correct.successes) for one in found.readers] == [
        ("P01", 2),
        ("P02", 2),
        ("P03", 1),
    ]
    assert [one.layer for one in found.layers] == [LAYER] and found.layers[0].score == found.total
    rows = study.rows()
    for one in found.units:
        of_unit = [row for row in rows if row.unit == one.unit]
        assert one.score.in_time.correct.successes == sum(row.choice == row.right_place for row in of_unit)
        assert one.score.trials == len(of_unit)
    assert found.unfamiliar == found.total


def test_results_are_hidden_from_players_until_the_game_closes(study: GameStudy) -> None:
    """Players wait, also an owner who plays; others see that there is no such game."""
    ana, zoe, game_id = study.reader("Ana"), study.reader("Zoe"), study.game_id
    playing_owner = Reader(ana.reader_id, "Ana", role=Role.RESEARCHER)
    for reader, manages in ((ana, False), (playing_owner, True)):
        with pytest.raises(Forbidden, match="Results are hidden"):
            study.scores.of(game_id, reader, manages)
    with pytest.raises(NotFound):
        study.scores.of(game_id, zoe, False)
    study.games.close(study.annotation.study_id, game_id)
    assert study.scores.of(game_id, ana, False).state == "closed"
    with pytest.raises(NotFound):
        study.scores.of(game_id, zoe, False)
    with pytest.raises(NotFound):
        study.scores.of(game_id, OWNER, True, "study-of-others")


def test_trials_of_others_do_not_exist(study: GameStudy) -> None:
    """Every use case refuses the id of another reader's trial as one that was never given."""
    theirs, ana = study.next("Ben").trial_id, study.reader("Ana")
    attempts: list[Callable[[], object]] = [
        lambda: study.trials.get(ana, theirs),
        lambda: study.trials.answer(ana, theirs, 1),
        lambda: study.trials.picture(ana, theirs, 1),
        lambda: study.trials.game(study.reader("Zoe"), study.game_id),
        lambda: study.trials.next(study.reader("Zoe"), study.game_id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound, match="you have no"):
            attempt()


def test_a_trial_that_is_not_open_shows_nothing(study: GameStudy) -> None:
    """It has neither a view, nor an answer, nor pictures, except those of the next trial while the time runs."""
    ana = study.reader("Ana")
    ids = [row.trial_id for row in study.rows("Ana")]
    for attempt in (study.trials.get, lambda who, one: study.trials.answer(who, one, 1)):
        with pytest.raises(NotFound, match="is not open"):
            attempt(ana, ids[0])
    with pytest.raises(NotFound, match="is not open"):
        study.trials.picture(ana, ids[0], 1)
    trial = study.next("Ana")
    assert trial.next == ids[1]
    assert study.trials.picture(ana, ids[0], 5) and study.trials.picture(ana, ids[1], 1)
    for number, attempted in ((1, ids[2]), (6, ids[0])):
        with pytest.raises(NotFound):
            study.trials.picture(ana, attempted, number)
    study.answer("Ana", trial)
    with pytest.raises(NotFound, match="is not open"):
        study.trials.picture(ana, ids[1], 1)


def test_pictures_are_those_of_the_patches(study: GameStudy) -> None:
    """Each number has the picture of its unit and rank."""
    trial, ana = study.next("Ana"), study.reader("Ana")
    row, owner = study.row(trial.trial_id), Reader(ana.reader_id, "Ana", sees_units=True)
    for number, (unit, rank) in enumerate(row.shown, 1):
        expected = study.annotation.units.picture(owner, (study.annotation.study_id, row.layer, unit), rank)
        assert study.trials.picture(ana, trial.trial_id, number) == expected


def test_what_a_reader_receives_does_not_show_the_answer(study: GameStudy) -> None:
    """Neither unit, layer, class, phenomenon nor right answer is in a view; ids are random and differ by reader."""
    views = [study.next("Ana"), study.next("Ben")]
    shown = json.dumps([view.model_dump(mode="json") for view in views])
    assert [word for word in (LAYER, "unit", "right", "rank", "label", *PHENOMENA) if word in shown] == []
    assert len({row.trial_id for row in study.rows()}) == 9
    own = study.trials.games(study.reader("Ana")).games
    assert LAYER not in json.dumps([game.model_dump(mode="json") for game in own])


def test_a_game_waits_for_the_reading_list(annotation: Annotation) -> None:
    """A reader who has still to read under an open protocol does not see which patches belong together."""
    study = GameStudy(annotation, ["Ana"], readers_per_unit=1, units=FEW)
    study.open(["Ana", "Dan"])
    with pytest.raises(Conflict, match="answer your reading list"):
        study.next("Ana")
    assert study.next("Dan").position == 1
    study.describe()
    assert study.next("Ana").position == 1


def test_the_export_has_every_trial(study: GameStudy) -> None:
    """One line a trial, with the patches that were shown, pseudonyms and no names; three formats."""
    study.answer("Ana", study.next("Ana"))
    exports = Exports(study.annotation.ports)

    def content(format: Any) -> bytes:
        return b"".join(exports.trials(study.annotation.study_id, study.game_id, format).chunks)

    lines = [json.loads(line) for line in content("jsonl").splitlines()]
    assert len(lines) == 9 and {line["reader"] for line in lines} == {"P01", "P02", "P03"}
    assert (lines[0]["state"], lines[0]["correct"], lines[1]["state"]) == ("answered", True, "waiting")
    row = study.rows("Ana")[0]
    assert list(zip(lines[0]["shown_units"], lines[0]["shown_ranks"], strict=True)) == [tuple(one) for one in row.shown]
    assert content("csv").count(b"\r\n") == 10 and b"Ana" not in content("csv")
    assert content("parquet")[:4] == b"PAR1"
    with pytest.raises(NotFound, match="has no game"):
        exports.trials("study-of-others", study.game_id, "csv")


def test_games_of_another_study_do_not_exist(study: GameStudy) -> None:
    """A game is found under its own study only."""
    for attempt in (study.games.get, study.games.close):
        with pytest.raises(NotFound, match="has no game"):
            attempt("study-of-others", study.game_id)


def test_a_game_over_http(study: GameStudy) -> None:
    """From opening to results: the owner opens, readers play, the owner closes, and readers see the results."""
    web, base = study.annotation.browser(), f"/v1/studies/{study.annotation.study_id}/games"
    body = game_request(["Dan"], trials=2, seconds=60).model_dump(mode="json")
    opened = web.post(base, json=body)
    assert opened.status_code == 201, opened.text
    game = GameDetails.model_validate(opened.json())
    dan = {"x-reader": "Dan"}
    assert [one["title"] for one in web.get("/v1/games", headers=dan).json()["games"]] == ["Play", "Play"]
    path = f"/v1/games/{game.game_id}"
    assert web.get(f"{path}/results", headers=dan).status_code == 403
    for _ in range(2):
        trial = web.post(f"{path}/next", headers=dan).json()["trial"]
        answered = web.put(f"/v1/trials/{trial['trial_id']}/answer", json={"choice": 1}, headers=dan)
        assert answered.json()["state"] == "answered"
    refused = web.put(f"/v1/trials/{trial['trial_id']}/answer", json={"choice": 2}, headers=dan)
    assert refused.status_code == 409 and refused.json()["error"] == "Conflict"
    assert web.put(f"/v1/trials/{trial['trial_id']}/answer", json={"choice": 6}, headers=dan).status_code == 422
    assert web.post(f"{path}/next", headers=dan).json() == {"trial": None}
    assert web.post(f"{base}/{game.game_id}/close").json()["state"] == "closed"
    assert web.get(f"{path}/results", headers=dan).json()["total"]["in_time"]["correct"]["trials"] == 2
    assert web.get(f"{base}/{game.game_id}/results").json() == web.get(f"{path}/results", headers=dan).json()


def test_the_number_of_queries_does_not_grow(study: GameStudy) -> None:
    """Lists and results of many trials and readers take the same number of queries as those of a few."""
    executed: list[str] = []
    event.listen(study.annotation.ports.records.engine, "before_cursor_execute", lambda *call: executed.append(call[2]))

    def queries() -> list[int]:
        counts = []
        for call in (
            lambda: study.games.all(study.annotation.study_id),
            lambda: study.trials.games(study.reader("Ana")),
            lambda: study.scores.of(study.game_id, OWNER, manages=True),
        ):
            executed.clear()
            call()
            counts.append(len(executed))
        return counts

    few = queries()
    study.open([*READERS, "Dan", "Eve"])
    assert queries() == few
