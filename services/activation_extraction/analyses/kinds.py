"""The kinds of analysis. A new kind needs a file of its own, its settings, a row here, and a message in the proto."""

from services.activation_extraction.analyses.ablation import Ablation
from services.activation_extraction.analyses.context import Kind
from services.activation_extraction.analyses.detection.kind import Detection
from services.activation_extraction.analyses.dissection import Dissection
from services.activation_extraction.analyses.gradient import Gradient
from services.activation_extraction.analyses.influence import Influence
from services.common.errors import InvalidInput
from services.common.redaction import quoted

_ALL: tuple[Kind, ...] = (Dissection(), Influence(), Gradient(), Ablation(), Detection())

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""The kinds by name."""


def kind_of(name: str) -> Kind:
    """A kind by its name. InvalidInput names the kinds that exist."""
    if name not in KINDS:
        raise InvalidInput(f"there is no analysis of kind {quoted(name)}; there are {', '.join(KINDS)}")
    return KINDS[name]
