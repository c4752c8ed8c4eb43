"""The web pages of the annotation service."""

from fastapi import FastAPI
from starlette.responses import FileResponse, Response

from services.annotation.account_sign_in import AccountSignIn
from services.annotation.pages import (
    account,
    accounts,
    datasets,
    explanations,
    exports,
    games,
    home,
    imports,
    labels,
    overview,
    pictures,
    plans,
    problems,
    protocols,
    provider,
    reading,
    reference,
    runs,
    signing,
    status,
    studies,
    survey,
    trials,
    units,
)
from services.annotation.pages.frame import STATIC, Frame


def add_pages(app: FastAPI, frame: Frame) -> None:
    """Add all pages, their pictures and static files, and the error pages."""
    reference.remove_foreign_docs(app)
    for_readers = overview, survey, reading, labels, protocols, exports, games, trials, pictures
    for_researchers = datasets, imports, runs, plans, units, explanations, studies
    for module in (signing, account, home, *for_readers, *for_researchers, status):
        app.include_router(module.routes(frame))
    if frame.auth.by_account is not None:
        _add_account_pages(app, frame, frame.auth.by_account)
    app.include_router(reference.routes(app, frame))
    frame.serve_static(app)
    problems.add_problem_pages(app, frame)

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


def _add_account_pages(app: FastAPI, frame: Frame, by_account: AccountSignIn) -> None:
    """Add the pages that exist only where accounts are in use."""
    app.include_router(accounts.routes(frame, by_account.accounts))
    app.include_router(account.password_routes(frame, by_account.by_password))
    app.include_router(account.invitation_routes(frame, by_account.accounts))
    if by_account.by_provider is not None:
        app.include_router(provider.routes(frame, by_account.by_provider))
