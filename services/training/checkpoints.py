"""Which of a run's checkpoints is meant."""

from services.common.blobs import ObjectRef
from services.common.errors import Conflict, NotFound
from services.training.schemas import RunView
from services.training.tables import WITHOUT_CHECKPOINT


def choose_checkpoint(run: RunView, choice: str) -> ObjectRef:
    """The checkpoint that is meant: `best`, `last`, the number of epochs after which one was kept, or empty: what later
    stages use. Conflict if the run has none that counts, NotFound if not that one."""
    if run.checkpoint is None or run.state in WITHOUT_CHECKPOINT:
        raise Conflict(f"run {run.run_id} is {run.state} and has no checkpoint")
    named = {"": run.checkpoint, "best": run.best_checkpoint, "last": run.last_checkpoint}
    named |= {str(kept.epoch): kept.checkpoint for kept in run.checkpoints}
    found = named.get(choice)
    if found is None:
        known = ", ".join(name for name, ref in named.items() if name and ref is not None)
        raise NotFound(f"run {run.run_id} has no checkpoint {choice!r}; it has {known or 'one without a name'}")
    return found
