"""Terms of licences: they follow the data to checkpoints, exports and galleries, which need a confirmed permission."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.cli import datasets as datasets_command
from services.cli.datasets import export_run
from services.cli.gallery import command
from services.cli.gallery.command import gallery
from services.common.blobs import Blobs, FolderBlobs, ObjectRef
from services.common.errors import Forbidden
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.licence import Term, require_permission
from services.training.export import describe
from services.training.schemas import RunSettings
from tests.fakes.extraction import store_extraction
from tests.unit.training.test_loop import SETTINGS, Run

SHORT: RunSettings = SETTINGS.model_copy(update={"epochs": 1})


def bind(blobs: Blobs, dataset: ObjectRef, *terms: Term) -> ObjectRef:
    """The reference of a data set's manifest with terms."""
    manifest = Dataset.open(blobs, dataset).manifest.model_copy(update={"terms": terms})
    return blobs.put(dataset.bucket, f"{dataset.key}-bound", manifest.model_dump_json().encode())


def test_only_a_confirmed_permission_lets_bound_things_out() -> None:
    """Weights and pictures are bound by different terms. What was confirmed is returned for the audit log."""
    assert require_permission("weights", (Term.NO_REDISTRIBUTION,), "checkpoint x", confirmed=False) == ""
    assert require_permission("pictures", (Term.NO_WEIGHTS_RELEASE,), "extraction x", confirmed=False) == ""
    with pytest.raises(Forbidden, match=r"checkpoint x is bound by the term no-weights-release.*--confirm-permission"):
        require_permission("weights", (Term.NO_WEIGHTS_RELEASE,), "checkpoint x", confirmed=False)
    confirmed = require_permission("weights", (Term.NO_WEIGHTS_RELEASE,), "checkpoint x", confirmed=True)
    assert confirmed == "permission confirmed despite no-weights-release"


def test_a_checkpoint_has_the_terms_of_all_data_that_it_has_seen(tmp_path: Path) -> None:
    """Training on bound data binds the weights, and training on further data does not free them."""
    run = Run(tmp_path, SHORT)
    free = run.dataset
    run.dataset = bind(run.blobs, free, Term.NO_WEIGHTS_RELEASE)
    run.slice()
    assert run.manifest().terms == (Term.NO_WEIGHTS_RELEASE,)
    run.dataset = bind(run.blobs, free, Term.ATTRIBUTION)
    run.settings = SHORT.model_copy(update={"epochs": 2})
    run.slice()
    manifest = run.manifest()
    assert (manifest.epoch, manifest.terms) == (2, (Term.ATTRIBUTION, Term.NO_WEIGHTS_RELEASE))
    assert json.loads(describe(manifest)["terms"]) == ["attribution", "no-weights-release"]


def test_weights_of_bound_data_are_not_exported_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export is refused and writes nothing; with the confirmation it is written, and says so."""
    run = Run(tmp_path, SHORT)
    run.dataset = bind(run.blobs, run.dataset, Term.NO_WEIGHTS_RELEASE)
    run.slice()
    opened = SimpleNamespace(
        ports=SimpleNamespace(blobs=run.blobs), get=lambda _: SimpleNamespace(checkpoint=run.checkpoint)
    )

    class Opened:
        def __enter__(self) -> tuple[Any, Any]:
            return None, opened

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(datasets_command, "_training", Opened)
    monkeypatch.setattr(datasets_command, "resolve_checkpoint", lambda view, _: view.checkpoint)
    out = tmp_path / "weights.safetensors"
    with pytest.raises(Forbidden, match="no-weights-release"):
        export_run("run-1", "", "safetensors", out)
    assert not out.exists()
    exported = export_run("run-1", "", "safetensors", out, confirmed=True)
    assert exported["permission"] and out.exists()
    assert run.checkpoint is not None
    assert exported["checkpoint_id"] == open_checkpoint(run.blobs, run.checkpoint).checkpoint_id


def test_pictures_of_bound_data_need_a_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gallery of patches that may not be passed on is refused before it is written. With the confirmation it is
    written, and the audit log records it."""
    blobs = FolderBlobs(tmp_path / "blobs")
    manifest, _ = store_extraction(blobs, tmp_path, "layer4")
    bound = manifest.model_copy(update={"dataset": bind(blobs, manifest.dataset, Term.NO_REDISTRIBUTION)})
    ref = blobs.put("activation-extraction", "bound.json", bound.model_dump_json().encode())
    found = {"manifest": ref.model_dump(), "state": "completed"}
    monkeypatch.setattr(command, "get", lambda *_: found)
    monkeypatch.setenv("PRIMITIVES_BLOBS_URL", blobs.url)
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    monkeypatch.setenv("PRIMITIVES_AUDIT_FILE", str(tmp_path / "audit.jsonl"))
    pages = tmp_path / "pages"
    with pytest.raises(Forbidden, match="no-redistribution"):
        gallery("extraction-1", pages)
    assert not pages.exists()
    gallery("extraction-1", pages, units="1", kind="heat_map", top=2, size=40, confirm_permission=True)
    assert (pages / "index.html").exists()
    [line] = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert "permission confirmed despite no-redistribution" in json.loads(line)["outcome"]
