"""Writes deploy/requirements: what each image installs, transitive ones included, every file by its hash.

python -m deploy.lock        (make requirements)

The versions are those of constraints.txt. The files are those of CPython 3.11 on Linux x86-64: run it with that. torch
and what only torch needs lie apart in torch-cuda.txt, so that the images that compute share one layer.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "requirements"
IMAGES = ("training", "activation-extraction", "patch-rendering", "patch-rendering-gpu", "annotation")
SBOM = "cyclonedx-bom==7.5.0"
OWN = re.compile(r"visual-primitives\[([a-z,-]+)\]")
TORCH = re.compile(r"(torch|torchvision|triton|(nvidia|cuda)-.*)$")


def requirements_of(project: dict[str, Any], extra: str) -> list[str]:
    """What the project and one of its extras ask for, extras of its own name expanded."""
    asked: list[str] = list(project["dependencies"])
    waiting = [extra]
    while waiting:
        for requirement in project["optional-dependencies"][waiting.pop()]:
            own = OWN.fullmatch(requirement)
            if own:
                waiting += own[1].split(",")
            else:
                asked.append(requirement)
    return asked


def resolve(requirements: Iterable[str]) -> dict[str, str]:
    """Name to the line `name==version --hash=sha256:…` of everything that pip would install for requirements."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--only-binary", ":all:", "--report", str(report)]
        constraint = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *constraint, *requirements], check=True)
        chosen = json.loads(report.read_text())["install"]
    return dict(sorted(_line(one) for one in chosen))


def _line(chosen: dict[str, Any]) -> tuple[str, str]:
    name = re.sub(r"[-_.]+", "-", chosen["metadata"]["name"]).lower()
    if chosen.get("is_yanked"):
        raise SystemExit(f"{name} {chosen['metadata']['version']} was taken back by its authors: pin another version")
    digest = chosen["download_info"]["archive_info"]["hashes"]["sha256"]
    return name, f"{name}=={chosen['metadata']['version']} --hash=sha256:{digest}"


def write(name: str, lines: Iterable[str]) -> None:
    """Write one file of requirements."""
    head = "# Written by `make requirements`; do not edit. CPython 3.11, Linux x86-64.\n"
    (FOLDER / f"{name}.txt").write_text(head + "".join(f"{line}\n" for line in lines))


def main() -> None:
    """Write all files."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    write("build", resolve([*pyproject["build-system"]["requires"], SBOM]).values())
    torch: dict[str, str] = {}
    for image in IMAGES:
        chosen = resolve(requirements_of(pyproject["project"], image))
        torch |= {name: line for name, line in chosen.items() if TORCH.match(name)}
        write(image, (line for name, line in chosen.items() if not TORCH.match(name)))
    write("torch-cuda", torch.values())
    # Wheels for the CPU alone lie on an index of PyTorch's own; its hashes are known to whoever reaches it.
    bare = (line.split(" ")[0] for name, line in torch.items() if name in ("torch", "torchvision"))
    write("torch-cpu", bare)


if __name__ == "__main__":
    main()
