"""The interface of a kind of analysis, and its context: a completed extraction with its data set and its network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
from pydantic import BaseModel
from torch import Tensor

from services.activation_extraction.open_extraction import OpenExtraction

S = TypeVar("S", bound=BaseModel)

OnProgress = Callable[[int, int], None]
"""Receives how much of a piece is done, and how much there is. Raises JobStopped when the job must stop."""

Heartbeat = Callable[[], None]
"""Called often during a long merge, to report that it still works."""


@dataclass(frozen=True)
class Context(OpenExtraction, Generic[S]):
    """An extraction, and the settings of its analysis."""

    settings: S


class Kind(Protocol):
    """A kind of analysis. Several processes may compute pieces, in any order. A piece that was stopped is computed
    again from its beginning, to the same bytes."""

    @property
    def name(self) -> str:
        """The name in requests and records."""

    @property
    def settings(self) -> type[BaseModel]:
        """The model of the settings, whose field `kind` is the name."""

    def pieces(self, context: Context[Any]) -> int:
        """The number of pieces, at least one, without reading the network. InvalidInput for an extraction that cannot
        be analysed with these settings."""

    def run_piece(self, context: Context[Any], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Compute the state of one piece, numbered from 0. It is stored as safetensors."""

    def merge(
        self, context: Context[Any], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """Compute the name and the result of each layer, from the states of all pieces in order. Call `heartbeat` often
        within a layer that takes long."""
