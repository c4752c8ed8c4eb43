"""The images contain the versions that constraints.txt pins, and nothing that they do not need."""

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
    """Return versions by name, from lines `name==version …`."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def locked(name: str) -> dict[str, str]:
    """Return the pins of a file in deploy/requirements."""
    return pins((lock.FOLDER / f"{name}.txt").read_text())


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_hadolint_passes() -> None:
    """The Dockerfile follows hadolint's rules without exceptions."""
    command = [BIN / "hadolint", "--no-color", "-"]
    done = subprocess.run(command, input=DOCKERFILE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_image_names_gpus() -> None:
    """Images name the parts of the driver that they need. Pods and Compose services choose the GPUs."""
    set_ = set(re.findall(r"\b(NVIDIA_[A-Z_]+)=(\S+)", DOCKERFILE))
    assert set_ == {("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")}


@pytest.mark.parametrize("name", [*lock.IMAGES, "torch-cuda", "build"])
def test_every_installed_file_has_a_hash(name: str) -> None:
    """Each line of the requirements names one version and one sha256."""
    lines = (lock.FOLDER / f"{name}.txt").read_text().splitlines()[1:]
    assert [line for line in lines if not HASHED.match(line)] == []
    assert lines


def installs(folder: Path, words: str, index: str = "") -> list[str]:
    """Run deploy/image/assemble with a pip that only records its arguments, and return those of each call."""
    script = (ROOT / "deploy" / "image" / "assemble").read_text()
    pip, calls = folder / "pip", folder / "calls"
    pip.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    pip.chmod(0o755)
    for path, stand_in in (
        ("/opt/build/bin/pip", str(pip)), ("/opt/build/bin/cyclonedx-py", "true"), ("python3 -m venv", "true"),
        ("[ -d /opt/torch ]", "false"),
    ):  # fmt: skip
        script = script.replace(path, stand_in)
    subprocess.run(["sh", "-c", script, "assemble", words], check=True, cwd=folder, env={"TORCH_INDEX": index})
    return calls.read_text().splitlines()


@pytest.mark.parametrize("image", ["torch", *lock.IMAGES])
def test_images_are_built_from_hashes_alone(tmp_path: Path, image: str) -> None:
    """pip refuses a file without a hash, for every environment and for the build tools. The product itself is a wheel
    that the build has made, and installs nothing else."""
    [call] = installs(tmp_path, image)
    assert "--require-hashes" in call.split() and "--no-deps" in call.split()
    assert all("--require-hashes --no-deps" in line for line in re.findall("pip install (.*)", DOCKERFILE))
    product = installs(tmp_path, "product")[1]
    assert "dist/*.whl" in product and "--no-deps" in product.split()


def test_only_an_index_of_torch_is_used_without_hashes(tmp_path: Path) -> None:
    """TORCH_INDEX has files of its own, so its wheels are pinned by version only."""
    [call] = installs(tmp_path, "torch", index="https://torch.example/cpu")
    assert "--index-url https://torch.example/cpu" in call and "--require-hashes" not in call


@pytest.mark.parametrize("name", [*lock.IMAGES, "torch-cuda", "torch-cpu"])
def test_images_install_the_tested_versions(name: str) -> None:
    """Versions are those of constraints.txt. `make requirements` writes them again."""
    other = {one: version for one, version in locked(name).items() if CONSTRAINTS.get(one) != version}
    assert other == {}


def test_images_are_built_with_the_projects_build_tools() -> None:
    """hatchling and grpcio-tools have the versions of pyproject.toml."""
    named = pins("\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]))
    assert named.items() <= locked("build").items()


def unmet(requirements: list[str], installed: dict[str, str]) -> list[str]:
    """Return the requirements, including transitive ones, that no installed package meets."""
    missing, waiting, seen = [], list(requirements), set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = ["", *sorted(requirement.extras)]
        if (name, *extras) in seen:
            continue
        seen.add((name, *extras))
        if name not in installed or not requirement.specifier.contains(installed[name]):
            missing.append(str(requirement))
            continue
        for needed in requires(name) or []:
            marker = Requirement(needed).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return missing


@pytest.mark.parametrize("image", lock.IMAGES)
def test_an_image_has_all_its_requirements(image: str) -> None:
    """An image's file lists the requirements of the project and of the image's extra, including transitive ones."""
    torch = locked("torch-cuda") if f"FROM torch AS {image}-environment" in DOCKERFILE else {}
    assert unmet(lock.requirements_of(PROJECT, image), locked(image) | torch) == []


def test_missing_packages_are_found() -> None:
    """unmet returns a missing package and one with a wrong version."""
    installed = {name: version for name, version in locked("annotation").items() if name != "h11"}
    assert unmet(["httpx==0.28.1"], installed) == ["h11>=0.16"]
    assert unmet(["idna<1"], installed) == ["idna<1"]


@pytest.mark.parametrize("image", ["annotation", "patch-rendering"])
def test_services_without_networks_have_no_torch(image: str) -> None:
    """torch is neither in their requirements nor in their stages."""
    assert [name for name in locked(image) if lock.TORCH.match(name)] == []
    assert f"FROM base AS {image}\n" in DOCKERFILE
    assert f"FROM builder AS {image}-environment\n" in DOCKERFILE


@pytest.mark.parametrize("image", lock.IMAGES)
def test_an_image_runs_its_service_without_root(image: str) -> None:
    """An image has a numeric user that is not root, tini, a health check, and the module of its service."""
    stage = DOCKERFILE.partition(f" AS {image}\n")[2].partition("\nFROM ")[0]
    assert "USER 10001:10001\n" in stage
    assert 'HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck", ' in stage
    assert f'CMD ["python", "-m", "services.{image.removesuffix("-gpu").replace("-", "_")}.main"]' in stage
    assert f'image.title="visual-primitives/{image}"' in stage
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in DOCKERFILE


def test_only_named_files_enter_the_images() -> None:
    """The build context excludes all other files of the working tree: data, secrets, environments."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    for path in " ".join(copied).replace("${TORCH}", "cuda").split():
        assert (ROOT / path).exists()
        assert any(path == one or path.startswith(f"{one}/") for one in sent), path


@pytest.mark.parametrize(("code", "status"), [(200, 0), (503, 1)])
def test_the_health_check_calls_readyz(code: int, status: int) -> None:
    """healthcheck calls /readyz at the port in a variable, and fails if the service accepts no work."""
    called = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.handle_request, daemon=True).start()
        command = [sys.executable, ROOT / "deploy" / "image" / "healthcheck", "SOME_PORT", "1"]
        done = subprocess.run(command, env={"SOME_PORT": str(server.server_port)}, capture_output=True, check=False)
    assert (done.returncode, called) == (status, ["/readyz"])


def test_the_smoke_test_has_a_stand_in_for_every_pinned_image() -> None:
    """Each image that is pulled by default has a stand-in, which passes hadolint. Its Debian packages are not
    pinned."""
    pinned = run.pinned()
    assert {f"{kind}.Dockerfile" for kind in pinned} == {path.name for path in standins.FOLDER.glob("*.Dockerfile")}
    assert all(":" in name and "$" not in name and "}" not in name for name in pinned.values())
    for path in standins.FOLDER.glob("*.Dockerfile"):
        command = [BIN / "hadolint", "--no-color", "--ignore", "DL3008", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), path


def test_free_ports_are_all_different() -> None:
    """free_ports returns no port twice, because two containers cannot publish the same port."""
    assert len(set(servers.free_ports(400))) == 400
