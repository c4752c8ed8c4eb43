"""Where a data set comes from, and under which terms: licence, citation, and what may not be done with what is made of
it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Term(StrEnum):
    """A term of a licence that travels with a data set to checkpoints, exports and galleries."""

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
