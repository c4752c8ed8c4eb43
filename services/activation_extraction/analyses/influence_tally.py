"""Influences of units on classes, added up over images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from services.activation_extraction.analyses.context import Heartbeat
from services.activation_extraction.ranking import count_leading, rank_rows
from services.common.errors import InvalidInput
from services.imaging.manifests import RANKING_SCHEMA


class InfluenceTally:
    """By layer, for each class and unit: the sum of its influence, and on how many images it is among the 8 most
    influential units of the layer. States of different images add up."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self.images = 0

    def add(self, found: Mapping[str, Tensor], images: Sequence[str]) -> None:
        """Influences by layer, (images, classes, units), with the names of the images. InvalidInput names an image and
        a layer where they are no numbers."""
        for layer, influence in found.items():
            wide = influence.double().cpu()
            broken = ~torch.isfinite(wide).flatten(1).all(1)
            if broken.any():
                name = images[int(broken.nonzero()[0])]
                raise InvalidInput(f"layer {layer}: the influence of its units on {name} is not a number")
            counts = np.stack([count_leading(one) for one in wide.numpy().transpose(1, 0, 2)])
            self._sums[layer] = self._sums.get(layer, torch.zeros(())) + wide.sum(0)
            self._counts[layer] = self._counts.get(layer, torch.zeros((), dtype=torch.int64)) + torch.from_numpy(counts)
        self.images += len(images)

    def state_dict(self) -> dict[str, Tensor]:
        """By `<layer>/sums` and `<layer>/counts` (classes, units), and how many `images`."""
        state = {"images": torch.tensor([self.images])}
        for layer, sums in self._sums.items():
            state |= {f"{layer}/sums": sums, f"{layer}/counts": self._counts[layer]}
        return state


def ranking_tables(
    layers: Iterable[str], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
) -> Iterator[tuple[str, pa.Table]]:
    """The units of each layer by their influence on each class (see RANKING_SCHEMA), from the states of all images:
    most counted first, then the larger mean influence, then the lower unit."""
    seen = [state for state in states if int(state["images"]) > 0]
    images = sum(int(state["images"]) for state in seen)
    for layer in layers:
        means = torch.stack([state[f"{layer}/sums"] for state in seen]).sum(0).numpy() / images
        counts = torch.stack([state[f"{layer}/counts"] for state in seen]).sum(0).numpy()
        heartbeat()
        rows = [row for label in range(len(means)) for row in rank_rows(label, means[label], counts[label])]
        yield layer, pa.Table.from_pylist(rows, schema=RANKING_SCHEMA)
