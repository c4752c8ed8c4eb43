"""The pages of runs, units and status in a real browser, with real runs."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from deploy.local.servers import free_ports
from services.cli.client import get, post
from tests.e2e.browser import NARROW, layout_faults
from tests.e2e.conftest import Site, sign_in
from tests.integration.embedded import Embedded, embedded
from tests.integration.test_plan import import_data

NewPage = Callable[..., Page]
SETTINGS: dict[str, Any] = {
    "architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 12, "batch_size": 4,
    "learning_rate": 0.003,
}  # fmt: skip
LIMIT_MS = 120_000.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def site(home: Embedded) -> Site:
    """The pages of all four services, without a study."""
    return Site(home.services.annotation, "", "")


@pytest.fixture(scope="module")
def dataset_id(home: Embedded, tmp_path_factory: pytest.TempPathFactory) -> str:
    return import_data(home, tmp_path_factory.mktemp("data") / "ddsm")


def start(home: Embedded, dataset_id: str, **changes: Any) -> str:
    """Start a run and return its id."""
    options = {"dataset_id": dataset_id, "settings": SETTINGS | changes}
    return str(post(home.services.training, "/v1/runs", options)["run_id"])


def test_curves_grow_while_a_run_is_active(home: Embedded, site: Site, dataset_id: str, new_page: NewPage) -> None:
    """The page of a run shows each epoch as it ends, without a reload. A plan then extracts units of its checkpoint."""
    page = new_page()
    sign_in(page, "Researcher")
    page.get_by_role("link", name="Runs").click()
    expect(page.locator("main")).to_contain_text("No network has been trained yet")
    run_id = start(home, dataset_id)
    page.goto(f"/runs/{run_id}")
    page.evaluate("window.stayed = true")
    expect(page.locator(".u-over")).to_have_count(4)
    expect(page.locator("#epochs tr")).not_to_have_count(0, timeout=LIMIT_MS)
    grown = page.locator("#epochs tr").count()
    assert grown < SETTINGS["epochs"]
    expect(page.locator("#state")).to_have_text("completed", timeout=LIMIT_MS)
    expect(page.locator("#epochs tr")).to_have_count(SETTINGS["epochs"])
    assert page.evaluate("window.stayed")
    last = get(home.services.training, f"/v1/runs/{run_id}")["epochs"][-1]
    shown = page.locator("#epochs tr").last.locator("td").all_inner_texts()
    assert float(shown[0]) == pytest.approx(last["train_loss"], rel=1e-3)
    assert float(shown[3]) == pytest.approx(last["val_auc"], rel=1e-3)
    legend = page.locator(".charts figure").first
    assert legend.get_by_text("training").count() == legend.get_by_text("validation").count() == 1
    assert layout_faults(page) == []
    page.reload()
    command = page.locator(".checkpoints tr", has_text="last").locator("code").inner_text()
    started = home.command(*command.split()[1:], "--layer", "layer4", "--top-k", "4", "--wait")
    assert started.returncode == 0, started.stderr
    stages = json.loads(started.stdout)["stages"]
    assert {stage["name"]: stage["state"] for stage in stages}["study"] == "completed"
    browse_units(page)


def browse_units(page: Page) -> None:
    """Go from the extraction to a layer, sort its units, open a unit, and move along the list."""
    page.get_by_role("link", name="Units").click()
    page.get_by_role("row").last.get_by_role("link", name=re.compile("extraction-")).click()
    page.get_by_role("link", name="layer4", exact=True).click()
    page.wait_for_url("**/layer4*")  # Waits for the scripts too: the selection sends the form through one.
    page.get_by_label("Sort by").select_option("maximum")
    page.wait_for_url("**sort=maximum**")
    assert layout_faults(page) == []
    first, second = page.locator(".unit-card h2").all_inner_texts()[:2]
    page.get_by_role("link", name=first, exact=True).click()
    page.get_by_role("link", name="Contour").click()
    page.wait_for_url("**kind=contour**")
    page.wait_for_load_state("load")
    expect(page.get_by_role("heading", level=1)).to_contain_text(first)
    assert page.locator(".seen img").count() > 4
    page.set_viewport_size(NARROW)
    assert layout_faults(page) == []
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_contain_text(second)


def test_the_status_page_shows_all_services(site: Site, new_page: NewPage) -> None:
    """The status page shows four services in order, with a sound layout on wide and narrow screens."""
    page = new_page()
    sign_in(page, "Operator")
    page.get_by_role("link", name="Status").click()
    expect(page.locator(".service")).to_have_count(4)
    expect(page.locator(".service header .badge", has_text="in order")).to_have_count(4)
    expect(page.locator(".trouble")).to_have_count(0)
    assert page.get_by_role("row", name="training.events").get_by_role("cell").all_inner_texts() == ["0", "0"]
    assert layout_faults(page) == []
    page.set_viewport_size(NARROW)
    assert layout_faults(page) == []


def test_runs_are_compared(home: Embedded, site: Site, dataset_id: str, new_page: NewPage) -> None:
    """Two runs that are selected in the list share their charts, and exactly the settings that differ are marked."""
    run_ids = [start(home, dataset_id, epochs=2, learning_rate=rate, optimizer="sgd") for rate in (0.01, 0.02)]
    home.wait_for(
        lambda: all(get(home.services.training, f"/v1/runs/{one}")["state"] == "completed" for one in run_ids)
    )
    page = new_page(viewport=NARROW)
    sign_in(page, "Researcher")
    page.goto("/runs")
    assert layout_faults(page) == []
    for run_id in run_ids:
        page.get_by_label(f"Compare {run_id}").check()
    page.get_by_role("button", name="Compare the selected runs").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Compare runs")
    expect(page.locator(".u-over")).to_have_count(2)
    differing = page.locator(".settings .differs th").all_inner_texts()
    assert [text.partition("(differs)")[0].strip() for text in differing] == ["learning rate"]
    assert sorted(page.locator(".settings .differs td").all_inner_texts()) == ["0.01", "0.02"]
    assert layout_faults(page) == []


def test_tensorboard_shows_a_run(home: Embedded, dataset_id: str, tmp_path: Path) -> None:
    """`primitives tensorboard RUN` serves the event file of the run, with the scalars of every epoch."""
    run_id = start(home, dataset_id, epochs=2)
    watched = home.command("run", "watch", run_id)
    assert json.loads(watched.stdout)["state"] == "completed", watched.stderr
    [port] = free_ports(1)
    command = [sys.executable, "-m", "services.cli", "tensorboard", run_id, "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=home.environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars"
    found: list[Any] = []

    def shown() -> bool:
        try:
            answer = httpx.get(address, params={"run": run_id, "tag": "loss/val"}, timeout=10)
        except httpx.TransportError:
            return False
        found[:] = answer.json() if answer.is_success else []
        return bool(found)

    try:
        home.wait_for(shown)
    finally:
        process.terminate()
        process.wait()
    with pytest.raises(httpx.TransportError):
        httpx.get(address, timeout=10)
    epochs = get(home.services.training, f"/v1/runs/{run_id}")["epochs"]
    assert [step for _, step, _ in found] == [1, 2]
    assert [value for _, _, value in found] == pytest.approx([epoch["val_loss"] for epoch in epochs], rel=1e-5)


def test_an_unknown_run_is_reported(site: Site, new_page: NewPage) -> None:
    """The page of an unknown run is 404 with a message, and its events are 404."""
    page = new_page(expected=("/runs/none",))
    sign_in(page, "Researcher")
    answer = page.goto("/runs/none")
    assert answer is not None and answer.status == 404
    expect(page.locator("main")).to_contain_text("there is no run 'none'")
    assert page.request.get("/runs/none/events").status == 404
