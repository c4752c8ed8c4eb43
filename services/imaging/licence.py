"""Under which terms a data set may be used, and its data card. The terms travel to checkpoints, exports and
galleries."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Term(StrEnum):
    """A term of a licence that also binds what is made of a data set."""

    NO_REDISTRIBUTION = "no-redistribution"
    """Patches and pictures made of the images may not be passed on."""
    NO_WEIGHTS_RELEASE = "no-weights-release"
    """Weights and embeddings trained on any part may not be released without written permission."""
    NON_COMMERCIAL = "non-commercial"
    ATTRIBUTION = "attribution"


class Licence(BaseModel):
    """The terms of a source. `name` and `url` identify the licence; `citation` is what its authors ask for."""

    model_config = ConfigDict(frozen=True)

    name: str
    citation: str
    url: str = ""
    terms: tuple[Term, ...] = ()


UNSTATED = Licence(name="not stated", citation="")
"""The licence of own files: their owner knows it, and this product does not."""


class SplitCard(BaseModel):
    """The counts of a split. `patches` is by class."""

    patients: int
    mammograms: int
    patches: dict[str, int]


class DataCard(BaseModel):
    """What a data set is made of. `label_units` counts mammograms by the unit and source of their label, such as
    `breast, pathology`. `recipe` are the options by which patches were cut."""

    format: int = 1
    source: str
    layout: str
    licence: Licence
    splits: dict[str, SplitCard]
    split_rule: str
    leaks: list[str]
    label_units: dict[str, int]
    recipe: dict[str, object]
    source_sha256: str
    """The SHA-256 of the names of all mammograms with their labels and findings, as they were read."""
    code_version: str
