"""The pages of runs, and the client of the training service."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from primitives.training.v1.training_pb2 import Run
from pydantic import SecretStr

from services.annotation.clients.training import TrainingService
from services.annotation.pages.runs import best_epoch, checkpoints, curves, settings_rows
from services.common.errors import Forbidden, NotFound, Unavailable
from services.common.grpc import from_json
from services.common.settings import Shared


def run(run_id: str = "run-1", **changes: Any) -> Run:
    """A run, read from the JSON of the training service."""
    content = {
        "run_id": run_id, "dataset_id": "dataset-1", "settings": {}, "state": "running", "error": "", "progress": {},
        "epochs": [], "created": "", "started": "", "finished": "",
    }  # fmt: skip
    return from_json(content | changes, Run)


def test_settings_that_differ_are_marked() -> None:
    """settings_rows shows values in words, and marks rows whose values differ; an absent value differs too."""
    rows = settings_rows(
        [
            run(settings={"epochs": 1, "flips": True, "decay_epochs": [], "learning_rate": 0.1}),
            run(settings={"epochs": 1, "flips": False, "decay_epochs": [4, 6]}),
        ]
    )
    assert rows == [
        ("dataset", ["dataset-1", "dataset-1"], False),
        ("epochs", ["1", "1"], False),
        ("learning_rate", ["0.1", "–"], True),
        ("decay_epochs", ["none", "4, 6"], True),
        ("flips", ["yes", "no"], True),
    ]


def test_the_best_epoch_has_the_highest_auc() -> None:
    """best_epoch ignores epochs without an AUC and returns the first of equal ones."""
    epochs = [{"epoch": n, "val_auc": auc} for n, auc in enumerate((None, 0.6, 0.9, 0.9), 1)]
    best = best_epoch(run(epochs=epochs))
    assert best is not None and best.epoch == 3
    assert best_epoch(run(epochs=epochs[:1])) is None


def test_checkpoints_are_offered_by_name() -> None:
    """The best, the last and kept checkpoints have the metrics of their epochs; the default of a plan is marked."""
    epochs = [{"epoch": 1, "val_auc": 0.9}, {"epoch": 2, "val_auc": 0.8}]
    best, last = {"key": "b"}, {"key": "l"}
    kept = [{"epoch": 1, "checkpoint": {"key": "k"}}]
    offered = checkpoints(
        run(epochs=epochs, checkpoint=best, best_checkpoint=best, last_checkpoint=last, checkpoints=kept)
    )
    assert [(one.name, one.epoch and one.epoch.epoch, one.is_default) for one in offered] == [
        ("best", 1, True), ("last", 2, False), ("1", 1, False),
    ]  # fmt: skip
    assert checkpoints(run()) == []


def test_curves_have_null_for_absent_metrics() -> None:
    """A metric that the training service does not have is null in the data of the charts; 0 is a value."""
    drawn = json.loads(
        curves(run(epochs=[{"epoch": 1, "train_auc": None, "val_auc": 0.0, "val_auc_by_class": [None]}]))
    )
    [epoch] = drawn["epochs"]
    assert (drawn["run_id"], epoch["epoch"], epoch["train_auc"], epoch["val_auc"]) == ("run-1", 1, None, 0.0)


class Answers(BaseHTTPRequestHandler):
    """Answers with the status and the body that the path names."""

    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers.get("authorization"))
        status, _, body = self.path.removeprefix("/v1/runs/").partition("-")
        content = {"json": b'{"message": "no"}', "html": b"<p>", "odd": b'{"run_id": 1}', "list": b"[]",
                   "foreign": b'{"colour": "x"}'}[body]  # fmt: skip
        self.send_response(int(status))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def training() -> Iterator[TrainingService]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield TrainingService(f"http://127.0.0.1:{server.server_port}", Shared(token=SecretStr("secret")))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("404-json", NotFound, "answered: no"),
        ("401-json", Forbidden, "answered: no"),
        ("403-html", Forbidden, "answered: status 403"),
        ("503-json", Unavailable, "answered: no"),
        ("500-html", Unavailable, "answered: status 500"),
        ("200-odd", Unavailable, "another version"),
        ("200-list", Unavailable, "another version"),
        ("200-foreign", Unavailable, "another version"),
        ("200-html", Unavailable, "another version"),
    ],
)
def test_errors_of_the_training_service_become_ours(
    training: TrainingService, path: str, error: type[Exception], message: str
) -> None:
    """A status code becomes an error with the service's message; the request has this service's access token."""
    with pytest.raises(error, match=message):
        training.run(path)
    assert Answers.tokens[-1] == "Bearer secret"


def test_a_training_service_that_does_not_answer_is_named() -> None:
    """Unavailable has the address of the service."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        TrainingService("http://127.0.0.1:9", Shared()).runs()
