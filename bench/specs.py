"""Specs and results of the benches' jobs, which run in a child process with the environment of the services' jobs."""

from pydantic import BaseModel, ConfigDict

from services.activation_extraction.specs import ExtractionSpec
from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction
from services.training.schemas import StartPlanRequest


class Frozen(BaseModel):
    """A model that cannot be changed."""

    model_config = ConfigDict(frozen=True)


class WarmUpSpec(Frozen):
    """The device to load torch for."""

    device: str


class DeviceFacts(Frozen):
    """torch's version, threads and device."""

    torch: str
    threads: int
    device: str


class PlanSpec(Frozen):
    """A plan to compute in the store `blobs_url`. Its data set is copied from the store `source`. Without a data set,
    the sample is built."""

    blobs_url: str
    scratch: str
    request: StartPlanRequest
    source: str
    dataset: ObjectRef | None
    group_units: int
    cache_mb: int
    device: str


class PlanResults(Frozen):
    """The results of a plan that must not depend on how it was computed. `val_loss` has one value per epoch."""

    val_loss: list[float | None]
    pictures: int
    units: int


class PlanFloor(Frozen):
    """The seconds of each stage of a plan without services, and its results."""

    seconds: dict[str, float]
    results: PlanResults


class NetworkSpec(Frozen):
    """A network whose random weights are stored as a checkpoint."""

    blobs_url: str
    architecture: str


class PassSpec(ExtractionSpec):
    """An extraction that a pass computes, or of which it computes only a part."""

    device: str


class Pass(Frozen):
    """The figures of one pass over all patches."""

    seconds: float
    peak_mb: float


class FullPass(Pass):
    """The figures of an extraction, of whose `seconds` the merge took `merge_s`. `manifest` is its result."""

    merge_s: float
    manifest: ObjectRef


class PicturesSpec(Frozen):
    """An extraction whose units are all rendered, in pictures of `size` pixels."""

    blobs_url: str
    scratch: str
    extraction: ObjectRef
    size: int


class Pictures(Frozen):
    """The seconds and the number of the pictures."""

    seconds: float
    pictures: int


class TwoPassSpec(Frozen):
    """The original's two passes over the files below `tissue`. The second is timed on `units_timed` units of each
    layer, whose pictures are saved below `folder`."""

    blobs_url: str
    tissue: str
    checkpoint: ObjectRef
    layers: list[str]
    top_k: int
    units_timed: int
    folder: str


class TwoPass(Frozen):
    """The seconds of both passes, the second scaled from `units_timed` units to all `units`, and the number of saved
    pictures."""

    first_s: float
    second_s: float
    units_timed: int
    units: int
    saved: int


WARM_UP: JobFunction[WarmUpSpec, DeviceFacts] = JobFunction("bench.floor:warm_up")
COMPUTE_PLAN: JobFunction[PlanSpec, PlanFloor] = JobFunction("bench.floor:compute_plan")
STORE_NETWORK: JobFunction[NetworkSpec, ObjectRef] = JobFunction("bench.passes:store_network")
FLOOR: JobFunction[PassSpec, Pass] = JobFunction("bench.passes:floor")
BARE: JobFunction[PassSpec, Pass] = JobFunction("bench.passes:bare")
TALLY: JobFunction[PassSpec, Pass] = JobFunction("bench.passes:tally")
OURS: JobFunction[PassSpec, FullPass] = JobFunction("bench.passes:ours")
PICTURES: JobFunction[PicturesSpec, Pictures] = JobFunction("bench.passes:pictures")
TWO_PASS: JobFunction[TwoPassSpec, TwoPass] = JobFunction("bench.passes:two_pass")
