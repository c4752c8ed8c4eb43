"""What the tests of layouts share: a scan of a folder, and the counts of a report."""

from collections.abc import Mapping
from pathlib import Path

from services.training.raw.case import RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.report import ImportReport, Reason
from services.training.raw.source.files import FolderFiles


def scan(layout: Layout, root: Path) -> tuple[dict[str, RawMammogram], ImportReport]:
    """All mammograms of a folder by name, and the report. A name that occurs twice fails."""
    report = ImportReport()
    mammograms = list(layout.scan(FolderFiles(root), report))
    found = {mammogram.name: mammogram for mammogram in mammograms}
    assert len(found) == len(mammograms)
    return found, report


def counts(reasons: Mapping[str, Reason]) -> dict[str, int]:
    """The counts by reason."""
    return {text: reason.count for text, reason in reasons.items()}
