"""Wires the use cases of accounts, as the settings say how people sign in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from services.annotation.clients.openid import OpenIdProvider
from services.annotation.passwords import Passwords
from services.annotation.roles import Role
from services.annotation.settings import AnnotationSettings
from services.annotation.workflow.accounts import Accounts
from services.annotation.workflow.password_sign_in import PasswordSignIn
from services.annotation.workflow.provider_sign_in import Admission, ProviderSignIn, roles_of
from services.common.access.addresses import check_address
from services.common.access.audit import Audit
from services.common.access.tokens import Tokens
from services.common.errors import InvalidInput
from services.common.records import Records

CALLBACK = "/sign-in/provider/callback"
"""The address of ours to which the OpenID provider sends browsers back."""


@dataclass(frozen=True)
class AccountSignIn:
    """The use cases of accounts, of signing in to one with a password, and of signing in at an OpenID provider."""

    accounts: Accounts
    by_password: PasswordSignIn
    by_provider: ProviderSignIn | None = None


def check_sign_in(settings: AnnotationSettings, tokens: Tokens | None) -> None:
    """Raise InvalidInput unless people can sign in as the settings say.

    Accounts need access tokens: without these, every program that can connect may call the API as any reader, so that
    passwords of the pages would protect nothing.
    """
    way = settings.sign_in
    if way in ("token", "password") and tokens is None:
        raise InvalidInput(
            f"PRIMITIVES_ANNOTATION_SIGN_IN is {way}, and no tokens are set: without them, programs can call the "
            "services as any reader. Set PRIMITIVES_TOKENS_FILE (`primitives token` makes one)"
        )
    if way == "name" and tokens is not None:
        raise InvalidInput(
            "PRIMITIVES_ANNOTATION_SIGN_IN is name, and PRIMITIVES_TOKENS_FILE is set: a name alone does not sign in "
            "where callers need tokens. Use token or password"
        )
    if not settings.oidc_issuer:
        return
    needed = {
        "PRIMITIVES_ANNOTATION_SIGN_IN=password": way == "password",
        "PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN": settings.public_origin,
        "PRIMITIVES_ANNOTATION_OIDC_CLIENT_ID": settings.oidc_client_id,
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise InvalidInput(f"PRIMITIVES_ANNOTATION_OIDC_ISSUER is set; it also needs {', '.join(missing)}")
    check_address(settings.oidc_issuer, "PRIMITIVES_ANNOTATION_OIDC_ISSUER")
    roles_of(settings.oidc_roles)


def open_account_sign_in(
    settings: AnnotationSettings, records: Records, tokens: Tokens | None, audit: Audit, clock: Callable[[], datetime]
) -> AccountSignIn | None:
    """The use cases of accounts; None if the settings do not use them. InvalidInput as `check_sign_in`."""
    check_sign_in(settings, tokens)
    if settings.sign_in != "password":
        return None
    passwords = Passwords()
    accounts = Accounts(records, audit, clock, passwords)
    by_password = PasswordSignIn(records, audit, clock, passwords)
    if not settings.oidc_issuer:
        return AccountSignIn(accounts, by_password)
    admission = Admission(
        Role(settings.oidc_default_role) if settings.oidc_default_role else None,
        settings.oidc_role_claim,
        roles_of(settings.oidc_roles),
        settings.oidc_allowed_domain,
    )
    return AccountSignIn(
        accounts, by_password, ProviderSignIn(records, accounts, _provider(settings), admission, clock)
    )


def _provider(settings: AnnotationSettings) -> OpenIdProvider:
    file, secret = settings.oidc_client_secret_file, None
    if file is not None:
        try:
            secret = SecretStr(file.read_text().strip())
        except OSError as error:
            raise InvalidInput(f"the client's secret {file} cannot be read: {error.strerror}") from error
    callback = f"{settings.public_origin}{CALLBACK}"
    return OpenIdProvider(settings.oidc_issuer, settings.oidc_client_id, callback, secret)
