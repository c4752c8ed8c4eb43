"""Ranks units by gradient x activation: the first-order share of a unit in a class's logit."""

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
from services.activation_extraction.analyses.patches import PiecePatches, requested_layers
from services.activation_extraction.analyses.settings import GradientSettings


class Gradient:
    """Ranking by gradient x activation. A piece is a shard of the split."""

    name = "gradient"
    settings = GradientSettings

    def pieces(self, context: Context[GradientSettings]) -> int:
        """The number of shards. NotFound for a layer that was not extracted."""
        requested_layers(context)
        return len(context.data.shards(context.manifest.split))

    def run_piece(self, context: Context[GradientSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Add up the influences of the units on the patches of a shard; see `InfluenceTally`."""
        patches, tally = PiecePatches(context, piece), InfluenceTally()
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
        """Rank by the mean over the patches; see `ranking_tables`."""
        return ranking_tables(requested_layers(context), states, heartbeat)


def attribute(
    network: nn.Module, layers: Mapping[str, str], axes: Mapping[str, int], images: Tensor
) -> dict[str, Tensor]:
    """Compute gradient x activation of each layer, (images, classes, units) in float64, summed over the positions of a
    unit. The gradient is that of the class's logit. This takes one forward, and one backward pass per class. `axes` are
    the axes of the units, from `unit_axes`."""
    with recording(network, layers, axes) as outputs:
        logits = network(images)
    return attribute_to([logits[:, class_].sum() for class_ in range(logits.shape[1])], outputs)


@contextmanager
def recording(
    network: nn.Module, layers: Mapping[str, str], axes: Mapping[str, int]
) -> Iterator[dict[str, "RecordedOutput"]]:
    """Within the block, record the output of each layer in the yielded dict, so that gradients with respect to it can
    be computed. The weights of the network require no gradient from now on, which saves memory."""
    network.requires_grad_(False)
    outputs = dict[str, RecordedOutput]()
    handles = [
        network.get_submodule(path).register_forward_hook(partial(_record, outputs, name, axes[name]))
        for name, path in layers.items()
    ]
    try:
        with torch.enable_grad():
            yield outputs
    finally:
        for handle in handles:
            handle.remove()


class RecordedOutput:
    """The output of a layer, which requires gradients, and the axis of its units."""

    def __init__(self, output: Tensor, unit_axis: int) -> None:
        self.output = output if output.requires_grad else output.requires_grad_()
        self.unit_axis = unit_axis

    def by_unit(self, gradient: Tensor) -> Tensor:
        """Sum gradient x activation over all positions, including a class token, to (images, units)."""
        positions = [axis for axis in range(1, gradient.dim()) if axis != self.unit_axis]
        return (gradient * self.output.detach()).sum(positions, dtype=torch.float64)


def attribute_to(targets: Sequence[Tensor], outputs: Mapping[str, RecordedOutput]) -> dict[str, Tensor]:
    """Compute gradient x activation of each layer, (images, targets, units), for scalar targets that a forward within
    `recording` computed. Each target is a sum over the images. It is 0 for a layer on which a target does not
    depend."""
    found: dict[str, list[Tensor]] = {name: [] for name in outputs}
    tensors = [one.output for one in outputs.values()]
    for number, target in enumerate(targets, 1):
        gradients = torch.autograd.grad(
            target, tensors, retain_graph=number < len(targets), allow_unused=True, materialize_grads=True
        )
        for (name, output), gradient in zip(outputs.items(), gradients, strict=True):
            found[name].append(output.by_unit(gradient))
    return {name: torch.stack(parts, 1) for name, parts in found.items()}


def _record(
    outputs: dict[str, RecordedOutput], name: str, unit_axis: int, _module: nn.Module, _inputs: Any, output: Tensor
) -> Tensor:
    outputs[name] = RecordedOutput(output, unit_axis)
    return output.clone()  # the next layer may be a ReLU that works in place
