"""`primitives studies import-labels`, with small files in the forms of ddsm-visual-primitives."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from services.annotation.tables import ReaderRow, ResponseRow
from services.cli import client
from services.cli.main import app
from services.cli.studies import Label, read_labels
from services.common.errors import Conflict, InvalidInput, PrimitivesError
from tests.fakes.annotation import LAYER, Annotation, Browser


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Annotation:
    """The annotation service with an open study; the command calls it in this process."""
    annotation = Annotation(tmp_path)
    browser = Browser(annotation.app)

    def request(method: str, url: str, **options: Any) -> httpx.Response:
        path = httpx.URL(url).raw_path.decode()
        return browser.request(method, path, json=options["json"], headers=options["headers"])

    monkeypatch.setattr(client.httpx, "request", request)
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path / "home"))
    return annotation


def written(folder: Path, name: str, content: object) -> Path:
    """A label file."""
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def run(study: str, *words: str) -> Any:
    """Run the command and return the JSON that it prints. Errors are raised."""
    called = CliRunner().invoke(app, ["studies", "import-labels", study, *words], catch_exceptions=False)
    lines = called.output.splitlines()
    return json.loads("\n".join(lines[lines.index("{") :]))


def test_labels_by_reader_become_answers_of_these_readers(service: Annotation, tmp_path: Path) -> None:
    """The layer is in the name of the file. A text of N/A is an answer that nothing is recognizable. A second import
    changes nothing."""
    labels = {
        "expert_a": {"unit_0001": "Masses with calcifications", "unit_0003": "=SUM(A1)"},
        "expert_b": {"unit_0001": "Normal tissue\r\n\r\nVessels", "unit_0002": "N/A"},
    }
    file = written(tmp_path, f"resnet_3class.{LAYER}.by_expert.json", labels)
    assert run(service.study_id, str(file)) == {"imported": 4, "unchanged": 0}
    assert run(service.study_id, str(file)) == {"imported": 0, "unchanged": 4}
    with service.ports.records.reading() as session:
        query = select(ReaderRow.name, ResponseRow).join(ReaderRow, ReaderRow.reader_id == ResponseRow.reader_id)
        saved = {
            (name, row.unit): (row.recognizable, row.associated, row.multiplicity, row.description)
            for name, row in session.execute(query)
        }
    assert saved == {
        ("expert_a", 0): ("yes", "unsure", "not_applicable", "Masses with calcifications"),
        ("expert_a", 2): ("yes", "unsure", "not_applicable", "=SUM(A1)"),
        ("expert_b", 0): ("yes", "unsure", "not_applicable", "Normal tissue\n\nVessels"),
        ("expert_b", 1): ("no", "not_applicable", "not_applicable", "N/A"),
    }


def test_several_files_are_imported_together_or_not_at_all(service: Annotation, tmp_path: Path) -> None:
    """A label of a unit that does not exist stops the other file too; the row is counted over all files."""
    good = written(tmp_path, f"net.{LAYER}.cleaned.json", {"unit_0001": "Masses"})
    wrong = written(tmp_path, f"net.{LAYER}.more.json", {"unit_9999": "Masses"})
    with pytest.raises(InvalidInput, match="row 2: 'unit_9999' of layer 'block4' does not exist"):
        run(service.study_id, str(good), str(wrong), "--reader", "expert")
    assert run(service.study_id, str(good), "--reader", "expert") == {"imported": 1, "unchanged": 0}
    changed = written(tmp_path, f"net.{LAYER}.changed.json", {"unit_0001": "Something else"})
    with pytest.raises(Conflict, match="has another answer of reader 'expert'"):
        run(service.study_id, str(changed), "--reader", "expert")


def test_other_answers_are_options(service: Annotation, tmp_path: Path) -> None:
    """They are the same for all labels of a call, and a wrong one is refused."""
    file = written(tmp_path, f"net.{LAYER}.cleaned.json", {"unit_0001": "Masses"})
    options = (str(file), "--reader", "expert", "--associated", "yes", "--multiplicity", "single")
    assert run(service.study_id, *options)["imported"] == 1
    with pytest.raises(InvalidInput, match="associated"):
        run(service.study_id, str(file), "--reader", "b", "--associated", "maybe")
    with pytest.raises(PrimitivesError, match="there is no study"):
        run("study-other", str(file), "--reader", "b")


def test_labels_by_unit_have_the_given_reader(tmp_path: Path) -> None:
    """The layer of the file's name can be replaced."""
    file = written(tmp_path, "net.layer4.cleaned.json", {"unit_0002": "Masses"})
    assert read_labels(file, "expert") == [Label("expert", "layer4", "unit_0002", "Masses")]
    assert read_labels(file, "expert", "backbone.7")[0].layer == "backbone.7"


def test_labels_by_path_have_a_reader_for_each_text(tmp_path: Path) -> None:
    """The file does not say who wrote which text, so the texts of a unit are numbered."""
    file = written(tmp_path, "vgg.conv5_3.json", {"vgg/conv5_3/unit_0063": ["No", "calcifications"]})
    assert read_labels(file, "expert") == [
        Label("expert 1", "conv5_3", "unit_0063", "No"),
        Label("expert 2", "conv5_3", "unit_0063", "calcifications"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.layer4.json", {"unit_0001": "Masses"}, "does not name who wrote its labels; pass --reader"),
        ("labels.json", {"a": {"unit_0001": "Masses"}}, "does not name the layer of 'unit_0001'; pass --layer"),
        ("net.layer4.json", {"a": {"unit_0001": 7}}, "the label of 'unit_0001' in .* is not a text"),
        ("net.layer4.json", '{"unit_0175": "one", "unit_0175": "two"}', "'unit_0175' is there twice"),
        ("net.layer4.json", "[]", "not a JSON object with labels"),
        ("net.layer4.json", "{", "cannot be read"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, content: Any, words: str) -> None:
    """The error names the file and what is wrong, such as a repeated unit, of which JSON would keep the last label."""
    with pytest.raises(InvalidInput, match=words):
        read_labels(written(tmp_path, name, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The error names it."""
    with pytest.raises(InvalidInput, match=r"missing\.json cannot be read"):
        read_labels(tmp_path / "missing.json")


def test_a_study_is_renamed(service: Annotation) -> None:
    """The command prints the study with its new title."""
    words = ["studies", "rename", service.study_id, "Deep layers"]
    lines = CliRunner().invoke(app, words, catch_exceptions=False).output.splitlines()
    assert json.loads("\n".join(lines[lines.index("{") :]))["title"] == "Deep layers"
    assert service.studies.get(service.study_id).title == "Deep layers"
