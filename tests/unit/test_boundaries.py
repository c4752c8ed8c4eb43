"""Imports go one way, and importing does nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")
WITHOUT_TORCH = ("patch_rendering", "annotation", "common")


def imports(package: str) -> Iterator[tuple[str, str]]:
    """Every module of a package with each name that it imports, as (file, module)."""
    for path in (ROOT / "services" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                yield path.relative_to(ROOT).as_posix(), name


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_a_sibling(service: str) -> None:
    """Services know each other's messages (`primitives.*`), never each other's code, nor the command's."""
    others = tuple(f"services.{other}" for other in (*SERVICES, "cli") if other != service)
    assert [pair for pair in imports(service) if pair[1].startswith(others)] == []


def test_common_knows_no_service_and_no_imaging() -> None:
    """Plumbing is below everything."""
    above = tuple(f"services.{name}" for name in (*SERVICES, "imaging", "cli"))
    assert [pair for pair in imports("common") if pair[1].startswith(above)] == []


def test_imaging_knows_no_service() -> None:
    """Imaging stands on common alone."""
    above = tuple(f"services.{name}" for name in (*SERVICES, "cli"))
    assert [pair for pair in imports("imaging") if pair[1].startswith(above)] == []


def test_ports_are_opened_in_one_place() -> None:
    """Only bootstrap, jobs' children and entry points open a form of bus, store or records by URL."""
    allowed = ("services/common/", "services/cli/", "/main.py", "/job.py")
    opened = []
    for package in (*SERVICES, "imaging"):
        for path in (ROOT / "services" / package).rglob("*.py"):
            where = path.relative_to(ROOT).as_posix()
            if any(part in where for part in allowed):
                continue
            text = path.read_text()
            opened += [where for call in ("open_blobs(", "open_bus(", "open_records(") if call in text]
    assert opened == []


@pytest.mark.parametrize("service", WITHOUT_TORCH)
def test_a_service_that_computes_no_network_loads_no_torch(service: str) -> None:
    """Importing its entry loads neither torch nor timm: their images hold none."""
    module = "services.common.runtime.service" if service == "common" else f"services.{service}.main"
    code = f"import {module}, sys; print([m for m in ('torch', 'timm', 'torchvision') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize("service", SERVICES)
def test_importing_reads_no_environment_and_opens_nothing(service: str) -> None:
    """A module that is imported with broken settings in the environment does not notice."""
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
