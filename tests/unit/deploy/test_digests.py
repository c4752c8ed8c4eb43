"""Setting the digests of a release in the file that the manifests use."""

import shutil
from pathlib import Path

import pytest
import yaml

from deploy.release.digests import IMAGES, UNSET, ReleaseError, set_digests, unset

DIGEST = "sha256:" + "1f" * 32


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copy(IMAGES, tmp_path))


def test_a_digest_is_set_and_the_others_stay(images: Path) -> None:
    """set_digests sets digest and repository of one image, and keeps the others and the comment at the head."""
    before = yaml.safe_load(images.read_text())["images"]
    set_digests(images, [f"rabbitmq=mirror.example/rabbitmq@{DIGEST}"])
    after = {image["name"]: image for image in yaml.safe_load(images.read_text())["images"]}
    assert after["rabbitmq"] == {"name": "rabbitmq", "digest": DIGEST, "newName": "mirror.example/rabbitmq"}
    assert [image for image in before if image["name"] != "rabbitmq"] == [
        image for name, image in after.items() if name != "rabbitmq"
    ]
    assert "rabbitmq" not in unset(images)
    assert images.read_text().splitlines()[0] == IMAGES.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("nginx=" + DIGEST, "no image is called 'nginx'"),
        ("rabbitmq=4.1.4", "is not NAME="),
        ("rabbitmq=" + UNSET, "is not NAME="),
        ("rabbitmq=sha256:1f1f", "is not NAME="),
    ],
)
def test_a_malformed_digest_is_refused(assignment: str, words: str, images: Path) -> None:
    """set_digests changes nothing for a tag, zeros, half a digest or an unknown name."""
    before = images.read_text()
    with pytest.raises(ReleaseError, match=words):
        set_digests(images, [assignment])
    assert images.read_text() == before
