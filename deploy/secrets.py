"""Creates random secrets for an installation on one machine or in one cluster, a file each. Existing files are kept.

python -m deploy.secrets [FOLDER]        (make secrets; the default folder is var/secrets)

It uses only the standard library, so that it runs before anything is installed. docker-compose.yml and
k8s/components/generated-secrets read the files, which name the hosts rabbitmq, minio and postgres. Only KEDA reads
`management_url`: it calls from another namespace, where the broker needs its full name.
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
    "operator": ["*:read", "*:write", "annotation:manage"],
    "annotation": [
        f"{service}:{right}"
        for service in ("training", "activation_extraction", "patch_rendering")
        for right in ("read", "write")
    ],
    "metrics": ["metrics:read"],
}
"""Scopes by holder of a token: a person, the service of the pages, and Prometheus. The pages start work for people
whose own rights allow it."""


def make(folder: Path) -> None:
    """Create the missing files. Only the owner may open the folder; any user of a container may read its files."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    broker, store, database = (_random_word(folder, f"{name}_password") for name in ("broker", "store", "database"))
    _random_word(folder, "grafana_password")
    tokens = {name: _random_word(folder, f"{name}_token") for name in SCOPES}
    _write(folder, "store_user", USER)
    _write(folder, "bus_url", f"amqp://{USER}:{broker}@rabbitmq:5672/%2F")
    _write(folder, "management_url", f"http://{USER}:{broker}@rabbitmq.visual-primitives.svc:15672/%2F")
    _write(folder, "blobs_url", f"s3://{USER}:{store}@minio:9000?secure=false")
    _write(folder, "records_url", f"postgresql+psycopg://{USER}:{database}@postgres:5432/primitives")
    _write_once(folder, "broker_users.json", json.dumps(_broker_users(broker), indent=1))
    _write_once(folder, "tokens.json", json.dumps([_entry(name, token) for name, token in tokens.items()], indent=1))


def _random_word(folder: Path, name: str) -> str:
    """Return a random word: the one of an earlier call, or else a new one."""
    _write_once(folder, name, secrets.token_urlsafe(32))
    return (folder / name).read_text()


def _write_once(folder: Path, name: str, content: str) -> None:
    if not (folder / name).exists():
        _write(folder, name, content)


def _write(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.write_text(content)
    path.chmod(0o644)


def _broker_users(password: str) -> dict[str, object]:
    """Return RabbitMQ's definitions of the one user, with the salted SHA-256 of the password, as `rabbitmqctl` stores
    it."""
    salt = secrets.token_bytes(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    algorithm = "rabbit_password_hashing_sha256"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": USER, "password_hash": hashed, "hashing_algorithm": algorithm, "tags": "monitoring"}],
        "permissions": [{"user": USER, "vhost": "/", **everything}],
    }


def _entry(name: str, token: str) -> dict[str, object]:
    """Return an entry in the form that services.common.access.tokens stores."""
    return {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "scopes": SCOPES[name]}


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
