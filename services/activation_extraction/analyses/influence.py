"""Units by their influence on a class over whole mammograms, as DeepMiner has it (arXiv 1805.12323).

A mammogram, its shorter side a few times that of a patch, goes through the fully convolutional form of the network.
Where a layer's averaged maps are what the last linear layer reads, the influence of a unit on a class is its largest
activation times its weight to the class. Elsewhere it is gradient x activation, summed over the unit's map, of the
class's logit at the place where that is largest.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from services.activation_extraction.analyses.axes import trial_images, unit_axes
from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.fully_convolutional import FullyConvolutionalImages, as_whole, frugal
from services.activation_extraction.analyses.gradient import attribute_to, tracing
from services.activation_extraction.analyses.influence_tally import InfluenceTally, ranking_tables
from services.activation_extraction.analyses.patches import requested_layers
from services.activation_extraction.analyses.settings import LARGEST_SCALE, SMALLEST_SCALE, InfluenceSettings
from services.activation_extraction.head import head_weights
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.capture import hook_layers, require_captured
from services.imaging.decode import decode_exact

MAMMOGRAMS_A_PIECE = 8


class Influence:
    """The kind; a piece is some mammograms of the split."""

    name = "influence"
    settings = InfluenceSettings

    def pieces(self, context: Context[InfluenceSettings]) -> int:
        """A piece each few mammograms. InvalidInput where the data set keeps none, or no scale is known for them."""
        requested_layers(context)
        scale_of(context, mammograms_of(context))
        return -(-len(mammograms_of(context)) // MAMMOGRAMS_A_PIECE)

    def run_piece(self, context: Context[InfluenceSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """The influences of the units on some mammograms, added up; see `InfluenceTally`."""
        size = context.checkpoint.preprocessing.size
        whole, layers = as_whole(context.network, size), requested_layers(context)
        axes = unit_axes(context.network, layers, trial_images(context.network, 2, size))
        weights = {
            name: torch.from_numpy(weight).to(context.device)
            for name, module in layers.items()
            if (weight := head_weights(context.network, module, size)) is not None
        }
        names = mammograms_of(context)
        scale = scale_of(context, names)
        names = names[piece * MAMMOGRAMS_A_PIECE : (piece + 1) * MAMMOGRAMS_A_PIECE]
        tally = InfluenceTally()
        for name in names:
            found = influences(whole, layers, axes, weights, read_mammogram(context, name, scale))
            tally.add({layer: influence[None] for layer, influence in found.items()}, [f"mammogram {name}"])
            on_progress(tally.images, len(names))
        return tally.state_dict()

    def merge(
        self, context: Context[InfluenceSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """See `ranking_tables`; the mean is over the mammograms."""
        return ranking_tables(requested_layers(context), states, heartbeat)


def mammograms_of(context: Context[InfluenceSettings]) -> list[str]:
    """The mammograms that the split's patches were cut from, by name. InvalidInput names one that is not kept."""
    data, split = context.data, context.manifest.split
    data.shards(split)
    of_split = np.asarray(data.index["split"].to_pylist()) == split
    names: list[str] = sorted(set(np.asarray(data.index["mammogram"].to_pylist())[of_split].tolist()))
    missing = [name for name in names if name not in data.mammograms]
    if missing:
        raise InvalidInput(
            f"data set {data.manifest.name} keeps no mammogram {missing[0]}; influence is over whole mammograms, and "
            f"{len(missing)} of the {len(names)} of split {split} are missing: rank units by gradient"
        )
    return names


def scale_of(context: Context[InfluenceSettings], names: Sequence[str]) -> float:
    """The scale that is set, or else that at which the network sees patches of these mammograms: the median over the
    patches, to two decimals, since patches have whole pixels. InvalidInput where that is out of bounds."""
    if context.settings.scale is not None:
        return context.settings.scale
    shorter = {name: min(_pixels(context, name)) for name in names}
    rows = context.data.index.select(["mammogram", "height"]).to_pylist()
    scales = [shorter[row["mammogram"]] / row["height"] for row in rows if row["mammogram"] in shorter]
    scale = round(float(np.median(scales)), 2)
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise InvalidInput(
            f"patches of data set {context.data.manifest.name} are seen at a scale of {scale:g}; influence takes "
            f"{SMALLEST_SCALE} to {LARGEST_SCALE}: set one"
        )
    return scale


def read_mammogram(context: Context[InfluenceSettings], name: str, scale: float) -> Tensor:
    """A mammogram as the (1, channels, rows, columns) input of the network, on the device."""
    grey = decode_exact(_mammogram_bytes(context, name), f"mammogram {name}")
    preprocessing = context.checkpoint.preprocessing
    factor = scale * preprocessing.size / min(grey.size)
    scaled = grey.resize((round(grey.width * factor), round(grey.height * factor)), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(scaled))[None]
    return preprocessing.normalise(pixels.to(context.device))


def _pixels(context: Context[InfluenceSettings], name: str) -> tuple[int, int]:
    facts = context.data.mammograms[name]
    return int(str(facts["height"])), int(str(facts["width"]))


def _mammogram_bytes(context: Context[InfluenceSettings], name: str) -> bytes:
    bucket, row = context.data.manifest.mammograms.bucket, context.data.mammograms[name]
    ref = ObjectRef(bucket=bucket, key=str(row["key"]), sha256=str(row["sha256"]), size=0)
    return read_verified(context.blobs, ref)


def influences(
    whole: FullyConvolutionalImages,
    layers: Mapping[str, str],
    axes: Mapping[str, int],
    weights: Mapping[str, Tensor],
    image: Tensor,
) -> dict[str, Tensor]:
    """By layer the (classes, units) influences of its units on one image, (1, channels, rows, columns). `weights` has
    the (classes, units) weights of the layers that the last linear layer reads; `axes` are those of `unit_axes`."""
    others = {name: module for name, module in layers.items() if name not in weights}
    found = _by_gradient(whole, others, axes, image) if others else {}
    followed = {name: layers[name] for name in weights}
    return found | (_by_weight(whole, followed, weights, image) if followed else {})


@torch.inference_mode()
def _by_weight(
    whole: FullyConvolutionalImages, layers: Mapping[str, str], weights: Mapping[str, Tensor], image: Tensor
) -> dict[str, Tensor]:
    largest: dict[str, Tensor] = {}

    def keep(name: str, maps: Tensor) -> None:
        largest[name] = maps.amax((2, 3))[0]

    with hook_layers(whole.network, layers, keep):
        whole.logits(image)
    require_captured(largest, layers)
    return {name: weights[name] * value for name, value in largest.items()}


def _by_gradient(
    whole: FullyConvolutionalImages, layers: Mapping[str, str], axes: Mapping[str, int], image: Tensor
) -> dict[str, Tensor]:
    with frugal(whole.network, [*layers.values(), whole.trunk]), tracing(whole.network, layers, axes) as kept:
        logits = whole.logits(image)[0].flatten(1)
        require_captured(kept, layers)
        found = attribute_to([places[places.argmax()] for places in logits], kept)
    return {name: influence[0] for name, influence in found.items()}
