"""The annotation service as a process that may open only a number of files."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.servers import free_ports
from services.cli.client import is_ready

START_S = 120.0


@contextmanager
def limited_service(folder: Path, files: int) -> Iterator[int]:
    """Run the service for the block, with embedded records; yields its HTTP port."""
    port, grpc_port = free_ports(2)
    environment = os.environ | {
        "PRIMITIVES_HOME": str(folder / "home"),
        "PRIMITIVES_ANNOTATION_HTTP_PORT": str(port),
        "PRIMITIVES_ANNOTATION_GRPC_PORT": str(grpc_port),
    }
    command = ["sh", "-c", f'ulimit -n {files} && exec "$0" -m services.annotation.main', sys.executable]
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_S
        while not is_ready(f"http://127.0.0.1:{port}"):
            assert process.poll() is None and time.monotonic() < end, (folder / "service.log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)
