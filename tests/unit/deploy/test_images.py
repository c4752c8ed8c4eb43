"""The images are made of what constraints.txt pins, and of nothing that they do not need."""

import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import requires
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import lock
from deploy.local import servers
from deploy.smoke import run, standins

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
BIN = Path(sys.executable).parent
HASHED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+) --hash=sha256:[0-9a-f]{64}$")


def pins(text: str) -> dict[str, str]:
    """Name to version of the lines `name==version …`."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def locked(name: str) -> dict[str, str]:
    """What a file of deploy/requirements pins."""
    return pins((lock.FOLDER / f"{name}.txt").read_text())


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile follows its rules, without an exception."""
    command = [BIN / "hadolint", "--no-color", "-"]
    said = subprocess.run(command, input=DOCKERFILE, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_no_image_names_gpus() -> None:
    """It says what of the driver it needs; which GPUs it has is what its pod or its Compose service asks for."""
    set_ = set(re.findall(r"\b(NVIDIA_[A-Z_]+)=(\S+)", DOCKERFILE))
    assert set_ == {("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")}


@pytest.mark.parametrize("name", [*lock.IMAGES, "torch-cuda", "build"])
def test_every_file_that_is_installed_is_known_by_its_hash(name: str) -> None:
    """Each line of the requirements names one version and one sha256."""
    lines = (lock.FOLDER / f"{name}.txt").read_text().splitlines()[1:]
    assert [line for line in lines if not HASHED.match(line)] == []
    assert lines


@pytest.mark.parametrize("name", [*lock.IMAGES, "torch-cuda", "torch-cpu"])
def test_images_install_what_is_tested(name: str) -> None:
    """Versions are those of constraints.txt; `make requirements` writes them anew."""
    other = {one: version for one, version in locked(name).items() if CONSTRAINTS.get(one) != version}
    assert other == {}


def test_build_tools_are_those_that_the_project_names() -> None:
    """hatchling and grpcio-tools are of the versions that an installation in place builds with."""
    named = pins("\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]))
    assert named.items() <= locked("build").items()


def unmet(asked: list[str], given: dict[str, str]) -> list[str]:
    """Requirements, those of what is given included, that nothing that is given meets."""
    missing, waiting, seen = [], list(asked), set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = ["", *sorted(requirement.extras)]
        if (name, *extras) in seen:
            continue
        seen.add((name, *extras))
        if name not in given or not requirement.specifier.contains(given[name]):
            missing.append(str(requirement))
            continue
        for needed in requires(name) or []:
            marker = Requirement(needed).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return missing


@pytest.mark.parametrize("image", lock.IMAGES)
def test_an_image_has_all_that_it_asks_for(image: str) -> None:
    """What the project and the image's extra ask for, and all that this needs, is in its requirements."""
    torch = locked("torch-cuda") if f"FROM torch AS {image}-environment" in DOCKERFILE else {}
    assert unmet(lock.requirements_of(PROJECT, image), locked(image) | torch) == []


def test_what_is_missing_is_seen() -> None:
    """The check above finds a package that is not there, and one of another version."""
    given = {name: version for name, version in locked("annotation").items() if name != "h11"}
    assert unmet(["httpx==0.28.1"], given) == ["h11>=0.16"]
    assert unmet(["idna<1"], given) == ["idna<1"]


@pytest.mark.parametrize("image", ["annotation", "patch-rendering"])
def test_services_that_compute_no_network_have_no_torch(image: str) -> None:
    """Neither their requirements nor the stages that they are made of hold it."""
    assert [name for name in locked(image) if lock.TORCH.match(name)] == []
    assert f"FROM base AS {image}\n" in DOCKERFILE
    assert f"FROM builder AS {image}-environment\n" in DOCKERFILE


@pytest.mark.parametrize("image", lock.IMAGES)
def test_an_image_runs_its_service_as_nobody_in_particular(image: str) -> None:
    """A numeric user that is not root, tini, a health check and the service's own module."""
    stage = DOCKERFILE.partition(f" AS {image}\n")[2].partition("\nFROM ")[0]
    assert "USER 10001:10001\n" in stage
    assert 'HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck", ' in stage
    assert f'CMD ["python", "-m", "services.{image.removesuffix("-gpu").replace("-", "_")}.main"]' in stage
    assert f'image.title="visual-primitives/{image}"' in stage
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in DOCKERFILE


def test_images_are_made_of_named_files_alone() -> None:
    """Whatever else lies in the working tree (data, secrets, environments) is not sent to the engine."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    for path in " ".join(copied).replace("${TORCH}", "cuda").split():
        assert (ROOT / path).exists()
        assert any(path == one or path.startswith(f"{one}/") for one in sent), path


@pytest.mark.parametrize(("answer", "status"), [(200, 0), (503, 1)])
def test_the_health_check_goes_by_readyz(answer: int, status: int) -> None:
    """It asks /readyz at the port that a variable names, and fails where the service takes no work."""
    asked = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.handle_request, daemon=True).start()
        command = [sys.executable, ROOT / "deploy" / "image" / "healthcheck", "PORT_OF_IT", "1"]
        done = subprocess.run(command, env={"PORT_OF_IT": str(server.server_port)}, capture_output=True, check=False)
    assert (done.returncode, asked) == (status, ["/readyz"])


def test_the_smoke_test_stands_in_for_every_pinned_image() -> None:
    """Each image that is pulled by default has a stand-in, which hadolint accepts but for Debian's versions,
    which are those of the day."""
    pinned = run.pinned()
    assert {f"{kind}.Dockerfile" for kind in pinned} == {path.name for path in standins.FOLDER.glob("*.Dockerfile")}
    assert all(":" in name and "$" not in name and "}" not in name for name in pinned.values())
    for path in standins.FOLDER.glob("*.Dockerfile"):
        command = [BIN / "hadolint", "--no-color", "--ignore", "DL3008", path]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout, said.stderr) == (0, "", ""), path


def test_no_port_is_given_twice() -> None:
    """Of many ports that smoke asks for at once each is another: two containers cannot publish the same."""
    assert len(set(servers.free_ports(400))) == 400
