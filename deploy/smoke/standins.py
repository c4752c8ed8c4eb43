"""Stand-ins for images of a registry: Debian's packages, under the pinned names."""

import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from deploy.smoke.engine import Docker

FOLDER = Path(__file__).with_name("standins")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
DEBIAN = "smoke/debian:bookworm"


def make_stand_ins(docker: Docker, folder: Path, names: dict[str, str]) -> None:
    """Build `standins/KIND.Dockerfile` for every kind in `names`, under its name there."""
    _import_debian(docker, folder / "debian")
    context = folder / "context"
    shutil.copytree(FOLDER, context, dirs_exist_ok=True)
    shutil.copy(AUTHORITIES, context)
    shutil.copy(Path(sys.executable).with_name("weed"), context)
    for kind, name in names.items():
        docker.run("build", "--network=host", f"--tag={name}", f"--file={context / kind}.Dockerfile", str(context))


def _import_debian(docker: Docker, root: Path) -> None:
    if not root.exists():
        aside = root.with_name("debian.new")
        shutil.rmtree(aside, ignore_errors=True)
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(aside)], check=True, capture_output=True)
        aside.rename(root)
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "--create", f"--file={archive}", f"--directory={root}", "."], check=True)
    docker.run("import", str(archive), DEBIAN)
    archive.unlink()


@contextmanager
def pip_arguments() -> Iterator[list[str]]:
    """Yield build arguments with which pip in a build can use what pip on this machine uses: its authorities, its
    index, and indexes that are folders, which are served on loopback during the block."""
    arguments = [f"PIP_CERT={AUTHORITIES}"]
    index = _configured("index-url")
    if index:
        arguments.append(f"PIP_INDEX_URL={index}")
    with ExitStack() as stack:
        extra = [stack.enter_context(_reachable(url)) for url in _configured("extra-index-url").split()]
        if extra:
            arguments.append(f"PIP_EXTRA_INDEX_URL={' '.join(extra)}")
        yield [f"--build-arg={one}" for one in arguments]


def _configured(option: str) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{option}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def _reachable(url: str) -> Iterator[str]:
    """Yield a URL of an index that a build with the host's network can reach. Links of a folder go two folders up."""
    path = Path(urlsplit(url).path)
    if urlsplit(url).scheme != "file":
        yield url
        return
    handler = partial(_Quiet, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{path.name}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing: the build's log lists what it fetches."""
