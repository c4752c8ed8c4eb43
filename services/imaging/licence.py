"""Under which terms a data set may be used, and its data card. The terms travel to checkpoints, exports and
galleries."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from services.common.errors import Forbidden


class Term(StrEnum):
    """A term of a licence that also binds what is made of a data set."""

    NO_REDISTRIBUTION = "no-redistribution"
    """Patches and pictures made of the images may not be passed on."""
    NO_WEIGHTS_RELEASE = "no-weights-release"
    """Weights and embeddings trained on any part may not be released without written permission."""
    NON_COMMERCIAL = "non-commercial"
    ATTRIBUTION = "attribution"


class Licence(BaseModel):
    """The terms of a source. `name` and `url` identify the licence; `citation` is what its authors want."""

    model_config = ConfigDict(frozen=True)

    name: str
    citation: str
    url: str = ""
    terms: tuple[Term, ...] = ()


UNSTATED = Licence(name="not stated", citation="")
"""The licence of own files: their owner knows it, and this product does not."""


FORBIDDEN: dict[str, Term] = {"weights": Term.NO_WEIGHTS_RELEASE, "pictures": Term.NO_REDISTRIBUTION}
"""The term that forbids to pass something on."""


def require_permission(what: str, terms: Iterable[Term], source: str, confirmed: bool) -> str:
    """Check that `what`, weights or pictures, may leave the product. Return what was confirmed, for the audit log,
    empty if nothing had to be. Forbidden if a term forbids it and the caller has not confirmed a permission."""
    term = FORBIDDEN[what]
    if term not in terms:
        return ""
    if not confirmed:
        raise Forbidden(
            f"{source} is bound by the term {term}: its licence forbids to pass on {what}. If you have a written "
            "permission, repeat this with --confirm-permission; the audit log records it."
        )
    return f"permission confirmed despite {term}"


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
