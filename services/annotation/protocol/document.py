"""The document of a protocol: everything that decides what readers see and answer. Its hash is the protocol's."""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.annotation.protocol.questionnaire import Questionnaire, find_questionnaire
from services.annotation.protocol.vocabulary import FrozenModel, Identifier, Vocabulary, find_vocabulary

RevealRule = Literal["never", "after_answer", "after_list"]


ADDED = {"split_units": False}
"""Fields of a document that the first version did not have, with their defaults."""


class UnitChoice(FrozenModel):
    """Which units are read. Silent units never are.

    `subset` and `all` are the lists of the study; `ranked` takes the first `top` units of the ranking of a class;
    `named` takes the units in `units`, by layer.
    """

    choose: Literal["subset", "ranked", "named", "all"] = "subset"
    layers: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        default=(), max_length=200, description="Layers of the study; none for all."
    )
    label: int = Field(default=-1, ge=-1, lt=1000, description="Class of the ranking; -1 for the last class.")
    top: int = Field(default=20, ge=1, le=100_000, description="Units of each layer's ranking.")
    most_positives: int | None = Field(
        default=None,
        ge=0,
        le=8,
        description="Only units with at most this number of the first 8 patches of the last class.",
    )
    least_positives: int | None = Field(
        default=None,
        ge=0,
        le=8,
        description="Only units with at least this number of the first 8 patches of the last class.",
    )
    units: dict[str, tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]] = Field(
        default_factory=dict, max_length=200, description="By layer: channels from 0, for `named`."
    )

    @model_validator(mode="after")
    def _names_units(self) -> Self:
        if (self.choose == "named") != bool(self.units):
            raise ValueError("`units` belongs to the choice `named`, and only to it")
        return self


class Version(FrozenModel):
    """The name and version of a shipped questionnaire or vocabulary."""

    name: Identifier
    version: str = Field(pattern=r"^[0-9A-Za-z.]{1,16}$")


class ProtocolDocument(FrozenModel):
    """A protocol. It never changes: a change is another version of the study's protocol."""

    format: Literal[1] = 1
    title: str = Field(min_length=1, max_length=200)
    instructions: str = Field(default="", max_length=4000, description="Shown to readers before the first item.")
    units: UnitChoice = Field(default_factory=UnitChoice)
    questionnaire: Questionnaire | Version = Field(
        default_factory=lambda: Version(name="structured", version="1"), description="structured 1 if it is absent."
    )
    vocabulary: Vocabulary | Version | None = Field(
        default_factory=lambda: Version(name="bi-rads", version="5"), description="bi-rads 5 if it is absent."
    )
    patches: int = Field(default=16, ge=1, le=64, description="Patches of an item, from the strongest.")
    split_units: bool = Field(
        default=False,
        description="Whether a unit whose patches fall into two groups is read in two parts, one after the other.",
    )
    readers_per_unit: int = Field(default=2, ge=1, le=50)
    shared_units: int = Field(
        default=0, ge=0, le=100_000, description="Units that every pair of readers shares at least."
    )
    order: Literal["sha256-1"] = "sha256-1"
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Drawn when the protocol opens if it is absent.")
    shams: int = Field(default=0, ge=0, le=200, description="Sham units for each reader: patches of different units.")
    repeats: int = Field(default=0, ge=0, le=200, description="Units that each reader reads twice.")
    reveal: RevealRule = "never"
    lease_hours: float = Field(
        default=24 * 14, ge=0.01, le=24 * 365, description="Hours without activity after which others may read a unit."
    )

    @model_validator(mode="after")
    def _has_terms(self) -> Self:
        if self.resolved_questionnaire().uses_terms and self.vocabulary is None:
            raise ValueError("the questionnaire has a question about terms, so the protocol needs a vocabulary")
        return self

    @property
    def known_seed(self) -> int:
        """The seed of a protocol that is being opened or is open."""
        assert self.seed is not None
        return self.seed

    def resolved_questionnaire(self) -> Questionnaire:
        """The questionnaire itself. NotFound if it is not shipped."""
        named = self.questionnaire
        return find_questionnaire(named.name, named.version) if isinstance(named, Version) else named

    def resolved_vocabulary(self) -> Vocabulary | None:
        """The vocabulary itself. NotFound if it is not shipped."""
        named = self.vocabulary
        return find_vocabulary(named.name, named.version) if isinstance(named, Version) else named

    def resolved(self) -> "ProtocolDocument":
        """The document with questionnaire and vocabulary in place of their names, as it is stored and hashed."""
        return self.model_copy(
            update={"questionnaire": self.resolved_questionnaire(), "vocabulary": self.resolved_vocabulary()}
        )


def canonical(document: ProtocolDocument) -> str:
    """The text that is hashed: JSON with sorted keys, no spaces and no escapes but JSON's own.

    Fields that were added later are left out while they have their default, so that earlier hashes stay.
    """
    content = document.resolved().model_dump(mode="json")
    for name, default in ADDED.items():
        if content[name] == default:
            del content[name]
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def protocol_sha256(document: ProtocolDocument) -> str:
    """The hash of a protocol: SHA-256 over `canonical` in UTF-8."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()
