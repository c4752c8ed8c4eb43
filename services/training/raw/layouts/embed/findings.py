"""Translates the rows of EMBED's clinical table: one letter a word, one row a finding."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.training.raw.case import Label, LabelSource, LabelUnit, Outcome
from services.training.raw.source.fields import density, side, whole, worst_category
from services.training.raw.source.tables import Row

ASSESSMENTS = {"A": 0, "N": 1, "B": 2, "P": 3, "S": 4, "M": 5, "K": 6}
"""BI-RADS categories by their letter. X is none."""
MASS_SHAPES = {"G": "generic", "R": "round", "O": "oval", "X": "irregular"}
SHAPE_KINDS = {
    "Q": "architectural distortion",
    "A": "architectural distortion",
    "T": "dilated duct",
    "N": "intramammary lymph node",
    "B": "global asymmetry",
    "F": "focal asymmetry",
    "S": "asymmetry",
    "V": "developing asymmetry",
    "Y": "lymph node",
}
"""The letters of `massshape` that are not about a mass."""
MARGINS = {"D": "circumscribed", "U": "obscured", "M": "microlobulated", "I": "indistinct", "S": "spiculated"}
MASS_DENSITIES = {"+": "high", "=": "equal", "-": "low", "0": "fat-containing"}
CALCIFICATIONS = {
    "A": "amorphous",
    "9": "benign",
    "H": "coarse heterogeneous",
    "C": "popcorn",
    "D": "dystrophic",
    "E": "rim",
    "F": "fine linear",
    "B": "branching",
    "G": "generic",
    "I": "fine pleomorphic",
    "L": "rod",
    "M": "milk of calcium",
    "J": "oil cyst",
    "K": "pleomorphic",
    "P": "punctate",
    "R": "round",
    "S": "skin",
    "O": "lucent",
    "U": "suture",
    "V": "vascular",
    "Q": "coarse",
}
DISTRIBUTIONS = {"G": "grouped", "S": "segmental", "R": "regional", "D": "diffuse", "L": "linear", "C": "clustered"}
BOTH = ("", "B")
"""Sides of a row that is about both breasts."""
CANCER, OTHER_CANCER, BETWEEN, BENIGN = (0, 1), (6,), (2, 3), (4, 5)
"""Groups of `path_severity`, the worst first. High-risk and borderline lesions are neither benign nor malignant; a
cancer of another organ is no breast cancer, and no benign result either. A negative biopsy (5) is benign: something in
the breast looked suspicious enough to be biopsied."""


@dataclass(frozen=True)
class ClinicalRow:
    """A row of the clinical table.

    `side` is empty if the row is about both breasts. `severity` is that of the pathology of `biopsied`, a side, or
    None. `unplaced` is true if the row has pathology, but does not say of which breast, or of another one than its own.
    """

    side: str
    assessment: int | None
    severity: int | None
    biopsied: str
    unplaced: bool
    kind: str
    attributes: dict[str, str]
    density: str
    implant: bool
    where: str

    def is_about(self, breast: str) -> bool:
        """Whether the row is about a breast, LEFT or RIGHT."""
        return self.side in ("", breast)

    def outcome_of(self, breast: str) -> Outcome | None:
        """The outcome of this finding in a breast by pathology."""
        return outcome_of_severities([self.severity]) if self.biopsied == breast else None


def clinical_row(row: Row) -> ClinicalRow:
    """Translate a row. Letters without a meaning are left out."""
    own, biopsied = side(row["side"]), side(row.get("bside"))
    severity = whole(row.get("path_severity"))
    severity = severity if severity is not None and 0 <= severity <= 6 else None
    placed = biopsied or own
    unplaced = severity is not None and (not placed or own not in ("", placed))
    kind, attributes = _described(row)
    return ClinicalRow(
        side=own,
        assessment=ASSESSMENTS.get(row["asses"].upper()),
        severity=None if unplaced else severity,
        biopsied="" if unplaced or severity is None else placed,
        unplaced=unplaced,
        kind=kind,
        attributes=attributes,
        density=density(row.get("tissueden")),
        implant=row.get("implanfind") not in ("", "0", "0.0"),
        where=row.where,
    )


def is_sided(row: Row) -> bool:
    """Whether the side of a row is one of L, R, B or empty."""
    return row["side"].upper() in BOTH or bool(side(row["side"]))


def _described(row: Row) -> tuple[str, dict[str, str]]:
    """Kind and attributes of a finding. A mass with calcifications is a mass; a row of neither has no kind."""
    shape = row.get("massshape").upper()
    calcification, distribution = (
        _words(row.get("calcfind"), CALCIFICATIONS),
        _words(row.get("calcdistri"), DISTRIBUTIONS),
    )
    attributes = {
        "shape": MASS_SHAPES.get(shape, ""),
        "margin": _words(row.get("massmargin"), MARGINS),
        "density": _words(row.get("massdens"), MASS_DENSITIES),
        "calcification": calcification,
        "distribution": distribution,
        "certainty": "questioned" if shape == "Q" else "",
    }
    known = {name: words for name, words in attributes.items() if words}
    if shape in SHAPE_KINDS:
        return SHAPE_KINDS[shape], known
    if shape in MASS_SHAPES or known.keys() & {"margin", "density"}:
        return "mass", known
    return "calcification" if calcification or distribution else "", known


def _words(letters: str, meanings: dict[str, str]) -> str:
    """The words of some letters, of which a field may have several."""
    return ", ".join(dict.fromkeys(meanings[letter] for letter in letters.upper() if letter in meanings))


def outcome_of_severities(severities: Iterable[int | None]) -> Outcome | None:
    """The outcome of the worst of some results of pathology."""
    known = set(severities)
    if known & set(CANCER):
        return Outcome.MALIGNANT
    if known & {*OTHER_CANCER, *BETWEEN} or not known & set(BENIGN):
        return None
    return Outcome.BENIGN


def breast_label(rows: Iterable[ClinicalRow], breast: str) -> Label | None:
    """The label of a breast from all rows about it. Pathology counts more than categories; without it, a breast is
    normal or benign only if every row of it is of BI-RADS 1 or 2. Pathology that may be of this breast leaves it
    unlabelled, unless it is malignant anyway."""
    rows = list(rows)
    severities = [row.severity for row in rows if row.biopsied == breast]
    outcome, source = outcome_of_severities(severities), LabelSource.PATHOLOGY
    if not severities:
        outcome, source = _assessed({row.assessment for row in rows}), LabelSource.ASSESSMENT
    if outcome is None or (outcome is not Outcome.MALIGNANT and any(row.unplaced for row in rows)):
        return None
    return Label(outcome, LabelUnit.BREAST, source)


def _assessed(categories: set[int | None]) -> Outcome | None:
    if not categories or not categories <= {1, 2}:
        return None
    return Outcome.BENIGN if 2 in categories else Outcome.NORMAL


def breast_category(rows: Iterable[ClinicalRow]) -> int | None:
    """The worst BI-RADS category of some rows."""
    return worst_category(row.assessment for row in rows)
