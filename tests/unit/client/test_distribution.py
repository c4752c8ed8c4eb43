"""The Python client is a distribution of its own, which needs neither torch nor the services."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import primitives_client
import services

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "client"
IMPORTS = """
import importlib, json, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "services", "primitives", "numpy", "pandas", "PIL", "IPython", "rich"):
            raise ImportError(f"the client imports {name}")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
import primitives_client
assert primitives_client.__file__.startswith(sys.argv[1]), primitives_client.__file__
for one in pkgutil.walk_packages(primitives_client.__path__, "primitives_client."):
    importlib.import_module(one.name)
repr(primitives_client.Primitives())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from a copy of the folder; it needs no index, because setuptools is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(FOLDER, folder / "client", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip(folder, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "client"))
    [found] = folder.glob("*.whl")
    return found


def pip(folder: Path, *words: str) -> None:
    """Run pip without an index."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words, "--no-index"]
    subprocess.run(command, check=True, cwd=folder)


def metadata(wheel: Path) -> Message:
    """Read the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_the_client_and_its_types(wheel: Path) -> None:
    """And nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"primitives_client"}
    assert {"primitives_client/py.typed", "primitives_client/models/training.py"} <= set(names)


def test_the_wheel_requires_two_packages(wheel: Path) -> None:
    """Everything else belongs to an extra."""
    required = metadata(wheel).get_all("Requires-Dist", [])
    plain = [one for one in required if "extra ==" not in one]
    assert [one.partition("<")[0].partition(">")[0] for one in plain] == ["httpx", "pydantic"]
    assert sorted(metadata(wheel).get_all("Provides-Extra", [])) == ["pandas", "pillow"]


def test_a_fresh_install_imports_nothing_of_the_services(wheel: Path, tmp_path: Path) -> None:
    """Every module of the installed wheel is imported while torch, the services and optional packages are refused."""
    pip(tmp_path, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    command = [sys.executable, "-c", IMPORTS, str(tmp_path / "site")]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PATH": "/usr/bin"})


def test_the_version_is_that_of_the_services(wheel: Path) -> None:
    """A release has one version."""
    assert metadata(wheel)["Version"] == primitives_client.__version__ == services.__version__


def test_the_services_do_not_contain_the_client() -> None:
    """Their wheel has the services and the protos, and no service imports the client."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["services", "proto/primitives"]
    users = [path for path in (ROOT / "services").rglob("*.py") if "primitives_client" in path.read_text()]
    assert users == []


def test_the_build_has_the_installed_setuptools() -> None:
    """So that this test, and an editable install, need no other version."""
    built = tomllib.loads((FOLDER / "pyproject.toml").read_text())["build-system"]["requires"]
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    assert set(built) <= set(dev)
