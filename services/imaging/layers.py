"""Find the layers of a network that output maps, by hooking one forward."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from services.common.errors import InvalidInput
from services.imaging.architectures import (
    ORIGINAL_LAYERS,
    build_skeleton,
    layer_names,
    native_preprocessing,
    resolve_layers,
)
from services.imaging.capture import MapReader, try_forward

AUTO = "auto"
AUTO_LAYERS = 5
SHALLOW = 2
"""Most parts in the module path of a stage or block (`layer4`, `stages.3`)."""


@dataclass(frozen=True)
class MapShape:
    """The number of units of a layer, and the size of its map."""

    units: int
    height: int
    width: int


def find_layers(architecture: str, network: nn.Module, requested: Iterable[str], size: int) -> dict[str, str]:
    """Return the module path of each requested layer, for a network whose input is `size` x `size` pixels.

    `auto` stands for the layers of `choose_layers`, and an empty request for the two deepest offered layers that output
    maps. InvalidInput names a layer that does not exist. Layers requested by name are not checked for maps here; see
    `check_layers`.
    """
    requested = list(requested)
    if requested and AUTO not in requested:
        return resolve_layers(architecture, network, requested)
    maps = map_shapes(network, size)
    if requested:
        chosen = choose_layers(architecture, network, maps, size)
        named = [layer for layer in requested if layer != AUTO]
        return chosen | (resolve_layers(architecture, network, named) if named else {})
    offered = [name for name, path in layer_names(architecture, network).items() if path in maps]
    return (
        resolve_layers(architecture, network, offered[-2:])
        if offered
        else choose_layers(architecture, network, maps, size)
    )


def describe_layers(architecture: str, image_size: int = 0) -> list[tuple[str, ...]]:
    """Describe each layer that is offered or that `auto` chooses, in the order of the forward.

    A description is name, module path, units, map size, and `auto` if it chooses the layer. `image_size` 0 is the
    network's own. InvalidInput as `map_shapes`.
    """
    network, size = build_skeleton(architecture, 2), native_preprocessing(architecture, image_size).size
    maps = map_shapes(network, size)
    chosen = choose_layers(architecture, network, maps, size)
    names = {path: name for name, path in (chosen | layer_names(architecture, network)).items()}
    return [
        (
            names[path],
            path,
            str(shape.units),
            f"{shape.height}x{shape.width}",
            *([AUTO] if path in chosen.values() else []),
        )
        for path, shape in maps.items()
        if path in names
    ]


def choose_layers(architecture: str, network: nn.Module, maps: Mapping[str, MapShape], size: int) -> dict[str, str]:
    """Choose the last layer for each map size, and of these the five deepest. Return name to module path, in the order
    of the forward.

    `maps` is the result of `map_shapes` for images of `size` x `size` pixels. Among layers of one size, an offered
    layer precedes a stage or block. Modules inside stages and blocks count only if their maps are smaller than those of
    all stages and blocks. Layers without weights of their own (pooling) and maps of a single position do not count.
    InvalidInput if no layer is left.
    """
    offered = {path: name for name, path in layer_names(architecture, network).items()}
    wide = [path for path, shape in maps.items() if shape.height > 1]
    weighted = [path for path in wide if _has_weights(network, path)]
    shallow = [path for path in weighted if path.count(".") < SHALLOW and not _holds_another_size(path, weighted, maps)]
    smallest = min((maps[path].height for path in shallow), default=size)
    within = [path for path in weighted if path.count(".") >= SHALLOW and maps[path].height < smallest]
    named = wide if architecture in ORIGINAL_LAYERS else shallow
    chosen: dict[MapSize, str] = {}
    for paths in (within, shallow, [path for path in named if path in offered]):
        chosen |= {_size(maps[path]): path for path in paths}
    if not chosen:
        raise InvalidInput(f"network {architecture} has no layer whose output is a map")
    order = list(maps)
    deepest = sorted(chosen.values(), key=order.index)[-AUTO_LAYERS:]
    return {offered.get(path, path): path for path in deepest}


MapSize = tuple[int, int]


def map_shapes(network: nn.Module, size: int) -> dict[str, MapShape]:
    """Return the shape of every module's map, by module path, in the order of the forward. Modules without a map, and
    modules that one forward calls more than once, are left out. The network may be a skeleton. InvalidInput if it does
    not accept images of `size` x `size` pixels."""
    reader, calls, maps = MapReader(network), Counter[str](), dict[str, MapShape]()

    def note(path: str, output: object) -> None:
        calls[path] += 1
        try:
            found: Tensor = reader.read(output, path, path)
        except InvalidInput:  # most modules output no map
            return
        maps[path] = MapShape(*found.shape[1:])

    handles = [network.register_forward_pre_hook(reader.before_forward)]
    handles += [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: note(path, output))
        for path, module in network.named_modules()
        if path
    ]
    try:
        try_forward(network, size)
    finally:
        for handle in handles:
            handle.remove()
    return {path: shape for path, shape in maps.items() if calls[path] == 1}


def _has_weights(network: nn.Module, path: str) -> bool:
    return any(weight.dim() > 1 for weight in network.get_submodule(path).parameters())


def _holds_another_size(path: str, paths: Iterable[str], maps: Mapping[str, MapShape]) -> bool:
    """Return whether a container has stages or blocks with maps of another size: then it is not a stage itself."""
    inner = [other for other in paths if other.startswith(f"{path}.") and other.count(".") < SHALLOW]
    return len({_size(maps[other]) for other in (path, *inner)}) > 1


def _size(shape: MapShape) -> MapSize:
    return (shape.height, shape.width)
