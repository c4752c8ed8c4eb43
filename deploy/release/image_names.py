"""Checks how Compose, Kubernetes and the Dockerfile name images, without a registry.

python -m deploy.release.image_names      (make images)

A digest names one image for ever; a tag can be moved to another one. Names without a digest are printed: exact tags,
and the digests of zeros that a release sets. Errors are malformed digests, and names that may change from one day to
the next: no tag, `latest`, a tag without a full version.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy.release.digests import UNSET

ROOT = Path(__file__).parents[2]
OWN = re.compile(r"visual-primitives/[a-z-]+(:|@|$)")
"""Our own images: Compose builds them on the machine, so a tag is enough there."""
DEFAULT = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
EXACT = re.compile(r"[0-9](\.[0-9]|-[0-9]{2}-[0-9]{2})")
"""A part of every tag with a full version: 17.11-bookworm, RELEASE.2025-09-07T16-13-09Z."""


class ImageName(NamedTuple):
    """The name of an image in a file."""

    file: str
    name: str


def image_names(root: Path = ROOT) -> Iterator[ImageName]:
    """Yield the names of all images that are pulled or built. Defaults stand for variables."""
    for path in (root / "docker-compose.yml", root / "compose.gpu.yml"):
        for service in yaml.safe_load(path.read_text())["services"].values():
            base = service.get("build", {}).get("args", {}).get("BASE_IMAGE")
            for name in filter(None, (service.get("image"), base)):
                yield ImageName(path.name, DEFAULT.sub(r"\1", name))
    for path in sorted((root / "k8s").rglob("kustomization.yaml")):
        for image in yaml.safe_load(path.read_text()).get("images", []):
            yield ImageName(path.relative_to(root).as_posix(), _kustomized(image))
    text = (root / "deploy" / "Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG ([A-Z_]+)=(\S+)$", text, flags=re.MULTILINE))
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, flags=re.MULTILINE)
    for name in re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE):
        if name not in stages:
            yield ImageName("deploy/Dockerfile", re.sub(r"\$\{([A-Z_]+)\}", lambda found: defaults[found[1]], name))


def fault_of(name: str) -> str:
    """Return what is wrong with a name; empty if it names one image, as far as a tag can."""
    rest, at, digest = name.partition("@")
    if at:
        return "" if DIGEST.fullmatch(digest) else "the digest is not sha256: and 64 digits"
    tag = rest.rpartition("/")[2].partition(":")[2]
    if OWN.match(name):
        return "" if tag else "it has neither a tag nor a digest"
    return "" if EXACT.search(tag) else "its tag may be moved to another image: write the full version or the digest"


def lacks_digest(name: str) -> bool:
    """Whether an image of others, or one that a release pushes, has no digest yet."""
    return name.endswith(UNSET) or ("@" not in name and not OWN.match(name))


def _kustomized(image: dict[str, Any]) -> str:
    name = image.get("newName", image["name"])
    if "digest" in image:
        return f"{name}@{image['digest']}"
    return f"{name}:{image['newTag']}" if "newTag" in image else str(name)


def main() -> None:
    """Print the names without digests; exit with status 1 if a name is wrong."""
    names = sorted(set(image_names()))
    faults = [f"{one.file}: {one.name}: {fault}" for one in names if (fault := fault_of(one.name))]
    for one in names:
        if lacks_digest(one.name):
            sys.stdout.write(f"no digest yet: {one.file}: {one.name}\n")
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
