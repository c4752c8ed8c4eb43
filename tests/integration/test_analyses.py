"""Analyses in the embedded form, started by a plan, across a kill and a restart, and by the command."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format
from primitives.activation_extraction.v1 import activation_extraction_pb2_grpc, analysis_pb2, explanation_pb2

from services.cli.analyses import summarise_analyses
from services.cli.client import get, post
from services.cli.connection import Connection
from tests.fakes.raw.dicom import breast, file_bytes, mammogram
from tests.integration.embedded import Embedded, embedded
from tests.integration.finished import NETWORK
from tests.integration.test_plan import EXTRACTION, import_data, start_plan


def test_a_plan_is_dissected_across_a_kill(tmp_path: Path) -> None:
    """A plan's analysis survives a kill once it is recorded, and is no stage of the plan. The command's analysis has
    the same rows, over HTTP and gRPC."""
    with embedded(tmp_path / "home") as home:
        options = EXTRACTION | {"analyses": ["dissection"]}
        start_plan(home, import_data(home, tmp_path / "ddsm", outlined=True), network=NETWORK, extraction=options)
        home.wait_for(lambda: bool(analyses_of(home)))
        home.kill()
        home.start()
        stages = home.wait_for_plan("plan-1")
        assert list(stages) == ["training", "extraction", "rendering", "study"]
        home.wait_for(lambda: analyses_of(home)[0]["state"] == "completed")
        [first] = analyses_of(home)
        assert (first["plan_id"], first["kind"], first["layers"]) == ("plan-1", "dissection", [])
        done = home.command("analyse", first["extraction_id"], "--kind", "dissection", "--set", "over=all")
        assert done.returncode == 0, done.stderr
        second = json.loads(done.stdout)
        assert (second["state"], second["layers"], second["settings"]["over"]) == (
            "completed",
            ["layer3", "layer4"],
            "all",
        )
        assert second["progress"] == {"phase": "merging", "done": 2, "total": 2, "unit": "layers"}
        listed = json.loads(home.command("analyses", first["extraction_id"]).stdout)
        assert [one["analysis_id"] for one in listed] == [second["analysis_id"], first["analysis_id"]]
        rows = table(home, first["analysis_id"])
        assert table(home, second["analysis_id"]) == rows, "all mammograms have outlines"
        assert {row["phenomenon"] for row in rows} == {"disc"}
        assert any(row["iou"] > 0 for row in rows)
        check_grpc(home, first["analysis_id"], rows)
        summary = summarise_analyses(Connection(home.services.activation_extraction), first["extraction_id"])[
            "dissection"
        ]
        assert (summary["state"], list(summary["best"])) == ("completed", ["disc"])
        assert summary["best"]["disc"]["iou"] >= round(max(row["iou"] for row in rows), 4)
        refused = home.command("analyse", first["extraction_id"], "--set", "tail=0.3")
        assert refused.returncode == 1 and "tail" in refused.stderr
        check_explanation(home, tmp_path, first["extraction_id"])
        done = home.command("analyse", first["extraction_id"], "--kind", "detection", "--set", "random_networks=1")
        assert done.returncode == 0, done.stderr
        check_evidence(home, tmp_path, stages["study"]["id"])


def check_evidence(home: Embedded, folder: Path, study_id: str) -> None:
    """The pack of a study without a protocol has all that is known, says what is missing, and is not overwritten. The
    manifest has the hash of every file; answers have no names of readers."""
    study = f"/v1/studies/{study_id}"
    layer = get(home.services.annotation, study)["layers"][0]["name"]
    url = f"{home.services.annotation}{study}/layers/{layer}/units"
    unit = httpx.get(url, headers={"x-reader": "Ana Reader"}).json()["units"][0]["unit"]
    row = {
        "reader": "Ana Reader", "layer": layer, "unit": unit, "recognizable": "yes", "associated": "unsure",
        "multiplicity": "single", "description": "A round disc",
    }  # fmt: skip
    post(home.services.annotation, f"{study}/responses/import", {"rows": [row]})
    chain, pack = folder / "audit.jsonl", folder / "pack.zip"
    assert home.command("audit", "export", "--out", str(chain)).returncode == 0
    done = home.command("evidence", study_id, str(pack), "--audit", str(chain))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(pack) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert set(manifest["missing"]) == {"protocols", "evaluations", "data-card.json", "import-report.json"}
    assert b"round disc" in files["responses.csv"] and b"Ana Reader" not in files["responses.csv"]
    [name] = json.loads(files[f"names/{layer}.json"])["names"]
    assert (name["text"], name["verdict"], [one["concept"] for one in name["scores"]]) == (
        "A round disc", "unverified", ["disc"],
    ), "the only split of this data has too few patients"  # fmt: skip
    assert files["audit.jsonl"].count(b"\n") > 0 and study_id.encode() in files["audit.jsonl"]
    assert b"44 items: " in files["claim-2024.md"] and b"30 items: " in files["future-ai.md"]
    assert files["claim-2024.md"].count(b"| open |") > 10 and b"names of units on held-out" in files["model-card.md"]
    again = home.command("evidence", study_id, str(pack))
    assert again.returncode == 1 and "not overwritten" in again.stderr


def check_explanation(home: Embedded, folder: Path, extraction_id: str) -> None:
    """A DICOM is explained by the command with the newest extraction, in the same words and numbers each time, and over
    gRPC with the same numbers. Nothing of its header is stored."""
    file = folder / "one.dcm"
    file.write_bytes(file_bytes(mammogram(breast(400, 300), PatientName="Jane^Doe", PatientID="J-1")))
    done = home.command("explain", str(file), "--class", "cancer", "--units", "3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["extraction_id"], found["layer"], found["class_name"]) == (extraction_id, "layer4", "cancer")
    assert sum(found["contributions"]) + found["bias"] + found["rest"] == pytest.approx(found["logit"], abs=1e-4)
    assert len(found["units"]) == len(found["in_words"]["units"]) == 3
    assert (found["side"], found["view"]) == ("LEFT", "CC")
    assert not [path for path in (home.home / "blobs").rglob("*") if path.is_file() and b"Jane" in path.read_bytes()]
    shown = home.command("explain", str(file), "--class", "cancer", "--units", "3")
    assert shown.returncode == 0, shown.stderr
    for sentence in found["in_words"]["sentences"]:
        assert sentence in shown.stdout
    assert "For research only" in shown.stdout
    refused = home.command("explain", str(file), "--place", "here")
    assert refused.returncode == 1 and "expected ROW,COLUMN" in refused.stderr
    with grpc.insecure_channel(f"127.0.0.1:{home.grpc['EXTRACTION']}") as channel:
        stub = activation_extraction_pb2_grpc.ActivationExtractionServiceStub(channel)
        content = file.read_bytes()
        chunks = (content[first : first + 100_000] for first in range(0, len(content), 100_000))
        uploads = (explanation_pb2.UploadMammogramRequest(chunk=chunk) for chunk in chunks)
        uploaded = stub.UploadMammogram(uploads, timeout=30)
        request = explanation_pb2.StartExplanationRequest(
            extraction_id=extraction_id, mammogram=uploaded.sha256, class_name="cancer"
        )
        started = stub.StartExplanation(request, timeout=30).explanation
        watched = stub.WatchExplanation(
            explanation_pb2.WatchExplanationRequest(explanation_id=started.explanation_id), timeout=120
        )
        assert [one.explanation.state for one in watched][-1] == "completed"
        read = explanation_pb2.GetExplanationResultRequest(explanation_id=started.explanation_id)
        assert stub.GetExplanationResult(read, timeout=30).result.logit == pytest.approx(found["logit"], abs=1e-4)
        picture = explanation_pb2.GetExplanationPictureRequest(explanation_id=started.explanation_id)
        assert b"".join(one.chunk for one in stub.GetExplanationPicture(picture, timeout=30)).startswith(b"\xff\xd8")


def analyses_of(home: Embedded) -> list[dict[str, Any]]:
    """The analyses of all extractions."""
    base = home.services.activation_extraction
    extractions = get(base, "/v1/extractions")["extractions"]
    found: list[dict[str, Any]] = []
    for extraction in extractions:
        found += get(base, f"/v1/extractions/{extraction['extraction_id']}/analyses")["analyses"]
    return found


def table(home: Embedded, analysis_id: str) -> list[dict[str, Any]]:
    """The rows of an analysis for layer4."""
    path = f"/v1/analyses/{analysis_id}/layers/layer4?limit=1000"
    rows: list[dict[str, Any]] = get(home.services.activation_extraction, path)["rows"]
    return rows


def check_grpc(home: Embedded, analysis_id: str, rows: list[dict[str, Any]]) -> None:
    """Compare the rows with those over gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{home.grpc['EXTRACTION']}") as channel:
        stub = activation_extraction_pb2_grpc.ActivationExtractionServiceStub(channel)
        options = analysis_pb2.GetAnalysisTableRequest(analysis_id=analysis_id, layer="layer4", limit=1000)
        answer = stub.GetAnalysisTable(options, timeout=10)
        assert [json_format.MessageToDict(row) for row in answer.rows] == rows
