"""Collects the documents of a study from the four services."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.cli.client import Services, get, get_all, get_bytes
from services.common.errors import NotFound


@dataclass
class Documents:
    """What is known of a study: JSON documents and tables by their place in the pack. `missing` says what is not
    there, and why."""

    json: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def part(self, place: str) -> Mapping[str, Any]:
        """A JSON document that is an object; empty if it is missing."""
        found = self.json.get(place, {})
        return found if isinstance(found, dict) else {}

    def below(self, folder: str) -> dict[str, Any]:
        """The JSON documents of a folder, by place."""
        return {place: content for place, content in self.json.items() if place.startswith(f"{folder}/")}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """All files, in the order of their places."""
        encoded = {place: json.dumps(content, indent=1).encode() for place, content in self.json.items()}
        yield from sorted((encoded | self.tables).items())


def collect(services: Services, study_id: str, audit: Path | None) -> Documents:
    """Read the documents of a study. NotFound for an unknown study; what only some studies have may be missing."""
    found = Documents()
    study = get(services.annotation, f"/v1/studies/{quote(study_id, '')}")
    found.json["study.json"] = study
    _add_readings(found, services.annotation, study_id)
    rendering = get(services.patch_rendering, f"/v1/renderings/{quote(study['rendering_id'], '')}")
    extraction_id = rendering["extraction_id"]
    extraction = get(services.activation_extraction, f"/v1/extractions/{quote(extraction_id, '')}")
    found.json |= {"rendering.json": rendering, "extraction.json": extraction}
    _add_verification(found, services, extraction)
    _add_run(found, services.training, extraction["run_id"])
    if audit is None:
        found.missing["audit.jsonl"] = "no export of the audit chain was given (`primitives audit export`, --audit)"
    else:
        found.tables["audit.jsonl"] = _entries_of(audit, study_id)
    return found


def _add_readings(found: Documents, base: str, study_id: str) -> None:
    """The versions of the protocol with answers and results, and the answers to the four questions."""
    path = f"/v1/studies/{quote(study_id, '')}"
    protocols = get(base, f"{path}/protocols")["protocols"]
    for protocol in protocols:
        version = protocol["version"]
        place = f"{path}/protocols/{version}"
        found.json[f"protocols/{version}/protocol.json"] = protocol
        found.tables[f"protocols/{version}/answers.csv"] = get_bytes(base, f"{place}/export.csv")
        found.json[f"protocols/{version}/results.json"] = get(base, f"{place}/results")
    if not protocols:
        found.missing["protocols"] = "the study was read without a protocol"
    found.tables["responses.csv"] = get_bytes(base, f"{path}/responses/export.csv")


def _add_verification(found: Documents, services: Services, extraction: Mapping[str, Any]) -> None:
    """The names of units with their scores and verdicts, and the analyses."""
    extraction_id = quote(extraction["extraction_id"], "")
    base = services.activation_extraction
    analyses = get_all(base, f"/v1/extractions/{extraction_id}/analyses", "analyses")
    found.json["analyses.json"] = analyses
    for layer in extraction["results"]:
        names = get(services.annotation, f"/v1/names/{extraction_id}/{quote(layer['name'], '')}")
        found.json[f"names/{layer['name']}.json"] = names
    if not any((one["kind"], one["state"]) == ("detection", "completed") for one in analyses):
        found.missing["verification"] = "no analysis of kind detection is completed, so every name is unverified"


def _add_run(found: Documents, base: str, run_id: str) -> None:
    """The run, its evaluations, and its data set with card and report."""
    run = get(base, f"/v1/runs/{quote(run_id, '')}")
    found.json["run.json"] = run
    completed = [
        one
        for one in get_all(base, "/v1/evaluations", "evaluations")
        if (one["run_id"], one["state"]) == (run_id, "completed")
    ]
    for one in completed:
        report = get(base, f"/v1/evaluations/{quote(one['evaluation_id'], '')}/report")
        found.json[f"evaluations/{one['evaluation_id']}.json"] = {"evaluation": one, "report": report}
    if not completed:
        found.missing["evaluations"] = "the run has no completed evaluation (`primitives evaluate`)"
    path = f"/v1/datasets/{quote(run['dataset_id'], '')}"
    found.json["dataset.json"] = get(base, path)
    found.json["balance.json"] = get(base, f"{path}/balance")
    for place, name in (("data-card.json", "card"), ("import-report.json", "report")):
        try:
            found.json[place] = get(base, f"{path}/{name}")
        except NotFound:
            found.missing[place] = "the data set was not imported from raw mammograms"


def _entries_of(audit: Path, study_id: str) -> bytes:
    """The lines of an exported audit chain that are about a study. InvalidInput for a file that is no export."""
    from services.annotation.audit_verification import entry_json, read_exported

    lines = map(entry_json, read_exported(audit))
    return "".join(f"{line}\n" for line in lines if study_id in line).encode()
