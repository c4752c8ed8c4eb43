"""A completed extraction with its data set and its network, open for further computations."""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import torch
from torch import nn

from services.activation_extraction.network import open_network
from services.common.blobs import Blobs
from services.common.errors import NotFound
from services.common.redaction import quoted
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, read_table


@dataclass(frozen=True)
class OpenExtraction:
    """A completed extraction. Its data set, checkpoint and network are read when they are first used."""

    blobs: Blobs
    manifest: ExtractionManifest
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
