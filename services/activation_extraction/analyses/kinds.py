"""The kinds of analysis. A new one is a file of its own, a row here, and a message of its settings in the proto."""

from services.activation_extraction.analyses.context import Kind
from services.activation_extraction.analyses.dissection import Dissection, DissectionSettings
from services.common.errors import InvalidInput

AnalysisSettings = DissectionSettings
"""The settings of an analysis of any kind, told apart by `kind`: a union with `kind` as its discriminator once there
are two."""

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Dissection(),)}
"""The kinds by name."""


def kind_of(name: str) -> Kind:
    """A kind by its name. InvalidInput names those that there are."""
    if name not in KINDS:
        raise InvalidInput(f"there is no analysis of kind {name!r}; there is {', '.join(KINDS)}")
    return KINDS[name]
