"""Settings of the annotation service."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class AnnotationSettings(ServiceSettings):
    """Read from environment variables with the prefix PRIMITIVES_ANNOTATION_."""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_ANNOTATION_", frozen=True)

    http_port: int = Field(default=8000, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=9000, description="Port of gRPC; 0 takes a free one.")
    session_idle_s: float = Field(
        default=8 * 3600.0, gt=0, description="Seconds without a request after which a reader has to sign in again."
    )
    session_absolute_s: float = Field(
        default=7 * 24 * 3600.0, gt=0, description="Seconds after which a reader has to sign in again in any case."
    )
    secure_cookies: bool = Field(
        default=False,
        description="Browsers use HTTPS only: the session's cookie is secure, and the pages send HSTS. Set it behind a "
        "TLS proxy; the service's own certificate has the same effect.",
    )
    training_url: str = Field(
        default="http://127.0.0.1:8001",
        pattern=r"^https?://[^/\s]+$",
        description="Address of the training service, for the pages of runs. The token in PRIMITIVES_TOKEN needs the "
        "scope training:read.",
    )
    extraction_url: str = Field(
        default="http://127.0.0.1:8002",
        pattern=r"^https?://[^/\s]+$",
        description="Address of the extraction service, for the pages of units. The token needs the scope "
        "activation_extraction:read.",
    )
    rendering_url: str = Field(
        default="http://127.0.0.1:8003",
        pattern=r"^https?://[^/\s]+$",
        description="Address of the rendering service, for the pictures on these pages. The token needs the scope "
        "patch_rendering:read.",
    )
    public_origin: str = Field(
        default="",
        pattern=r"^(https?://[^/\s]+)?$",
        description="Origin under which browsers see the pages, such as https://reading.example. Set it if a proxy "
        "changes the Host.",
    )

    sign_in: Literal["auto", "name", "token", "password"] = Field(
        default="auto",
        description="How people sign in to the pages. name: with a name alone, on one machine without access tokens. "
        "token: with a name and an access token. password: with the name and password of an account, or an access "
        "token; it needs PRIMITIVES_TOKENS_FILE. auto: token if there is a tokens file, else name.",
    )
    oidc_issuer: str = Field(
        default="",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Address of an OpenID provider, such as https://login.example. If it is set, people can sign in "
        "there. It needs PRIMITIVES_ANNOTATION_SIGN_IN=password and PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN.",
    )
    oidc_client_id: str = Field(default="", description="The id under which the provider knows the pages.")
    oidc_client_secret_file: Path | None = Field(
        default=None, description="File with the secret of that id; without it, the pages are a public client."
    )
    oidc_allowed_domain: str = Field(
        default="",
        description="Domain that the verified e-mail address of everybody who signs in at the provider must have.",
    )
    oidc_default_role: Literal["", "administrator", "researcher", "reader", "adjudicator"] = Field(
        default="",
        description="Role of people whom the provider knows and nobody has invited. Empty: they are refused.",
    )
    oidc_role_claim: str = Field(
        default="groups",
        description="Claim of the provider, a text or a list, whose values give new accounts a role.",
    )
    oidc_roles: str = Field(
        default="",
        description="Roles by value of that claim, such as xai-admins=administrator,radiology=reader. The first that "
        "fits gives a new account its role, without an invitation.",
    )

    webhook_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s#]+)?$",
        description="Address that is called when the label of a unit is settled, and when a protocol closes. It needs "
        "https, but on this machine. Empty: nothing is called.",
    )
    webhook_secret_file: Path | None = Field(
        default=None,
        description="File with the secret that signs these calls: whsec_ and 24 to 64 random bytes in base64.",
    )

    @property
    def over_tls(self) -> bool:
        """Whether browsers connect over TLS: to this service, or to a proxy in front of it."""
        return self.secure_cookies or self.shared.tls_certificate is not None
