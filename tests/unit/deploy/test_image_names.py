"""How files name images."""

import shutil
from pathlib import Path

import pytest

from deploy.release.digests import UNSET
from deploy.release.image_names import ROOT, fault_of, image_names, lacks_digest

DIGEST = "sha256:" + "1f" * 32


@pytest.mark.parametrize(
    ("name", "has_fault", "lacks"),
    [
        (f"rabbitmq@{DIGEST}", False, False),
        (f"mirror.example:5000/rabbitmq:4.2.9@{DIGEST}", False, False),
        (f"rabbitmq@{UNSET}", False, True),
        ("rabbitmq:4.2.9-management", False, True),
        ("quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z", False, True),
        ("visual-primitives/training:local", False, False),
        (f"visual-primitives/training@{UNSET}", False, True),
        ("rabbitmq@sha256:1f1f", True, False),
        ("rabbitmq", True, True),
        ("mirror.example:5000/rabbitmq", True, True),
        ("rabbitmq:latest", True, True),
        ("postgres:17", True, True),
        ("visual-primitives/training", True, False),
    ],
)
def test_names_are_judged(name: str, has_fault: bool, lacks: bool) -> None:
    """A digest and an exact tag have no fault; a name that may change from one day to the next has one."""
    assert (bool(fault_of(name)), lacks_digest(name)) == (has_fault, lacks)


def test_no_name_may_change() -> None:
    """The names of Compose, Kubernetes and the Dockerfile have no fault."""
    names = list(image_names())
    files = {one.file for one in names}
    assert {"docker-compose.yml", "compose.gpu.yml", "deploy/Dockerfile"} < files
    assert any(file.startswith("k8s/") for file in files)
    assert [one for one in names if fault_of(one.name)] == []
    assert [one for one in names if "$" in one.name] == []


def test_an_image_has_one_version() -> None:
    """Compose, the overlay of one machine and the Dockerfile name the same version of an image of others."""
    tags = {one.name for one in image_names() if lacks_digest(one.name) and "@" not in one.name}
    assert len(tags) == len({tag.rpartition(":")[0] for tag in tags})


def test_a_tag_that_moves_is_found(tmp_path: Path) -> None:
    """It is named with its file, also as the default of a variable."""
    for path in ("docker-compose.yml", "compose.gpu.yml", "deploy/Dockerfile"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(compose.read_text().replace("postgres:17.11-bookworm", "postgres:latest"))
    assert [one for one in image_names(tmp_path) if fault_of(one.name)] == [("docker-compose.yml", "postgres:latest")]
