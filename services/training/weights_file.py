"""A file of weights that were trained elsewhere, and what its reader has to know about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.common.errors import InvalidInput
from services.imaging.architectures import build_skeleton, head_path
from services.imaging.checkpoint import read_weights
from services.imaging.licence import Term
from services.imaging.outputs import Outputs, with_two_outputs
from services.imaging.weight_names import read_renaming
from services.training.schemas import RunSettings


@dataclass(frozen=True)
class WeightsFile:
    """The network of a file, and how its names and outputs are read.

    `prefix` and `rename` translate names (see `read_renaming`). With `outputs` sigmoid, each class has an output of its
    own, or the second of two classes has the only one. With `headless`, the file has no last layer, and the imported
    one is 0: the network describes images, but predicts nothing. `terms` bind the weights.
    """

    architecture: str
    image_size: int = 0
    channels: int = 3
    prefix: str = ""
    rename: str = ""
    outputs: Outputs = "softmax"
    headless: bool = False
    terms: tuple[Term, ...] = ()

    def settings(self) -> RunSettings:
        """The settings of the imported run. InvalidInput for other channels than 1 or 3."""
        if self.channels not in (1, 3):
            raise InvalidInput(f"{self.channels} channels; expected 1 or 3")
        return RunSettings(
            architecture=self.architecture,
            weights="none",
            image_size=self.image_size,
            channels=1 if self.channels == 1 else 3,
        )

    def read(self, path: Path, classes: int) -> tuple[dict[str, Tensor], Outputs]:
        """Read the weights under the names of the architecture, with an output for each class, and what the outputs
        mean: one output for two classes becomes two, of which softmax makes the same probability."""
        network = build_skeleton(self.architecture, classes, channels=self.channels)
        weights = read_weights(path)
        if self.prefix or self.rename:
            weights = read_renaming(self.prefix, self.rename, network).apply(weights, str(path))
        head = head_path(network)
        if self.headless:
            return weights | _empty_head(network.state_dict(), head, weights, path), self.outputs
        if self._has_one_output(weights, head, classes):
            return with_two_outputs(weights, head), "softmax"
        return weights, self.outputs

    def identity(self) -> list[Any]:
        """What distinguishes this import from another one of the same file; nothing if every option is the default."""
        changed = (self.prefix, self.rename, self.outputs, self.headless)
        if changed == ("", "", "softmax", False):
            return []
        content = Path(self.rename).read_text() if Path(self.rename).is_file() else self.rename
        return [self.prefix, content, self.outputs, str(self.headless)]

    def _has_one_output(self, weights: dict[str, Tensor], head: str, classes: int) -> bool:
        weight = weights.get(f"{head}.weight")
        return self.outputs == "sigmoid" and classes == 2 and weight is not None and len(weight) == 1


def _empty_head(expected: dict[str, Tensor], head: str, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    own = {name: value for name, value in expected.items() if name.startswith(f"{head}.")}
    there = sorted(own.keys() & weights.keys())
    if there:
        raise InvalidInput(f"{path} has the last layer {there[0]}; import it without --headless")
    return {name: torch.zeros(value.shape) for name, value in own.items()}
