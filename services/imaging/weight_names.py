"""Translates the names of weights that were trained elsewhere into those of torchvision and timm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted

DROPPED = "-"
"""The new name of weights that are left out."""
LARGEST_FILE = 1 << 20
EFFICIENTNET_PYTORCH = "efficientnet-pytorch"
"""The names of the package of this name, for timm's tf_efficientnet_b0 to b8. Mammo-CLIP and Mammo-FM have them."""


@dataclass(frozen=True)
class Renaming:
    """How names are translated.

    Names that begin with `prefix` lose it; others are left out, unless `pairs` has them. In `pairs`, an old name stands
    for itself and for all names that continue it after a dot; the longest that fits counts. The new name `-` leaves
    them out.
    """

    prefix: str = ""
    pairs: tuple[tuple[str, str], ...] = ()

    def apply(self, weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
        """Return the weights under their new names. InvalidInput for a prefix or an old name that no weight has, and if
        two weights get the same name."""
        table = dict(self.pairs)
        used: set[str] = set()
        renamed: dict[str, Tensor] = {}
        for name, value in weights.items():
            bare = name.removeprefix(self.prefix)
            old = next((part for part in _beginnings(bare) if part in table), None)
            if old is not None:
                used.add(old)
            new = self._new_name(name, bare, old, table)
            if new is None:
                continue
            if new in renamed:
                raise InvalidInput(f"{source}: two weights get the name {new}, one of them {quoted(name)}")
            renamed[new] = value
        self._require_used(weights, table, used, source)
        return renamed

    def _new_name(self, name: str, bare: str, old: str | None, table: dict[str, str]) -> str | None:
        if old is None:
            return bare if name.startswith(self.prefix) else None
        return None if table[old] == DROPPED else table[old] + bare[len(old) :]

    def _require_used(self, weights: dict[str, Tensor], table: dict[str, str], used: set[str], source: str) -> None:
        if self.prefix and not any(name.startswith(self.prefix) for name in weights):
            raise InvalidInput(f"{source} has no weight whose name begins with {quoted(self.prefix)}")
        unused = sorted(table.keys() - used)
        if unused:
            raise InvalidInput(f"{source} has no weight {quoted(unused[0])}, which the renaming names")


def read_renaming(prefix: str, choice: str, network: nn.Module) -> Renaming:
    """The renaming of a file, or of `efficientnet-pytorch`, or none if `choice` is empty. A line of the file has an old
    and a new name; lines that begin with # are comments. InvalidInput names file and line."""
    if choice == EFFICIENTNET_PYTORCH:
        return Renaming(prefix, tuple(_efficientnet_names(network)))
    return Renaming(prefix, tuple(_read_pairs(Path(choice))) if choice else ())


def _read_pairs(file: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = read_at_most(file, LARGEST_FILE).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as a file of names: {error}") from error
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.lstrip().startswith("#"):
            continue
        if len(words) != 2:
            raise InvalidInput(f"{file}:{number}: {quoted(line)}; expected an old and a new name")
        if words[0] in seen:
            raise InvalidInput(f"{file}:{number}: {quoted(words[0])} is named twice")
        seen.add(words[0])
        yield words[0], words[1]


def _efficientnet_names(network: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of EfficientNet-PyTorch, whose blocks are counted through all stages, and timm's."""
    stages = getattr(network, "blocks", None)
    if not isinstance(stages, nn.Sequential):
        raise InvalidInput(f"a {type(network).__name__} has no stages of blocks; {EFFICIENTNET_PYTORCH} needs timm's")
    yield from (("_conv_stem", "conv_stem"), ("_bn0", "bn1"), ("_conv_head", "conv_head"), ("_bn1", "bn2"))
    number = 0
    for stage, blocks in enumerate(stages):
        for place, block in enumerate(blocks.children()):
            old, new = f"_blocks.{number}", f"blocks.{stage}.{place}"
            parts = _EXPANDED if hasattr(block, "conv_pwl") else _PLAIN
            yield from ((f"{old}.{theirs}", f"{new}.{ours}") for theirs, ours in parts)
            number += 1


_SQUEEZE = (("_se_reduce", "se.conv_reduce"), ("_se_expand", "se.conv_expand"))
_PLAIN: Sequence[tuple[str, str]] = (
    ("_depthwise_conv", "conv_dw"),
    ("_bn1", "bn1"),
    *_SQUEEZE,
    ("_project_conv", "conv_pw"),
    ("_bn2", "bn2"),
)
_EXPANDED: Sequence[tuple[str, str]] = (
    ("_expand_conv", "conv_pw"),
    ("_bn0", "bn1"),
    ("_depthwise_conv", "conv_dw"),
    ("_bn1", "bn2"),
    *_SQUEEZE,
    ("_project_conv", "conv_pwl"),
    ("_bn2", "bn3"),
)


def _beginnings(name: str) -> Iterator[str]:
    """The name, and its beginnings up to each dot, longest first."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        yield ".".join(parts[:count])
