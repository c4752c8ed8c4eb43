"""Games of the Python client: opening, playing, results."""

from typing import Any

import httpx
import pytest

from primitives_client import Conflict, Game, OwnGame, Study, Trial, Unavailable
from primitives_client.models import annotation as models
from tests.fakes.http_services import Answer, HttpServices, problem
from tests.unit.client.test_studies import study

DOCUMENT = {"kind": "intruder", "title": "Play", "protocol": 2, "seed": 7}
HOST = "http://host:8000/v1"


def ok(content: object) -> httpx.Response:
    """Return the answer of a service with this content."""
    return httpx.Response(200, json=content)


def game(state: str = "open", answered: int = 0) -> dict[str, Any]:
    """Return a game, as the annotation service answers."""
    reader = {"pseudonym": "P01", "name": "Ana", "trials": 4, "answered": answered, "late": 1, "missed": 0}
    return {
        "game_id": "game-1", "study_id": "study-1", "version": 2, "kind": "intruder", "title": "Play", "sha256": "00",
        "state": state, "options": 5, "chance": 0.2, "seconds": 20, "opened": "", "closed": "", "units": 4,
        "left_out": 0, "readers": [reader],
        "content": {"document": DOCUMENT, "protocol_sha256": "11", "patches": 16, "items": [], "players": [],
                    "left_out": 0},
    }  # fmt: skip


def own_game(played: int = 0) -> dict[str, Any]:
    """Return a game of a reader, as the annotation service answers."""
    return {
        "game_id": "game-1", "study_id": "study-1", "kind": "intruder", "title": "Play", "instructions": "",
        "state": "open", "options": 5, "chance": 0.2, "seconds": 20, "trials": 4, "played": played, "has_next": True,
    }  # fmt: skip


def trial(choice: int | None = None) -> dict[str, Any]:
    """Return a trial, as the annotation service answers."""
    return {
        "trial_id": "trial-1", "game_id": "game-1", "study_id": "study-1", "kind": "intruder", "position": 1,
        "trials": 4, "options": 5, "description": "", "state": "answered" if choice else "shown", "seconds": 20,
        "remaining_s": 19.5, "choice": choice, "next": "trial-2",
    }  # fmt: skip


def results() -> dict[str, Any]:
    """Return results, as the annotation service answers."""
    share = {"successes": 3, "trials": 4, "value": 0.75, "low": 0.2, "high": 0.99, "reason": ""}
    correct = {"correct": share, "chance": 0.2, "p_value": 0.03}
    score = {"trials": 5, "late": 1, "missed": 0, "in_time": correct, "ended": correct}
    return {
        **{name: value for name, value in game("closed").items() if name not in ("opened", "closed", "left_out")},
        "architecture": "resnet18", "total": score, "unfamiliar": score,
        "readers": [{"pseudonym": "P01", "score": score, "unfamiliar": score}],
        "layers": [{"layer": "layer4", "score": score}],
        "units": [{"layer": "layer4", "unit": 3, "description": "rays", "score": score}],
    }  # fmt: skip


def read_game(*answers: Answer) -> tuple[Game, HttpServices]:
    """Read the game of a study; these are the answers to the calls after that."""
    services = HttpServices(ok(study()), ok({"games": [game()]}), *answers)
    return services.client().studies.get("study-1").games().first(), services


def read_own_game(*answers: Answer) -> tuple[OwnGame, HttpServices]:
    """Read Ana's game; these are the answers to the calls after that."""
    services = HttpServices(ok({"games": [own_game()]}), *answers)
    return services.client(reader="Ana").games().first(), services


def read_trial(*answers: Answer) -> tuple[Trial, HttpServices]:
    """Open Ana's next trial; these are the answers to the calls after that."""
    found, services = read_own_game(ok({"trial": trial()}), *answers)
    opened = found.next()
    assert opened is not None
    return opened, services


def test_a_game_is_opened_from_a_document() -> None:
    """The service receives what the document says, and the hash covers what `content` has."""
    services = HttpServices(ok(study()), ok(game()), ok(game()))
    found: Study = services.client().studies.get("study-1")
    opened = found.open_game(DOCUMENT, ["Ana"])
    assert (opened.game_id, opened.chance) == ("game-1", 0.2)
    assert services.bodies() == [{"document": DOCUMENT, "readers": ["Ana"]}]
    assert isinstance(opened.content(), models.FrozenGame)
    assert services.calls[1:] == [f"POST {HOST}/studies/study-1/games", f"GET {HOST}/studies/study-1/games/game-1"]


def test_a_game_is_not_opened_twice_after_a_lost_answer() -> None:
    """A second call would open another game, so the client leaves it to its caller."""
    services = HttpServices(ok(study()), httpx.ReadError("lost"), ok(game()))
    with pytest.raises(Unavailable):
        services.client().studies.get("study-1").open_game(DOCUMENT, ["Ana"])
    assert len(services.calls) == 2


def test_a_game_is_read_again_and_closed() -> None:
    """Both take the fields of the service's answer; the readers are a table."""
    found, services = read_game(ok(game(answered=3)), ok(game("closed", answered=4)))
    assert [row["answered"] for row in found.refresh().reader_table()] == [3]
    assert found.close().state == "closed"
    place = f"{HOST}/studies/study-1/games/game-1"
    assert services.calls[2:] == [f"GET {place}", f"POST {place}/close"]


def test_trials_come_one_after_the_other() -> None:
    """Each is opened by a call of its own; None at the end."""
    found, services = read_own_game(ok({"trial": trial()}), ok({"trial": None}), ok(own_game(played=4)))
    opened = found.next()
    assert opened is not None and (opened.position, opened.remaining_s) == (1, 19.5)
    assert found.next() is None and found.refresh().played == 4
    assert services.calls[1:] == [f"POST {HOST}/games/game-1/next"] * 2 + [f"GET {HOST}/games/game-1"]
    assert {one.headers["x-reader"] for one in services.requests} == {"Ana"}


def test_an_answer_whose_reply_is_lost_is_sent_again() -> None:
    """The service saves it once; another answer is a conflict."""
    found, services = read_trial(httpx.ReadError("lost"), ok(trial(2)), problem(409, "Conflict", "answered already"))
    assert found.answer(2).state == "answered"
    assert services.bodies() == [{"choice": 2}] * 2
    assert services.calls[-1] == f"PUT {HOST}/trials/trial-1/answer"
    with pytest.raises(Conflict, match="answered already"):
        found.answer(3)


def test_results_are_tables() -> None:
    """By reader, layer and unit: right answers with their interval, chance, late and missed trials."""
    found, _ = read_game(ok(results()))
    shown = found.results()
    [reader], [layer], [unit] = shown.reader_table(), shown.layer_table(), shown.unit_table()
    assert (reader["pseudonym"], layer["layer"], unit["unit"], unit["description"]) == ("P01", "layer4", 3, "rays")
    for row in (reader, layer, unit, shown.row()):
        assert (row["right"], row["answered"], row["late"], row["p_value"]) == (3, 4, 1, 0.03)
    assert "rays" in shown._repr_html_()
    own, _ = read_own_game(ok(results()))
    assert own.results().chance == 0.2
