"""What is kept of a layer once its states are merged: top patches, maxima, statistics, and a ranking of its units."""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from services.activation_extraction.ranking import rank_by_influence, rank_by_selectivity
from services.activation_extraction.statistics import unit_statistics
from services.activation_extraction.topk import LARGEST_FP16
from services.common.blobs import Blobs
from services.imaging.architectures import head_path
from services.imaging.capture import capture
from services.imaging.manifests import RANKING_SCHEMA, STATISTICS_SCHEMA, ExtractedLayer, put_content, write_table

BUCKET = "activation-extraction"


def store_layer(
    blobs: Blobs,
    folder: str,
    name: str,
    module: str,
    top: dict[str, Tensor],
    maxima: NDArray[np.float32],
    labels: NDArray[np.int64],
    network: nn.Module,
    size: int,
    classes: int,
) -> ExtractedLayer:
    """Store the results of a layer below `folder`: its merged top-k state, and what its (patches, units) maxima say
    with the (patches,) labels of their rows. `size` is the side of the network's input."""
    weights = head_weights(network, module, size)
    if weights is None:
        method, ranking = "selectivity", rank_by_selectivity(maxima, labels, classes)
    else:
        method, ranking = "influence", rank_by_influence(maxima, weights)
    statistics = unit_statistics(maxima, labels, classes)
    halved = torch.from_numpy(maxima).clamp(-LARGEST_FP16, LARGEST_FP16).half()
    return ExtractedLayer(
        name=name,
        module=module,
        units=maxima.shape[1],
        top=put_content(blobs, BUCKET, f"{folder}/top.safetensors", save_tensors(top)),
        maxima=put_content(blobs, BUCKET, f"{folder}/maxima.safetensors", save_tensors({"maxima": halved})),
        statistics=put_content(
            blobs, BUCKET, f"{folder}/statistics.parquet", write_table(statistics, STATISTICS_SCHEMA)
        ),
        ranking=put_content(blobs, BUCKET, f"{folder}/ranking.parquet", write_table(ranking, RANKING_SCHEMA)),
        ranking_method=method,
    )


@torch.inference_mode()
def head_weights(network: nn.Module, module: str, size: int) -> NDArray[np.float32] | None:
    """The (classes, units) weights of the last layer where it is linear over the layer's averaged maps; None elsewhere.

    Whether it is, is asked of the network: on a random image the averaged maps through the last layer give its output.
    A network that averages a fixed window of its maps (torchvision 0.1.9's) is asked of that window.
    """
    head = network.get_submodule(head_path(network))
    if not isinstance(head, nn.Linear):
        return None
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with capture(network, {module: module}) as acts:
        logits = network(image)
    pooled = _averaged(network, acts[module])
    if pooled.shape[1] != head.in_features or not torch.allclose(head(pooled), logits, rtol=1e-3, atol=1e-4):
        return None
    weights: NDArray[np.float32] = head.weight.detach().float().cpu().numpy()
    return weights


def _averaged(network: nn.Module, maps: Tensor) -> Tensor:
    """(batch, units, height, width) maps averaged over their places, or over those that the network's window takes."""
    window = getattr(network, "avgpool", None)
    if isinstance(window, nn.AvgPool2d) and isinstance(window.kernel_size, int):
        side = window.kernel_size
        maps = maps[:, :, :side, :side]
    return maps.mean((2, 3))
