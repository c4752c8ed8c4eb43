"""The training service as the pages of runs see it: over its HTTP API, with this service's own token."""

from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response, StreamingResponse

from services.common.errors import Forbidden, NotFound, PrimitivesError, Unavailable
from services.common.records import ENDED
from services.common.settings import Shared
from services.common.streams import HEADERS
from services.common.views import Progress

TIMEOUT_S = 10.0
STREAM_SILENCE_S = 60.0
"""Longest silence of a stream; the training service sends a line at least every fifteen seconds."""


class Checkpoint(BaseModel):
    """A checkpoint to pick, and how `primitives plan start --checkpoint` names it."""

    name: str
    epoch: dict[str, Any] | None
    """The metrics of the epoch after which it was kept."""
    for_later_stages: bool
    """Whether a plan takes it that names none."""


class Run(BaseModel):
    """A run, as far as the pages show it; see RunView of the training service."""

    run_id: str
    dataset_id: str
    settings: dict[str, Any]
    state: str
    error: str
    progress: Progress
    epochs: list[dict[str, Any]]
    created: str
    started: str
    finished: str
    checkpoint: dict[str, Any] | None = None
    best_checkpoint: dict[str, Any] | None = None
    last_checkpoint: dict[str, Any] | None = None
    kept: list[dict[str, Any]] = Field(default_factory=list, validation_alias="checkpoints")

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """What there is to pick: the best, the last, and those of kept epochs."""
        by_number = {epoch["epoch"]: epoch for epoch in self.epochs}
        offered = [
            ("best", self.best_checkpoint, self.best),
            ("last", self.last_checkpoint, self.epochs[-1] if self.epochs else None),
            *((str(one["epoch"]), one["checkpoint"], by_number.get(one["epoch"])) for one in self.kept),
        ]
        return [
            Checkpoint(name=name, epoch=epoch, for_later_stages=ref == self.checkpoint)
            for name, ref, epoch in offered
            if ref is not None
        ]

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch with the highest validation AUC; None before there is one."""
        measured = [epoch for epoch in self.epochs if epoch.get("val_auc") is not None]
        return max(measured, key=lambda epoch: epoch["val_auc"], default=None)


class TrainingService:
    """Its runs, listed, one by one, and as they go on. Every call may raise Unavailable, and Forbidden where the token
    of PRIMITIVES_TOKEN does not let this service read them."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        self._base_url = base_url
        self._headers = {"authorization": f"Bearer {shared.token.get_secret_value()}"} if shared.token else {}
        self._client = httpx.Client(base_url=base_url, headers=self._headers, timeout=TIMEOUT_S)

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return [self._parsed(run) for run in self._get("/v1/runs")["runs"]]

    def run(self, run_id: str) -> Run:
        """One run. NotFound if there is none."""
        return self._parsed(self._get(f"/v1/runs/{quote(run_id, '')}"))

    async def events(self, run_id: str, last_event_id: str) -> Response:
        """The stream of a run's progress, passed on as it comes. NotFound if there is no such run."""
        client = httpx.AsyncClient(timeout=httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S))
        headers = self._headers | ({"last-event-id": last_event_id} if last_event_id else {})
        url = f"{self._base_url}/v1/runs/{quote(run_id, '')}/events"
        try:
            answer = await client.send(client.build_request("GET", url, headers=headers), stream=True)
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
                self._check(answer)
        except httpx.TransportError as error:
            await client.aclose()
            raise self._unavailable(error) from error
        except PrimitivesError:
            await client.aclose()
            raise
        if answer.status_code != httpx.codes.OK:  # 204: there is nothing more to tell
            await client.aclose()
            return Response(status_code=answer.status_code)
        return StreamingResponse(_passed_on(client, answer), media_type="text/event-stream", headers=HEADERS)

    def _get(self, path: str) -> Any:
        try:
            answer = self._client.get(path)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer)
        return answer.json()

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        kind = {401: Forbidden, 403: Forbidden, 404: NotFound}.get(answer.status_code, Unavailable)
        try:
            told = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            told = f"it answers {answer.status_code}"
        raise kind(f"The training service says: {told}")

    def _unavailable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(f"The training service at {self._base_url} does not answer: {error}")

    def _parsed(self, content: Any) -> Run:
        try:
            return Run.model_validate(content)
        except ValidationError as error:
            raise Unavailable(
                f"The training service is of another version: {error.error_count()} fields differ"
            ) from error


async def _passed_on(client: httpx.AsyncClient, answer: httpx.Response) -> Any:
    try:
        async for block in answer.aiter_raw():
            yield block
    except httpx.TransportError:
        return  # the browser asks again by itself
    finally:
        await answer.aclose()
        await client.aclose()
