"""The notebooks in docs/notebooks as files; tests/integration/test_client.py runs them."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tests.unit.test_words import Use, gone_words

NOTEBOOKS = sorted((Path(__file__).parents[3] / "docs" / "notebooks").glob("*.ipynb"))
LONGEST_LINE = 130


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_have_no_outputs(path: Path) -> None:
    """Nor numbers of executions or metadata of an editor, so that a diff shows what a person has changed."""
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert [cell["id"] for cell in notebook["cells"] if cell["metadata"]] == []
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    nbformat.validate(nbformat.from_dict(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_plain_english(path: Path) -> None:
    """The words of the house style, links that work, and lines that fit on a page."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    assert [gone for cell in cells for gone in gone_words(Use(1, "".join(cell["source"]), False))] == []
    links = [link for cell in cells for link in re.findall(r"\]\(([^)#:]+)\)", "".join(cell["source"]))]
    assert [link for link in links if not (path.parent / link).is_file()] == []
    lines = [line for cell in cells for line in "".join(cell["source"]).splitlines()]
    assert [line for line in lines if len(line) > LONGEST_LINE] == []


def test_there_are_three_notebooks() -> None:
    """In the order in which they are read."""
    assert [path.stem[0] for path in NOTEBOOKS] == ["1", "2", "3"]
