"""Settings of the training service."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ComputeSettings


class TrainingSettings(ComputeSettings):
    """Environment variables PRIMITIVES_TRAINING_…"""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_TRAINING_", frozen=True)

    http_port: int = Field(default=8001, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=9001, description="Port of gRPC; 0 takes a free one.")
    import_folder: Path | None = Field(
        default=None,
        description="Folder on this machine whose folders may be imported as data sets over the API and on the pages. "
        "Without it only the command imports folders.",
    )
    import_buckets: str = Field(
        default="",
        description="Buckets of the object store, separated by commas, whose raw mammograms may be imported over the "
        "API and on the pages. Empty: none.",
    )
    pseudonym_key_file: Path | None = Field(
        default=None,
        description="File with a secret of at least 32 bytes, for pseudonyms of the patients of own mammograms. The "
        "same key gives the same pseudonyms. Without it a key is made in the home: set it where several machines "
        "import.",
    )
    dicomweb_file: Path | None = Field(
        default=None,
        description="JSON file of the DICOMweb servers (PACS) from which mammograms may be imported, by name; see "
        "docs/import.md. Without it there are none.",
    )
    slice_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds of a slice: then a run saves a checkpoint and enqueues its next slice.",
    )
    cache_mb: int = Field(
        default=1024, ge=0, description="MiB of memory for decoded patches, which a run keeps from epoch to epoch."
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="Processes on each machine that train a run together, one for each GPU."
    )
    nodes: int = Field(
        default=1, ge=1, le=1024, description="Machines that train a run together; this machine is the first."
    )
    rendezvous: str = Field(
        default="127.0.0.1:29400",
        pattern=r"^[^:]+:\d+$",
        description="HOST:PORT of this machine, where the processes of several machines connect.",
    )

    @property
    def importable_buckets(self) -> tuple[str, ...]:
        """The buckets of `import_buckets`."""
        return tuple(name.strip() for name in self.import_buckets.split(",") if name.strip())
