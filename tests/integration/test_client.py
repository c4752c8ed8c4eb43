"""The Python client and its notebooks, over one embedded home with access tokens.

The first notebook starts the plan that all other tests use.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import primitives_client
from primitives_client import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NotSignedIn,
    Primitives,
    ReadingList,
    StaleAnswer,
    StaleVersion,
    Study,
    Unavailable,
)
from services.common.access.tokens import add_token
from tests.integration.embedded import Embedded, embedded
from tests.integration.test_plan import import_data

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
FIRST, *OTHERS = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
CELL_S = 180


class Client:
    """The services, and the tokens of a researcher and of a reader."""

    def __init__(self, home: Embedded, researcher: str, reader: str) -> None:
        self.home, self.researcher, self.reader = home, researcher, reader

    def connect(self, token: str | None = None, reader: str = "") -> Primitives:
        """Connect as the researcher, or with another token; empty for none."""
        found = self.researcher if token is None else token
        return Primitives(token=found, reader=reader, services=asdict(self.home.services))

    def execute(self, name: str) -> Any:
        """Run a notebook as its user would, with the services in the environment. Return it with its outputs."""
        path = Path(primitives_client.__file__).parents[1]
        environment = {
            **self.home.environment,
            "PRIMITIVES_TOKEN": self.researcher,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH")))),
            "IPYTHONDIR": str(self.home.home / "ipython"),
        }
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        client = NotebookClient(notebook, timeout=CELL_S, resources={"metadata": {"path": str(self.home.home)}})
        return client.execute(env=environment)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Serve a home with a small data set."""
    folder = tmp_path_factory.mktemp("client")
    tokens = folder / "tokens.json"
    researcher = add_token(tokens, "researcher", ("*:read", "*:write", "annotation:manage"))
    reader = add_token(tokens, "ana", ("annotation:read", "annotation:write"), reader="Ana")
    with embedded(folder / "home", PRIMITIVES_TOKENS_FILE=str(tokens)) as home:
        import_data(home, folder / "ddsm")
        yield Client(home, researcher, reader)


@pytest.fixture(scope="module")
def first(client: Client) -> Any:
    """The first notebook, with its outputs: it starts a plan and waits for it."""
    return client.execute(FIRST)


@pytest.fixture
def p(client: Client, first: Any) -> Iterator[Primitives]:
    """A researcher's client, after the plan."""
    with client.connect() as found:
        yield found


@pytest.fixture(scope="module")
def study(client: Client, first: Any) -> Study:
    """A study for two readers."""
    p = client.connect()
    return p.studies.open(p.plans.list().first().rendering, members=["Ana", "Ben"], units_per_class=1).wait()


def texts(notebook: Any, kind: str) -> list[str]:
    """Return the outputs of a kind, such as text/html."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [str(one["data"][kind]) for one in outputs if kind in one.get("data", {})]


def test_the_first_notebook_shows_the_progress_of_a_plan(first: Any) -> None:
    """Its bars end with an open study, and its tables have a row for each epoch."""
    [bars] = [text for text in texts(first, "text/html") if "<progress" in text and "<td>study</td>" in text]
    assert bars.count("completed in") == 4
    assert any("val_auc" in text for text in texts(first, "text/html"))


@pytest.mark.parametrize("name", OTHERS)
def test_notebooks_run(client: Client, first: Any, name: str) -> None:
    """Every cell succeeds, on the plan of the first notebook."""
    done = client.execute(name)
    assert texts(done, "text/html")
    assert bool(texts(done, "image/png")) == name.startswith("2")


def test_a_plan_leads_to_its_run_extraction_rendering_and_study(p: Primitives) -> None:
    """The same key returns the same plan, which has an object for each stage."""
    plan = p.plans.list().first()
    assert (plan.state, [stage.state for stage in plan.stages]) == ("completed", ["completed"] * 4)
    assert plan.run.dataset.splits == {"train": 48, "val": 24, "test": 6}
    assert plan.extraction.run == plan.run
    assert plan.rendering.extraction == plan.extraction
    assert plan.study.rendering == plan.rendering
    with pytest.raises(Conflict, match="has rendered its units"):
        plan.pause()
    assert "completed" in repr(p.plans.list())


def test_a_task_is_started_once_with_a_key(p: Primitives) -> None:
    """A repeated start returns the same run; it can be paused, resumed and cancelled; a wait then reports the end."""
    dataset = p.datasets.list().first()
    settings = {"architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 1000}
    run = p.runs.start(dataset, settings, key="long")
    assert p.runs.start(dataset, settings, key="long").id == run.id
    with pytest.raises(InvalidInput, match=run.id):
        p.runs.start(dataset, {**settings, "epochs": 2}, key="long")
    assert run.pause().state == "paused"
    assert run.resume().state in ("queued", "running")
    assert run.cancel().state == "cancelled"
    with pytest.raises(primitives_client.TaskFailed, match=f"{run.id} cancelled"):
        run.wait()
    compared = p.runs.compare([run, p.plans.list().first().run])
    assert [(row["epochs"], row["epochs_done"]) for row in compared] == [(1000, run.row()["epochs_done"]), (2, 2)]
    assert {"state", "val_auc", "batch_size"} < set(compared.columns)
    assert "image_size" not in compared.columns


def test_units_are_a_table_and_have_pictures(p: Primitives) -> None:
    """A row has statistics, an AUC for each class and a rank for each class and ranking; pictures are images."""
    extraction = p.plans.list().first().extraction
    layer = extraction.results[-1]
    table = extraction.units(layer.name).to_pandas()
    assert len(table) == layer.units == extraction.units(layer.name).count()
    assert {"unit", "name", "mean", "auc_cancer", "rank_own_cancer", "score_own_benign"} <= set(table.columns)
    best = extraction.units(layer.name, sort="auc", label="cancer", silent=False).first()
    assert best.row()["auc_cancer"] == table["auc_cancer"].max()
    details = extraction.unit(layer.name, best.name)
    assert (details.unit, len(details.top)) == (best.unit, extraction.top_k)
    assert best.picture(1).size == (227, 227) and best.sheet(count=8, size=64).width == 8 * 32
    assert best.picture_bytes(1, kind="crop", size=64, source="sample").startswith(b"\xff\xd8")
    assert p.plans.list().first().rendering.picture(layer.name, best, 1).format == "JPEG"


def test_an_analysis_is_a_table(p: Primitives) -> None:
    """Its rows are read page by page, and its settings are checked before anything is sent."""
    extraction = p.plans.list().first().extraction
    options = {"key": "few", "patches": 8, "layers": [extraction.layers[-1]]}
    analysis = extraction.analyse("gradient", **options).wait()
    assert extraction.analyse("gradient", **options).id == analysis.id
    rows = analysis.table(analysis.layers[-1]).to_table()
    assert len(rows) == extraction.results[-1].units * len(extraction.classes)
    assert {"unit", "name", "label", "rank", "score"} <= set(rows.columns)
    with pytest.raises(InvalidInput, match="patch: Extra inputs"):
        extraction.analyse("gradient", patch=3)
    assert analysis.id in {one.id for one in extraction.analyses()}


def test_runs_are_evaluated_and_compared(p: Primitives) -> None:
    """An evaluation has a report, figures, and a comparison with another one."""
    run = p.plans.list().first().run
    evaluations = [run.evaluate("val", settings={"replicates": 20}, checkpoint=one).wait() for one in ("best", "last")]
    report = evaluations[0].report()
    assert (report.patches, len(report.confusion)) == (24, 3)
    assert evaluations[0].figure("roc").startswith("<svg") or "<svg" in evaluations[0].figure("roc")
    comparison = evaluations[0].compare(evaluations[1])
    assert (comparison.row()["evaluation_b"], comparison.patches) == (evaluations[1].id, 24)
    assert p.evaluations.comparisons().first() == comparison


def test_responses_have_versions(client: Client, study: Study) -> None:
    """A second answer from an old version is refused with both texts, and the saved one stays."""
    ana = client.connect(reader="Ana")
    listed = ana.studies.get(study.id).units("layer4", list="ranked", label=2)
    unit = next(one for one in listed if not one.silent).details()
    stale = ana.studies.get(study.id).unit("layer4", unit.name)
    assert unit.respond("yes", "no", "single", "a disc").version == 1
    assert unit.response is not None and unit.response.description == "a disc"
    assert unit.respond("yes", "no", "multiple", "two discs").version == 2
    with pytest.raises(StaleVersion, match=r"'stripes'.*'two discs'") as refused:
        stale.respond("yes", "no", "single", "stripes")
    assert refused.value.saved is not None and refused.value.saved.version == 2
    assert refused.value.yours.description == "stripes"
    with pytest.raises(InvalidInput, match="associated"):
        unit.respond("yes")
    assert ana.studies.responses().to_pandas().description.tolist() == ["two discs"]
    assert [place.unit for place in ana.studies.answered(study)["Ana"]] == [unit.unit]
    assert unit.picture(1).size[0] > 0


def test_a_response_with_a_key_is_saved_once(client: Client, study: Study) -> None:
    """The same answer with the same key has the same version, as when an answer of the service is lost."""
    ben = client.connect(reader="Ben").studies.get(study.id)
    unit = next(one for one in ben.units("layer4", list="subset") if not one.silent)
    versions = [ben.respond("layer4", unit, "no", key="once").version for _ in range(2)]
    assert versions == [1, 1]


def test_members_are_changed(client: Client, study: Study) -> None:
    """A reader who is no longer a member does not see the study."""
    assert sorted(study.members().names) == ["Ana", "Ben"]
    study.change(members=["Ana"], labels_shown="always")
    assert study.labels_shown == "always"
    with pytest.raises(NotFound):
        client.connect(reader="Ben").studies.get(study.id)
    study.change(members=["Ana", "Ben"])


YES = {"recognizable": "yes", "associated": "no", "multiplicity": "single", "description": "a disc"}
NO = {"recognizable": "no"}


def test_two_readers_read_under_a_protocol(client: Client, p: Primitives) -> None:
    """Their answers lead to agreement and labels; an adjudicator settles the unit on which they differ."""
    rendering = p.plans.list().first().rendering
    study = p.studies.open(rendering, members=["Ana", "Ben", "Cleo"], units_per_class=1).wait()
    layer = study.layers[-1].name
    document = {
        "title": "Two units", "units": {"choose": "ranked", "top": 2, "layers": [layer]}, "reveal": "after_answer",
        "questionnaire": {"name": "four-questions", "version": "1"},
    }  # fmt: skip
    preview = study.preview_protocol(document, ["Ana", "Ben"])
    assert (preview.units_by_layer, preview.readings, preview.fewest_shared) == ({layer: 2}, 4, 2)
    protocol = study.open_protocol(preview.document, ["Ana", "Ben"])
    assert protocol.sha256 == preview.sha256 == study.protocols().first().sha256
    with pytest.raises(Forbidden, match="closed"):
        protocol.labels().first()
    read_two_units(client.connect(reader="Ana").reading_lists().first(), YES)
    ben = client.connect(reader="Ben").reading_lists().first()
    read_two_units(ben, NO)
    assert [row["answered"] for row in protocol.refresh().reader_table()] == [2, 2]
    assert protocol.close().state == "closed"
    agreement = protocol.results().agreement("recognizable").to_pandas().set_index("statistic")
    assert agreement.value["percent_agreement"] == 0.5
    assert ben.results().layer_table()[0]["units"] == 2
    assert [label.conflicts for label in protocol.labels()] == [["recognizable"], []]
    label = client.connect(reader="Cleo").studies.get(study.id).protocols().first().labels().first()
    assert label.settle(YES, "the ring is a disc").source == "adjudicator"
    assert [change.adjudicator for change in label.details().history] == ["Cleo"]


def read_two_units(own: ReadingList, last: dict[str, str]) -> None:
    """Answer a list of two units: the weaker one with yes, twice with one key; the other one after a skip."""
    first, second = sorted((place.open() for place in own.readings()), key=lambda one: one.patches[0].value)
    stale = first.model_copy()
    versions = [first.answer(YES, misfits=[1], key="once").answer_version for _ in range(2)]
    assert versions == [1, 1] and first.saved is not None and first.saved.misfits == [1]
    with pytest.raises(StaleAnswer) as refused:
        stale.answer(NO)
    assert (refused.value.yours.answers, refused.value.saved) == (NO, first.saved)
    pictures, patch = first.pictures(), first.patches[0]
    assert len(pictures) == len(first.patches) and first.source(1).size == (patch.width, patch.height)
    with pytest.raises(InvalidInput, match="no patch 1 with a full mammogram"):
        first.mammogram(1)
    assert first.reveal().patches[0].class_name
    assert first.answer(NO).second_answer is not None
    assert second.skip().state == "skipped"
    assert second.save_draft({"recognizable": "unsure"}).refresh().draft is not None
    following = own.next()
    assert following is not None and following.reading_id == second.reading_id
    assert following.answer(last).saved is not None
    assert own.next() is None
    with pytest.raises(NotFound, match="taken over"):
        own.take()


def test_tokens_decide_what_a_client_may_do(client: Client, study: Study) -> None:
    """Without a token nothing is answered; a reader's token reads only its own study, as its reader."""
    with pytest.raises(NotSignedIn):
        client.connect(token="").datasets.list().first()
    own = client.connect(token=client.reader)
    assert own.studies.get(study.id).units("layer4", list="subset").count() > 0
    for refused in (own.datasets.list().first, own.as_reader("Ben").studies.list().first, study_change(own, study)):
        with pytest.raises(Forbidden):
            refused()
    with pytest.raises(NotSignedIn, match="reader"):
        client.connect().studies.get(study.id).units("layer4").first()


def study_change(p: Primitives, study: Study) -> Any:
    """Return a call that opens a study to all labels."""
    return lambda: p.studies.get(study.id).change(labels_shown="always")


def test_without_tokens_a_client_needs_none(client: Client, first: Any) -> None:
    """The same home, served again without tokens, answers all callers of its machine. In between it is Unavailable."""
    assert client.home.stop() == 0
    p = Primitives(services=asdict(client.home.services), retries=primitives_client.Retries(attempts=1))
    with pytest.raises(Unavailable):
        p.plans.list().first()
    del client.home.environment["PRIMITIVES_TOKENS_FILE"]
    client.home.start()
    assert p.plans.list().first().state == "completed"
    assert {one.service for one in p.status().values()} == set(asdict(client.home.services))
