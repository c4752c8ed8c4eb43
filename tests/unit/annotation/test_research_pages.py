"""The pages of researchers, over a training service that answers: data sets, runs, plans and new studies."""

import html
import json
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
import pytest
from primitives.training.v1 import events_pb2

from services.annotation.pages.forms import fields_of, read_values, values_of
from services.annotation.pages.live import RECENT_S, Recent
from services.annotation.pages.plans import all_stages, controlled_state
from services.annotation.pages.runs import MAIN_SETTINGS
from services.annotation.roles import Role
from services.annotation.sessions import Sessions
from services.annotation.workflow.plan_progress import PlanProgress, PlanView, Siblings
from services.common.access.tokens import Tokens, add_token
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.common.work.views import PlanStages, Stage
from services.training.api import add_routes
from services.training.imports.api import add_import_routes
from services.training.schemas import RunSettings
from tests.fakes.accounts import WithAccounts, csrf_of
from tests.fakes.annotation import Annotation, Browser
from tests.fakes.serving import serving_http
from tests.unit.training.test_imports import Importing
from tests.unit.training.test_workflow import Training

AWAY = "http://127.0.0.1:9"
RUN = {
    "architecture": "test_resnet", "weights": "none", "image_size": "64", "epochs": "2", "batch_size": "4",
    "optimizer": "adamw", "learning_rate": "0.001", "balance": "none", "seed": "7", "flips": "yes",
}  # fmt: skip
HOSTILE = "<script>alert(1)</script>"


T = TypeVar("T", bound=Training)


class Research(Generic[T]):
    """The pages in their embedded form, a browser that is signed in, and the training service that they call."""

    def __init__(self, folder: Path, url: str, training: T) -> None:
        self.training, self.folder = training, folder
        self.urls = {"training_url": url, "extraction_url": AWAY, "rendering_url": AWAY}
        (folder / "annotation").mkdir()
        self.annotation = Annotation(folder / "annotation", **self.urls)
        self.browser = self.annotation.browser("Researcher")

    def send(self, path: str, form_page: str, **fields: str) -> httpx.Response:
        """Fill in the form of a page and send it; the hidden fields are those of the page."""
        page = self.browser.get(form_page)
        assert page.status_code == 200, page.text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
        return self.browser.post(path, data=hidden | fields, follow_redirects=False)

    def start_run(self, **changes: str) -> httpx.Response:
        """Start a run with the form."""
        fields = RUN | {"dataset_id": self.training.dataset_id, "name": "Baseline"} | changes
        return self.send("/runs", "/runs/new", **fields)


@pytest.fixture
def research(tmp_path: Path) -> Iterator[Research[Importing]]:
    importing = Importing(tmp_path / "training")
    app = create_app("training", lambda: True)
    add_routes(app, importing.datasets, importing.runs, importing.plans, Streams())
    add_import_routes(app, importing.raw_imports, Streams())
    with serving_http(app) as url:
        yield Research(tmp_path, url, importing)


def test_a_run_is_started_with_the_form(research: Research[Importing]) -> None:
    """The run has the name and the settings of the form, and the defaults of the service for the rest."""
    started = research.start_run()
    [run] = research.training.runs.all().runs
    assert (started.status_code, started.headers["location"]) == (303, f"/runs/{run.run_id}")
    expected = RunSettings(architecture="test_resnet", weights="none", image_size=64, epochs=2, batch_size=4)
    assert (run.name, RunSettings.model_validate(run.settings)) == ("Baseline", expected)
    page = research.browser.get(f"/runs/{run.run_id}").text
    assert "Baseline" in page and "Pause" in page and f"/datasets/{research.training.dataset_id}" in page
    assert "Baseline" in research.browser.get("/runs").text
    assert "Baseline" in research.browser.get(f"/runs/compare?run={run.run_id}").text


def test_a_form_that_is_sent_twice_starts_one_run(research: Research[Importing]) -> None:
    """Both answers lead to the same run: the form has a key."""
    page = research.browser.get("/runs/new").text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    fields = hidden | RUN | {"dataset_id": research.training.dataset_id}
    answers = [research.browser.post("/runs", data=fields, follow_redirects=False) for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len(research.training.runs.all().runs) == 1


MISTAKES = (
    ({"epochs": "0"}, "settings.epochs"),
    ({"epochs": "many"}, "Epochs: 'many' is not a whole number"),
    ({"learning_rate": "nan"}, "Learning rate: 'nan' is not a number"),
    ({"image_size": "9" * 5000}, "is not a whole number"),
    ({"decay_epochs": "1, x"}, "Decay epochs: 'x' is not a whole number"),
    ({"architecture": HOSTILE}, "is not known"),
    ({"dataset_id": "dataset-x"}, "no data set 'dataset-x'"),
    ({"resume_from": "run-x"}, "no run 'run-x'"),
    ({"name": "x" * 121}, "name"),
    ({"key": "key\nof\tsomebody"}, "key"),
)


def test_a_mistake_is_shown_with_what_was_typed(research: Research[Importing]) -> None:
    """The form has the message of the service and every field as it was typed, escaped; nothing starts."""
    for changes, message in MISTAKES:
        answer = research.start_run(**{"name": f"Mine {HOSTILE}"} | changes)
        assert answer.status_code in (404, 422), changes
        text = html.unescape(answer.text)
        assert message in text, changes
        assert HOSTILE not in answer.text
        assert (changes.get("name") or f"Mine {HOSTILE}") in text, changes
    assert research.training.runs.all().runs == []


def test_a_run_is_renamed_and_controlled(research: Research[Importing]) -> None:
    """The buttons pause, resume and cancel; a state that does not allow it is said on the page."""
    path = str(research.start_run().headers["location"])
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert research.send(f"{path}/{verb}", path).status_code == 303
        assert research.training.runs.all().runs[0].state == state
    refused = research.send(f"{path}/resume", path)
    assert refused.status_code == 409 and "is cancelled" in refused.text
    assert research.send(f"{path}/name", path, name=HOSTILE).status_code == 303
    assert research.training.runs.all().runs[0].name == HOSTILE
    for page in (path, "/runs", f"/runs/compare?run={path.rpartition('/')[2]}"):
        shown = research.browser.get(page).text
        assert HOSTILE not in shown and html.escape(HOSTILE) in shown
    long = research.send(f"{path}/name", path, name="x" * 121)
    assert long.status_code == 422 and "at most 120 characters" in html.unescape(long.text)


def test_a_data_set_shows_its_balance_and_patches(research: Research[Importing]) -> None:
    """Every class of every split, and the pictures of the patches from our own origin, kept by the browser alone."""
    dataset_id = research.training.dataset_id
    page = research.browser.get(f"/datasets/{dataset_id}").text
    assert page.count(" patches<span") >= 6 and "1 patient" in page
    gallery = research.browser.get(f"/datasets/{dataset_id}/patches?split=train&label=1").text
    pictures = re.findall(r'<img src="([^"]+)"', gallery)
    assert pictures == [f"/dataset-patches/{dataset_id}/{number}.jpg" for number in (1, 4)]
    picture = research.browser.get(pictures[0])
    assert picture.content.startswith(b"\xff\xd8") and picture.headers["content-type"] == "image/jpeg"
    assert picture.headers["cache-control"].startswith("private") and picture.headers["vary"] == "cookie"
    for absent in (f"/dataset-patches/{dataset_id}/999.jpg", f"/dataset-patches/{dataset_id}/..%2f1.jpg"):
        assert research.browser.get(absent).status_code == 404
    assert research.browser.get("/datasets/..%2Fruns").status_code == 404


def test_a_folder_is_imported_from_the_page(research: Research[Importing]) -> None:
    """The page lists the folders; the import has a page that leads to the data set. Other paths are refused."""
    assert "mass-2024" in research.browser.get("/datasets").text
    started = research.send("/datasets", "/datasets", folder="mass-2024", classes="2")
    path = started.headers["location"]
    assert "Cancel" in research.browser.get(path).text
    research.training.perform()
    assert "See the data set" in research.browser.get(path).text
    research.training.sent()
    for folder in ("../training", "/etc", "absent"):
        refused = research.send("/datasets", "/datasets", folder=folder)
        assert refused.status_code in (404, 422) and research.training.sent() == []


def test_without_an_import_folder_the_page_names_the_command(research: Research[Importing]) -> None:
    """The sample can be built in any case."""
    research.training.datasets.import_folder = None
    page = research.browser.get("/datasets").text
    assert "primitives dataset import" in page and "Import the folder" not in page
    refused = research.send("/datasets", "/datasets", folder="mass-2024")
    assert refused.status_code == 403 and "PRIMITIVES_TRAINING_IMPORT_FOLDER" in refused.text
    path = research.send("/datasets", "/datasets").headers["location"]
    research.training.perform()
    assert f"/datasets/{research.training.dataset_id}" in research.browser.get(path).text


def test_a_plan_is_started_and_controlled(research: Research[Importing]) -> None:
    """With a network to train, its run has the name of the form; the page shows the stages and pauses the current
    one."""
    fields = RUN | {
        "source": "train", "name": "Of the plan", "dataset_id": research.training.dataset_id, "title": "Deep",
        "layers": "layer3, layer4", "split": "val", "top_k": "5", "units_per_class": "3", "labels_shown": "always",
        "kind": "contour", "size": "64", "format": "webp",
    }  # fmt: skip
    started = research.send("/plans", "/plans/new", **fields)
    path = started.headers["location"]
    [command] = research.training.sent()
    assert isinstance(command, events_pb2.TrainSlice)
    assert research.training.runs.get(command.run_id).name == "Of the plan"
    page = research.browser.get(path).text
    assert "<h1>Deep" in page and page.count("state-waiting") == 3
    assert "Deep" in research.browser.get("/plans").text
    assert research.send(f"{path}/pause", path).status_code == 303
    assert research.training.runs.get(command.run_id).state == "paused"
    assert research.send(f"{path}/pause", path).status_code == 409
    assert research.send(f"{path}/resume", path).status_code == 303
    research.training.sent()
    research.training.runs.train_slice(command)
    [completed] = research.training.sent()
    assert isinstance(completed, events_pb2.RunCompleted)
    plan = completed.plan
    assert (list(plan.extraction.layers), plan.extraction.top_k) == (["layer3", "layer4"], 5)
    assert (plan.rendering.kind, plan.rendering.size, plan.rendering.format) == ("contour", 64, "webp")
    assert (plan.study.title, plan.study.units_per_class, plan.study.labels_shown) == ("Deep", 3, "always")


def test_a_plan_that_cannot_succeed_is_refused_on_the_form(research: Research[Importing]) -> None:
    """With what was typed; a plan from a run needs one."""
    for fields, message in (
        ({"source": "train", "layers": "layer9"} | RUN, "has no layer 'layer9'"),
        ({"source": "run"}, "Choose a completed run"),
        ({"source": "run", "run_id": "run-x"}, "no run 'run-x'"),
        ({"source": "run", "run_id": "run-x", "top_k": "0"}, "top_k"),
    ):
        refused = research.send("/plans", "/plans/new", title="Typed", **fields)
        assert refused.status_code in (404, 422) and message in html.unescape(refused.text)
        assert 'value="Typed"' in refused.text
    assert research.training.plans.all().plans == []


def test_a_study_gets_another_title(research: Research[Importing]) -> None:
    """On the page of its protocol; home shows it, escaped."""
    path = f"/studies/{research.annotation.study_id}"
    renamed = research.send(f"{path}/title", f"{path}/protocol", title=HOSTILE)
    assert renamed.status_code == 303
    home = research.browser.get("/").text
    assert html.escape(HOSTILE) in home and HOSTILE not in home
    assert research.send(f"{path}/title", f"{path}/protocol", title="").status_code == 422


# Who sees and does this


def test_readers_see_only_their_reading(tmp_path: Path, research: Research[Importing]) -> None:
    """A reader's bar and home lead to no page of researchers. Researchers see and do everything on them."""
    folder = tmp_path / "accounts"
    folder.mkdir()
    service = WithAccounts(folder, **research.urls)
    reader, researcher = service.person("Ana"), service.person("Res", Role.RESEARCHER)
    links = ("/datasets", "/runs", "/plans", "/extractions", "/summary", "/status", "/new-study")
    home = {name: browser.get("/").text for name, browser in (("reader", reader), ("researcher", researcher))}
    assert [link for link in links if f'href="{link}"' in home["reader"]] == []
    assert [link for link in links if f'href="{link}"' in home["researcher"]] == list(links)
    assert {reader.get(link).status_code for link in links} == {403}
    fields = RUN | {"dataset_id": research.training.dataset_id, "key": "form-1", "csrf": csrf_of(researcher)}
    assert researcher.post("/runs", data=fields, follow_redirects=False).status_code == 303
    assert reader.post("/runs", data=fields | {"csrf": csrf_of(reader)}, follow_redirects=False).status_code == 403
    assert len(research.training.runs.all().runs) == 1


@pytest.mark.parametrize(
    ("scopes", "reader", "sees", "starts"),
    [
        (("annotation:write", "activation_extraction:read", "training:write"), "", True, True),
        (("*:read", "*:write"), "", True, True),
        (("annotation:write", "annotation:manage", "activation_extraction:read"), "", True, False),
        (("annotation:write", "training:write"), "", False, False),
        (("*:read", "*:write"), "Ana", True, False),
    ],
)
def test_a_token_does_on_the_pages_what_it_does_in_the_api(
    tmp_path: Path, research: Research[Importing], scopes: tuple[str, ...], reader: str, sees: bool, starts: bool
) -> None:
    """The pages call the training service with their own token, and lend it to nobody whose token lacks the scope."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    token = add_token(folder / "tokens.json", "person", scopes, reader=reader)
    service = Annotation(folder, tokens=Tokens(folder / "tokens.json"), **research.urls)
    browser = Browser(service.app, follow_redirects=False)
    assert browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 303
    assert (browser.get("/runs").status_code == 200) == sees
    assert (browser.get("/runs/new").status_code == 200) == starts
    fields = RUN | {"dataset_id": research.training.dataset_id, "key": "form-1", "csrf": csrf_of(browser)}
    assert (browser.post("/runs", data=fields).status_code == 303) == starts
    assert len(research.training.runs.all().runs) == starts


def test_the_list_of_runs_is_live_until_the_session_ends(research: Research[Importing]) -> None:
    """The stream sends a run's new state, and ends when the person has signed out: it is no way to keep watching."""
    path = str(research.start_run().headers["location"])
    events: list[Any] = []
    seen = threading.Event()

    with serving_http(research.annotation.app) as url:
        cookies = dict(research.browser.cookies)

        def receive() -> None:
            with httpx.stream("GET", f"{url}/runs/events", cookies=cookies, timeout=60) as stream:
                for line in stream.iter_lines():
                    if line.startswith("data: "):
                        events.append(json.loads(line.removeprefix("data: ")))
                        seen.set()

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        assert seen.wait(60)
        research.send(f"{path}/cancel", path)
        while not any(run["state"] == "cancelled" for event in events for run in event["runs"]):
            assert receiver.is_alive()
            seen.clear()
            seen.wait(60)
        httpx.post(f"{url}/sign-out", data={"csrf": csrf_of(research.browser)}, cookies=cookies)
        receiver.join(60)
        assert not receiver.is_alive()
    assert [run["name"] for run in events[0]["runs"]] == ["Baseline"]
    assert events[-1]["over"]


def test_a_stream_does_not_keep_a_session_open(tmp_path: Path) -> None:
    """A page that is left open becomes idle: the looks of its stream are not those of a person."""
    annotation = Annotation(tmp_path)
    sessions = Sessions(annotation.ports.records, annotation.settings, annotation.clock)
    token = sessions.open(annotation.readers.named("Ana"))
    for expected in (True, False):
        annotation.clock_ahead += timedelta(seconds=annotation.settings.session_idle_s * 0.6)
        assert (sessions.reader(token, by_person=False) is not None) == expected


def test_what_streams_share_is_read_once() -> None:
    """Within RECENT_S all streams of the same list have one answer."""
    times, read = [0.0], []

    def count(name: str) -> int:
        read.append(name)
        return len(read)

    recent = Recent(count, lambda: times[0])
    assert [recent.get("a"), recent.get("a"), recent.get("b")] == [1, 1, 2]
    times[0] += RECENT_S
    assert recent.get("a") == 3


# Parts


def test_the_form_has_every_setting_of_the_service() -> None:
    """A form that nobody has filled in sends the defaults: it means what an empty request means."""
    fields = fields_of(RunSettings.model_json_schema())
    assert {field.name for field in fields} == set(RunSettings.model_fields) >= set(MAIN_SETTINGS)
    assert RunSettings.model_validate(read_values(fields, values_of(fields))) == RunSettings()
    kinds = {field.name: field.kind for field in fields}
    assert (kinds["flips"], kinds["channels"], kinds["decay_epochs"]) == ("check", "choice", "numbers")
    typed = values_of(fields) | {"channels": "1", "flips": "", "decay_epochs": "3, 5", "momentum": "0.5"}
    read = RunSettings.model_validate(read_values(fields, typed))
    assert (read.channels, read.flips, read.decay_epochs, read.momentum) == (1, False, [3, 5], 0.5)


class Sibling:
    """A service's part of a plan, as its client answers."""

    def __init__(self, *stages: tuple[str, str]) -> None:
        self.stages, self.acted = stages, False

    def plan(self, plan_id: str) -> PlanStages:
        """The stages, or NotFound before they have begun."""
        if not self.stages:
            raise NotFound("not begun")
        return PlanStages(
            plan_id=plan_id, stages=[Stage(name=name, state=state, id="x") for name, state in self.stages]
        )

    def act_on_plan(self, _verb: str, _plan_id: str) -> None:
        """Record that it was acted on."""
        self.acted = True


class Trained(Sibling):
    """The training service's part of a plan with a trained network: none."""

    def plan(self, plan_id: str) -> PlanStages:
        return PlanStages(plan_id=plan_id, title="T", stages=[])


T, E, R = ("training", "completed"), ("extraction", "completed"), ("rendering", "completed")


@pytest.mark.parametrize(
    ("parts", "state", "controlled", "service"),
    [
        ((Sibling(("dataset", "completed")), Sibling(), Sibling()), "running", "completed", "training"),
        ((Sibling(("training", "paused")), Sibling(E), Sibling()), "paused", "paused", "training"),
        ((Sibling(T), Sibling(("extraction", "running")), Sibling()), "running", "running", "activation_extraction"),
        ((Sibling(T), Sibling(("extraction", "failed")), Sibling(R)), "failed", "failed", "activation_extraction"),
        ((Trained(), Sibling(E), Sibling(("rendering", "cancelled"))), "cancelled", "cancelled", "patch_rendering"),
        ((Trained(), Sibling(), Sibling()), "queued", "", ""),
        ((Trained(), Sibling(E), Sibling(R)), "running", "completed", ""),
    ],
)
def test_a_plan_is_where_its_newest_stage_is(
    tmp_path: Path, parts: tuple[Any, Any, Any], state: str, controlled: str, service: str
) -> None:
    """Later services are not called before the stage of the one before has completed; only its service is acted on."""
    progress = PlanProgress(Siblings(*parts), Annotation(tmp_path).studies)
    plan = progress.get("plan-x")
    assert (plan.state, controlled_state(plan)) == (state, controlled)
    assert plan.ended == (state in ("failed", "cancelled"))
    if service:
        assert progress.service_of("plan-x") == service
        progress.act("pause", "plan-x", service)
        assert [part.acted for part in parts] == [name == service for name in Siblings._fields]
    else:
        with pytest.raises(Conflict):
            progress.service_of("plan-x")


def test_a_plan_shows_the_stages_that_have_not_begun() -> None:
    """None for a data set that exists, and none for training where a trained network is used."""
    begun = [Stage(name="extraction", state="running", id="x")]
    plan = PlanView(plan_id="p", title="", stages=begun)
    assert [(one.name, one.state) for one in all_stages(plan)] == [
        ("extraction", "running"), ("rendering", "waiting"), ("study", "waiting"),
    ]  # fmt: skip


def test_a_number_must_be_one() -> None:
    """The error names the field in words."""
    fields = fields_of({"properties": {"batch_size": {"type": "integer"}}})
    with pytest.raises(InvalidInput, match=r"Batch size: '4\.5' is not a whole number"):
        read_values(fields, {"batch_size": "4.5"})
