"""A network's output with single units silenced, many at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.axes import trial_images, unit_axes

VALUES_AT_ONCE = 1 << 25
"""Numbers in the largest output of a module, over all copies: 128 MB in float32."""
COPIES_AT_ONCE = 512
IMAGES_AT_ONCE = 8

Units = Sequence[int | None]
"""A unit for each copy that is silenced in it, or None for a copy that is left as it is."""


@dataclass(frozen=True)
class Silencing:
    """How the units of a module are silenced: `images` at a time, in `copies` of what comes to `place`. `axis` is that
    of the units in the module's output."""

    network: nn.Module
    module: str
    axis: int
    place: str
    units: Sequence[int]
    images: int
    copies: int

    @classmethod
    def of(cls, network: nn.Module, module: str, units: Sequence[int], size: int) -> "Silencing":
        """For a network of images of `size` x `size` pixels, with as many copies as memory is meant to hold: the more
        copies, the fewer forwards of what comes before the place."""
        trial = trial_images(network, 3, size)
        axis = unit_axes(network, {module: module}, trial)[module]
        place = find_place(network, module, axis, trial, [None, units[0], units[len(units) // 2], units[-1]])
        room = min(COPIES_AT_ONCE, VALUES_AT_ONCE // _largest_output(network, place, trial[:1]))
        images = max(2, min(IMAGES_AT_ONCE, room // (1 + len(units))))
        return cls(network, module, axis, place, units, images, max(2, min(1 + len(units), room // images)))

    def parts(self, images: Tensor) -> Iterator[Tensor]:
        """Logits as (part, 1 + units, classes) in the memory of the CPU, some images at a time: of each as it is, and
        with each unit silenced."""
        for first in range(0, len(images), self.images):
            part = images[first : first + self.images]
            filled = torch.cat([part, part[-1:].expand(self.images - len(part), -1, -1, -1)])  # shapes choose kernels
            yield self._logits(filled)[: len(part)]

    def _logits(self, images: Tensor) -> Tensor:
        columns: list[Tensor] = []
        waiting = iter(self.units)
        while group := list(islice(waiting, self.copies - 1)):
            copies: list[int | None] = [None, *group]
            filled = copies + [None] * (self.copies - len(copies))
            with silencing(self.network, self.module, self.axis, self.place, filled):
                found = self.network(images).unflatten(0, (self.copies, len(images)))
            columns.append(found[1 if columns else 0 : len(copies)].transpose(0, 1).cpu())
        return torch.cat(columns, 1)


def find_place(network: nn.Module, module: str, axis: int, images: Tensor, units: Units) -> str:
    """The deepest place where copies may begin: the module's own output (its path), or what comes into a module that
    it lies in (that one's path), at last the network ("").

    A path around the module (a skip connection, a branch beside it) meets the copies with a batch of another size, and
    fails; the number of images has to be above 1, so that it cannot be broadcast in silence. What does not fail has to
    give what copies of the network's whole input give.
    """
    expected = _copied(network, module, axis, "", images, units)
    parts = module.split(".")
    for place in [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]:
        try:
            found = _copied(network, module, axis, place, images, units)
        except (RuntimeError, AssertionError):
            continue  # the shapes clash: the copies have to begin further out
        if found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-5):
            return place
    return ""


@contextmanager
def silencing(network: nn.Module, module: str, axis: int, place: str, units: Units) -> Iterator[None]:
    """Within the block a forward of B images puts out len(units) x B rows, copy by copy, each with its unit of a module
    set to zero. Copies begin at `place` (see `find_place`); `axis` is that of the units in the module's output. Every
    hook is gone when the block ends."""
    handles = []
    if place != module:
        copy = partial(_copy_inputs, len(units))
        handles.append(network.get_submodule(place).register_forward_pre_hook(copy, with_kwargs=True))
    hook = partial(_silence, axis, units, len(units) if place == module else 1)
    handles.append(network.get_submodule(module).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copied(network: nn.Module, module: str, axis: int, place: str, images: Tensor, units: Units) -> Tensor:
    with silencing(network, module, axis, place, units):
        logits: Tensor = network(images)
    return logits


def _silence(axis: int, units: Units, times: int, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    silenced: Tensor = _repeated(output, times)  # makes a new tensor
    for copy, unit in zip(silenced.unflatten(0, (len(units), -1)), units, strict=True):
        if unit is not None:
            copy.select(axis, unit).zero_()
    return silenced


def _copy_inputs(copies: int, _module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
    return _repeated(inputs, copies), {name: _repeated(value, copies) for name, value in named.items()}


def _repeated(value: Any, copies: int) -> Any:
    """Tensors of a batch, alone or in lists and tuples, that many times along the batch; other values as they are."""
    if isinstance(value, Tensor):
        return torch.cat([value] * copies)  # Tensor.repeat would give up channels_last
    if isinstance(value, list | tuple):
        return type(value)(_repeated(one, copies) for one in value)
    return value


def _largest_output(network: nn.Module, place: str, image: Tensor) -> int:
    """How many numbers an image has in the largest output of a module that runs when a forward has come to `place`."""
    sizes: list[int] = []
    begun: list[str] = []

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if begun and isinstance(output, Tensor):
            sizes.append(output[0].numel())

    begin = network.get_submodule(place).register_forward_pre_hook(lambda _module, _inputs: begun.append(place))
    handles = [begin, *(module.register_forward_hook(note) for module in network.modules())]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)
