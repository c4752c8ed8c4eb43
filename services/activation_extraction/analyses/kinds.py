"""The kinds of analysis. A new one is a file of its own, a row here, and a message of its settings in the proto."""

from typing import Annotated

from pydantic import Field

from services.activation_extraction.analyses.ablation import Ablation, AblationSettings
from services.activation_extraction.analyses.context import Kind
from services.activation_extraction.analyses.dissection import Dissection, DissectionSettings
from services.activation_extraction.analyses.gradient import Gradient, GradientSettings
from services.activation_extraction.analyses.influence import Influence, InfluenceSettings
from services.common.errors import InvalidInput

AnalysisSettings = Annotated[
    DissectionSettings | InfluenceSettings | GradientSettings | AblationSettings, Field(discriminator="kind")
]
"""The settings of an analysis of any kind, told apart by `kind`."""

_ALL: tuple[Kind, ...] = (Dissection(), Influence(), Gradient(), Ablation())

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""The kinds by name."""


def kind_of(name: str) -> Kind:
    """A kind by its name. InvalidInput names those that there are."""
    if name not in KINDS:
        raise InvalidInput(f"there is no analysis of kind {name!r}; there is {', '.join(KINDS)}")
    return KINDS[name]
