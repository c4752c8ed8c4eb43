"""Data sets over the API: builds of the sample, imports of the operator's folders, and what a data set contains."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from services.common.errors import JobStopped, NotFound
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Box, Patch
from services.training.api import add_routes
from services.training.job import import_folder
from services.training.specs import ImportSpec
from services.training.workflow.contents import LARGEST_SIDE, DatasetContents
from tests.fakes.data import RecordingJob
from tests.fakes.ddsm import make_ddsm
from tests.unit.training.test_workflow import Training


class Importing(Training):
    """The training service with an import folder that has one data set, `mass-2024`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder / "imports"
        self.datasets.import_folder = self.folder
        make_ddsm(self.folder / "mass-2024", {"train": 6, "val": 4}, classes=2, seed=3)
        self.runner.answers["import_folder"] = lambda spec: import_folder(RecordingJob(), spec)
        app = create_app("training", lambda: True)
        add_routes(app, self.datasets, self.runs, self.plans, Streams())
        self.web = TestClient(app)

    def start(self, **body: Any) -> Any:
        """Start a build over the API."""
        return self.web.post("/v1/builds", json=body)

    def perform(self) -> None:
        """Perform the command that was sent last."""
        self.datasets.build(self.sent()[-1])  # type: ignore[arg-type]


@pytest.fixture
def importing(tmp_path: Path) -> Importing:
    return Importing(tmp_path)


def test_a_folder_is_imported(importing: Importing) -> None:
    """It is listed, and becomes a registered data set of its name; the build says which. A second import finds it."""
    assert importing.web.get("/v1/import-folders").json() == {"configured": True, "folders": ["mass-2024"]}
    started = importing.start(folder="mass-2024", classes=2).json()
    assert (started["state"], started["folder"], started["dataset_id"]) == ("queued", "mass-2024", None)
    importing.perform()
    build = importing.web.get(f"/v1/builds/{started['build_id']}").json()
    dataset = importing.web.get(f"/v1/datasets/{build['dataset_id']}").json()
    assert (build["state"], dataset["name"], dataset["splits"]) == ("completed", "mass-2024", {"train": 6, "val": 4})
    importing.start(folder="mass-2024", classes=2)
    importing.perform()
    builds = importing.web.get("/v1/builds").json()["builds"]
    assert len({build["dataset_id"] for build in builds}) == 1 and len(builds) == 2
    assert len(importing.datasets.all().datasets) == 2  # with the one that is registered at first


def test_the_sample_is_built(importing: Importing) -> None:
    """A build without a folder builds the sample, once for a key."""
    headers = {"idempotency-key": "one"}
    ids = [importing.web.post("/v1/builds", json={}, headers=headers).json()["build_id"] for _ in range(2)]
    assert ids[0] == ids[1]
    importing.perform()
    assert importing.datasets.get_build(ids[0]).dataset_id == importing.dataset_id
    assert [name for name, _ in importing.runner.calls] == ["build_sample"]


OUTSIDE = ("../ddsm", "..", ".", "mass-2024/images", "/etc", ".hidden", "a\x00b", "~", "mass-2024/../../ddsm")


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_leads_out_of_the_import_folder(importing: Importing, name: str) -> None:
    """A name is no path: everything else is refused before anything starts."""
    assert importing.start(folder=name).status_code == 422
    assert importing.start(folder="mass-2024", mammograms=name).status_code == 422
    assert importing.sent() == []


def test_a_link_out_of_the_import_folder_is_not_followed(importing: Importing, tmp_path: Path) -> None:
    """The folder it leads to is not found, also if the link was made after the import was enqueued."""
    link = importing.folder / "link"
    link.symlink_to(tmp_path / "ddsm")
    assert importing.start(folder="link").status_code == 404
    link.unlink()
    make_ddsm(link, {"train": 2}, classes=2)
    importing.start(folder="link")
    link.rename(importing.folder / "moved")
    link.symlink_to(tmp_path / "ddsm")
    with pytest.raises(NotFound):
        importing.perform()
    assert importing.runner.calls == []


def test_an_unknown_folder_is_not_found(importing: Importing) -> None:
    """So is a file. Without an import folder nothing can be imported, and the list says so."""
    (importing.folder / "file").write_text("x")
    for name in ("absent", "file"):
        assert importing.start(folder=name).status_code == 404
    importing.datasets.import_folder = None
    assert importing.web.get("/v1/import-folders").json() == {"configured": False, "folders": []}
    refused = importing.start(folder="mass-2024")
    assert refused.status_code == 403 and "PRIMITIVES_TRAINING_IMPORT_FOLDER" in refused.json()["message"]


def test_an_import_that_is_cancelled_registers_nothing(importing: Importing) -> None:
    """The job stops, and the build is cancelled."""

    def cancel_meanwhile(_: ImportSpec) -> Any:
        importing.datasets.act("cancel", started["build_id"])
        raise JobStopped("noticed")

    importing.runner.answers["import_folder"] = cancel_meanwhile
    started = importing.start(folder="mass-2024").json()
    importing.perform()
    assert importing.datasets.get_build(started["build_id"]).state == "cancelled"
    assert len(importing.datasets.all().datasets) == 1


def test_the_balance_counts_patients_and_patches(importing: Importing) -> None:
    """Every class of every split has a row, also one without patches; patients count once for a class and a split."""
    balance = importing.web.get(f"/v1/datasets/{importing.dataset_id}/balance").json()
    counts = {(row["split"], row["class_name"]): (row["patients"], row["patches"]) for row in balance["classes"]}
    index = importing.data.index.to_pylist()
    expected = {
        (split, name): (
            len({row["patient"] for row in index if (row["split"], row["label"]) == (split, label)}),
            sum((row["split"], row["label"]) == (split, label) for row in index),
        )
        for split in ("train", "val")
        for label, name in enumerate(("normal", "benign", "cancer"))
    }
    assert counts == expected
    assert balance["patients"] == {"train": 1, "val": 1}
    assert importing.web.get("/v1/datasets/dataset-x/balance").status_code == 404


def test_patches_are_listed_by_split_and_class(importing: Importing) -> None:
    """Page by page, in the order of their ids, with the total of what is selected."""
    path = f"/v1/datasets/{importing.dataset_id}/patches"
    page = importing.web.get(f"{path}?split=train&label=1&limit=1").json()
    assert (page["total"], page["next_offset"]) == (2, 1)
    [first] = page["patches"]
    assert (first["split"], first["class_name"], first["patch_id"]) == ("train", "benign", 1)
    rest = importing.web.get(f"{path}?split=train&label=1&offset=1").json()
    assert [one["patch_id"] for one in rest["patches"]] == [4] and rest["next_offset"] is None
    assert importing.web.get(path).json()["total"] == 9
    assert importing.web.get(f"{path}?split=test").json()["patches"] == []
    assert importing.web.get(f"{path}?label=-1").status_code == 422


def store_deep_patch(importing: Importing) -> str:
    """Register a data set with one patch: a 16-bit PNG that is larger than a picture."""
    encoded = io.BytesIO()
    Image.fromarray(np.full((LARGEST_SIDE * 2, LARGEST_SIDE), 65535, np.uint16)).save(encoded, "png")
    with DatasetWriter(importing.blobs, "training", "deep", ("no", "yes")) as writer:
        writer.add_patch(Patch("deep.png", "train", 1, "p", "m", Box(0, 0, 10, 10), encoded.getvalue()))
        return importing.datasets.register(*writer.finish()).dataset_id


@pytest.mark.parametrize("deep", [False, True])
def test_a_patch_is_shown_as_a_jpeg(importing: Importing, deep: bool) -> None:
    """Also a 16-bit PNG, whose full range becomes 8 bits; a large one is reduced. Unknown patches are not found."""
    dataset_id = store_deep_patch(importing) if deep else importing.dataset_id
    path = f"/v1/datasets/{dataset_id}/patches"
    answer = importing.web.get(f"{path}/0/picture.jpg")
    picture = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], picture.format, picture.mode) == ("image/jpeg", "JPEG", "L")
    assert max(picture.size) <= LARGEST_SIDE
    if deep:
        assert picture.size == (LARGEST_SIDE // 2, LARGEST_SIDE) and np.asarray(picture).min() == 255
    assert importing.web.get(f"{path}/1000/picture.jpg").status_code == 404
    assert importing.web.get(f"{path}/-1/picture.jpg").status_code == 422


def test_the_index_of_a_data_set_is_read_once(importing: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a gallery do not read the manifest and the index again."""
    contents = DatasetContents(importing.ports)
    read: list[str] = []
    get: Callable[..., Any] = importing.blobs.get

    def counted(bucket: str, key: str) -> Any:
        read.append(key)
        return get(bucket, key)

    monkeypatch.setattr(importing.blobs, "get", counted)
    for _ in range(3):
        contents.balance(importing.dataset_id)
    assert len([key for key in read if "index" in key]) == 1
