"""`primitives gc`, `check` and `copy-objects` over the objects and records of a completed plan."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from services.cli.client import get
from services.cli.main import app
from services.cli.migrations import SERVICES
from services.common.blobs import FolderBlobs
from tests.integration.embedded import Embedded, embedded
from tests.integration.test_plan import import_data, start_plan

ORPHANS = {"training": "checkpoints/run-gone/x.json", "patch-rendering": "renderings/rendering-gone/pictures.pack"}
BUCKETS = ("training", "activation-extraction", "patch-rendering")
READER = {"name": "Reader"}
LATER = {"split": "test", "layers": ["layer2"], "top_k": 3}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """The running embedded form with a completed plan."""
    with embedded(tmp_path_factory.mktemp("home") / "home") as home:
        start_plan(home, import_data(home, tmp_path_factory.mktemp("ddsm") / "ddsm"))
        home.wait_for_plan("plan-1")
        yield home


def objects_of(home: Embedded) -> FolderBlobs:
    return FolderBlobs(home.home / "objects")


def manifests_of_checkpoints(blobs: FolderBlobs) -> list[str]:
    return [key for key in blobs.list("training", "checkpoints/") if key.endswith(".json")]


def output_of(home: Embedded, status: int, *words: str) -> Any:
    """Run a command over this home in this process, where torch is loaded once. Return its JSON, and check its exit
    status."""
    ended = CliRunner().invoke(app, words, env=home.environment)
    assert ended.exit_code == status, (ended.output, ended.exception)
    return json.loads(ended.stdout)


def all_reads(home: Embedded) -> list[bytes]:
    """Return every response that reads objects: units, pictures and sheets, pictures and previews of the pages."""
    stages, services = home.stages("plan-1"), home.services
    extraction, rendering = stages["extraction"]["id"], stages["rendering"]["id"]
    layers = get(services.activation_extraction, f"/v1/extractions/{extraction}")["results"]
    with httpx.Client(timeout=30, base_url=services.annotation, follow_redirects=True) as browser:
        browser.post("/sign-in", data=READER, headers={"Origin": services.annotation}).raise_for_status()
        read = []
        for layer in layers:
            for unit in range(0, layer["units"], 7):
                path = f"layers/{layer['name']}/units/{unit}"
                view = get(services.activation_extraction, f"/v1/extractions/{extraction}/{path}")
                read.append(json.dumps(view).encode())
                if view["silent"]:
                    continue
                for rank in (0, 1, 8):
                    picture = f"{services.patch_rendering}/v1/renderings/{rendering}/{path}/pictures/{rank}.jpg"
                    read.append(httpx.get(picture, timeout=30).raise_for_status().content)
                of_study = f"{stages['study']['id']}/{layer['name']}/{view['name']}"
                for page in (f"/pictures/{of_study}/1.jpg", f"/sheets/{of_study}.jpg"):
                    read.append(browser.get(page).raise_for_status().content)
        return read


def test_referenced_objects_outlive_every_collection(done: Embedded) -> None:
    """Without a grace, orphans and older checkpoints are removed, as a dry run has reported, and every unit and picture
    reads as before. The services are idle."""
    before, blobs = all_reads(done), objects_of(done)
    assert output_of(done, 0, "check", "--deep")["faults"] == []
    for bucket, key in ORPHANS.items():
        blobs.put(bucket, key, b"orphan")
    assert len(manifests_of_checkpoints(blobs)) > 2
    options = ("gc", "--grace-h", "0")
    planned, collected = output_of(done, 0, *options, "--dry-run"), output_of(done, 0, *options)
    assert planned["services"] == collected["services"]
    assert {one["service"] for one in collected["services"]} == {"training", "activation_extraction", "patch_rendering"}
    assert all(one["removed"] > 0 for one in collected["services"])
    assert collected["scratch"]["removed"] > 0
    assert not any(blobs.size(bucket, key) for bucket, key in ORPHANS.items())
    assert len(manifests_of_checkpoints(blobs)) == 1
    of_shards = [key for key in blobs.list("activation-extraction") if "/shards/" in key]
    assert [key for key in of_shards if "/maxima-" not in key] == []  # matrices are named, states were merged
    assert all_reads(done) == before
    checked = output_of(done, 0, "check", "--deep")
    assert checked["faults"] == []
    assert {bucket: one["objects"] for bucket, one in checked["unnamed"].items()} == dict.fromkeys(BUCKETS, 0)
    assert all(one["removed"] == 0 for one in output_of(done, 0, *options)["services"])


def test_within_the_grace_nothing_is_removed(done: Embedded) -> None:
    """An object without references counts as young for a day, and is removed after that."""
    blobs = objects_of(done)
    blobs.put("training", "young.json", b"x")
    options = ("gc", "--service", "training")
    [collected] = output_of(done, 0, *options)["services"]
    assert (collected["removed"], collected["young"]) == (0, 1)
    assert output_of(done, 0, "check")["unnamed"]["training"]["manifests"] == ["young.json"]
    day_ago = time.time() - 24 * 3600 - 60
    os.utime(done.home / "objects" / "training" / "young.json", (day_ago, day_ago))
    [collected] = output_of(done, 0, *options)["services"]
    assert (collected["removed"], collected["bytes"], collected["young"]) == (1, 1, 0)


def test_missing_and_altered_objects_are_named(done: Embedded, tmp_path: Path) -> None:
    """A missing object, one of another size, and one with other bytes of the same size are each a fault that names the
    record. The collector reports the missing one, and removes nothing that is referenced."""
    blobs = objects_of(done)
    packs = [key for key in blobs.list("patch-rendering") if key.endswith(".pack")]
    originals = {key: blobs.get("patch-rendering", key) for key in packs}
    missing, cut, flipped = packs[0], blobs_table(blobs, "units"), blobs_table(blobs, "pictures")
    originals |= {key: blobs.get("patch-rendering", key) for key in (cut, flipped)}
    blobs.delete("patch-rendering", missing)
    blobs.put("patch-rendering", cut, originals[cut][:-1])
    blobs.put("patch-rendering", flipped, bytes([originals[flipped][0] ^ 1]) + originals[flipped][1:])
    try:
        faults = output_of(done, 1, "check", "--deep")["faults"]
        rendering = f"rendering {done.stages('plan-1')['rendering']['id']}"
        found = {(fault["kind"], fault["what"]) for fault in faults if fault["named_by"] == rendering}
        assert found == {
            ("missing", f"patch-rendering/{missing}"),
            ("altered", f"patch-rendering/{cut}"),
            ("altered", f"patch-rendering/{flipped}"),
        }
        assert flipped not in json.dumps(output_of(done, 1, "check")["faults"])
        [collected] = output_of(done, 1, "gc", "--service", "patch_rendering", "--grace-h", "0")["services"]
        assert (collected["removed"], [fault["what"] for fault in collected["faults"]]) == (
            0, [f"patch-rendering/{missing}"],
        )  # fmt: skip
    finally:
        for key, content in originals.items():
            blobs.put("patch-rendering", key, content)
    assert output_of(done, 0, "check", "--deep")["faults"] == []


def blobs_table(blobs: FolderBlobs, name: str) -> str:
    return next(key for key in blobs.list("patch-rendering") if f"/{name}-" in key and key.endswith(".parquet"))


def test_an_unreadable_manifest_stops_the_collector(done: Embedded) -> None:
    """While a manifest cannot be read, its references are unknown: it is reported, and no object is removed."""
    blobs = objects_of(done)
    [manifest] = [key for key in blobs.list("activation-extraction") if "/manifest-" in key]
    content = blobs.get("activation-extraction", manifest)
    blobs.put("activation-extraction", "orphan", b"x")
    count = len(list(blobs.list("activation-extraction")))
    blobs.put("activation-extraction", manifest, b"{}")
    try:
        [collected] = output_of(done, 1, "gc", "--service", "activation_extraction", "--grace-h", "0")["services"]
        assert [(fault["kind"], fault["what"]) for fault in collected["faults"]] == [
            ("altered", f"activation-extraction/{manifest}")
        ]
        assert not collected["swept"]
        assert len(list(blobs.list("activation-extraction"))) == count
    finally:
        blobs.put("activation-extraction", manifest, content)
        blobs.delete("activation-extraction", "orphan")


def test_records_of_another_installation_collect_nothing(done: Embedded, tmp_path: Path) -> None:
    """Empty records over a full bucket are refused, because every object would be garbage, unless --accept-empty is
    passed."""
    stranger = Embedded(tmp_path / "stranger")
    copy = tmp_path / "copy"
    output_of(done, 0, "copy-objects", "--to", f"folder://{copy}")
    stranger.environment["PRIMITIVES_BLOBS_URL"] = f"folder://{copy}"
    refused = stranger.command("gc", "--service", "patch_rendering", "--grace-h", "0")
    assert refused.returncode == 1
    assert "the records of patch_rendering refer to none of the" in refused.stderr
    assert sum(1 for _ in FolderBlobs(copy).list("patch-rendering")) > 0
    insisted = output_of(stranger, 0, "gc", "--service", "patch_rendering", "--grace-h", "0", "--accept-empty")
    assert insisted["services"][0]["removed"] > 0
    assert list(FolderBlobs(copy).list("patch-rendering")) == []


def test_a_copy_continues_where_it_stopped(done: Embedded, tmp_path: Path) -> None:
    """A copy has every object of every service. A second copy skips existing objects, and copies missing or truncated
    ones."""
    blobs, copy = objects_of(done), FolderBlobs(tmp_path / "copy")
    counts = {bucket: len(list(blobs.list(bucket))) for bucket in BUCKETS}
    first = output_of(done, 0, "copy-objects", "--to", copy.url)
    assert {bucket: one["objects"] for bucket, one in first.items()} == counts
    keys = list(copy.list("training"))
    copy.delete("training", keys[0])
    copy.put("training", keys[1], b"cut")
    second = output_of(done, 0, "copy-objects", "--from", blobs.url, "--to", copy.url)
    assert (second["training"]["objects"], second["training"]["skipped"]) == (2, counts["training"] - 2)
    for bucket in counts:
        assert [(key, copy.get(bucket, key)) for key in copy.list(bucket)] == [
            (key, blobs.get(bucket, key)) for key in blobs.list(bucket)
        ]


def test_tables_go_back_and_forward_under_the_same_objects(done: Embedded) -> None:
    """The upgrade of docs/operations.md over a completed plan. Tables are taken back to their first version and
    migrated to the newest. Then the check finds no faults, every unit and picture reads as before, and the services
    complete a new plan."""
    before = all_reads(done)
    run_id = done.stages("plan-1")["training"]["id"]
    dataset_id = get(done.services.training, f"/v1/runs/{run_id}")["dataset_id"]
    done.stop()
    for service in SERVICES:
        assert done.command("migrate", "--service", service, "--to", "0001").returncode == 0
    migrated = done.command("migrate")
    assert [line.split("\t")[1].split(" -> ")[0] for line in migrated.stdout.splitlines()] == ["0001"] * len(SERVICES)
    assert output_of(done, 0, "check")["faults"] == []
    done.start()
    assert all_reads(done) == before
    start_plan(done, dataset_id, plan_id="plan-2", network={"run_id": run_id}, extraction=LATER)
    done.wait_for_plan("plan-2")
