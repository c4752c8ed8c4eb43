"""The documentation agrees with the code."""

import ast
import json
import re
from pathlib import Path

import pytest
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from services.activation_extraction.settings import ExtractionSettings
from services.annotation.settings import AnnotationSettings
from services.common.settings import Shared
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
SETTINGS = [Shared, TrainingSettings, ExtractionSettings, RenderingSettings, AnnotationSettings]


def variables(kind: type[BaseSettings]) -> dict[str, str]:
    """Return the description of every setting of a class by its environment variable."""
    prefix = kind.model_config.get("env_prefix", "")
    return {
        _variable(prefix, name, field): field.description or ""
        for name, field in kind.model_fields.items()
        if name != "shared"
    }


def _variable(prefix: str, name: str, field: FieldInfo) -> str:
    """Return the variable of a setting: its alias, if it has a standard name."""
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{prefix}{name.upper()}"


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_is_documented(kind: type[BaseSettings]) -> None:
    """docs/settings.md contains each variable with the description in the code."""
    text = (ROOT / "docs" / "settings.md").read_text()
    missing = [
        f"{name}: {description}"
        for name, description in variables(kind).items()
        if f"`{name}`" not in text or description not in text
    ]
    assert missing == []


def test_every_documented_setting_exists() -> None:
    """Every variable in docs/settings.md is read by some service."""
    named = set(re.findall(r"`(PRIMITIVES_[A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text()))
    known = {name for kind in SETTINGS for name in variables(kind)}
    assert named - known == set()


def test_links_between_documents_work() -> None:
    """Relative links in all Markdown files point to files that exist."""
    broken = []
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_targets_of_the_readme_exist() -> None:
    """Every `make …` in README and docs is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for line in re.findall(r"`make ([a-z -]+)", path.read_text()):
            assert set(line.split()) <= targets, (path.name, line)


def test_no_registry_host_is_named() -> None:
    """The ordinary clients install packages with their own configuration."""
    hosts = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|download\.pytorch\.org|deb\.debian\.org")
    files = [path for kind in ("*.toml", "*.txt", "*.md", "Makefile") for path in ROOT.glob(kind)]
    assert [path.name for path in [*files, *(ROOT / "docs").rglob("*.md")] if hosts.search(path.read_text())] == []


def test_tests_in_documents_exist() -> None:
    """Every path of a test in the documents is a file."""
    named = {
        (path.name, test)
        for path in (ROOT / "docs").rglob("*.md")
        for test in re.findall(r"`(tests/[a-z0-9_/]+\.py)`", path.read_text())
    }
    assert named
    assert [one for one in sorted(named) if not (ROOT / one[1]).is_file()] == []


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
FOLDERS = "services|proto|tests|deploy|bench|docs|k8s"


def has_symbol(path: Path, symbol: str) -> bool:
    """Whether a Python file defines a function or class; `outer.inner` is defined inside `outer`."""
    node: ast.AST | None = ast.parse(path.read_text())
    for name in symbol.split("."):
        body = getattr(node, "body", [])
        node = next((one for one in body if getattr(one, "name", None) == name), None)
    return node is not None


def test_the_paths_and_functions_of_the_architecture_exist() -> None:
    """Every `folder/file` exists, and every `folder/file.py:function` is defined in its file."""
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+?)(?::([\w.]+))?`", ARCHITECTURE))
    assert named
    assert sorted(path for path, _ in named if not (ROOT / path).exists()) == []
    assert sorted(one for one in named if one[1] and not has_symbol(ROOT / one[0], one[1])) == []


def test_the_table_of_messages_is_complete() -> None:
    """Each message of the protos has a row with its publisher and its queues; the broker's definitions agree."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \|", ARCHITECTURE, flags=re.MULTILINE)
    table = {name: (publisher, set(re.findall(r"`([\w.]+)`", queues))) for name, publisher, queues in rows}
    declared = {
        message: path.parents[1].name
        for path in (ROOT / "proto" / "primitives").glob("*/v1/events.proto")
        for message in re.findall(r"^message (\w+)", path.read_text(), flags=re.MULTILINE)
    }
    assert {name: publisher for name, (publisher, _) in table.items()} == declared
    broker = json.loads((ROOT / "deploy" / "rabbitmq" / "definitions.json").read_text())
    bound: dict[str, set[str]] = {}
    for binding in broker["bindings"]:
        bound.setdefault(binding["routing_key"].rpartition(".")[2], set()).add(binding["destination"])
    queues = {queue["name"] for queue in broker["queues"]}
    for name, (_, named) in table.items():
        assert named <= queues, name
        assert named == bound[name] if name in bound else len(named) <= 1, name


def test_the_tables_of_each_service_are_named() -> None:
    """The row of each service in the architecture lists the tables that its code declares."""
    for path in (ROOT / "services").glob("*/tables.py"):
        row = re.search(rf"^\| `{path.parent.name}` \| ([\w, ]+) \|", ARCHITECTURE, flags=re.MULTILINE)
        assert row is not None, path
        text = "\n".join(one.read_text() for one in path.parent.rglob("tables.py"))
        declared = re.findall(r'__tablename__ = "(\w+)"', text)
        assert sorted(row[1].split(", ")) == sorted(declared), path
