"""The document of a game, and the frozen game that its hash covers."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from services.annotation.protocol.document import UnitChoice
from services.annotation.protocol.vocabulary import FrozenModel

GameKind = Literal["intruder", "prediction"]
ItemNumber = Annotated[int, Field(ge=0, lt=2**31)]


class GameDocument(FrozenModel):
    """A game. It never changes: a change is another game."""

    format: Literal[1] = 1
    kind: GameKind = Field(
        description="`intruder`: one of five patches belongs to another unit. `prediction`: which of four held-out "
        "patches does the unit answer to, from its description alone?"
    )
    title: str = Field(min_length=1, max_length=200)
    instructions: str = Field(default="", max_length=4000, description="Shown to readers before the first trial.")
    protocol: int = Field(default=1, ge=1, lt=2**31, description="Version of the study's protocol.")
    units: UnitChoice | None = Field(default=None, description="null for the units of the protocol.")
    trials: int | None = Field(
        default=None, ge=1, le=10_000, description="Trials of each reader; null for one of each unit."
    )
    seconds: float = Field(default=20, ge=1, le=3600, description="Time for a trial.")
    algorithm: Literal["sha256-1"] = "sha256-1"
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Drawn when the game opens if it is absent.")

    @property
    def known_seed(self) -> int:
        """The seed of a game that is open."""
        assert self.seed is not None
        return self.seed


class GameItem(FrozenModel):
    """A unit of a game, with its description in words, which only predict-the-unit has."""

    layer: str
    unit: int
    description: str = ""


class Player(FrozenModel):
    """A reader of a game. `known` are the items whose unit the reader has read, or whose label the reader has settled;
    `alone` are those that nobody else has described."""

    pseudonym: str
    known: tuple[ItemNumber, ...] = ()
    alone: tuple[ItemNumber, ...] = ()


class FrozenGame(FrozenModel):
    """Everything that decides the trials of a game, except the ranked patches of the units, which never change.

    Items count from 0. `patches` is the number of patches that readers of the protocol saw of each unit.
    """

    document: GameDocument
    protocol_sha256: str
    patches: int
    items: tuple[GameItem, ...]
    players: tuple[Player, ...]
    left_out: int = Field(description="Units that have no description.")


def canonical(game: FrozenGame) -> str:
    """The text that is hashed: JSON with sorted keys, no spaces and no escapes but JSON's own."""
    return json.dumps(game.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def game_sha256(game: FrozenGame) -> str:
    """The hash of a game: SHA-256 over `canonical` in UTF-8."""
    return hashlib.sha256(canonical(game).encode()).hexdigest()
