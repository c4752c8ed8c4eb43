"""Settings of the activation extraction service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ComputeSettings


class ExtractionSettings(ComputeSettings):
    """Environment variables PRIMITIVES_EXTRACTION_…"""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_EXTRACTION_", frozen=True)

    http_port: int = Field(default=8002, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=9002, description="Port of gRPC; 0 takes a free one.")
