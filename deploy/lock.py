"""Writes deploy/requirements: the packages of each image, including transitive ones, every file with its hash.

python -m deploy.lock        (make requirements)

The versions come from constraints.txt. The files are for CPython 3.11 on Linux x86-64, so run it on that. torch and the
packages that only torch needs are in torch-cuda.txt, so that the images that compute share one layer.
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
    """Return the requirements of the project and of one extra. Extras that refer to the project itself are expanded."""
    requirements: list[str] = list(project["dependencies"])
    extras = [extra]
    while extras:
        for requirement in project["optional-dependencies"][extras.pop()]:
            own = OWN.fullmatch(requirement)
            if own:
                extras += own[1].split(",")
            else:
                requirements.append(requirement)
    return requirements


def resolve(requirements: Iterable[str]) -> dict[str, str]:
    """Return the line `name==version --hash=sha256:…` of every package that pip would install, by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--only-binary", ":all:", "--report", str(report)]
        constraint = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *constraint, *requirements], check=True)
        chosen = json.loads(report.read_text())["install"]
    return dict(sorted(pinned_line(one) for one in chosen))


def pinned_line(chosen: dict[str, Any]) -> tuple[str, str]:
    """Return name and line of a package from pip's report. SystemExit if its authors yanked the release."""
    words = chosen["metadata"]["name"].lower().replace("_", "-").replace(".", "-").split("-")
    name = "-".join(word for word in words if word)
    if chosen.get("is_yanked"):
        raise SystemExit(f"{name} {chosen['metadata']['version']} was yanked by its authors: pin another version")
    digest = chosen["download_info"]["archive_info"]["hashes"]["sha256"]
    return name, f"{name}=={chosen['metadata']['version']} --hash=sha256:{digest}"


def write(name: str, lines: Iterable[str]) -> None:
    """Write one requirements file."""
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
    # The CPU-only wheels are on PyTorch's own index. Their hashes are not known here.
    bare = (line.split(" ")[0] for name, line in torch.items() if name in ("torch", "torchvision"))
    write("torch-cpu", bare)


if __name__ == "__main__":
    main()
