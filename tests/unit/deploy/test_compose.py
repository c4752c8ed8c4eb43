"""docker-compose.yml: Compose reads it, ports are published on loopback only, and secrets are files."""

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.secrets import make
from services.annotation.settings import AnnotationSettings
from services.common.access.tokens import Tokens
from services.common.settings import Shared
from tests.unit.deploy.manifests import ROOT, SERVICES, TOOLS, stop_s

FILE = ROOT / "docker-compose.yml"
GPUS = ROOT / "compose.gpu.yml"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Secrets as `make secrets` creates them."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    make(folder)
    return folder


def rendered(secrets: Path, *options: str, **variables: str) -> dict[str, Any]:
    """Return the file as Compose reads it."""
    command = [str(TOOLS / "docker-compose"), *options, "config", "--format", "json"]
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = plain | {"SECRETS": str(secrets)} | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@pytest.fixture(scope="module")
def composed(secrets: Path) -> dict[str, Any]:
    """The file as Compose reads it without variables and with all profiles."""
    return rendered(secrets, "--profile", "*")


def test_compose_lint_passes() -> None:
    """compose-lint finds nothing beyond the exceptions of .compose-lint.yml, all of which are needed."""
    command = [TOOLS / "compose-lint", "check", "--quiet", "--fail-on", "low", "--strict-config", "--no-env", FILE.name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ports_are_published_on_loopback_only(composed: dict[str, Any]) -> None:
    """Every published port is on 127.0.0.1, and the stores publish none."""
    published = {name: one.get("ports", []) for name, one in composed["services"].items()}
    assert all(port["host_ip"] == "127.0.0.1" for ports in published.values() for port in ports)
    assert {name for name, ports in published.items() if ports} == {*SERVICES, *profiled(composed)}
    assert composed["networks"]["inside"]["internal"] is True


def profiled(composed: dict[str, Any]) -> set[str]:
    """Return the services that run only with a profile."""
    return {name for name, one in composed["services"].items() if one.get("profiles")}


def test_every_container_is_restricted(composed: dict[str, Any]) -> None:
    """Containers have a read-only root, no capabilities, no new privileges, and limits of memory and processes."""
    for name, one in composed["services"].items():
        assert one["read_only"] is True, name
        assert (one["cap_drop"], one.get("cap_add")) == (["ALL"], None), name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert {"memory", "pids"} <= one["deploy"]["resources"]["limits"].keys(), name
    root = {name for name, one in composed["services"].items() if "user" not in one}
    assert root == {"minio"}  # its image has no folder that another user could write to; it has no capabilities


def test_services_start_after_their_dependencies(composed: dict[str, Any]) -> None:
    """Services wait for a healthy broker, migrated tables and created buckets. Migration and buckets wait for healthy
    stores."""
    conditions = {
        name: {other: need["condition"] for other, need in one.get("depends_on", {}).items()}
        for name, one in composed["services"].items()
    }
    done, healthy = "service_completed_successfully", "service_healthy"
    for name in SERVICES:
        assert conditions[name] == {"rabbitmq": healthy, "migrate": done, "buckets": done}
    assert (conditions["migrate"], conditions["buckets"]) == ({"postgres": healthy}, {"minio": healthy})
    for name in ("rabbitmq", "postgres", "minio"):
        assert composed["services"][name]["healthcheck"]["test"]


def test_a_service_has_the_time_that_it_needs_to_stop(composed: dict[str, Any]) -> None:
    """The grace period is longer than the time that a service needs to stop."""
    for name in SERVICES:
        minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", composed["services"][name]["stop_grace_period"]).groups()
        assert int(minutes or 0) * 60 + int(seconds) > stop_s()


def test_variables_are_settings(composed: dict[str, Any]) -> None:
    """Each service reads all its PRIMITIVES_ variables, and the annotation service has the URLs of the others."""
    known = {f"PRIMITIVES_{name.upper()}" for name in Shared.model_fields}
    pages = {f"PRIMITIVES_ANNOTATION_{name.upper()}" for name in AnnotationSettings.model_fields}
    for name in SERVICES:
        given = {key for key in composed["services"][name]["environment"] if key.startswith("PRIMITIVES_")}
        assert given <= known | (pages if name == "annotation" else set())
    urls = composed["services"]["annotation"]["environment"]
    for variable in ("TRAINING", "EXTRACTION", "RENDERING"):
        host, _, port = urls[f"PRIMITIVES_ANNOTATION_{variable}_URL"].removeprefix("http://").partition(":")
        assert int(port) in {one["target"] for one in composed["services"][host]["ports"]}


def test_no_secret_is_in_the_file(composed: dict[str, Any], secrets: Path) -> None:
    """All secrets are files that `make secrets` creates. None is a value that Compose shows."""
    assert {Path(one["file"]).parent for one in composed["secrets"].values()} == {secrets}
    assert all(Path(one["file"]).is_file() for one in composed["secrets"].values())
    passwords = [path.read_text() for path in secrets.glob("*_password")]
    passwords += [path.read_text() for path in secrets.glob("*_token")]
    shown = json.dumps(composed)
    assert len(set(passwords)) == 7
    assert [one for one in passwords if one in shown] == []


def test_existing_secrets_are_kept(secrets: Path, tmp_path: Path) -> None:
    """A second call changes no file, another folder gets other secrets, and only the owner can open the folder."""
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    make(secrets)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    make(tmp_path / "other")
    assert (tmp_path / "other" / "operator_token").read_text() != before["operator_token"]
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700


def test_services_accept_the_tokens(secrets: Path) -> None:
    """The operator has all scopes, the pages may use the three other services, and Prometheus only reads metrics.
    The tokens file contains only hashes."""
    tokens = Tokens(secrets / "tokens.json")
    operator = tokens.holder((secrets / "operator_token").read_text())
    assert operator.allows("training", "write") and operator.allows("annotation", "manage")
    pages = tokens.holder((secrets / "annotation_token").read_text())
    assert pages.allows("training", "write") and not pages.allows("annotation", "read")
    prometheus = tokens.holder((secrets / "metrics_token").read_text())
    assert prometheus.allows("metrics", "read") and not prometheus.allows("annotation", "read")


def test_the_broker_knows_the_user_of_the_url(secrets: Path) -> None:
    """RabbitMQ's salted SHA-256 matches the password in the URL of the bus."""
    user = json.loads((secrets / "broker_users.json").read_text())["users"][0]
    hashed = base64.b64decode(user["password_hash"])
    password = re.fullmatch(rf"amqp://{user['name']}:(.+)@rabbitmq:5672/%2F", (secrets / "bus_url").read_text())
    assert password is not None
    assert hashed[4:] == hashlib.sha256(hashed[:4] + password[1].encode()).digest()


def test_the_example_names_every_variable() -> None:
    """.env.example lists exactly the variables of the Compose files, with the same defaults."""
    read = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", FILE.read_text() + GPUS.read_text()))
    listed = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert listed.keys() == read.keys()
    others = {"MINIO_IMAGE", "TORCH"}  # these show an alternative, not the default
    assert {name: listed[name] for name in listed.keys() - others} == {
        name: read[name] for name in read.keys() - others
    }


def with_devices(secrets: Path, **variables: str) -> dict[str, Any]:
    """Return the services as Compose reads both files."""
    services: dict[str, Any] = rendered(secrets, "--file", FILE.name, "--file", GPUS.name, **variables)["services"]
    return services


def test_gpus_go_to_the_services_that_compute(secrets: Path) -> None:
    """compose.gpu.yml reserves one GPU each for training, extraction and rendering only, and keeps their limits. By
    default all use the first GPU, and each may use its own. Rendering uses the image with torch."""
    with_gpus = with_devices(secrets)
    reserved = {
        name: one["deploy"]["resources"]["reservations"]["devices"]
        for name, one in with_gpus.items()
        if one["deploy"]["resources"].get("reservations")
    }
    assert reserved.keys() == {"training", "activation-extraction", "patch-rendering"}
    for name, devices in reserved.items():
        assert devices == [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
        assert with_gpus[name]["environment"]["PRIMITIVES_DEVICE"] == "cuda"
        assert "memory" in with_gpus[name]["deploy"]["resources"]["limits"]
    assert with_gpus["patch-rendering"]["image"] == "visual-primitives/patch-rendering-gpu:0.1.0"
    assert with_gpus["patch-rendering"]["build"]["target"] == "patch-rendering-gpu"
    own = with_devices(secrets, TRAINING_GPU="1", EXTRACTION_GPU="GPU-0a", RENDERING_GPU="2")
    for name, device in (("training", "1"), ("activation-extraction", "GPU-0a"), ("patch-rendering", "2")):
        (one,) = own[name]["deploy"]["resources"]["reservations"]["devices"]
        assert one["device_ids"] == [device]


def test_another_store_is_one_line(secrets: Path) -> None:
    """MINIO_IMAGE sets the image of the object store."""
    swapped = rendered(secrets, MINIO_IMAGE="pgsty/minio:a-tag")["services"]["minio"]["image"]
    assert swapped == "pgsty/minio:a-tag"


def test_images_are_pinned(composed: dict[str, Any]) -> None:
    """Every image has an exact tag: a version with at least two dots, or a dated release."""
    tags = {name: one["image"].rpartition(":")[2] for name, one in composed["services"].items()}
    exact = re.compile(r"v?\d+\.\d+\.\d+|\d+\.\d+-bookworm|RELEASE\.[\dTZ-]+")
    assert {name: tag for name, tag in tags.items() if not exact.match(tag)} == {}


def test_compose_and_dockerfile_have_the_same_base() -> None:
    """The Compose file's default base image is that of the Dockerfile."""
    composed = yaml.safe_load(FILE.read_text())["services"]["training"]["build"]["args"]["BASE_IMAGE"]
    stated = re.search(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert stated is not None
    assert composed == f"${{BASE_IMAGE:-{stated[1]}}}"
