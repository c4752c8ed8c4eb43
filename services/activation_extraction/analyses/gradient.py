"""Units by gradient x activation: the share of a class's logit that a unit has, to first order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.axes import trial_images, unit_axes
from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.influence_tally import InfluenceTally, ranking_tables
from services.activation_extraction.analyses.patches import Piece, requested_layers
from services.activation_extraction.analyses.settings import GradientSettings


class Gradient:
    """The kind; a piece is a shard of the split."""

    name = "gradient"
    settings = GradientSettings

    def pieces(self, context: Context[GradientSettings]) -> int:
        """A piece a shard. NotFound for a layer that was not extracted."""
        requested_layers(context)
        return len(context.data.shards(context.manifest.split))

    def run_piece(self, context: Context[GradientSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """The influences of the units on the patches of a shard, added up; see `InfluenceTally`."""
        patches, tally = Piece(context, piece), InfluenceTally()
        preprocessing, network = context.checkpoint.preprocessing, context.network
        layers = requested_layers(context)
        axes = unit_axes(network, layers, trial_images(network, 2, preprocessing.size))
        for batch in patches.batches(preprocessing, context.settings.batch_size):
            images = preprocessing.normalise(batch.pixels.to(context.device))
            found = attribute(network, layers, axes, images)
            tally.add(found, [f"patch {patch_id}" for patch_id in batch.ids.tolist()])
            on_progress(tally.images, len(patches))
        return tally.state_dict()

    def merge(
        self, context: Context[GradientSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """See `ranking_tables`; the mean is over the patches."""
        return ranking_tables(requested_layers(context), states, heartbeat)


def attribute(
    network: nn.Module, layers: Mapping[str, str], axes: Mapping[str, int], images: Tensor
) -> dict[str, Tensor]:
    """By layer the (images, classes, units) sums over a unit's places of its activation times the gradient of the
    class's logit by it, in float64. One forward, and one backward pass a class. `axes` are those of `unit_axes`."""
    with tracing(network, layers, axes) as kept:
        logits = network(images)
    return attribute_to([logits[:, class_].sum() for class_ in range(logits.shape[1])], kept)


@contextmanager
def tracing(network: nn.Module, layers: Mapping[str, str], axes: Mapping[str, int]) -> Iterator[dict[str, "Traced"]]:
    """Within the block a forward keeps what gradients by the output of each layer need, in the yielded dict, and
    nothing that only gradients by the network's weights would: these ask for none from then on."""
    network.requires_grad_(False)
    kept = dict[str, Traced]()
    handles = [
        network.get_submodule(path).register_forward_hook(partial(_trace, kept, name, axes[name]))
        for name, path in layers.items()
    ]
    try:
        with torch.enable_grad():
            yield kept
    finally:
        for handle in handles:
            handle.remove()


class Traced:
    """The output of a layer as it put it out, for which gradients can be asked, and the axis of its units."""

    def __init__(self, output: Tensor, unit_axis: int) -> None:
        self.output = output if output.requires_grad else output.requires_grad_()
        self.unit_axis = unit_axis

    def by_unit(self, gradient: Tensor) -> Tensor:
        """(images, units) sums of gradient x activation over all places, a class token's among them."""
        places = [axis for axis in range(1, gradient.dim()) if axis != self.unit_axis]
        return (gradient * self.output.detach()).sum(places, dtype=torch.float64)


def attribute_to(targets: Sequence[Tensor], kept: Mapping[str, Traced]) -> dict[str, Tensor]:
    """By layer the (images, targets, units) sums of gradient x activation, for scalars that a forward under `tracing`
    led to, each a sum over the images. A layer that a scalar does not depend on has no influence on it."""
    found: dict[str, list[Tensor]] = {name: [] for name in kept}
    outputs = [traced.output for traced in kept.values()]
    for number, target in enumerate(targets, 1):
        gradients = torch.autograd.grad(
            target, outputs, retain_graph=number < len(targets), allow_unused=True, materialize_grads=True
        )
        for (name, traced), gradient in zip(kept.items(), gradients, strict=True):
            found[name].append(traced.by_unit(gradient))
    return {name: torch.stack(parts, 1) for name, parts in found.items()}


def _trace(
    kept: dict[str, Traced], name: str, unit_axis: int, _module: nn.Module, _inputs: Any, output: Tensor
) -> Tensor:
    kept[name] = Traced(output, unit_axis)
    return output.clone()  # a ReLU that follows may work in place
