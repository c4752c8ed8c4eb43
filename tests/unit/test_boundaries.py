"""Imports go one way, and importing a module has no effect."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")
TESTS_ONLY = ("krippendorff", "statsmodels")
"""References that only tests import; krippendorff is under the GPL, which our licence does not allow in the product."""
WITHOUT_TORCH = (
    "services.patch_rendering.main",
    "services.annotation.main",
    "services.common.runtime.service",
    "services.training.imports.job",
    "services.training.raw.local",
)

FLOORS = (
    ("runtime",),
    ("grpc",),
    ("http", "objects"),
    ("access", "work"),
    ("records",),
    ("bus", "blobs"),
    ("machine", "observability"),
    ("settings", "errors", "identity", "paging", "progress", "requests"),
    ("redaction",),
)
"""The rooms of services/common from top to bottom. A room imports rooms of lower floors only."""


def imports(package: str) -> Iterator[tuple[str, str]]:
    """Yield every file of a package in `services` with each name that it imports, such as services.common.bus.Bus."""
    for path in (ROOT / "services" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [f"{alias.name}." for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                yield path.relative_to(ROOT).as_posix(), name


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_a_sibling(service: str) -> None:
    """Services share their messages (`primitives.*`), but import neither each other nor the command."""
    others = tuple(f"services.{other}." for other in (*SERVICES, "cli") if other != service)
    assert [pair for pair in imports(service) if pair[1].startswith(others)] == []


def test_common_imports_no_service_and_no_imaging() -> None:
    """Common is below everything else."""
    above = tuple(f"services.{name}." for name in (*SERVICES, "imaging", "cli"))
    assert [pair for pair in imports("common") if pair[1].startswith(above)] == []


def test_rooms_of_common_import_downwards() -> None:
    """Each room of common is on a floor, and imports rooms of lower floors only, so there is no circle."""
    rooms = {
        path.stem for path in (ROOT / "services" / "common").iterdir() if path.stem not in ("__init__", "__pycache__")
    }
    assert rooms == {room for floor in FLOORS for room in floor}
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    upwards = []
    for file, module in imports("common"):
        room = Path(file).relative_to("services/common").parts[0].removesuffix(".py")
        if module.startswith("services.common."):
            target = module.split(".")[2]
            if target != room and floor_of[target] <= floor_of[room]:
                upwards.append(f"{file}: {module}")
    assert upwards == []


def test_imaging_imports_no_service() -> None:
    """Imaging imports only common."""
    above = tuple(f"services.{name}." for name in (*SERVICES, "cli"))
    assert [pair for pair in imports("imaging") if pair[1].startswith(above)] == []


def test_nothing_imports_the_benches() -> None:
    """Only the command loads them, by name, in a checkout."""
    packages = (*SERVICES, "imaging", "common", "cli")
    assert [pair for package in packages for pair in imports(package) if pair[1].startswith("bench.")] == []


def test_references_of_tests_are_not_shipped() -> None:
    """No file outside the tests imports them, and only the extra for development installs them."""
    folders = ("services", "bench", "deploy", "proto")
    files = [ROOT / "hatch_build.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    pattern = re.compile(rf"\s*(?:import|from)\s+(?:{'|'.join(TESTS_ONLY)})\b")
    assert [path for path in files if any(pattern.match(line) for line in path.read_text().splitlines())] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    named = {extra for extra, pins in extras.items() if any(pin.startswith(TESTS_ONLY) for pin in pins)}
    assert named == {"dev"}


def test_agreement_is_pure() -> None:
    """The statistics import only numpy, the standard library and errors: no records, no HTTP."""
    allowed = ("services.annotation.agreement.", "services.common.errors.", "services.common.redaction.", "numpy.")
    foreign = {
        module
        for file, module in imports("annotation/agreement")
        if not module.startswith(allowed) and module.split(".")[0] not in sys.stdlib_module_names
    }
    assert foreign == set()


def test_ports_are_opened_in_few_places() -> None:
    """Only bootstrap, child processes and entry points open a bus, a store or records by URL."""
    allowed = ("services/common/", "services/cli/", "/main.py", "/job.py", "/raw/local.py")
    opened = []
    for package in (*SERVICES, "imaging"):
        for path in (ROOT / "services" / package).rglob("*.py"):
            where = path.relative_to(ROOT).as_posix()
            if any(part in where for part in allowed):
                continue
            text = path.read_text()
            opened += [where for call in ("open_blobs(", "open_bus(", "open_records(") if call in text]
    assert opened == []


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_modules_without_networks_load_no_torch(module: str) -> None:
    """Importing them loads neither torch nor timm: the images of three do not contain them, and a process that cuts
    patches of raw mammograms needs a quarter of the memory without them."""
    code = f"import {module}, sys; print([m for m in ('torch', 'timm', 'torchvision') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize("service", SERVICES)
def test_importing_reads_no_environment_and_opens_nothing(service: str) -> None:
    """Modules can be imported with invalid settings in the environment."""
    code = f"""
import socket, sqlite3
def refuse(*_a, **_k): raise AssertionError("opened something at import")
socket.socket.connect = refuse
socket.socket.bind = refuse
sqlite3.connect = refuse
import services.{service}.main
"""
    environment = {"PRIMITIVES_MAX_ATTEMPTS": "no number", "PRIMITIVES_HOME": "/nonexistent", "PATH": "/usr/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment, capture_output=True)
