"""Ranks units by their influence on a class over full mammograms, as DeepMiner does (arXiv 1805.12323).

The fully convolutional form of the network runs on a mammogram whose shorter side is a few times the side of a patch.
If the last linear layer reads the averaged maps of a layer, the influence of a unit on a class is its largest
activation times its weight to the class. For any other layer it is gradient x activation, summed over the unit's map,
for the class's logit at the position where this logit is largest."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from services.activation_extraction.analyses.axes import trial_images, unit_axes
from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.fully_convolutional import (
    FullyConvolutional,
    make_fully_convolutional,
    recompute_activations,
)
from services.activation_extraction.analyses.gradient import attribute_to, recording
from services.activation_extraction.analyses.influence_tally import InfluenceTally, ranking_tables
from services.activation_extraction.analyses.patches import requested_layers
from services.activation_extraction.analyses.settings import LARGEST_SCALE, SMALLEST_SCALE, InfluenceSettings
from services.activation_extraction.head import head_weights
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.capture import hook_layers, require_captured
from services.imaging.decode import decode_exact

MAMMOGRAMS_PER_PIECE = 8


class Influence:
    """Ranking by influence. A piece is a few mammograms of the split."""

    name = "influence"
    settings = InfluenceSettings

    def pieces(self, context: Context[InfluenceSettings]) -> int:
        """The number of pieces. InvalidInput if the data set lacks a mammogram, or if no scale in the bounds is
        known."""
        requested_layers(context)
        choose_scale(context, split_mammograms(context))
        return -(-len(split_mammograms(context)) // MAMMOGRAMS_PER_PIECE)

    def run_piece(self, context: Context[InfluenceSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Add up the influences of the units on a few mammograms; see `InfluenceTally`."""
        size = context.checkpoint.preprocessing.size
        network, layers = make_fully_convolutional(context.network, size), requested_layers(context)
        axes = unit_axes(context.network, layers, trial_images(context.network, 2, size))
        weights = {
            name: torch.from_numpy(weight).to(context.device)
            for name, module in layers.items()
            if (weight := head_weights(context.network, module, size)) is not None
        }
        names = split_mammograms(context)
        scale = choose_scale(context, names)
        names = names[piece * MAMMOGRAMS_PER_PIECE : (piece + 1) * MAMMOGRAMS_PER_PIECE]
        tally = InfluenceTally()
        for name in names:
            found = influences(network, layers, axes, weights, read_mammogram(context, name, scale))
            tally.add({layer: influence[None] for layer, influence in found.items()}, [f"mammogram {name}"])
            on_progress(tally.images, len(names))
        return tally.state_dict()

    def merge(
        self, context: Context[InfluenceSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """Rank by the mean over the mammograms; see `ranking_tables`."""
        return ranking_tables(requested_layers(context), states, heartbeat)


def split_mammograms(context: Context[InfluenceSettings]) -> list[str]:
    """The names of the mammograms from which the split's patches were cut. InvalidInput names one that the data set
    does not contain."""
    data, split = context.data, context.manifest.split
    data.shards(split)
    of_split = np.asarray(data.index["split"].to_pylist()) == split
    names: list[str] = sorted(set(np.asarray(data.index["mammogram"].to_pylist())[of_split].tolist()))
    missing = [name for name in names if name not in data.mammograms]
    if missing:
        raise InvalidInput(
            f"data set {data.manifest.name} has no mammogram {missing[0]}; influence needs full mammograms, and "
            f"{len(missing)} of the {len(names)} of split {split} are missing: rank units by gradient"
        )
    return names


def choose_scale(context: Context[InfluenceSettings], names: Sequence[str]) -> float:
    """The scale in the settings, or else the scale at which the network reads patches of these mammograms: the median
    over the patches, to two decimals, because patches have whole pixels. InvalidInput if that is out of bounds."""
    if context.settings.scale is not None:
        return context.settings.scale
    shorter = {name: min(_size(context, name)) for name in names}
    rows = context.data.index.select(["mammogram", "height"]).to_pylist()
    scales = [shorter[row["mammogram"]] / row["height"] for row in rows if row["mammogram"] in shorter]
    scale = round(float(np.median(scales)), 2)
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise InvalidInput(
            f"patches of data set {context.data.manifest.name} are read at a scale of {scale:g}; influence accepts "
            f"{SMALLEST_SCALE} to {LARGEST_SCALE}: set a scale"
        )
    return scale


def read_mammogram(context: Context[InfluenceSettings], name: str, scale: float) -> Tensor:
    """Read a mammogram as the (1, channels, rows, columns) input of the network, on the device."""
    grey = decode_exact(_mammogram_bytes(context, name), f"mammogram {name}")
    preprocessing = context.checkpoint.preprocessing
    factor = scale * preprocessing.size / min(grey.size)
    scaled = grey.resize((round(grey.width * factor), round(grey.height * factor)), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(scaled))[None]
    return preprocessing.normalise(pixels.to(context.device))


def _size(context: Context[InfluenceSettings], name: str) -> tuple[int, int]:
    row = context.data.mammograms[name]
    return int(str(row["height"])), int(str(row["width"]))


def _mammogram_bytes(context: Context[InfluenceSettings], name: str) -> bytes:
    bucket, row = context.data.manifest.mammograms.bucket, context.data.mammograms[name]
    ref = ObjectRef(bucket=bucket, key=str(row["key"]), sha256=str(row["sha256"]), size=0)
    return read_verified(context.blobs, ref)


def influences(
    network: FullyConvolutional,
    layers: Mapping[str, str],
    axes: Mapping[str, int],
    weights: Mapping[str, Tensor],
    image: Tensor,
) -> dict[str, Tensor]:
    """Compute the (classes, units) influences of each layer on one image, (1, channels, rows, columns). `weights` are
    the (classes, units) weights for the layers that the last linear layer reads. `axes` are the axes of the units, from
    `unit_axes`."""
    others = {name: module for name, module in layers.items() if name not in weights}
    found = _by_gradient(network, others, axes, image) if others else {}
    pooled = {name: layers[name] for name in weights}
    return found | (_by_weight(network, pooled, weights, image) if pooled else {})


@torch.inference_mode()
def _by_weight(
    network: FullyConvolutional, layers: Mapping[str, str], weights: Mapping[str, Tensor], image: Tensor
) -> dict[str, Tensor]:
    largest: dict[str, Tensor] = {}

    def visit(name: str, maps: Tensor) -> None:
        largest[name] = maps.amax((2, 3))[0]

    with hook_layers(network.network, layers, visit):
        network.logits(image)
    require_captured(largest, layers)
    return {name: weights[name] * value for name, value in largest.items()}


def _by_gradient(
    network: FullyConvolutional, layers: Mapping[str, str], axes: Mapping[str, int], image: Tensor
) -> dict[str, Tensor]:
    used = [*layers.values(), network.trunk]
    with recompute_activations(network.network, used), recording(network.network, layers, axes) as outputs:
        logits = network.logits(image)[0].flatten(1)
        require_captured(outputs, layers)
        found = attribute_to([positions[positions.argmax()] for positions in logits], outputs)
    return {name: influence[0] for name, influence in found.items()}
