"""The choice of a run's checkpoint for a plan."""

import pytest
from pydantic import ValidationError

from services.common.errors import Conflict, NotFound
from services.training.checkpoints import resolve_checkpoint
from services.training.schemas import PlanNetwork, RunView


def ref(name: str) -> dict[str, object]:
    """A reference with a key of its own."""
    return {"bucket": "training", "key": name, "sha256": "0" * 64, "size": 1}


@pytest.fixture
def run() -> RunView:
    kept = [{"epoch": epoch, "checkpoint": ref(key)} for epoch, key in ((5, "fifth"), (10, "tenth"))]
    return RunView.model_validate(
        {
            "run_id": "run-1", "plan_id": "", "dataset_id": "dataset-1", "settings": {}, "state": "completed",
            "error": "", "progress": {}, "epochs": [], "checkpoint": ref("best"), "best_checkpoint": ref("best"),
            "last_checkpoint": ref("last"), "checkpoints": kept, "created": "", "started": "", "finished": "",
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "key"), [("", "best"), ("best", "best"), ("last", "last"), ("5", "fifth"), ("10", "tenth")]
)
def test_a_checkpoint_is_chosen_by_name(run: RunView, choice: str, key: str) -> None:
    """The names are best, last, and the number of a retained epoch. Empty is the one that the settings choose."""
    assert resolve_checkpoint(run, choice).key == key


def test_a_missing_checkpoint_is_not_found(run: RunView) -> None:
    """NotFound lists the existing checkpoints."""
    with pytest.raises(NotFound, match=r"no checkpoint '7'; it has best, last, 5, 10"):
        resolve_checkpoint(run, "7")


def test_a_cancelled_run_has_no_checkpoint(run: RunView) -> None:
    """The collector removes the checkpoints of cancelled runs."""
    with pytest.raises(Conflict, match="is cancelled"):
        resolve_checkpoint(run.model_copy(update={"state": "cancelled"}), "last")


@pytest.mark.parametrize("network", [{"checkpoint": "best"}, {"run_id": "run-1", "checkpoint": "newest"}])
def test_a_choice_without_a_run_or_meaning_is_refused(network: dict[str, str]) -> None:
    """A checkpoint needs a run, and one of the known names."""
    with pytest.raises(ValidationError, match="checkpoint"):
        PlanNetwork.model_validate(network)
