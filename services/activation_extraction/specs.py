"""What the jobs of extractions receive and return: shared by the workflow, the child process and the benches."""

from pydantic import BaseModel, ConfigDict

from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction


class ExtractionSpec(BaseModel):
    """The network, the data and the layers of an extraction."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    scratch: str
    extraction_id: str
    dataset: ObjectRef
    checkpoint: ObjectRef
    split: str
    layers: list[str]
    top_k: int


class ShardSpec(ExtractionSpec):
    """One shard of an extraction, numbered from 0."""

    shard: int
    batch_size: int
    device: str


class ShardState(BaseModel):
    """The stored objects of a shard: the state, which is merged, and the matrix of maxima of each layer, which stays as
    it is."""

    model_config = ConfigDict(frozen=True)

    state: ObjectRef
    maxima: dict[str, ObjectRef]


class ShardResult(BaseModel):
    """The result of a shard, and the number of its patches."""

    model_config = ConfigDict(frozen=True)

    patches: int
    state: ShardState


class MergeSpec(ExtractionSpec):
    """An extraction with the states of all its shards, in order."""

    shards: list[ShardState]


EXTRACT_SHARD: JobFunction[ShardSpec, ShardResult] = JobFunction("services.activation_extraction.job:extract_shard")

MERGE_EXTRACTION: JobFunction[MergeSpec, ObjectRef] = JobFunction("services.activation_extraction.job:merge_extraction")
"""Returns the reference of the extraction's manifest."""
