"""Networks with random weights: the baseline for every score, since their units are selective too."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.batches import read_batches
from services.imaging.checkpoint import new_network

CALIBRATION_PATCHES = 64
"""The first patches of the extraction's split, on which the statistics of normalisation layers are set."""

NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def random_networks(context: Context[Any], seeds: Iterable[int]) -> list[nn.Module]:
    """The architecture of the extraction's network with random weights, in evaluation mode on the device, for each
    seed.

    Batch normalisation uses the statistics of the first patches of the split; with its initial statistics, activations
    of deep networks would vanish or grow from layer to layer.
    """
    images = _first_images(context)
    return [_random_network(context, seed, images) for seed in seeds]


def _random_network(context: Context[Any], seed: int, images: Tensor) -> nn.Module:
    with torch.random.fork_rng(), torch.inference_mode(False):
        torch.manual_seed(seed)
        network = new_network(context.checkpoint)
    network = network.eval().to(memory_format=torch.channels_last).to(context.device)
    with torch.inference_mode(), _calibrating(network):
        network(images)
    return network


def _first_images(context: Context[Any]) -> Tensor:
    streams = map(context.data.stream, context.data.shards(context.manifest.split))
    first = islice(chain.from_iterable(streams), CALIBRATION_PATCHES)
    preprocessing = context.checkpoint.preprocessing
    [batch] = read_batches(first, preprocessing, CALIBRATION_PATCHES)
    return preprocessing.normalise(batch.pixels[: len(batch.ids)].to(context.device))


@contextmanager
def _calibrating(network: nn.Module) -> Iterator[None]:
    """Within the block, batch normalisation replaces its statistics by those of what passes through it."""
    layers = [module for module in network.modules() if isinstance(module, NORMALISATIONS)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
