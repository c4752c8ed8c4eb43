"""Games in a real browser: by keyboard alone, against the clock, and over a lost connection."""

import time
from collections.abc import Callable
from typing import Any

import httpx
from playwright.sync_api import Page, Route, expect

from tests.e2e.accessibility import faults_of
from tests.e2e.conftest import LIMIT_S, Site, sign_in

NewPage = Callable[..., Page]
LABEL = {
    "recognizable": "yes",
    "multiplicity": "single",
    "phenomena": ["margin-spiculated", "mass-irregular"],
    "associated": "yes",
    "confidence": "3",
}


def open_game(site: Site, player: str, **document: Any) -> dict[str, Any]:
    """Open a game about four units, which another reader has described."""
    base = f"{site.origin}/v1/studies/{site.open_study_id}"
    describer = {"x-reader": f"Describer of {player}"}
    units = {"choose": "named", "units": {"block4": [0, 1, 2, 3]}}
    protocol = {"title": "Described", "units": units, "seed": 1, "readers_per_unit": 1}
    with httpx.Client(timeout=30) as client:
        opened = client.post(
            f"{base}/protocols", json={"document": protocol, "readers": [describer["x-reader"]]}
        ).json()
        places = f"{site.origin}/v1/reading-lists/{opened['study_id']}/{opened['version']}/readings"
        for number, place in enumerate(client.get(places, headers=describer).json()["readings"]):
            answer = {"answers": LABEL | {"description": f"Rays from a centre, {number}"}}
            path = f"{site.origin}/v1/readings/{place['reading_id']}/answer"
            assert client.put(path, json=answer, headers=describer).status_code == 200
        client.post(f"{base}/protocols/{opened['version']}/close")
        game = {"kind": "intruder", "title": "Browser", "seed": 1, "protocol": opened["version"]} | document
        answer = client.post(f"{base}/games", json={"document": game, "readers": [player]})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def begin(page: Page, site: Site, player: str, **document: Any) -> str:
    """Open a game for one reader, sign in, and open the first trial. Return the game's id."""
    game_id = str(open_game(site, player, **document)["game_id"])
    sign_in(page, player)
    page.goto(f"/games/{game_id}")
    expect(page.locator("#play")).to_be_focused()
    page.keyboard.press("Enter")
    await_trial(page, 1)
    return game_id


def await_trial(page: Page, position: int) -> None:
    """Wait until a trial is shown and accepts keys, which it does shortly after it is shown."""
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Trial {position} ")
    expect(page.locator("#trial.ready")).to_be_visible()


def await_missed(site: Site, player: str, trial_id: str) -> None:
    """Wait until the time of a trial has passed, by the clock of the service."""
    deadline = time.monotonic() + LIMIT_S
    with httpx.Client(base_url=site.origin, headers={"x-reader": player}, timeout=30) as client:
        while client.get(f"/v1/trials/{trial_id}").json()["state"] != "missed":
            assert time.monotonic() < deadline, f"trial {trial_id} is not missed after {LIMIT_S} s"
            time.sleep(0.1)


def progress(site: Site, game_id: str) -> dict[str, Any]:
    """The progress of the only reader of a game."""
    found = httpx.get(f"{site.origin}/v1/studies/{site.open_study_id}/games/{game_id}", timeout=30).json()
    return found["readers"][0]  # type: ignore[no-any-return]


def test_a_whole_game_is_played_by_keyboard_alone(site: Site, new_page: NewPage) -> None:
    """From signing in to the end nothing needs a mouse, the answers are the pressed keys, and a pause opens nothing."""
    page = new_page()
    game_id = open_game(site, "Keys")["game_id"]
    page.goto("/sign-in")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("Keys")
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    for _ in range(30):
        if page.evaluate("document.activeElement.textContent") == "Browser":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#play")).to_be_focused()
    page.keyboard.press("Enter")
    await_trial(page, 1)
    page.keyboard.press("3")
    await_trial(page, 2)
    page.keyboard.press("p")
    page.keyboard.press("5")
    expect(page.get_by_role("heading", name="2 of 4 trials played")).to_be_visible()
    page.keyboard.press("Enter")
    await_trial(page, 3)
    page.keyboard.press("1")
    await_trial(page, 4)
    page.keyboard.press("4")
    expect(page.get_by_text("You have played all trials")).to_be_visible()
    lines = httpx.get(f"{site.origin}/v1/studies/{site.open_study_id}/games/{game_id}/export.csv", timeout=30).text
    assert [line.split(",")[-4] for line in lines.splitlines()[1:]] == ["3", "5", "1", "4"]


def test_patches_are_gone_when_the_time_is_up(site: Site, new_page: NewPage) -> None:
    """A trial of two seconds ends by itself and is missed; Enter opens the next one, and no trial opens again."""
    page = new_page()
    game_id = begin(page, site, "Slow", seconds=2)
    first = page.url
    expect(page.get_by_role("heading", name="Time is up")).to_be_visible()
    expect(page.locator(".option")).to_have_count(5)
    assert not any(option.is_visible() for option in page.locator(".option").all())
    expect(page.get_by_role("button", name="Next trial")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Trial 2 ")
    page.goto(first)
    expect(page.get_by_role("heading", name="Time is up")).to_be_visible()
    assert page.locator(".option").count() == 0
    assert progress(site, game_id)["answered"] == 0


def test_an_answer_survives_a_lost_connection(site: Site, new_page: NewPage) -> None:
    """Without a connection the page says so and sends the answer again, which counts if it arrives in time."""
    page = new_page(expected=("/trials/",))
    game_id = begin(page, site, "Offline", seconds=60)
    page.context.set_offline(True)
    page.keyboard.press("2")
    expect(page.locator("#trial-state")).to_contain_text("No connection")
    page.context.set_offline(False)
    await_trial(page, 2)
    assert progress(site, game_id)["answered"] == 1


def test_an_answer_survives_a_closed_tab(site: Site, new_page: NewPage) -> None:
    """An answer that could not be sent is sent when the trial is opened again: here too late, and recorded as late."""
    page = new_page(expected=("/trials/",))
    game_id = begin(page, site, "Closed", seconds=3)
    page.context.set_offline(True)
    page.keyboard.press("2")
    expect(page.locator("#trial-state")).to_contain_text("No connection")
    address, context = page.url, page.context
    page.close()
    page = context.new_page()
    await_missed(site, "Closed", address.rpartition("/")[2])
    context.set_offline(False)
    page.goto(address)
    expect(page.get_by_role("heading", name="Your answer came too late")).to_be_visible()
    assert progress(site, game_id) | {"late": 1, "answered": 0, "missed": 0} == progress(site, game_id)


def test_an_answer_survives_a_new_session(site: Site, new_page: NewPage) -> None:
    """The reader has signed in again in another window: the page is loaded again and sends the answer with its new
    token."""
    page = new_page(expected=("/trials/",))
    game_id = begin(page, site, "Session", seconds=60)
    other = page.context.new_page()
    sign_in(other, "Session")
    page.keyboard.press("4")
    await_trial(page, 2)
    assert progress(site, game_id)["answered"] == 1


def test_the_pictures_of_the_next_trial_are_there_when_it_opens(site: Site, new_page: NewPage) -> None:
    """They are fetched while the trial before it runs, and the next page takes them from the browser's cache."""
    page = new_page()
    begin(page, site, "Ahead", seconds=60)
    following = page.locator("#trial").get_attribute("data-next")
    pictures = [f"{site.origin}{following}/pictures/{number}.jpg" for number in range(1, 6)]
    page.wait_for_function(
        "(wanted) => wanted.every((url) => performance.getEntriesByName(url).length > 0)", arg=pictures
    )
    page.keyboard.press("1")
    await_trial(page, 2)
    cached = page.evaluate(
        "(urls) => urls.map((url) => performance.getEntriesByName(url)[0]?.transferSize ?? -1)", pictures
    )
    assert set(cached) == {0}


def test_a_key_for_the_trial_before_does_not_answer_the_next(site: Site, new_page: NewPage) -> None:
    """Two quick presses answer one trial, also while the answer to it is on its way."""
    page = new_page()
    game_id = begin(page, site, "Quick", seconds=60)

    def delayed(route: Route) -> None:
        page.keyboard.press("2")
        route.continue_()

    page.route("**/trials/*", lambda route: delayed(route) if route.request.method == "POST" else route.continue_())
    page.keyboard.press("1")
    await_trial(page, 2)
    assert progress(site, game_id)["answered"] == 1


def test_pages_of_games_are_accessible(site: Site, new_page: NewPage) -> None:
    """No page scrolls sideways or has overlapping controls, and axe finds nothing serious or critical."""
    page = new_page()
    player = "Axe"
    game_id = begin(page, site, player, seconds=600)
    found = faults_of(page, "an intruder trial")
    page.keyboard.press("p")
    page.keyboard.press("1")
    expect(page.get_by_role("heading", name="1 of 4 trials played")).to_be_visible()
    found += faults_of(page, "the start of a game")
    begin(page, site, player, kind="prediction", seconds=600)
    found += faults_of(page, "a prediction trial")
    for path in ("/", f"/studies/{site.open_study_id}/games"):
        page.goto(path)
        found += faults_of(page, path)
    httpx.post(f"{site.origin}/v1/studies/{site.open_study_id}/games/{game_id}/close", timeout=30)
    page.goto(f"/games/{game_id}/results")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Results")
    found += faults_of(page, "results")
    assert found == []
