"""The contracts of the last release: its protos as one image, and the OpenAPI document of each service.

python -m deploy.release.contracts check    list what the code breaks
python -m deploy.release.contracts keep     store the contracts of the code, at a release

`keep` is the only way to accept a breaking change. The release mentions the change in CHANGELOG.md.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.release.openapi import find_breaks
from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.annotation import main as annotation
from services.annotation.settings import AnnotationSettings
from services.common.access.tokens import add_token
from services.common.bus import MemoryBus
from services.common.runtime.service import Service
from services.common.settings import Shared
from services.patch_rendering import main as patch_rendering
from services.patch_rendering.settings import RenderingSettings
from services.training import main as training
from services.training.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "proto"
IMAGE = PROTOS / "released" / "image.binpb"
DOCUMENTS = ROOT / "docs" / "api"
BREAKS = 100
"""The exit status of buf when it has found breaking changes."""


def proto_breaks(protos: Path = PROTOS) -> list[str]:
    """Compare protos with the image of the last release. Return the lines of `buf breaking`."""
    found = _buf("breaking", str(protos), "--against", str(IMAGE))
    if found.returncode not in (0, BREAKS):
        raise RuntimeError(f"buf could not compare {protos} with {IMAGE}: {found.stdout}{found.stderr}")
    return found.stdout.splitlines()


def openapi_breaks() -> list[str]:
    """Compare the services' OpenAPI with the documents of the last release. Return a line per breaking change."""
    return [
        f"{service}: {line}"
        for service, today in openapi_documents().items()
        for line in find_breaks(json.loads((DOCUMENTS / f"{service}.json").read_text()), today)
    ]


def openapi_documents() -> dict[str, Any]:
    """Return today's document of each service, as served when tokens are required."""
    with tempfile.TemporaryDirectory(prefix="contracts-") as folder:
        tokens_file = Path(folder) / "tokens.json"
        token = add_token(tokens_file, "contracts", ("*:read",))
        shared = Shared(
            home=Path(folder), bus_url="memory://", blobs_url="", records_url="", host="127.0.0.1",
            tokens_file=tokens_file, tls_certificate=None, tls_key=None,
        )  # fmt: skip
        with _serving(shared) as services:
            headers = {"authorization": f"Bearer {token}"}
            return {
                one.name: httpx.get(f"http://127.0.0.1:{one.http.port}/openapi.json", headers=headers).json()
                for one in services
            }


def keep() -> None:
    """Store the contracts of the code as those of the last release."""
    IMAGE.parent.mkdir(exist_ok=True)
    built = _buf("build", str(PROTOS), "--exclude-source-info", "-o", str(IMAGE))
    if built.returncode != 0:
        raise RuntimeError(f"buf could not build {PROTOS}: {built.stdout}{built.stderr}")
    DOCUMENTS.mkdir(exist_ok=True)
    for service, document in openapi_documents().items():
        (DOCUMENTS / f"{service}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


@contextmanager
def _serving(shared: Shared) -> Iterator[list[Service]]:
    """Run the four services over HTTP alone. They consume no messages and start no work."""
    bus = MemoryBus()
    free: dict[str, Any] = {"shared": shared, "http_port": 0, "grpc_port": 0}
    services = [
        training.create(TrainingSettings(**free), bus),
        activation_extraction.create(ExtractionSettings(**free), bus),
        patch_rendering.create(RenderingSettings(**free), bus),
        annotation.create(AnnotationSettings(**free), bus),
    ]
    for service in services:
        service.http.start()
    try:
        yield services
    finally:
        for service in services:
            service.http.stop()
            service.grpc.stop()
            service.ports.records.close()


def _buf(*words: str) -> "subprocess.CompletedProcess[str]":
    command = Path(sys.executable).parent / "buf"
    program = str(command) if command.exists() else shutil.which("buf")
    if program is None:
        raise RuntimeError("buf is not installed; `make setup` installs it")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd=ROOT)


def main(words: list[str]) -> int:
    """Run the command. Return 1 if something breaks."""
    if words == ["keep"]:
        keep()
        return 0
    if words != ["check"]:
        sys.stderr.write(__doc__ or "")
        return 2
    lines = proto_breaks() + openapi_breaks()
    sys.stdout.write("\n".join(lines or ["nothing breaks the contracts of the last release"]) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
