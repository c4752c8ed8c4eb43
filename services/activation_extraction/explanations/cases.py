"""The similar cases of an explanation, with what is known about their patients."""

from collections.abc import Sequence

from services.activation_extraction.explanations.schemas import BoxView, SimilarCaseView
from services.activation_extraction.explanations.similar_cases import SimilarCase
from services.imaging.dataset import Dataset


def case_views(data: Dataset, cases: Sequence[SimilarCase]) -> list[SimilarCaseView]:
    """The cases as they are shown. The outcome of a patient is the last class that any of her patches has."""
    if not cases:
        return []
    classes, index = data.manifest.classes, data.index
    rows = index.take([case.patch_id for case in cases]).to_pylist()
    labels, phenomena = index["label"].to_pylist(), index["phenomenon"].to_pylist()
    of_patient: dict[str, list[int]] = {row["patient"]: [] for row in rows}
    for place, patient in enumerate(index["patient"].to_pylist()):
        if patient in of_patient:
            of_patient[patient].append(place)
    return [
        SimilarCaseView(
            similarity=case.similarity,
            patch_id=case.patch_id,
            patch=row["name"],
            patient=row["patient"],
            mammogram=row["mammogram"],
            box=BoxView(**{side: row[side] for side in BoxView.model_fields}),
            class_name=classes[row["label"]],
            phenomenon=row["phenomenon"],
            outcome=classes[max(labels[place] for place in of_patient[row["patient"]])],
            phenomena=sorted({phenomena[place] for place in of_patient[row["patient"]]} - {""}),
        )
        for case, row in zip(cases, rows, strict=True)
    ]
