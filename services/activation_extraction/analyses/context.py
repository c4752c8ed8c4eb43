"""The interface of a kind of analysis, and its context: a completed extraction with its data set and its network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from services.activation_extraction.network import open_network
from services.common.blobs import Blobs
from services.common.errors import NotFound
from services.common.redaction import quoted
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, read_table

S = TypeVar("S", bound=BaseModel)

OnProgress = Callable[[int, int], None]
"""Receives how much of a piece is done, and how much there is. Raises JobStopped when the job must stop."""

Heartbeat = Callable[[], None]
"""Called often during a long merge, to report that it still works."""


@dataclass(frozen=True)
class Context(Generic[S]):
    """An extraction and the settings of its analysis. Data set, checkpoint and network are read when they are first
    used."""

    blobs: Blobs
    manifest: ExtractionManifest
    settings: S
    device: torch.device
    batch_size: int

    @cached_property
    def data(self) -> Dataset:
        """The data set of the extraction."""
        return Dataset.open(self.blobs, self.manifest.dataset)

    @cached_property
    def checkpoint(self) -> CheckpointManifest:
        """The checkpoint of the network."""
        return self._opened[0]

    @cached_property
    def network(self) -> nn.Module:
        """The network in evaluation mode, on the device."""
        return self._opened[1]

    @property
    def _opened(self) -> tuple[CheckpointManifest, nn.Module]:
        return open_network(self.blobs, self.manifest.network.checkpoint, str(self.device))

    @property
    def layers(self) -> dict[str, str]:
        """The extracted layers, from names to module paths."""
        return {layer.name: layer.module for layer in self.manifest.layers}

    def layer(self, name: str) -> ExtractedLayer:
        """The results of one layer. NotFound names the layers that exist."""
        for layer in self.manifest.layers:
            if layer.name == name:
                return layer
        raise NotFound(
            f"extraction {self.manifest.extraction_id} has no layer {quoted(name)}; it has {', '.join(self.layers)}"
        )

    def statistics(self, name: str) -> pa.Table:
        """The statistics of a layer's units; see STATISTICS_SCHEMA."""
        return read_table(self.blobs, self.layer(name).statistics)


class Kind(Protocol):
    """A kind of analysis. Several processes may compute pieces, in any order. A piece that was stopped is computed
    again from its beginning, to the same bytes."""

    @property
    def name(self) -> str:
        """The name in requests and records."""

    @property
    def settings(self) -> type[BaseModel]:
        """The model of the settings, whose field `kind` is the name."""

    def pieces(self, context: Context[Any]) -> int:
        """The number of pieces, at least one, without reading the network. InvalidInput for an extraction that cannot
        be analysed with these settings."""

    def run_piece(self, context: Context[Any], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Compute the state of one piece, numbered from 0. It is stored as safetensors."""

    def merge(
        self, context: Context[Any], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """Compute the name and the result of each layer, from the states of all pieces in order. Call `heartbeat` often
        within a layer that takes long."""
