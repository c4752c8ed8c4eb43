"""The extraction service as it is, but that a shard's job is a wait of SCALING_WAIT_S: workers that need no core of
their own, as those with a GPU of their own."""

import os
import sys
import time
from typing import Any

from services.activation_extraction import main as service
from services.common.work.jobs import JobRunner

REF = {"bucket": "activation-extraction", "key": "waited", "sha256": "0" * 64, "size": 1}


def wait(_self: JobRunner, target: str, *_: Any, **__: Any) -> dict[str, Any]:
    """What a job gives, as far as the records go."""
    if target.endswith(":extract_shard"):
        time.sleep(float(os.environ["SCALING_WAIT_S"]))
        return {"state": REF, "maxima": {}}
    return REF


if __name__ == "__main__":
    JobRunner.run = wait  # type: ignore[method-assign]
    sys.exit(service.main())  # type: ignore[func-returns-value]
