"""What a kind of analysis is, and what it is given: a completed extraction with its data set and its network."""

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
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, read_table

S = TypeVar("S", bound=BaseModel)

OnProgress = Callable[[int, int], None]
"""Takes how much of a piece is done, and how much there is; raises JobStopped when the piece is to be left."""

Heartbeat = Callable[[], None]
"""Takes a sign of life of what goes on."""


@dataclass(frozen=True)
class Context(Generic[S]):
    """An extraction, the settings of its analysis, and what both are of, read when it is first asked for."""

    blobs: Blobs
    manifest: ExtractionManifest
    settings: S
    device: torch.device
    batch_size: int

    @cached_property
    def data(self) -> Dataset:
        """The data set that was extracted from."""
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
        """The extracted layers, names to module paths."""
        return {layer.name: layer.module for layer in self.manifest.layers}

    def layer(self, name: str) -> ExtractedLayer:
        """The results of one layer. NotFound names those that there are."""
        for layer in self.manifest.layers:
            if layer.name == name:
                return layer
        raise NotFound(
            f"extraction {self.manifest.extraction_id} has no layer {name!r}; it has {', '.join(self.layers)}"
        )

    def statistics(self, name: str) -> pa.Table:
        """The statistics of a layer's units, see STATISTICS_SCHEMA."""
        return read_table(self.blobs, self.layer(name).statistics)


class Kind(Protocol):
    """A kind of analysis. Pieces are done in any order, each once, perhaps by several processes; a piece that is
    stopped is done anew, and the same piece gives the same bytes."""

    @property
    def name(self) -> str:
        """Its name in requests and records."""

    @property
    def settings(self) -> type[BaseModel]:
        """The model of its settings, whose field `kind` is the name."""

    def pieces(self, context: Context[Any]) -> int:
        """How many pieces there are, at least one; reads no network. InvalidInput for what cannot be analysed."""

    def run_piece(self, context: Context[Any], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """The state of one piece, numbered from 0; stored as safetensors."""

    def merge(
        self, context: Context[Any], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """The names of the layers and their results, one after the other, from the states of all pieces in their order.
        `heartbeat` is called again and again within a layer that takes long."""
