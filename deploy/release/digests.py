"""Sets the digests of the images that Kubernetes runs.

python -m deploy.release.digests NAME=[REPOSITORY@]sha256:HEX …      --check lists missing digests

NAME is the image's name in the manifests. REPOSITORY is its location, if that differs from NAME. Pushing an image
prints its digest, and so does `docker buildx imagetools inspect REPOSITORY:TAG`.
"""

import argparse
import re
import sys
from pathlib import Path

import yaml

IMAGES = Path(__file__).parents[2] / "k8s" / "components" / "images" / "kustomization.yaml"
UNSET = "sha256:" + "0" * 64
ASSIGNMENT = re.compile(r"(?P<name>[^=\s]+)=(?:(?P<repository>[^@\s]+)@)?(?P<digest>sha256:[0-9a-f]{64})")


class ReleaseError(Exception):
    """A digest cannot be set; the message names the reason."""


def set_digests(path: Path, assignments: list[str]) -> None:
    """Write digests and repositories of images into the file. ReleaseError for an unknown name, a malformed digest, or
    a digest of zeros."""
    head, content = _read(path)
    images = {image["name"]: image for image in content["images"]}
    for assignment in assignments:
        match = ASSIGNMENT.fullmatch(assignment)
        if match is None or match["digest"] == UNSET:
            raise ReleaseError(f"{assignment!r} is not NAME=[REPOSITORY@]sha256: and the 64 digits of a digest")
        if match["name"] not in images:
            raise ReleaseError(f"no image is called {match['name']!r}; expected one of {', '.join(images)}")
        images[match["name"]] |= {"digest": match["digest"]} | (
            {"newName": match["repository"]} if match["repository"] else {}
        )
    path.write_text(head + yaml.safe_dump(content, sort_keys=False))


def unset(path: Path) -> list[str]:
    """Return the names of the images without a digest."""
    return [image["name"] for image in _read(path)[1]["images"] if image["digest"] == UNSET]


def _read(path: Path) -> tuple[str, dict[str, list[dict[str, str]]]]:
    """Return the comment at the head of the file, and its content."""
    text = path.read_text()
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return head, yaml.safe_load(text)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assignments", nargs="*", metavar="NAME=[REPOSITORY@]DIGEST")
    parser.add_argument("--check", action="store_true", help="exit status 1 if a digest is not set")
    arguments = parser.parse_args()
    try:
        set_digests(IMAGES, arguments.assignments)
    except ReleaseError as error:
        parser.error(str(error))
    lacking = unset(IMAGES)
    if lacking:
        sys.stderr.write(f"no digest is set for {', '.join(lacking)}\n")
    if arguments.check and lacking:
        sys.exit(1)


if __name__ == "__main__":
    main()
