"""The categories and words that DDSM and CBIS-DDSM share: density, assessment, subtlety, pathology, descriptors."""

import re
from collections.abc import Sequence

from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome

DENSITIES = {"1": "a", "2": "b", "3": "c", "4": "d"}
"""The density of the ACR by its number, as the BI-RADS category of today. DDSM writes 0 if it is unknown."""
OUTCOMES = {
    "malignant": Outcome.MALIGNANT,
    "benign": Outcome.BENIGN,
    "benign without callback": Outcome.BENIGN,
    "unproven": None,
}
"""The outcome of a finding by its pathology. An unproven finding has none."""
WITHOUT_CALLBACK = "benign without callback"
"""A benign finding for which the patient was not called back: the screening says so, and there is no pathology."""
PATHOLOGY = "pathology"
"""The attribute of a finding with the source's own word for its pathology."""

_UNSTATED = frozenset({"", "na", "n/a", "none"})
_SPELLINGS = {"lucent center": "lucent centered"}


def whole_number(text: str, lowest: int, highest: int) -> int | None:
    """The number of a text, or None if it is no whole number in this range."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return None
    number = int(text)
    return number if lowest <= number <= highest else None


def descriptors(text: str) -> str:
    """Words such as `ILL_DEFINED-SPICULATED` in a stable form: `ill defined, spiculated`.

    `-` joins terms. Terms are in lower case with blanks, each once and in alphabetical order, since the order in the
    files differs between lesions that are described alike. Empty for `N/A` and `NA`.
    """
    terms = {term.replace("_", " ").strip() for term in text.lower().split("-")} - _UNSTATED
    return ", ".join(sorted({_SPELLINGS.get(term, term) for term in terms}))


def pathology_word(text: str) -> str:
    """`BENIGN_WITHOUT_CALLBACK` as `benign without callback`."""
    return text.strip().lower().replace("_", " ")


def image_label(findings: Sequence[Finding], unit: LabelUnit) -> Label | None:
    """The label that findings give their image or breast: malignant if one is, benign if all are.

    None without findings. Also None if none is malignant and one is unproven: that one may be malignant.
    """
    outcomes = [finding.outcome for finding in findings]
    if Outcome.MALIGNANT in outcomes:
        return Label(Outcome.MALIGNANT, unit, LabelSource.PATHOLOGY)
    if not findings or None in outcomes:
        return None
    recalled = any(finding.attributes.get(PATHOLOGY) != WITHOUT_CALLBACK for finding in findings)
    return Label(Outcome.BENIGN, unit, LabelSource.PATHOLOGY if recalled else LabelSource.SCREENING)
