"""Makes the secrets of an installation on one machine or in one cluster: random, a file each. What is there is kept.

python -m deploy.secrets [FOLDER]        (make secrets; the folder is else var/secrets)

Standard library alone, so that it runs before anything is installed. docker-compose.yml and
k8s/components/generated-secrets take the files from here; they name the hosts rabbitmq, minio and postgres. KEDA alone
reads `management_url`: it calls from a namespace of its own, where the broker is known by its whole name.
"""

import base64
import hashlib
import json
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "var" / "secrets"
USER = "primitives"
SCOPES = {
    "operator": ["*:read", "*:write"],
    "annotation": ["training:read", "activation_extraction:read", "patch_rendering:read"],
    "metrics": ["*:read"],
}
"""Whose tokens there are: a person's, that of the pages, and Prometheus'."""


def make(folder: Path) -> None:
    """Make what is missing. The folder is its owner's alone; its files are readable by any user of a container."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    broker, store, database = (_kept(folder, f"{name}_password") for name in ("broker", "store", "database"))
    _kept(folder, "grafana_password")
    tokens = {name: _kept(folder, f"{name}_token") for name in SCOPES}
    _write(folder, "store_user", USER)
    _write(folder, "bus_url", f"amqp://{USER}:{broker}@rabbitmq:5672/%2F")
    _write(folder, "management_url", f"http://{USER}:{broker}@rabbitmq.visual-primitives.svc:15672/%2F")
    _write(folder, "blobs_url", f"s3://{USER}:{store}@minio:9000?secure=false")
    _write(folder, "records_url", f"postgresql+psycopg://{USER}:{database}@postgres:5432/primitives")
    _keep(folder, "broker_users.json", json.dumps(_broker_users(broker), indent=1))
    _keep(folder, "tokens.json", json.dumps([_entry(name, token) for name, token in tokens.items()], indent=1))


def _kept(folder: Path, name: str) -> str:
    """A random word: that of an earlier call, where there was one."""
    _keep(folder, name, secrets.token_urlsafe(32))
    return (folder / name).read_text()


def _keep(folder: Path, name: str, content: str) -> None:
    if not (folder / name).exists():
        _write(folder, name, content)


def _write(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.write_text(content)
    path.chmod(0o644)


def _broker_users(password: str) -> dict[str, object]:
    """RabbitMQ's definitions of the one user: the password as its salted SHA-256, as `rabbitmqctl` keeps it."""
    salt = secrets.token_bytes(4)
    kept = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    algorithm = "rabbit_password_hashing_sha256"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": USER, "password_hash": kept, "hashing_algorithm": algorithm, "tags": "monitoring"}],
        "permissions": [{"user": USER, "vhost": "/", **everything}],
    }


def _entry(name: str, token: str) -> dict[str, object]:
    """As services.common.access.tokens keeps it."""
    return {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "scopes": SCOPES[name]}


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
