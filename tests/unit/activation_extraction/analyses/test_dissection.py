"""Dissection, compared with a slow reference: PIL resizes, and cells are counted for one patch and unit at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from services.activation_extraction.analyses import dissection
from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.dissection import Dissection
from services.activation_extraction.analyses.outlines import Outlines
from services.activation_extraction.analyses.settings import DissectionSettings
from services.activation_extraction.batches import read_batches
from services.common.blobs import Blobs, FolderBlobs
from services.common.errors import InvalidInput, JobStopped
from services.imaging.capture import capture
from services.imaging.dataset import Dataset
from services.imaging.manifests import TAILS
from services.imaging.patches import Box
from tests.fakes.data import ignore_progress
from tests.fakes.outlined import extract_outlined, store_outlined

CPU = torch.device("cpu")
SIDE = dissection.SIDE
KIND = Dissection()


def context_of(blobs: Blobs, folder: Path, settings: DissectionSettings, **of_data: Any) -> Context[DissectionSettings]:
    data, dataset = store_outlined(blobs, **of_data)
    manifest, _ = extract_outlined(blobs, folder, data, dataset)
    return Context(blobs, manifest, CPU, 5, settings)


def dissect(context: Context[DissectionSettings], order: int = 1) -> dict[str, list[dict[str, Any]]]:
    """The rows of every layer. The pieces are computed in their order, or from the last to the first."""
    pieces = range(KIND.pieces(context))[::order]
    states = {piece: KIND.run_piece(context, piece, lambda _done, _total: None) for piece in pieces}
    tables = KIND.merge(context, [states[piece] for piece in sorted(states)], ignore_progress)
    return {name: table.to_pylist() for name, table in tables}


def maps_by_patch(context: Context[DissectionSettings], data: Dataset) -> Iterator[tuple[dict[str, Any], Any]]:
    """The index row of every patch, with its (units, height, width) maps by layer."""
    rows = data.index.to_pylist()
    for shard in data.shards("val"):
        with capture(context.network, context.layers) as acts, torch.inference_mode():
            for batch in read_batches(data.stream(shard), context.checkpoint.preprocessing, context.batch_size):
                context.network(context.checkpoint.preprocessing.normalise(batch.pixels))
                for number, patch_id in enumerate(batch.ids.tolist()):
                    yield rows[patch_id], {name: maps[number].numpy() for name, maps in acts.items()}


def reference(context: Context[DissectionSettings], over: str, tail: float) -> dict[tuple[str, int, str], list[int]]:
    """Count the cells above the threshold, within the outlines, and both, by layer, unit and phenomenon."""
    data = context.data
    outlines = Outlines(data.lesions)
    counts: dict[tuple[str, int, str], list[int]] = {}
    for row, layers in maps_by_patch(context, data):
        if over == "outlined" and row["mammogram"] not in outlines.mammograms:
            continue
        masks = outlines.masks(row["mammogram"], Box(row["row"], row["column"], row["height"], row["width"]), SIDE)
        for name, maps in layers.items():
            thresholds = [tails[TAILS.index(tail)] for tails in context.statistics(name)["thresholds"].to_pylist()]
            for unit, one in enumerate(maps):
                resized = Image.fromarray(one.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
                above = np.asarray(resized).astype(np.float64) > thresholds[unit]
                for phenomenon, mask in zip(outlines.phenomena, masks, strict=True):
                    total = counts.setdefault((name, unit, phenomenon), [0, 0, 0])
                    total[0] += int(above.sum())
                    total[1] += int(mask.sum())
                    total[2] += int((above & mask).sum())
    return counts


@pytest.mark.parametrize(("over", "tail"), [("outlined", 0.01), ("all", 0.05)])
def test_figures_equal_the_reference(tmp_path: Path, over: Any, tail: float) -> None:
    """The cells of every unit are counted as by PIL and plain loops, for both choices of patches."""
    context = context_of(FolderBlobs(tmp_path), tmp_path, DissectionSettings(over=over, tail=tail))
    expected = reference(context, over, tail)
    rows = dissect(context)
    assert {(n, row["unit"], row["phenomenon"]) for n in rows for row in rows[n]} == set(expected)
    overlaps = 0
    for name in rows:
        for row in rows[name]:
            above, inside, both = expected[name, row["unit"], row["phenomenon"]]
            assert row["iou"] == both / (above + inside - both)
            assert (row["precision"], row["recall"]) == (both / above if above else None, both / inside)
            overlaps += both > 0
    assert overlaps > len(expected) / 20, "the case shows nothing"


def test_shards_and_their_order_change_nothing(tmp_path: Path) -> None:
    """The rows and their intervals are the same for one shard or four, forwards or backwards."""
    options = DissectionSettings(tail=0.05)
    one = dissect(context_of(FolderBlobs(tmp_path / "1"), tmp_path, options))
    four = context_of(FolderBlobs(tmp_path / "4"), tmp_path, options, shard_patches=3)
    assert KIND.pieces(four) == 4
    assert dissect(four) == dissect(four, order=-1) == one
    assert any(row["iou_low"] is not None for row in one["layer4"])


def test_the_number_of_units_resized_together_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are the same if only three units are resized together."""
    context = context_of(FolderBlobs(tmp_path), tmp_path, DissectionSettings(tail=0.05))
    expected = dissect(context)
    monkeypatch.setattr(dissection, "MAX_UNITS", 3)
    assert dissect(context) == expected


def test_a_split_without_outlines_cannot_be_dissected(tmp_path: Path) -> None:
    """pieces raises InvalidInput that names the split and the data set."""
    context = context_of(FolderBlobs(tmp_path), tmp_path, DissectionSettings(over="all"), outlined=False)
    with pytest.raises(InvalidInput, match="no mammogram of split val of data set outlined has outlines"):
        KIND.pieces(context)


def test_a_piece_stops_between_batches(tmp_path: Path) -> None:
    """run_piece reports its progress after each batch, and stops when on_progress raises JobStopped."""
    context = context_of(FolderBlobs(tmp_path), tmp_path, DissectionSettings())
    reports = []

    def stop(done: int, total: int) -> None:
        reports.append((done, total))
        raise JobStopped("requested")

    with pytest.raises(JobStopped):
        KIND.run_piece(context, 0, stop)
    assert reports == [(5, 9)], "three of four mammograms have outlines"


def test_an_unknown_tail_is_refused() -> None:
    """DissectionSettings only accepts the tails for which extractions store thresholds."""
    with pytest.raises(ValidationError, match=r"0.02 is none of 0.05, 0.01, 0.005, 0.001"):
        DissectionSettings(tail=0.02)
