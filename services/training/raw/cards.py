"""The data card of an import: what is counted while it is assembled, and what its layout and plan state."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from services import __version__
from services.imaging.dataset_writer import StoredContent
from services.imaging.licence import DataCard, SplitCard
from services.training.raw.layouts import layout_named
from services.training.raw.plan import ImportPlan


class SplitCards:
    """Counts patients, mammograms and patches of each split."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._patients: defaultdict[str, set[str]] = defaultdict(set)
        self._mammograms: Counter[str] = Counter()
        self._patches: Counter[tuple[str, int]] = Counter()

    def add(self, split: str, content: StoredContent) -> None:
        """Count a part."""
        self._patients[split].update(content.mammograms["patient"].to_pylist())
        self._mammograms[split] += content.mammograms.num_rows
        self._patches.update((split, label) for label in content.patches["label"].to_pylist())

    def cards(self) -> dict[str, SplitCard]:
        """The counts by split."""
        return {
            split: SplitCard(
                patients=len(patients),
                mammograms=self._mammograms[split],
                patches={name: self._patches[split, label] for label, name in enumerate(self._classes)},
            )
            for split, patients in self._patients.items()
        }


def card_of(plan: ImportPlan, cards: SplitCards) -> DataCard:
    """The card of the data set of a plan whose parts are counted."""
    layout = layout_named(plan.source.layout)
    recipe: dict[str, Any] = plan.recipe.model_dump(mode="json")
    return DataCard(
        source=layout.title,
        layout=layout.name,
        licence=layout.licence,
        splits=cards.cards(),
        split_rule=plan.recipe.split_rule,
        leaks=list(plan.leaks),
        label_units=plan.label_units,
        recipe=recipe,
        source_sha256=plan.source_sha256,
        code_version=__version__,
    )
