"""Settings of the training service."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class TrainingSettings(ServiceSettings):
    """Environment: PRIMITIVES_TRAINING_…"""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_TRAINING_", frozen=True)

    http_port: int = Field(default=8001, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=9001, description="Port of gRPC; 0 takes a free one.")
    slice_s: float = Field(
        default=600.0, gt=0, description="Seconds that a run works before it saves and hands on to its next slice."
    )
    cache_mb: int = Field(
        default=1024, ge=0, description="Memory for decoded patches that a run keeps from one epoch to the next."
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="Processes of this machine that train a run together, one a GPU."
    )
    nodes: int = Field(
        default=1, ge=1, le=1024, description="Machines that train a run together, this being the first."
    )
    rendezvous: str = Field(
        default="127.0.0.1:29400",
        pattern=r"^[^:]+:\d+$",
        description="HOST:PORT of this machine where the processes of several machines meet.",
    )
    role: Literal["all", "front", "worker"] = Field(
        default="all",
        description="What the process does: all; as front calls and events, leaving jobs to workers; as worker jobs "
        "alone, and it ends when there are none.",
    )
    worker_idle_s: float = Field(default=60.0, gt=0, description="Seconds without a job after which a worker ends.")
