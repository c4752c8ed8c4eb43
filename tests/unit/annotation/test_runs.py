"""What the pages of runs make of what the training service says."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from services.annotation.clients.training import Run, TrainingService
from services.annotation.pages.runs import settings_rows
from services.common.errors import Forbidden, NotFound, Unavailable
from services.common.settings import Shared


def run(run_id: str = "run-1", **changes: Any) -> Run:
    """A run as the training service tells of it."""
    content = {
        "run_id": run_id, "dataset_id": "dataset-1", "settings": {}, "state": "running", "error": "", "progress": {},
        "epochs": [], "created": "", "started": "", "finished": "",
    }  # fmt: skip
    return Run.model_validate(content | changes)


def test_only_what_differs_is_marked() -> None:
    """Values are shown as people write them, and one that a run lacks differs from one that it has."""
    rows = settings_rows(
        [
            run(settings={"epochs": 1, "flips": True, "decay_epochs": [], "learning_rate": 0.1}),
            run(settings={"epochs": 1, "flips": False, "decay_epochs": [4, 6]}),
        ]
    )
    assert rows == [
        ("dataset", ["dataset-1", "dataset-1"], False),
        ("epochs", ["1", "1"], False),
        ("flips", ["yes", "no"], True),
        ("decay_epochs", ["none", "4, 6"], True),
        ("learning_rate", ["0.1", "–"], True),
    ]


def test_the_best_epoch_is_that_of_the_highest_auc() -> None:
    """Epochs without an AUC do not count; of equal ones the first is the best."""
    epochs = [{"epoch": n, "val_auc": auc} for n, auc in enumerate((None, 0.6, 0.9, 0.9), 1)]
    best = run(epochs=epochs).best
    assert best is not None and best["epoch"] == 3
    assert run(epochs=epochs[:1]).best is None


def test_checkpoints_are_offered_by_name() -> None:
    """The best, the last and kept ones, each with the metrics of its epoch; the one for later stages is marked."""
    epochs = [{"epoch": 1, "val_auc": 0.9}, {"epoch": 2, "val_auc": 0.8}]
    best, last = {"key": "b"}, {"key": "l"}
    kept = [{"epoch": 1, "checkpoint": {"key": "k"}}]
    offered = run(
        epochs=epochs, checkpoint=best, best_checkpoint=best, last_checkpoint=last, checkpoints=kept
    ).checkpoints
    assert [(one.name, one.epoch and one.epoch["epoch"], one.for_later_stages) for one in offered] == [
        ("best", 1, True), ("last", 2, False), ("1", 1, False),
    ]  # fmt: skip
    assert run().checkpoints == []


class Answers(BaseHTTPRequestHandler):
    """Answers as its path asks for."""

    shown: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.shown.append(self.headers.get("authorization"))
        status, _, body = self.path.removeprefix("/v1/runs/").partition("-")
        content = {"json": b'{"message": "no"}', "html": b"<p>", "odd": b'{"run_id": 1}'}[body]
        self.send_response(int(status))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def training() -> Iterator[TrainingService]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield TrainingService(f"http://127.0.0.1:{server.server_port}", Shared(token=SecretStr("secret")))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("404-json", NotFound, "says: no"),
        ("401-json", Forbidden, "says: no"),
        ("403-html", Forbidden, "answers 403"),
        ("503-json", Unavailable, "says: no"),
        ("500-html", Unavailable, "answers 500"),
        ("200-odd", Unavailable, "another version"),
    ],
)
def test_what_the_training_service_refuses_is_told(
    training: TrainingService, path: str, error: type[Exception], words: str
) -> None:
    """Its codes become errors of ours with its words; it is shown this service's token."""
    with pytest.raises(error, match=words):
        training.run(path)
    assert Answers.shown[-1] == "Bearer secret"


def test_a_training_service_that_is_away_is_named() -> None:
    """Unavailable says where it was looked for."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        TrainingService("http://127.0.0.1:9", Shared()).runs()
