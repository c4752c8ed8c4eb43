"""The common parts of all pages: templates, reader, CSRF token and static files."""

import hashlib
import math
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI, Request
from google.protobuf.message import Message
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from services.annotation.answer import CHOICES, LONGEST_DESCRIPTION, QUESTIONS, WORDS
from services.annotation.auth import Auth, token_of
from services.annotation.browsing import Browse
from services.annotation.clients.extraction import ExtractionService, RenderingService
from services.annotation.clients.training import TrainingService
from services.annotation.detection.scores import DetectionScores
from services.annotation.explanations.workflow import WordedExplanations
from services.annotation.pages import links
from services.annotation.protocol.questionnaire import AnswerValue, Question
from services.annotation.protocol.vocabulary import Vocabulary
from services.annotation.schemas import MammogramView, Place
from services.annotation.sessions import csrf_token
from services.annotation.workflow.exports import Exports
from services.annotation.workflow.game_results import GameScores
from services.annotation.workflow.games import Games
from services.annotation.workflow.labels import Labels
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.readings import Readings
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.results import Results
from services.annotation.workflow.studies import Studies
from services.annotation.workflow.trials import Trials
from services.annotation.workflow.units import Units
from services.common.http.streams import Streams
from services.common.runtime.status import Monitor
from services.common.work.parked import ParkedMessages
from services.imaging.units import unit_name

_HERE = Path(__file__).parent.parent
STATIC = _HERE / "static"


class ImmutableFiles(StaticFiles):
    """Files whose address changes with their content, so browsers can cache them without checking."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


@dataclass
class Frame:
    """The use cases and clients that pages need, and the rendering of templates."""

    auth: Auth
    studies: Studies
    units: Units
    responses: Responses
    protocols: Protocols
    readings: Readings
    results: Results
    labels: Labels
    exports: Exports
    games: Games
    trials: Trials
    game_scores: GameScores
    training: TrainingService
    extraction: ExtractionService
    worded: WordedExplanations
    scores: DetectionScores
    rendering: RenderingService
    monitor: Monitor
    parked: ParkedMessages
    streams: Streams
    static: str = field(default_factory=lambda: f"/static/{_digest_of(STATIC)}")

    def page(
        self,
        template: str,
        request: Request,
        reader: Reader | None,
        status: int = 200,
        token: str | None = None,
        **context: Any,
    ) -> HTMLResponse:
        """A rendered page. `token` is the session's token, which the request does not have if the session begins with
        this response."""
        token = token_of(request) if token is None else token
        text = self._environment.get_template(template).render(
            reader=reader, csrf=csrf_token(token) if reader is not None else "", path=request.url.path, **context
        )
        return HTMLResponse(text, status_code=status)

    def serve_static(self, app: FastAPI) -> None:
        """Serve scripts and styles under an address that contains their hash."""
        app.mount(self.static, ImmutableFiles(directory=STATIC), name="static")

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals |= {
            "static": self.static,
            "needs_token": self.auth.tokens is not None,
            "has_accounts": self.auth.by_account is not None,
            "has_provider": self.auth.by_account is not None and self.auth.by_account.by_provider is not None,
            "links": links,
            "browse": Browse(),
            "unit_name": unit_name,
            "questions": QUESTIONS,
            "choices": CHOICES,
            "longest": LONGEST_DESCRIPTION,
        }
        environment.filters |= {
            "words": _words,
            "place": Place.model_validate,
            "moment": _moment,
            "shown": _shown,
            "duration": _duration,
            "value": _value,
            "numbered": _numbered,
            "by_number": _by_number,
            "spaced": _spaced,
            "statistic": _statistic,
            "sentence": _sentence,
            "field": field_value,
            "answered": _answered,
        }
        environment.tests["known"] = _is_known
        return environment


def redirect(target: str) -> Response:
    """A redirect after a form."""
    return RedirectResponse(target, status_code=303)


def field_value(message: Message, name: str) -> Any:
    """The value of a message's field; None if the field is optional and absent."""
    field = message.DESCRIPTOR.fields_by_name[name]
    return getattr(message, name) if not field.has_presence or message.HasField(name) else None


def _is_known(number: float | None) -> bool:
    """False for None, and for NaN, which stands for a missing number in the lists of messages."""
    return number is not None and not math.isnan(number)


def _words(choice: str) -> str:
    return WORDS.get(choice, choice)


def _moment(iso: str) -> str:
    """2026-11-24T09:53:01+00:00 as `2026-11-24 09:53 UTC`."""
    return f"{iso[:10]} {iso[11:16]} UTC" if iso else ""


def _shown(time: datetime | None) -> str:
    """A time as `_moment` shows it."""
    return _moment(time.isoformat()) if time is not None else ""


def _numbered(items: list[str]) -> list[tuple[int, str]]:
    return list(enumerate(items))


def _by_number(mammograms: list[MammogramView]) -> dict[int, MammogramView]:
    return {mammogram.number: mammogram for mammogram in mammograms}


def _answered(value: AnswerValue, question: Question, vocabulary: Vocabulary | None) -> str:
    """An answer to a question in words."""
    if question.kind == "terms" and isinstance(value, list):
        titles = vocabulary.titles() if vocabulary is not None else {}
        return ", ".join(titles.get(term, term.partition(":")[2] or term) for term in value)
    titles = {choice.id: choice.title for choice in question.choices}
    return titles.get(value, value) if isinstance(value, str) else ", ".join(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


STATISTIC_WORDS = {
    "percent": "Percent", "cohen": "Cohen's", "fleiss": "Fleiss'", "krippendorff": "Krippendorff's", "gwet": "Gwet's",
    "ac1": "AC1", "ac2": "AC2",
}  # fmt: skip
"""Words of the names of statistics that are written in another way."""


def _statistic(name: str) -> str:
    """The name of a statistic in words: `gwet_ac1` is Gwet's AC1."""
    return " ".join(STATISTIC_WORDS.get(word, word) for word in name.split("_"))


def _sentence(message: str) -> str:
    """An error message as a sentence: with a capital letter and a full stop."""
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")


def _duration(seconds: float) -> str:
    """A time span in its largest unit, such as `2 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _value(number: float) -> str:
    """An activation or score with four significant digits; only large numbers have a power of ten."""
    return f"{number:.4g}" if abs(number) < 1e5 else f"{number:.3e}"


def _digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
