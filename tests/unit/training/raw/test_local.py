"""The parts of an import, cut by several processes of this machine."""

from pathlib import Path

from services.common.blobs import open_blobs
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import CRASHED, assemble, cut_part, plan_import
from services.training.raw.local import cut_all
from tests.fakes.raw.folder_layout import HIDDEN, FolderSource, drawn_files

RECIPE = CutRecipe(fractions=(0.5,), part_mammograms=2, splits=(1, 0, 0))


def test_files_that_kill_a_process_are_left_out(tmp_path: Path) -> None:
    """Each is in the report, two of one part and one of another, and the data set is as if they could not be read: the
    same as one process makes of the others. Every part is reported once, and no journal remains."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, content in drawn_files(7, deadly=(0, 1, 4)).items():
        (folder / name).write_bytes(content)
    source = FolderSource(layout="png-folder", folder=folder)
    blobs = open_blobs(f"folder://{tmp_path / 'blobs'}")
    plan = plan_import(blobs, "set", source, RECIPE)
    done: list[tuple[int, int]] = []
    cut_all(blobs.url, plan, 2, lambda *progress: done.append(progress))
    assert done == [(number, 4) for number in (1, 2, 3, 4)]
    manifest, _, report = assemble(blobs, plan)
    assert {reason: one.count for reason, one in report.dropped.items()} == {HIDDEN: 1, CRASHED: 3}
    assert sorted(report.dropped[CRASHED].examples) == ["00.png", "01.png", "04.png"]
    assert [key for key in blobs.list("training", "imports/") if "journal" in key] == []

    for name in ("00.png", "01.png", "04.png"):
        (folder / name).write_bytes(b"no image")
    other = open_blobs(f"folder://{tmp_path / 'other'}")
    plan = plan_import(other, "set", source, RECIPE)
    for number in range(4):
        cut_part(other, plan, number)
    assert assemble(other, plan)[0].dataset_id == manifest.dataset_id
