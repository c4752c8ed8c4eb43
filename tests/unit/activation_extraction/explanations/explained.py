"""The use cases of explanations, over a completed extraction of a data set with mammograms."""

import shutil
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from services.activation_extraction.explanations.api import UPLOAD_PATH, add_explanation_routes
from services.activation_extraction.explanations.job import explain_mammogram
from services.activation_extraction.explanations.schemas import ExplanationView, StartExplanationRequest
from services.activation_extraction.explanations.workflow import LARGEST_UPLOAD, Explanations
from services.activation_extraction.references import collect_references
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import Base, ExtractionRow
from services.common.http.app import LARGEST_BODY, create_app
from services.common.http.streams import Streams
from services.common.objects.references import References
from tests.fakes.data import RecordingJob
from tests.fakes.ports import FakeRunner, World
from tests.fakes.raw.drawn import drawn_breast, encoded
from tests.unit.activation_extraction.analyses.extracted import Extracted

HEIGHT, WIDTH = 400, 300


class Explained(World):
    """The use cases. Jobs run in this process instead of a child."""

    def __init__(self, folder: Path, extracted: Extracted) -> None:
        shutil.copytree(extracted.folder, folder / "blobs")
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.explanations = Explanations(self.ports, self.runner, ExtractionSettings())  # type: ignore[arg-type]
        self.manifest, self.ref = extracted.manifest, extracted.ref
        row = ExtractionRow(
            extraction_id="extraction-1", run_id="run-1", dataset=self.manifest.dataset,
            checkpoint=self.manifest.network.checkpoint, split="val", layers=["layer3", "layer4"], top_k=4,
            batch_size=5, shards=4, patches=12, state="completed", manifest=self.ref,
        )  # fmt: skip
        with self.ports.records.transaction() as session:
            session.add(row)
        self.job = RecordingJob()
        self.runner.answers["explain_mammogram"] = lambda spec: explain_mammogram(self.job, spec)
        self.file = encoded(drawn_breast(HEIGHT, WIDTH))

    def begin(self, **settings: Any) -> ExplanationView:
        """Upload the drawn mammogram, and start its explanation."""
        return self.explanations.start(self.request(**settings))

    def request(self, **settings: Any) -> StartExplanationRequest:
        """The request to explain the drawn mammogram, which is uploaded."""
        uploaded = self.explanations.upload(self.file)
        content = {"extraction_id": "extraction-1", "mammogram": uploaded.sha256} | settings
        return StartExplanationRequest.model_validate(content)

    def complete(self, **settings: Any) -> ExplanationView:
        """Explain the drawn mammogram."""
        started = self.begin(**settings)
        for command in self.sent():
            self.explanations.explain(command)
        return self.explanations.get(started.explanation_id)

    def app(self) -> FastAPI:
        """The HTTP API of explanations."""
        app = create_app(
            "activation_extraction",
            lambda: True,
            largest_body_of=lambda path: LARGEST_UPLOAD if path == UPLOAD_PATH else LARGEST_BODY,
        )
        add_explanation_routes(app, self.explanations, Streams())
        return app

    def referenced(self, prefix: str) -> set[str]:
        """The keys with a prefix to which the records refer."""
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        assert not found.incomplete
        return {one.key for one in found.objects if one.key.startswith(prefix)}
