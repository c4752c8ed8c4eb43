"""Chooses one of a run's checkpoints."""

from services.common.blobs import ObjectRef
from services.common.errors import Conflict, NotFound
from services.common.redaction import quoted
from services.training.schemas import RunView
from services.training.tables import WITHOUT_CHECKPOINT


def resolve_checkpoint(run: RunView, choice: str) -> ObjectRef:
    """Return the chosen checkpoint: `best`, `last`, the number of epochs after which it was retained, or, if empty, the
    one that later stages use. Conflict if the run has no usable checkpoint, NotFound if it lacks the chosen one."""
    if run.checkpoint is None or run.state in WITHOUT_CHECKPOINT:
        raise Conflict(f"run {run.run_id} is {run.state} and has no checkpoint")
    by_name = {"": run.checkpoint, "best": run.best_checkpoint, "last": run.last_checkpoint}
    by_name |= {str(retained.epoch): retained.checkpoint for retained in run.checkpoints}
    chosen = by_name.get(choice)
    if chosen is None:
        names = ", ".join(name for name, ref in by_name.items() if name and ref is not None)
        raise NotFound(f"run {run.run_id} has no checkpoint {quoted(choice)}; it has {names or 'one without a name'}")
    return chosen
