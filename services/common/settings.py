"""Settings that all services share, read from the environment; each service adds one frozen class of its own.

A setting that is not in the environment may be a file in SECRETS, named like its variable in lower case. Containers
receive URLs with passwords in this way: anyone who inspects a container can read its environment.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

SECRETS = Path("/run/secrets")
"""Where Docker and Compose put the secrets of a container, and our manifests those of a pod."""


class FromEnvironmentOrFiles(BaseSettings):
    """Settings passed in code, else from the environment, else from a file in SECRETS."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by this name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it warns if the folder does not exist
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources; the first one that has a value wins."""
        files = [SecretsSettingsSource(settings_cls, SECRETS)] if SECRETS.is_dir() else []
        return init_settings, env_settings, *files


class Shared(FromEnvironmentOrFiles):
    """Where messages, objects and records go. The defaults are the embedded form: one machine, one folder."""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_", frozen=True, hide_input_in_errors=True)

    home: Path = Field(
        default=Path("~/.local/share/visual-primitives"),
        description="Folder of the embedded form, for objects, records and scratch files.",
    )
    bus_url: str = Field(
        default="memory://",
        repr=False,
        description="The message bus: memory:// (one process), or amqp://USER:PASSWORD@HOST:PORT/VHOST with commas "
        "between the nodes of a cluster.",
    )
    blobs_url: str = Field(
        default="",
        repr=False,
        description="The object store: folder:///PATH or s3://KEY:SECRET@HOST:PORT. "
        "Empty: the folder `objects` of the home.",
    )
    records_url: str = Field(
        default="",
        repr=False,
        description="The records: a folder sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DB "
        "with one schema per service. Empty: the folder `records` of the home.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address that the servers bind to. An address that other machines can use needs "
        "PRIMITIVES_TOKENS_FILE.",
    )
    tokens_file: Path | None = Field(
        default=None,
        description="JSON file of the tokens that HTTP and gRPC callers must send; `primitives token` writes it. "
        "It is read again when it changes. Without it calls need no token.",
    )
    token: SecretStr | None = Field(
        default=None, description="The token that the `primitives` command sends to the services."
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file with the certificate chain of the HTTP and gRPC servers. If it is set, they use TLS.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the private key of that certificate.")
    tls_client_ca: Path | None = Field(
        default=None,
        description="PEM file of certificate authorities. If it is set, callers must present a certificate that one "
        "of them issued (mutual TLS).",
    )
    tls_client_certificate: Path | None = Field(
        default=None,
        description="PEM file with the certificate chain that the `primitives` command and the pages present to the "
        "services.",
    )
    tls_client_key: Path | None = Field(
        default=None, description="PEM file with the private key of that client certificate."
    )
    allowed_hosts: str = Field(
        default="",
        description="Host names, separated by commas, that browsers may use in addition to loopback names when the "
        "services need no tokens: for a proxy on this machine.",
    )
    max_connections: int = Field(
        default=1000,
        ge=10,
        description="Connections of an HTTP or gRPC server at a time, at most a sixteenth of the files that the "
        "process may open. To make room, the HTTP server closes connections without a complete request.",
    )
    http_header_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds that a server waits for the handshake of a connection (TLS, HTTP/2), and for the headers "
        "of a request.",
    )
    http_body_s: float = Field(
        default=30.0, gt=0, description="Seconds that an HTTP server waits for the whole body of a request."
    )
    http_send_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds that an HTTP server waits for a caller that reads no more of an answer.",
    )
    http_keep_alive_s: float = Field(
        default=10.0, gt=0, description="Seconds that an HTTP server waits for the next request on a connection."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="Format of the log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level of the lines that are logged."
    )
    otlp_endpoint: str = Field(
        default="",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        description="OTLP/gRPC collector that receives the spans: http://HOST:4317, or https. Empty: spans are not "
        "exported. The SDK itself reads its other variables, such as OTEL_TRACES_SAMPLER and "
        "OTEL_RESOURCE_ATTRIBUTES.",
    )
    device: str = Field(default="auto", description="Device that networks run on: auto, cpu, cuda or cuda:N.")
    lease_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds after which another process may take over a job whose process no longer renews its lease.",
    )
    job_silence_s: float = Field(
        default=3600.0,
        gt=0,
        description="Seconds without a report of progress after which a job counts as hung and is killed. This is one "
        "of the attempts.",
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        description="Number of attempts before the message of a job that crashes is parked. Waiting for records, store "
        "or broker is no attempt.",
    )
    reconcile_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds between two searches for tasks whose messages are gone. They are enqueued again.",
    )

    def folder(self, name: str) -> Path:
        """Return the absolute path of a folder in the home; make the folder if it is missing."""
        folder = self.home.expanduser().absolute() / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def blobs(self) -> str:
        """Return the URL of the object store."""
        return self.blobs_url or f"folder://{self.folder('objects')}"

    def records(self, service: str) -> str:
        """Return the URL of the records of one service: a file or a schema of its own."""
        base = self.records_url or f"sqlite:///{self.folder('records')}"
        if base.startswith("sqlite:"):
            return f"{base}/{service}.sqlite"
        return f"{base}{'&' if '?' in base else '?'}schema={service}"

    def scratch(self) -> Path:
        """Return the folder for files that may be lost: copies of shards, half-written results."""
        return self.folder("scratch")


class ServiceSettings(FromEnvironmentOrFiles):
    """The settings that every service has besides the shared ones; sub-classes set the prefix and the ports."""

    model_config = SettingsConfigDict(frozen=True)

    shared: Shared = Field(default_factory=Shared, description="The settings that all services share.")
    http_port: int = Field(default=0, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=0, description="Port of gRPC; 0 takes a free one.")
