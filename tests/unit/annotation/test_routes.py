"""Every route and every gRPC method of the service, for every role: the table of who may do what.

A route or method that is not in the table fails a test, so that nobody adds one without deciding who may use it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message
from primitives.annotation.v1 import annotation_pb2 as pb
from primitives.annotation.v1 import annotation_pb2_grpc

from services.annotation.roles import Role
from services.annotation.rpc import MANAGING, AnnotationServicer
from services.annotation.schemas import ChangeStudyRequest, Members
from services.annotation.sign_in_limits import OF_NAME
from services.annotation.tables import ReadingRow
from services.annotation.workflow.accounts import Accounts
from services.annotation.workflow.games import Games
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readings import Readings
from services.annotation.workflow.trials import Trials
from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.grpc import GrpcServer
from tests.fakes.accounts import csrf_of
from tests.fakes.annotation import FORM, LAYER, Annotation, Browser
from tests.fakes.games import game_request
from tests.fakes.reading import FORM as STRUCTURED
from tests.fakes.reading import request

AWAY = "http://127.0.0.1:9"
READ, WRITE = "annotation:read", "annotation:write"
TOKENS: dict[str, tuple[tuple[str, ...], str]] = {
    "reads": ((READ,), ""),
    "writes": ((READ, WRITE), ""),
    "manages": ((READ, "annotation:manage"), ""),
    "operator": (("*:read", "*:write"), ""),
    "metrics": (("metrics:read",), ""),
    "training": (("training:read", "training:write"), ""),
    "member": ((READ, WRITE), "Ana"),
    "other": ((READ, WRITE), "Ben"),
    "stars": (("*:read", "*:write"), "Ana"),
}
"""Scopes and reader of the token of each role. Calls with a token without a reader name the member Ana. The last three
are bound: to the member Ana, to Ben, who is not a member, and to Ana with all scopes but the one to manage."""

CALLERS = ("no token", *TOKENS)
API = {
    # no token, reads, writes, manages, operator, metrics, training, member, other, stars
    "GET /healthz": "200 200 200 200 200 200 200 200 200 200",
    "GET /readyz": "503 503 503 503 503 503 503 503 503 503",
    "GET /metrics": "401 403 403 403 200 200 403 403 403 403",
    "GET /openapi.json": "401 200 200 200 200 403 403 200 200 200",
    "GET /v1/status": "401 200 200 200 200 403 403 403 403 200",
    "GET /v1/plans/{plan_id}": "401 200 200 200 200 403 403 200 404 200",
    "POST /v1/studies": "401 403 403 202 403 403 403 403 403 403",
    "GET /v1/studies": "401 200 200 200 200 403 403 200 200 200",
    "GET /v1/studies/{study_id}": "401 200 200 200 200 403 403 200 404 200",
    "PATCH /v1/studies/{study_id}": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/members": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/protocols/{version}/export.{format}": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/protocols/{version}/export.imrmc.csv": "401 403 403 422 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/responses/export.{format}": "401 403 403 200 403 403 403 403 403 403",
    "POST /v1/studies/{study_id}/responses/import": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/layers/{layer}/units": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/studies/{study_id}/layers/{layer}/units/{unit}": "401 200 200 200 200 403 403 200 404 200",
    "PUT /v1/studies/{study_id}/layers/{layer}/units/{unit}/response": "401 403 200 403 200 403 403 200 404 200",
    "GET /v1/responses": "401 200 200 200 200 403 403 200 200 200",
    "GET /v1/summary": "401 200 200 200 200 403 403 200 200 200",
    "GET /v1/parked": "401 200 200 200 200 403 403 403 403 403",
    "POST /v1/parked/replay": "401 403 200 403 200 403 403 403 403 403",
    "POST /v1/parked/{message_id}/replay": "401 403 404 403 404 403 403 403 403 403",
    "POST /v1/parked/{message_id}/discard": "401 403 404 403 404 403 403 403 403 403",
    "POST /v1/studies/{study_id}/protocol-preview": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/protocols": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/protocols/{version}": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/reading-lists": "401 200 200 200 200 403 403 200 200 200",
    "GET /v1/reading-lists/{study_id}/{version}": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/reading-lists/{study_id}/{version}/readings": "401 200 200 200 200 403 403 200 404 200",
    "POST /v1/reading-lists/{study_id}/{version}/take": "401 403 404 403 404 403 403 404 404 404",
    "GET /v1/readings/{reading_id}": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/readings/{reading_id}/patches/{number}/picture": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/readings/{reading_id}/patches/{number}/source": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/readings/{reading_id}/mammograms/{number}/picture": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/readings/{reading_id}/mammograms/{number}/source": "401 200 200 200 200 403 403 200 404 200",
    "PUT /v1/readings/{reading_id}/draft": "401 403 204 403 204 403 403 204 404 204",
    "PUT /v1/readings/{reading_id}/answer": "401 403 200 403 200 403 403 200 404 200",
    "POST /v1/readings/{reading_id}/skip": "401 403 200 403 200 403 403 200 404 200",
    "POST /v1/readings/{reading_id}/reveal": "401 403 409 403 409 403 403 409 404 409",
    "POST /v1/studies/{study_id}/protocols/{version}/close": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/protocols/{version}/results": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/reading-lists/{study_id}/{version}/results": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/studies/{study_id}/protocols/{version}/labels": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/protocols/{version}/labels/{item}": "401 403 403 200 403 403 403 403 403 403",
    "PUT /v1/studies/{study_id}/protocols/{version}/labels/{item}": "401 403 403 200 403 403 403 403 403 403",
    "POST /v1/studies/{study_id}/protocols": "401 403 403 201 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/games": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/games/{game_id}": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/games/{game_id}/export.{format}": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/games": "401 200 200 200 200 403 403 200 200 200",
    "GET /v1/games/{game_id}": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/trials/{trial_id}": "401 200 200 200 200 403 403 200 404 200",
    "POST /v1/games/{game_id}/next": "401 403 200 403 200 403 403 200 404 200",
    "PUT /v1/trials/{trial_id}/answer": "401 403 200 403 200 403 403 200 404 200",
    "POST /v1/studies/{study_id}/games/{game_id}/close": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/studies/{study_id}/games/{game_id}/results": "401 403 403 200 403 403 403 403 403 403",
    "GET /v1/games/{game_id}/results": "401 200 200 200 200 403 403 200 404 200",
    "GET /v1/names/{extraction_id}/{layer}": "401 403 403 503 403 403 403 403 403 403",
    "POST /v1/explanations": "401 403 403 503 403 403 403 403 403 403",
    "GET /v1/explanations/{explanation_id}": "401 403 403 503 403 403 403 403 403 403",
    "POST /v1/studies/{study_id}/games": "401 403 403 201 403 403 403 403 403 403",
}
"""By route, the code for each of CALLERS. The calls are made in this order: a draft before the answer, which outdates
it, and results after the protocol or the game is closed."""

ROLES = tuple(str(role) for role in Role)
BROWSERS = ("nobody", "member", "other", "units", *ROLES)
PAGES = {
    # nobody, member, other, units; administrator, researcher, reader, adjudicator
    "GET /": "303 200 200 200  200 200 200 200",
    "GET /answers": "303 200 200 200  200 200 200 200",
    "GET /summary": "303 403 403 200  200 200 403 403",
    "GET /sign-in": "200 200 200 200  200 200 200 200",
    "POST /sign-in": "401 401 401 401  401 401 401 401",
    "POST /sign-out": "303 403 403 403  403 403 403 403",
    "GET /sign-in/provider": "503 503 503 503  503 503 503 503",
    "GET /sign-in/provider/callback": "403 403 403 403  403 403 403 403",
    "GET /invitation": "404 404 404 404  404 404 404 404",
    "POST /invitation": "404 404 404 404  404 404 404 404",
    "GET /account": "303 200 200 200  200 200 200 200",
    "POST /account/password": "401 403 403 403  403 403 403 403",
    "POST /account/sessions/end": "401 403 403 403  403 403 403 403",
    "POST /account/sessions/{session_id}/end": "401 403 403 403  403 403 403 403",
    "GET /accounts": "303 403 403 403  200 403 403 403",
    "POST /accounts": "401 403 403 403  403 403 403 403",
    "POST /accounts/{account_id}/{verb}": "401 403 403 403  403 403 403 403",
    "GET /docs": "303 200 200 200  200 200 200 200",
    "GET /favicon.ico": "200 200 200 200  200 200 200 200",
    "GET /status": "303 403 403 200  200 200 403 403",
    "POST /status/{service}/parked/{message_id}/{verb}": "401 403 403 403  403 403 403 403",
    "GET /studies/{study_id}/layers/{layer}": "303 200 404 200  200 200 200 200",
    "GET /studies/{study_id}/layers/{layer}/units/{unit}": "303 200 404 200  200 200 200 200",
    "POST /studies/{study_id}/layers/{layer}/units/{unit}": "401 403 404 403  403 403 403 403",
    "GET /pictures/{study_id}/{layer}/{unit}/{rank}.jpg": "401 200 404 200  200 200 200 200",
    "GET /sheets/{study_id}/{layer}/{unit}.jpg": "401 200 404 200  200 200 200 200",
    "GET /mammograms/{study_id}/{number}.jpg": "401 200 404 200  200 200 200 200",
    "GET /pictures/{study_id}/{layer}/{unit}/{rank}.grey": "401 200 404 200  200 200 200 200",
    "GET /mammograms/{study_id}/{number}.grey": "401 200 404 200  200 200 200 200",
    "GET /reading/{study_id}/{version}": "303 200 404 200  404 404 404 404",
    "GET /reading/{study_id}/{version}/results": "303 200 404 200  200 200 404 404",
    "POST /reading/{study_id}/{version}/take": "401 403 403 403  403 403 403 403",
    "GET /readings/{reading_id}": "303 200 404 200  404 404 404 404",
    "POST /readings/{reading_id}": "401 403 404 403  404 404 404 404",
    "POST /readings/{reading_id}/draft": "401 403 403 403  403 403 403 403",
    "POST /readings/{reading_id}/skip": "401 403 403 403  403 403 403 403",
    "POST /readings/{reading_id}/reveal": "401 403 403 403  403 403 403 403",
    "GET /readings/{reading_id}/pictures/{number}.jpg": "401 200 404 200  404 404 404 404",
    "GET /readings/{reading_id}/mammograms/{number}.jpg": "401 200 404 200  404 404 404 404",
    "GET /readings/{reading_id}/patches/{number}.grey": "401 200 404 200  404 404 404 404",
    "GET /readings/{reading_id}/mammograms/{number}.grey": "401 200 404 200  404 404 404 404",
    "GET /labels/{study_id}/{version}": "303 404 404 404  200 200 404 200",
    "GET /labels/{study_id}/{version}/{item}": "303 404 404 404  200 200 404 200",
    "POST /labels/{study_id}/{version}/{item}": "401 403 403 403  403 403 403 403",
    "GET /labels/{study_id}/{version}/{item}/pictures/{number}.jpg": "401 404 404 404  200 200 404 200",
    "GET /labels/{study_id}/{version}/{item}/mammograms/{number}.jpg": "401 404 404 404  200 200 404 200",
    "GET /studies/{study_id}/responses.{format}": "303 403 403 403  200 200 403 403",
    "GET /studies/{study_id}/protocol/{version}/readings.{format}": "303 403 403 403  200 200 403 403",
    "GET /studies/{study_id}/protocol/{version}/imrmc.csv": "303 403 403 403  422 422 403 403",
    "GET /labels/{study_id}/{version}/{item}/patches/{number}.grey": "401 404 404 404  200 200 404 200",
    "GET /labels/{study_id}/{version}/{item}/mammograms/{number}.grey": "401 404 404 404  200 200 404 200",
    "GET /studies/{study_id}/protocol": "303 403 403 403  200 200 403 403",
    "POST /studies/{study_id}/protocol": "401 403 403 403  403 403 403 403",
    "POST /studies/{study_id}/protocol/preview": "401 403 403 403  403 403 403 403",
    "POST /studies/{study_id}/protocol/{version}/close": "401 403 403 403  403 403 403 403",
    "GET /studies/{study_id}/games": "303 403 403 403  200 200 403 403",
    "POST /studies/{study_id}/games": "401 403 403 403  403 403 403 403",
    "POST /studies/{study_id}/games/{game_id}/close": "401 403 403 403  403 403 403 403",
    "GET /games/{game_id}": "303 200 404 200  404 404 404 404",
    "POST /games/{game_id}/next": "401 403 403 403  403 403 403 403",
    "GET /games/{game_id}/results": "303 200 404 200  200 200 404 404",
    "GET /trials/{trial_id}": "303 200 404 200  404 404 404 404",
    "POST /trials/{trial_id}": "401 403 403 403  403 403 403 403",
    "GET /trials/{trial_id}/pictures/{number}.jpg": "401 200 404 200  404 404 404 404",
    "GET /datasets": "303 403 403 503  503 503 403 403",
    "GET /datasets/{dataset_id}": "303 403 403 503  503 503 403 403",
    "GET /datasets/{dataset_id}/patches": "303 403 403 503  503 503 403 403",
    "GET /builds/{build_id}": "303 403 403 503  503 503 403 403",
    "GET /builds/{build_id}/events": "303 403 403 503  503 503 403 403",
    "GET /imports/{import_id}": "303 403 403 503  503 503 403 403",
    "GET /imports/{import_id}/events": "303 403 403 503  503 503 403 403",
    "GET /runs": "303 403 403 503  503 503 403 403",
    "GET /runs/events": "303 403 403 503  503 503 403 403",
    "GET /runs/compare": "303 403 403 503  503 503 403 403",
    "GET /runs/{run_id}": "303 403 403 503  503 503 403 403",
    "GET /runs/{run_id}/events": "303 403 403 503  503 503 403 403",
    "GET /plans": "303 403 403 503  503 503 403 403",
    "GET /plans/{plan_id}": "303 403 403 503  503 503 403 403",
    "GET /plans/{plan_id}/events": "303 403 403 503  503 503 403 403",
    "GET /dataset-patches/{dataset_id}/{number}.jpg": "401 403 403 503  503 503 403 403",
    "GET /runs/new": "303 403 403 403  503 503 403 403",
    "GET /plans/new": "303 403 403 403  503 503 403 403",
    "GET /new-study": "303 403 403 403  503 503 403 403",
    "POST /datasets": "401 403 403 403  403 403 403 403",
    "POST /builds/{build_id}/{verb}": "401 403 403 403  403 403 403 403",
    "POST /imports/{import_id}/{verb}": "401 403 403 403  403 403 403 403",
    "POST /runs": "401 403 403 403  403 403 403 403",
    "POST /runs/{run_id}/name": "401 403 403 403  403 403 403 403",
    "POST /runs/{run_id}/{verb}": "401 403 403 403  403 403 403 403",
    "POST /plans": "401 403 403 403  403 403 403 403",
    "POST /plans/{plan_id}/{verb}": "401 403 403 403  403 403 403 403",
    "POST /new-study": "401 403 403 403  403 403 403 403",
    "POST /studies/{study_id}/title": "401 403 403 403  403 403 403 403",
    "GET /extractions": "303 403 403 503  503 503 403 403",
    "GET /extractions/{extraction_id}": "303 403 403 503  503 503 403 403",
    "GET /extractions/{extraction_id}/layers/{layer}": "303 403 403 503  503 503 403 403",
    "GET /extractions/{extraction_id}/layers/{layer}/units/{unit}": "303 403 403 503  503 503 403 403",
    "GET /extractions/{extraction_id}/explain": "303 403 403 503  503 503 403 403",
    "POST /extractions/{extraction_id}/explain": "401 403 403 403  403 403 403 403",
    "GET /explanations": "303 403 403 503  503 503 403 403",
    "GET /explanations/{explanation_id}": "303 403 403 503  503 503 403 403",
    "GET /explanations/{explanation_id}/picture.jpg": "401 403 403 503  503 503 403 403",
    "GET /explanations/{explanation_id}/events": "303 403 403 503  503 503 403 403",
    "GET /unit-pictures/{extraction_id}/{layer}/{unit}/{source}/{rank}.webp": "401 403 403 503  503 503 403 403",
    "GET /unit-sheets/{extraction_id}/{layer}/{unit}.webp": "401 403 403 503  503 503 403 403",
}
"""By route, the code for a browser that is not signed in; for those that are signed in with the tokens of a member, of
another reader, and of a reader who sees units; and for those of accounts of each role, who are members. The other
services are away: 503 means allowed. Forms have no CSRF token."""

FORMS = {
    # administrator, researcher, reader, adjudicator
    "POST /accounts": "200 403 403 403",
    "POST /accounts/{account_id}/{verb}": "200 403 403 403",
    "POST /account/password": "422 422 422 422",
    "POST /account/sessions/end": "200 200 200 200",
    "POST /account/sessions/{session_id}/end": "404 404 404 404",
    "POST /status/{service}/parked/{message_id}/{verb}": "404 403 403 403",
    "POST /studies/{study_id}/layers/{layer}/units/{unit}": "303 303 303 303",
    "POST /reading/{study_id}/{version}/take": "404 404 404 404",
    "POST /readings/{reading_id}": "404 404 404 404",
    "POST /readings/{reading_id}/draft": "404 404 404 404",
    "POST /readings/{reading_id}/skip": "404 404 404 404",
    "POST /readings/{reading_id}/reveal": "404 404 404 404",
    "POST /labels/{study_id}/{version}/{item}": "422 422 404 422",
    "POST /studies/{study_id}/protocol": "422 422 403 403",
    "POST /studies/{study_id}/protocol/preview": "422 422 403 403",
    "POST /studies/{study_id}/protocol/{version}/close": "303 303 403 403",
    "POST /studies/{study_id}/games": "422 422 403 403",
    "POST /studies/{study_id}/games/{game_id}/close": "303 303 403 403",
    "POST /games/{game_id}/next": "404 404 404 404",
    "POST /trials/{trial_id}": "404 404 404 404",
    "POST /datasets": "503 503 403 403",
    "POST /builds/{build_id}/{verb}": "503 503 403 403",
    "POST /imports/{import_id}/{verb}": "503 503 403 403",
    "POST /runs": "503 503 403 403",
    "POST /runs/{run_id}/name": "503 503 403 403",
    "POST /runs/{run_id}/{verb}": "503 503 403 403",
    "POST /plans": "503 503 403 403",
    "POST /plans/{plan_id}/{verb}": "503 503 403 403",
    "POST /new-study": "503 503 403 403",
    "POST /studies/{study_id}/title": "422 422 403 403",
    "POST /extractions/{extraction_id}/explain": "503 503 403 403",
    "POST /sign-in": "401 401 401 401",
    "POST /sign-out": "303 303 303 303",
    "POST /invitation": "404 404 404 404",
}
"""By route, the code for each of ROLES if the form has the CSRF token of the session."""

OK, DENIED, UNKNOWN, ABSENT = "OK", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND"
READS = [UNKNOWN, OK, OK, OK, OK, DENIED, DENIED, OK, OK, OK]
READS_STUDY = [UNKNOWN, OK, OK, OK, OK, DENIED, DENIED, OK, ABSENT, OK]
MANAGES = [UNKNOWN, DENIED, DENIED, OK, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED]
METHODS = {
    "OpenStudy": MANAGES,
    "ChangeStudy": MANAGES,
    "GetMembers": MANAGES,
    "GetStudy": READS_STUDY,
    "ListStudies": READS,
    "ListUnits": READS_STUDY,
    "GetUnit": READS_STUDY,
    "PutResponse": [UNKNOWN, DENIED, OK, DENIED, OK, DENIED, DENIED, OK, ABSENT, OK],
    "ListResponses": READS,
    "GetSummary": READS,
    "GetPlan": READS_STUDY,
}
"""By method, the code for each of CALLERS."""


class Routed(Annotation):
    """The service with a token for each role, a study whose only member is Ana, and one that Ana and Cy read under a
    protocol."""

    def __init__(self, folder: Path) -> None:
        file = folder / "tokens.json"
        self.tokens = {name: add_token(file, name, *entry) for name, entry in TOKENS.items()}
        self.tokens["units"] = add_token(file, "units", (WRITE, "activation_extraction:read"), reader="Ana")
        self.known = Tokens(file)
        away = dict.fromkeys(("training_url", "extraction_url", "rendering_url"), AWAY)
        accounts = {"sign_in": "password", "public_origin": "http://testserver", "oidc_issuer": AWAY}
        super().__init__(folder, tokens=self.known, **away, **accounts, oidc_client_id="pages")
        self.accounts = Accounts(self.ports.records, clock=self.clock)
        self.studies.change(self.study_id, ChangeStudyRequest(members=Members(names=["Ana", *ROLES])))
        self.read_study_id = self.open_plan("plan-2")
        protocol = Protocols(self.ports).open(self.read_study_id, request(["Ana", "Cy"]))
        key = protocol.study_id, protocol.version
        self.reading_id = Readings(self.ports).places(self.readers.named("Ana"), key).readings[0].reading_id
        self.game_study_id = self.open_plan("plan-3")
        self.game_id, self.trial_id = self.open_game()
        with self.ports.records.reading() as session:
            self.item = session.get_one(ReadingRow, self.reading_id).item
        self.browsers = {name: self.signed_in(name) for name in BROWSERS}

    def open_game(self) -> tuple[str, str]:
        """Open a game of Ana and Cy, and a trial of Ana whose time is long."""
        Protocols(self.ports).open(self.game_study_id, request(["Dee"], readers_per_unit=1))
        game = Games(self.ports).open(self.game_study_id, game_request(["Ana", "Cy"], seconds=3600))
        trial = Trials(self.ports).next(self.readers.named("Ana"), game.game_id).trial
        assert trial is not None
        return game.game_id, trial.trial_id

    def signed_in(self, role: str) -> Browser:
        """A browser that follows no redirects, signed in with the token of a role or to an account of that role."""
        browser = Browser(self.app, follow_redirects=False)
        if role in ROLES:
            invited = {"token": self.accounts.invite(role, Role(role)).token, "password": "four words of theirs"}
            assert browser.post("/invitation", data=invited).status_code == 303
        if role in self.tokens:
            name = TOKENS[role][1] if role in TOKENS else "Ana"
            signed_in = browser.post("/sign-in", data={"name": name, "access_token": self.tokens[role]})
            assert signed_in.status_code == 303
        return browser

    def signed_in_again(self, role: str) -> Browser:
        """A new browser, signed in to the account of a role."""
        self.clock_ahead += OF_NAME.longest
        browser = Browser(self.app, follow_redirects=False)
        form = {"name": role, "password": "four words of theirs"}
        assert browser.post("/sign-in", data=form).status_code == 303
        return browser

    def headers(self, role: str) -> dict[str, str]:
        """The headers of a call in a role."""
        if role not in TOKENS:
            return {}
        reader = {} if TOKENS[role][1] else {"x-reader": "Ana"}
        return {"authorization": f"Bearer {self.tokens[role]}", **reader}

    def path(self, route: str, unit: str) -> str:
        """The path of a route with the ids of the study."""
        under_protocol = any(part in route for part in ("protocol", "/reading", "/labels"))
        study_id = self.read_study_id if under_protocol else self.study_id
        study_id = self.game_study_id if "/games" in route else study_id
        values = {"study_id": study_id, "version": "1", "reading_id": self.reading_id, "item": self.item,
                  "game_id": self.game_id, "trial_id": self.trial_id,
                  "layer": LAYER, "unit": unit, "plan_id": "plan-1", "run_id": "run-1",
                  "extraction_id": "extraction-1", "source": "top", "service": "annotation", "message_id": "message-1",
                  "session_id": "0", "verb": "replay", "format": "csv", "dataset_id": "dataset-1",
                  "build_id": "build-1", "import_id": "import-1", "explanation_id": "explanation-1"}  # fmt: skip
        if route.startswith(("/runs/", "/plans/", "/builds/", "/imports/")):
            values["verb"] = "pause"
        if route.startswith("/accounts/"):
            account = self.accounts.named("reader")
            assert account is not None
            values |= {"account_id": account.account_id, "verb": "enable"}
        number = "0" if "/mammograms/" in route else "1"
        return route.replace("{rank}", "1").replace("{number}", number).format(**values)


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Routed:
    return Routed(tmp_path_factory.mktemp("routed"))


def routes_of(routes: list[Any]) -> Iterator[str]:
    """Method and path of all routes, also of included routers."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_of(included.routes)
        for method in getattr(route, "methods", None) or ():
            if method != "HEAD":
                yield f"{method} {route.path}"


def test_every_route_is_in_the_table(routed: Routed) -> None:
    """A new route needs a line, and a line needs a route. All operations of the OpenAPI document are routes of the API,
    and every form has a line with its CSRF token too."""
    assert set(routes_of(routed.app.routes)) == API.keys() | PAGES.keys()
    paths = routed.app.openapi()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} <= API.keys()
    assert {route for route in PAGES if route.startswith("POST")} == FORMS.keys()


@pytest.mark.parametrize("route", API)
def test_who_may_call_a_route(routed: Routed, route: str) -> None:
    """Each role has the code of the table. A PUT saves the same answer with the same key, so that it is saved once."""
    method, _, path = route.partition(" ")
    bodies: dict[str, Any] = {"PATCH": {}, "PUT": FORM | {"idempotency_key": "one"}}
    if route.endswith("responses/import"):
        bodies["POST"] = {"rows": [FORM | {"reader": "expert", "layer": LAYER, "unit": 1}]}
    if route == "POST /v1/studies":
        bodies["POST"] = {"rendering_id": "rendering-1"}
    if path.endswith("/explanations"):
        bodies["POST"] = {"extraction_id": "extraction-1", "mammogram": "0" * 64}
    if path.endswith(("/protocol-preview", "/protocols")):
        bodies["POST"] = request(["Ana", "Cy"]).model_dump(mode="json")
    if path.endswith("/games"):
        bodies["POST"] = game_request(["Ana", "Cy"]).model_dump(mode="json")
    if "/trials/" in path:
        bodies["PUT"] = {"choice": 1}
    if "/labels/" in path:
        bodies["PUT"] = {"answers": STRUCTURED}
    if "/readings/" in path:
        bodies["PUT"] = {"answers": STRUCTURED, "idempotency_key": "one"} if path.endswith("answer") else {}
    client = Browser(routed.app, follow_redirects=False)
    found = {
        role: client.request(
            method, routed.path(path, "0"), json=bodies.get(method), headers=routed.headers(role)
        ).status_code
        for role in CALLERS
    }
    assert found == dict(zip(CALLERS, map(int, API[route].split()), strict=True))


@pytest.mark.parametrize("route", PAGES)
def test_who_may_open_a_page(routed: Routed, route: str) -> None:
    """Each browser has the code of the table."""
    found = {role: sent(routed, browser, route, {}) for role, browser in routed.browsers.items()}
    assert found == dict(zip(BROWSERS, map(int, PAGES[route].split()), strict=True))


@pytest.mark.parametrize("route", FORMS)
def test_who_may_send_a_form(routed: Routed, route: str) -> None:
    """Each role has the code of the table."""
    found = {}
    for role in ROLES:
        browser = routed.signed_in_again(role)
        form = {"csrf": csrf_of(browser), "name": f"new-{role}", "role": "reader"}
        found[role] = sent(routed, browser, route, form)
    assert found == dict(zip(ROLES, map(int, FORMS[route].split()), strict=True))


def test_a_session_does_not_call_the_api(routed: Routed) -> None:
    """Where there are access tokens, no call needs a session and none accepts one, whatever the role."""
    for role in ROLES:
        browser = routed.signed_in_again(role)
        codes = {sent(routed, browser, route, {"csrf": csrf_of(browser)}, "0") for route in API if "/v1/" in route}
        assert codes == {401}


def sent(routed: Routed, browser: Browser, route: str, form: dict[str, str], unit: str = "unit_0001") -> int:
    """The status of a page that a browser opens, or of a form that it sends. Failed sign-ins before have no effect."""
    routed.clock_ahead += OF_NAME.longest
    method, _, path = route.partition(" ")
    query = "?run=run-1" if path.endswith("compare") else ""
    fields = {"data": FORM | form} if method == "POST" else {}
    return browser.request(method, routed.path(path, unit) + query, **fields).status_code  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def channel(routed: Routed) -> Iterator[grpc.Channel]:
    servicer = AnnotationServicer(routed.readers, routed.studies, routed.units, routed.responses, tokens=routed.known)
    edge = Edge("annotation", tokens=routed.known)
    register = annotation_pb2_grpc.add_AnnotationServiceServicer_to_server
    server = GrpcServer("x", lambda to: register(servicer, to), edge, 0, MANAGING)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    server.stop(0)


def request_of(routed: Routed, method: str) -> message.Message:
    """A request of a method, with the ids of the study in the fields that it has."""
    request: Any = getattr(pb, f"{method}Request")()
    values = {"study_id": routed.study_id, "layer": LAYER, "plan_id": "plan-1", "rendering_id": "rendering-1"}
    if method == "PutResponse":
        values |= FORM | {"idempotency_key": "one"}
    if method == "GetSummary":
        values = {}
    for field in request.DESCRIPTOR.fields_by_name:
        if field in values:
            setattr(request, field, values[field])
    return request  # type: ignore[no-any-return]


def test_every_method_is_in_the_table() -> None:
    """A new method needs a line; those that manage are named to the server."""
    methods = [method.name for method in pb.DESCRIPTOR.services_by_name["AnnotationService"].methods]
    assert sorted(methods) == sorted(METHODS)
    assert sorted(MANAGING) == sorted(name for name, codes in METHODS.items() if codes is MANAGES)


@pytest.mark.parametrize("method", METHODS)
def test_who_may_call_a_method(routed: Routed, channel: grpc.Channel, method: str) -> None:
    """Each role has the code of the table."""
    call = getattr(annotation_pb2_grpc.AnnotationServiceStub(channel), method)
    found = {}
    for role in CALLERS:
        headers = {name.removeprefix("x-"): value for name, value in routed.headers(role).items()}
        try:
            call(request_of(routed, method), metadata=list(headers.items()), timeout=10)
        except grpc.RpcError as error:
            found[role] = error.code().name
        else:
            found[role] = OK
    assert found == dict(zip(CALLERS, METHODS[method], strict=True))
