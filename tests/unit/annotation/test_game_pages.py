"""The pages of games: forms, time, errors, and what they withhold."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from services.annotation.tables import TrialRow
from tests.fakes.annotation import LAYER, Annotation, Browser
from tests.fakes.games import GameStudy
from tests.fakes.rendering import CLASSES, MAMMOGRAMS, PHENOMENA

UNITS: dict[str, Any] = {"choose": "named", "units": {LAYER: [0, 1, 2, 3]}}


@pytest.fixture
def study(annotation: Annotation) -> GameStudy:
    study = GameStudy(annotation, ["Ana", "Ben"], units=UNITS)
    study.describe()
    study.close_protocol()
    study.open(["Ana", "Dan"])
    return study


def csrf_of(page: Any) -> str:
    """The CSRF token in the forms of a page."""
    return re.findall(r'name="csrf" value="([^"]*)"', page.text)[-1]


def begin(study: GameStudy, browser: Browser) -> Any:
    """Press Begin on the start of the game: the page of a trial."""
    start = browser.get(f"/games/{study.game_id}")
    return browser.post(f"/games/{study.game_id}/next", data={"csrf": csrf_of(start)})


def choose(browser: Browser, trial: Any, choice: int | str, **fields: str) -> Any:
    """Choose a patch on the page of a trial."""
    return browser.post(trial.url.path, data={"csrf": csrf_of(trial), "choice": str(choice)} | fields)


def pretend_earlier(study: GameStudy, trial_path: str, seconds: float) -> None:
    """Move the beginning of a trial back in time."""
    trial_id = trial_path.rpartition("/")[2]
    with study.annotation.ports.records.transaction() as session:
        row = session.get_one(TrialRow, trial_id)
        assert row.opened is not None
        opened = row.opened - timedelta(seconds=seconds)
        session.execute(update(TrialRow).where(TrialRow.trial_id == trial_id).values(opened=opened))


def test_a_game_is_played_from_the_home_page_to_its_end(study: GameStudy) -> None:
    """Each answer opens the next trial, until the game thanks; all four answers are saved."""
    dan = study.annotation.browser("Dan")
    assert f'href="/games/{study.game_id}"' in dan.get("/").text
    page = begin(study, dan)
    for position in (1, 2, 3, 4):
        assert f"Trial {position} " in page.text and "Which patch does not belong" in page.text
        page = choose(dan, page, position)
    assert page.url.path == f"/games/{study.game_id}" and "You have played all trials" in page.text
    assert [row.choice for row in study.rows("Dan")] == [1, 2, 3, 4]
    assert "4</strong> of 4 trials played" in dan.get("/").text


def test_a_pause_opens_no_trial(study: GameStudy) -> None:
    """With the box ticked, the answer leads to the start of the game, and no time runs."""
    dan = study.annotation.browser("Dan")
    page = choose(dan, begin(study, dan), 1, pause="yes")
    assert page.url.path == f"/games/{study.game_id}" and "Continue" in page.text
    assert [row.opened is not None for row in study.rows("Dan")] == [True, False, False, False]


def test_the_page_of_a_trial_shows_the_time_that_is_left(study: GameStudy) -> None:
    """Loading a trial again does not begin its time again; afterwards it is missed, and its patches are gone."""
    dan = study.annotation.browser("Dan")
    path = begin(study, dan).url.path
    pretend_earlier(study, path, 15)
    remaining = re.search(r'data-remaining="([\d.]+)"', dan.get(path).text)
    assert remaining is not None and float(remaining[1]) <= 5
    pretend_earlier(study, path, 10)
    over = dan.get(path)
    assert "recorded as missed" in over.text and 'id="trial"' not in over.text and "/pictures/" not in over.text
    assert "Trial 2" in dan.post(f"/games/{study.game_id}/next", data={"csrf": csrf_of(over)}).text


def test_a_late_answer_is_shown_as_late(study: GameStudy) -> None:
    """A form that arrives after the time is saved as late, and the page says that it does not count."""
    dan = study.annotation.browser("Dan")
    page = begin(study, dan)
    pretend_earlier(study, page.url.path, 25)
    late = choose(dan, page, 3)
    assert late.url.path == page.url.path and "Your answer came too late" in late.text
    assert study.rows("Dan")[0].late and study.rows("Dan")[0].choice == 3


def test_an_answer_is_sent_again_without_harm(study: GameStudy) -> None:
    """The form of a lost connection, sent twice, saves one answer; another choice is refused with the saved one."""
    dan = study.annotation.browser("Dan")
    page = begin(study, dan)
    assert choose(dan, page, 2).url.path == choose(dan, page, 2).url.path
    refused = choose(dan, page, 3)
    assert refused.status_code == 409 and "You have answered this trial already: patch 2" in refused.text
    assert choose(dan, page, "x").status_code == 422


def test_forms_need_the_token_of_the_session(study: GameStudy) -> None:
    """Without it no trial opens and nothing is answered or closed."""
    dan, owner = study.annotation.browser("Dan"), study.annotation.browser("Olga")
    path = begin(study, dan).url.path
    games = f"/studies/{study.annotation.study_id}/games"
    for browser, target in (
        (dan, path),
        (dan, f"/games/{study.game_id}/next"),
        (owner, games),
        (owner, f"{games}/{study.game_id}/close"),
    ):
        assert browser.post(target, data={"choice": "1"}).status_code == 403
    assert [row.choice for row in study.rows("Dan")] == [None] * 4


def test_no_page_of_a_trial_shows_the_answer(study: GameStudy) -> None:
    """Neither unit, layer, class, phenomenon nor mammogram is in the page; patches are numbers at random addresses."""
    dan = study.annotation.browser("Dan")
    page = begin(study, dan)
    text = html.unescape(page.text.split("<main")[1])
    secrets = (LAYER, "unit_", *CLASSES, *PHENOMENA, *(name for name, *_ in MAMMOGRAMS), "right")
    assert [secret for secret in secrets if secret in text] == []
    addresses = set(re.findall(r'src="(/trials/[^"]+)"', text))
    assert addresses == {f"{page.url.path}/pictures/{number}.jpg" for number in range(1, 6)}
    picture = dan.get(f"{page.url.path}/pictures/1.jpg")
    assert picture.headers["content-type"] == "image/jpeg" and picture.headers["cache-control"].startswith("private")
    assert "content-disposition" not in picture.headers


def test_a_prediction_shows_the_description_as_text(study: GameStudy) -> None:
    """The terms and the words of the readers, escaped, and four patches."""
    study.open(["Dan"], kind="prediction")
    page = begin(study, study.annotation.browser("Dan"))
    assert "Which patch does this describe?" in page.text and page.text.count('class="option"') == 4
    row = study.rows("Dan")[0]
    assert [line for line in row.description.splitlines() if f"<li>{html.escape(line)}</li>" not in page.text] == []


def test_an_owner_opens_and_closes_a_game_on_a_page(study: GameStudy) -> None:
    """The form makes a game or names what is wrong and keeps what was typed; progress and results are linked."""
    owner, path = study.annotation.browser("Olga"), f"/studies/{study.annotation.study_id}/games"
    page = owner.get(path)
    fields = {"csrf": csrf_of(page), "kind": "prediction", "title": "Which <one>?", "protocol": "1",
              "readers": "Dan\nEve", "choose": "protocol", "trials": "2", "seconds": "30"}  # fmt: skip
    wrong = owner.post(path, data=fields | {"trials": "40"})
    assert wrong.status_code == 422 and "can have 4 trials" in wrong.text and "Dan\nEve</textarea>" in wrong.text
    for faults in ({"title": ""}, {"seconds": "soon"}, {"document": "{"}):
        assert owner.post(path, data=fields | faults).status_code == 422
    opened = owner.post(path, data=fields)
    assert opened.status_code == 200 and "Predict the unit: Which &lt;one&gt;?" in opened.text
    game = study.games.all(study.annotation.study_id).games[0]
    assert (game.kind, game.seconds, len(game.readers)) == ("prediction", 30, 2)
    closed = owner.post(f"{path}/{game.game_id}/close", data={"csrf": csrf_of(opened)})
    assert closed.status_code == 200 and "closed" in closed.text
    by_document = {"document": '{"kind": "intruder", "title": "From a file", "seed": 3, "units": {"choose": "subset"}}'}
    assert "Intruder: From a file" in owner.post(path, data=fields | by_document).text


def test_results_are_shown_once_the_game_is_closed(study: GameStudy) -> None:
    """Chance, interval and probability stand next to what was right; before that, players see no results."""
    dan = study.annotation.browser("Dan")
    page = begin(study, dan)
    for row in study.rows("Dan"):
        page = choose(dan, page, row.right_place)
    path = f"/games/{study.game_id}/results"
    assert dan.get(path).status_code == 403
    study.games.close(study.annotation.study_id, study.game_id)
    assert "See the results" in dan.get(f"/games/{study.game_id}").text
    shown = html.unescape(dan.get(path).text)
    assert "Chance is <strong>20%</strong>" in shown and "4 of 4, 40 to 100%" in shown and "0.002" in shown
    assert "P02" in shown and ">Dan<" not in shown.split("<main")[1]


def test_a_closed_game_takes_no_answer_from_an_open_page(study: GameStudy) -> None:
    """The page says that the game has closed, and that nothing was saved."""
    dan = study.annotation.browser("Dan")
    page = begin(study, dan)
    study.games.close(study.annotation.study_id, study.game_id)
    refused = choose(dan, page, 1)
    assert refused.status_code == 409 and "Nothing was saved" in refused.text
    again = dan.post(f"/games/{study.game_id}/next", data={"csrf": csrf_of(page)})
    assert again.status_code == 409 and "The game closed" in again.text
