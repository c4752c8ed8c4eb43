"""Computes a network's output with single units silenced, for many units in one forward."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.axes import trial_images, unit_axes

MAX_VALUES = 1 << 25
"""Values in the largest output of a module, over all copies, at most: 128 MB in float32."""
MAX_COPIES = 512
MAX_IMAGES = 8

Units = Sequence[int | None]
"""The unit that is silenced in each copy, or None for a copy without a silenced unit."""


@dataclass(frozen=True)
class Silencing:
    """How the units of a module are silenced: for `images` images at a time, in `copies` copies that begin at
    `copy_point` (see `find_copy_point`). `axis` is the axis of the units in the module's output."""

    network: nn.Module
    module: str
    axis: int
    copy_point: str
    units: Sequence[int]
    images: int
    copies: int

    @classmethod
    def of(cls, network: nn.Module, module: str, units: Sequence[int], size: int) -> "Silencing":
        """For a network of `size` x `size` images, with as many copies as the bound on memory allows: the layers before
        the copy point run once for all copies."""
        trial = trial_images(network, 3, size)
        axis = unit_axes(network, {module: module}, trial)[module]
        copy_point = find_copy_point(network, module, axis, trial, [None, units[0], units[len(units) // 2], units[-1]])
        room = min(MAX_COPIES, MAX_VALUES // _largest_output(network, copy_point, trial[:1]))
        images = max(2, min(MAX_IMAGES, room // (1 + len(units))))
        return cls(network, module, axis, copy_point, units, images, max(2, min(1 + len(units), room // images)))

    def parts(self, images: Tensor) -> Iterator[Tensor]:
        """Compute (part, 1 + units, classes) logits on the CPU, some images at a time: first without any unit silenced,
        then with each unit silenced."""
        for first in range(0, len(images), self.images):
            part = images[first : first + self.images]
            filled = torch.cat(
                [part, part[-1:].expand(self.images - len(part), -1, -1, -1)]
            )  # kernels depend on the shape
            yield self._logits(filled)[: len(part)]

    def _logits(self, images: Tensor) -> Tensor:
        columns: list[Tensor] = []
        waiting = iter(self.units)
        while group := list(islice(waiting, self.copies - 1)):
            copies: list[int | None] = [None, *group]
            filled = copies + [None] * (self.copies - len(copies))
            with silence_units(self.network, self.module, self.axis, self.copy_point, filled):
                found = self.network(images).unflatten(0, (self.copies, len(images)))
            columns.append(found[1 if columns else 0 : len(copies)].transpose(0, 1).cpu())
        return torch.cat(columns, 1)


def find_copy_point(network: nn.Module, module: str, axis: int, images: Tensor, units: Units) -> str:
    """Find the deepest point where copies may begin: the module's own output (its path), or the input of a module that
    contains it (the path of that module), or the input of the network ("").

    A connection around the module (a skip connection, a parallel branch) joins the copies with a batch of another size,
    and fails. The number of images must be above 1, so that this batch cannot be broadcast silently. A point that does
    not fail must lead to the same output as copies of the network's input.
    """
    expected = _copied(network, module, axis, "", images, units)
    parts = module.split(".")
    for point in [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]:
        try:
            found = _copied(network, module, axis, point, images, units)
        except (RuntimeError, AssertionError):
            continue  # the shapes do not fit: the copies must begin further out
        if found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-5):
            return point
    return ""


@contextmanager
def silence_units(network: nn.Module, module: str, axis: int, copy_point: str, units: Units) -> Iterator[None]:
    """Within the block, a forward of B images returns len(units) x B rows, copy by copy, each with its unit of the
    module set to zero. `axis` is the axis of the units in the module's output. Copies begin at `copy_point` (see
    `find_copy_point`)."""
    handles = []
    if copy_point != module:
        copy = partial(_copy_inputs, len(units))
        handles.append(network.get_submodule(copy_point).register_forward_pre_hook(copy, with_kwargs=True))
    hook = partial(_silence, axis, units, len(units) if copy_point == module else 1)
    handles.append(network.get_submodule(module).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def silence_together(network: nn.Module, module: str, axis: int, units: Tensor) -> Iterator[None]:
    """Within the block, each forward runs with all the given units of the module set to zero at once. `units` are the
    (n,) channels, and `axis` is the axis of the units in the module's output."""

    def silence(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.index_fill(axis, units.to(output.device), 0.0)

    handle = network.get_submodule(module).register_forward_hook(silence)
    try:
        yield
    finally:
        handle.remove()


def _copied(network: nn.Module, module: str, axis: int, copy_point: str, images: Tensor, units: Units) -> Tensor:
    with silence_units(network, module, axis, copy_point, units):
        logits: Tensor = network(images)
    return logits


def _silence(axis: int, units: Units, times: int, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    silenced: Tensor = _repeated(output, times)  # a new tensor
    for copy, unit in zip(silenced.unflatten(0, (len(units), -1)), units, strict=True):
        if unit is not None:
            copy.select(axis, unit).zero_()
    return silenced


def _copy_inputs(copies: int, _module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
    return _repeated(inputs, copies), {name: _repeated(value, copies) for name, value in named.items()}


def _repeated(value: Any, copies: int) -> Any:
    """Repeat tensors along the batch, also in lists and tuples, `copies` times. Other values stay as they are."""
    if isinstance(value, Tensor):
        return torch.cat([value] * copies)  # Tensor.repeat would lose channels_last
    if isinstance(value, list | tuple):
        return type(value)(_repeated(one, copies) for one in value)
    return value


def _largest_output(network: nn.Module, copy_point: str, image: Tensor) -> int:
    """The number of values of an image in the largest output of a module, from `copy_point` on."""
    sizes: list[int] = []
    begun: list[str] = []

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if begun and isinstance(output, Tensor):
            sizes.append(output[0].numel())

    begin = network.get_submodule(copy_point).register_forward_pre_hook(
        lambda _module, _inputs: begun.append(copy_point)
    )
    handles = [begin, *(module.register_forward_hook(note) for module in network.modules())]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)
