"""Settings that all services share, read from the environment; each service adds one frozen class of its own.

A setting that the environment lacks may be a file of SECRETS, named as its variable in lower case: so containers are
handed URLs with passwords, which an environment would show to whoever inspects them.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

SECRETS = Path("/run/secrets")
"""Where Docker and Compose put the secrets of a container, and our manifests those of a pod."""


class FromEnvironmentOrFiles(BaseSettings):
    """Settings given in code, else by the environment, else by a file of SECRETS."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic calls it so
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it warns where there is no folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the first that has a value winning."""
        files = [SecretsSettingsSource(settings_cls, SECRETS)] if SECRETS.is_dir() else []
        return init_settings, env_settings, *files


class Shared(FromEnvironmentOrFiles):
    """Where messages, objects and records go. The defaults are the embedded form: one machine, one folder."""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_", frozen=True, hide_input_in_errors=True)

    home: Path = Field(
        default=Path("~/.local/share/visual-primitives"),
        description="Folder of the embedded form: objects, records and scratch files lie in it.",
    )
    bus_url: str = Field(
        default="memory://",
        repr=False,
        description="Where messages go: memory:// (one process), or amqp://USER:PASSWORD@HOST:PORT/VHOST with commas "
        "between the nodes of a cluster.",
    )
    blobs_url: str = Field(
        default="",
        repr=False,
        description="Where objects lie: folder:///PATH or s3://KEY:SECRET@HOST:PORT. Empty: `objects` of the home.",
    )
    records_url: str = Field(
        default="",
        repr=False,
        description="Where records lie: a folder sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DB "
        "with a schema a service. Empty: `records` of the home.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address that the servers bind to. One that other machines reach needs the tokens' file.",
    )
    tokens_file: Path | None = Field(
        default=None,
        description="JSON file of the tokens that callers of HTTP and gRPC must show; `primitives token` writes it. "
        "It is read again when it changes. Without it calls need no token.",
    )
    token: SecretStr | None = Field(
        default=None, description="The token that the `primitives` command shows to the services."
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file with the certificate chain of the HTTP and gRPC servers; with it they speak TLS.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the private key of that certificate.")
    tls_client_ca: Path | None = Field(
        default=None,
        description="PEM file of authorities: with it the servers take no connection whose caller shows no certificate "
        "of one of them (mutual TLS).",
    )
    tls_client_certificate: Path | None = Field(
        default=None,
        description="PEM file with the certificate chain that the `primitives` command and the pages show to services.",
    )
    tls_client_key: Path | None = Field(
        default=None, description="PEM file with the private key of that certificate of a caller."
    )
    allowed_hosts: str = Field(
        default="",
        description="Names, with commas between them, by which browsers may call services that have no tokens, beside "
        "those of loopback: for a proxy on this machine.",
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lines below this level are left out."
    )
    otlp_endpoint: str = Field(
        default="",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        description="Where spans go, over OTLP/gRPC: http://HOST:4317, or https. Empty: nowhere. The SDK reads its "
        "other variables itself, as OTEL_TRACES_SAMPLER and OTEL_RESOURCE_ATTRIBUTES.",
    )
    device: str = Field(default="auto", description="Where networks compute: auto, cpu, cuda or cuda:N.")
    lease_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds after which another process may take over a job whose holder is silent.",
    )
    max_attempts: int = Field(default=5, ge=1, description="Times that a message is tried before it is parked.")

    def folder(self, name: str) -> Path:
        """An absolute folder of the home, made if missing."""
        folder = self.home.expanduser().absolute() / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def blobs(self) -> str:
        """URL of the object store."""
        return self.blobs_url or f"folder://{self.folder('objects')}"

    def records(self, service: str) -> str:
        """URL of the records of one service: a file or a schema of its own."""
        base = self.records_url or f"sqlite:///{self.folder('records')}"
        if base.startswith("sqlite:"):
            return f"{base}/{service}.sqlite"
        return f"{base}{'&' if '?' in base else '?'}schema={service}"

    def scratch(self) -> Path:
        """Folder for files that may be lost: copies of shards, half-written results."""
        return self.folder("scratch")


class ServiceSettings(FromEnvironmentOrFiles):
    """What every service has beside the shared settings; sub-classes set the prefix and the ports."""

    model_config = SettingsConfigDict(frozen=True)

    shared: Shared = Field(default_factory=Shared, description="The settings that all services share.")
    http_port: int = Field(default=0, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=0, description="Port of gRPC; 0 takes a free one.")
