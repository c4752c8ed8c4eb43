"""Adds up the influences of units on classes over images."""

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
    """The sum of the influence of each unit of a layer on each class, and the number of images on which the unit is
    among the 8 most influential units of the layer. The states of different images can be added."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self.images = 0

    def add(self, found: Mapping[str, Tensor], images: Sequence[str]) -> None:
        """Add the (images, classes, units) influences of each layer, with the names of the images. InvalidInput names
        the layer and the image if an influence is not finite."""
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
        """`<layer>/sums` and `<layer>/counts`, (classes, units) each, and the number of `images`."""
        state = {"images": torch.tensor([self.images])}
        for layer, sums in self._sums.items():
            state |= {f"{layer}/sums": sums, f"{layer}/counts": self._counts[layer]}
        return state


def ranking_tables(
    layers: Iterable[str], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
) -> Iterator[tuple[str, pa.Table]]:
    """Rank the units of each layer by their influence on each class, from the states of all images (see
    RANKING_SCHEMA): by count, then by mean influence, then by number."""
    seen = [state for state in states if int(state["images"]) > 0]
    images = sum(int(state["images"]) for state in seen)
    for layer in layers:
        means = torch.stack([state[f"{layer}/sums"] for state in seen]).sum(0).numpy() / images
        counts = torch.stack([state[f"{layer}/counts"] for state in seen]).sum(0).numpy()
        heartbeat()
        rows = [row for label in range(len(means)) for row in rank_rows(label, means[label], counts[label])]
        yield layer, pa.Table.from_pylist(rows, schema=RANKING_SCHEMA)
