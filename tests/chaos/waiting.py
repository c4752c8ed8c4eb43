"""The extraction service with a shard job that only waits for SCALING_WAIT_S. Such workers need no core each, like
workers with a GPU each."""

import os
import sys
import time
from typing import Any

from services.activation_extraction import main as service
from services.activation_extraction.specs import EXTRACT_SHARD, ShardResult, ShardSpec, ShardState
from services.common.blobs import ObjectRef, open_blobs
from services.common.work.jobs import JobFunction
from services.common.work.runner import JobRunner
from services.imaging.dataset import Dataset

REF = ObjectRef(bucket="activation-extraction", key="waited", sha256="0" * 64, size=1)


def wait(_self: JobRunner, job: JobFunction[Any, Any], spec: Any, *_: Any, **__: Any) -> ShardResult | ObjectRef:
    """Wait instead of extracting a shard, and return results that the records accept."""
    if job is not EXTRACT_SHARD:
        return REF
    time.sleep(float(os.environ["SCALING_WAIT_S"]))
    return ShardResult(patches=patches_of(spec), state=ShardState(state=REF, maxima={}))


def patches_of(spec: ShardSpec) -> int:
    """Return the number of patches of a shard."""
    shard = Dataset.open(open_blobs(spec.blobs_url), spec.dataset).shards(spec.split)[spec.shard]
    return shard.last - shard.first + 1


if __name__ == "__main__":
    JobRunner.run = wait  # type: ignore[method-assign]
    sys.exit(service.main())  # type: ignore[func-returns-value]
