"""The annotation service with embedded ports and an open study, for tests."""

import re
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.annotation.answer import Answer
from services.annotation.main import create_web
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import Base
from services.annotation.workflow.readers import Readers
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.studies import Studies
from services.annotation.workflow.units import Units
from services.common.access.tokens import Tokens
from services.common.identity import derived_id
from services.common.records import now
from tests.fakes.ports import World
from tests.fakes.rendering import copy_rendering

LAYER = "block4"
SILENT = 5
YES = Answer("yes", "unsure", "single", "Spiculated margins.")
FORM = {
    "recognizable": "yes", "associated": "unsure", "multiplicity": "single", "description": "Spiculated margins.",
}  # fmt: skip


class Annotation(World):
    """The use cases and pages of the service, with the study of plan-1 open."""

    def __init__(
        self,
        folder: Path,
        labels_shown: str = "after_answer",
        tokens: Tokens | None = None,
        rendering: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(folder, Base.metadata)
        self.readers = Readers(self.ports.records)
        self.studies, self.units, self.responses = Studies(self.ports), Units(self.ports), Responses(self.ports)
        self.rendering = copy_rendering(folder / "blobs", **({"size": 16} | (rendering or {})))
        self.study_id = derived_id("study", "plan-1")
        self.clock_ahead = timedelta()
        self.settings, self.known_tokens = AnnotationSettings(**settings), tokens
        self.open_plan("plan-1", labels_shown=labels_shown)

    @cached_property
    def app(self) -> FastAPI:
        """The HTTP application. It is made when a test uses it first, because that takes longer than many tests."""
        return create_web(self.settings, self.ports, self.known_tokens, self.clock)

    def clock(self) -> datetime:
        """The time for sessions, which a test can move forward."""
        return now() + self.clock_ahead

    def open_plan(self, plan_id: str, **study: Any) -> str:
        """Open the study of a plan and return its id."""
        self.studies.rendering_completed(self.rendering.completed(plan_id, **study))
        [command] = self.sent()
        self.studies.open(command)
        self.sent()
        return command.study_id

    def key(self, unit: int = 0, layer: str = LAYER) -> tuple[str, str, int]:
        """The key of a unit of the study."""
        return self.study_id, layer, unit

    def unit_path(self, unit: int = 0, query: str = "list=all") -> str:
        """The address of a unit's survey."""
        return f"/studies/{self.study_id}/layers/{LAYER}/units/unit_{unit + 1:04d}?{query}"

    def api_path(self, unit: int = 0, rest: str = "") -> str:
        """The address of a unit in the JSON API."""
        return f"/v1/studies/{self.study_id}/layers/{LAYER}/units/{unit}{rest}"

    def overview_path(self, query: str = "list=all") -> str:
        """The address of a list of the layer."""
        return f"/studies/{self.study_id}/layers/{LAYER}?{query}"

    def browser(self, name: str = "") -> "Browser":
        """A new browser, signed in if a name is given."""
        browser = Browser(self.app)
        if name:
            assert browser.post("/sign-in", data={"name": name}).status_code == 200
        return browser


class Browser(TestClient):
    """A browser: keeps cookies, follows redirects and fills in forms."""

    def form(self, path: str) -> dict[str, str]:
        """The hidden fields of the survey's form."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        form = page.text[page.text.index('<form class="answer"') :]
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))

    def answer(self, path: str, **fields: str) -> Any:
        """Fill in the survey's form and send it."""
        return self.post(path, data=self.form(path) | FORM | fields)
