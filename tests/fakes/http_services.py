"""Stand-ins for the HTTP APIs of the services, for the Python client: answers in the order of the calls."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from primitives_client import Primitives, Retries

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class HttpServices:
    """Answers calls with the next answer, and records them. Waits are recorded too; they move only the clock of the
    client."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def client(self, attempts: int = 5, **options: Any) -> Primitives:
        """Connect a client."""
        retries = Retries(attempts=attempts, wait=self.waits.append, clock=lambda: sum(self.waits))
        return Primitives("http://host", retries=retries, transport=httpx.MockTransport(self._handle), **options)

    @property
    def calls(self) -> list[str]:
        """The method and address of each call."""
        return [f"{one.method} {one.url}" for one in self.requests]

    def bodies(self) -> list[Any]:
        """The JSON of each call."""
        return [json.loads(one.content) for one in self.requests if one.content]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]  # the last one stays
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer


def problem(status: int, name: str, message: str, **headers: str) -> httpx.Response:
    """Return the answer of a service to a call that it refuses."""
    return httpx.Response(status, json={"error": name, "message": message}, headers=headers)


def dataset(number: int = 1) -> dict[str, Any]:
    """Return a data set, as the training service answers."""
    manifest = {"bucket": "training", "key": "manifest", "sha256": "00", "size": 1}
    return {
        "dataset_id": f"dataset-{number}", "name": "ddsm", "classes": ["normal", "cancer"],
        "splits": {"train": 48, "val": 24}, "mammograms": 0, "manifest": manifest,
        "created": "2026-11-29T12:00:00+00:00",
    }  # fmt: skip


def run(state: str = "queued", **changes: Any) -> dict[str, Any]:
    """Return a run, as the training service answers."""
    return {
        "state": state, "error": "", "progress": {"phase": "epoch 1 of 2", "done": 3, "total": 12, "unit": "steps"},
        "created": "2026-11-29T12:00:00+00:00", "started": "", "finished": "", "requeues": [], "run_id": "run-1",
        "plan_id": "", "dataset_id": "dataset-1", "settings": {"architecture": "resnet18"}, "epochs": [],
        "checkpoint": None, "best_checkpoint": None, "last_checkpoint": None, "checkpoints": [],
    } | changes  # fmt: skip


def stages(*found: tuple[str, str], error: str = "") -> httpx.Response:
    """Return a service's answer to a call for its stages of a plan: their names and states."""
    progress = {"phase": "merging", "done": 1, "total": 4, "unit": "layers"}
    return httpx.Response(
        200,
        json={
            "plan_id": "plan-1",
            "stages": [
                {"name": name, "state": state, "id": f"{name}-1", "error": error, "progress": progress, "seconds": 2.0}
                for name, state in found
            ],
        },
    )
