"""What the child process does for explanations: explain one mammogram, and store the result."""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save as save_tensors
from torch import Tensor

from services.activation_extraction.explanations.cases import case_views
from services.activation_extraction.explanations.explain import (
    Attribution,
    Prediction,
    class_scores,
    predict,
    tile_views,
)
from services.activation_extraction.explanations.mammogram import Mammogram, read_mammogram
from services.activation_extraction.explanations.schemas import Explanation, SimilarCaseView, UnitContribution
from services.activation_extraction.explanations.similar_cases import Signatures
from services.activation_extraction.explanations.specs import EXPLAIN, ExplanationSpec
from services.activation_extraction.matrices import Matrices
from services.activation_extraction.names import BUCKET
from services.activation_extraction.open_extraction import OpenExtraction
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.work.jobs import Job
from services.imaging.devices import choose_device
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, put_content
from services.imaging.previews import encode_preview

JPEG_QUALITY = 92


@EXPLAIN.implements
def explain_mammogram(job: Job, spec: ExplanationSpec) -> ObjectRef:
    """Explain a mammogram, store its picture, the maps and the explanation."""
    blobs = open_blobs(spec.blobs_url)
    context = _open_extraction(spec.blobs_url, spec.extraction, spec.device, spec.batch_size)
    job.report(0, 1, phase="reading the mammogram", unit="tiles")
    mammogram = read_mammogram(read_verified(blobs, spec.mammogram))

    def on_tiles(done: int, total: int) -> None:
        job.report(done, total, phase="running the network", unit="tiles")
        job.stop_if_requested()

    with ThreadPoolExecutor(1, "picture") as pool:  # encoding releases the interpreter lock
        pictures = pool.submit(_encode_pictures, mammogram)
        prediction = predict(context, spec.settings, mammogram, on_tiles)
        attribution = Attribution(context, spec.settings, prediction)
        units = attribution.units()
        job.stop_if_requested()
        image, preview = pictures.result()
    folder = f"explanations/{spec.explanation_id}"
    explanation = _assemble(
        spec,
        context,
        mammogram,
        prediction,
        attribution,
        units,
        image=put_content(blobs, BUCKET, f"{folder}/mammogram.jpg", image),
        preview=put_content(blobs, BUCKET, f"{folder}/preview.jpg", preview),
        maps=put_content(blobs, BUCKET, f"{folder}/maps.safetensors", save_tensors(_tensors(prediction, units))),
    )
    return put_content(blobs, BUCKET, f"{folder}/explanation.json", explanation.model_dump_json(indent=1).encode())


def _assemble(
    spec: ExplanationSpec,
    context: OpenExtraction,
    mammogram: Mammogram,
    prediction: Prediction,
    attribution: Attribution,
    units: list[UnitContribution],
    **stored: ObjectRef,
) -> Explanation:
    network, classes = context.manifest.network, list(context.checkpoint.classes)
    found = attribution.contributions
    height, width = mammogram.pixels.grey.shape
    return Explanation(
        explanation_id=spec.explanation_id,
        extraction_id=context.manifest.extraction_id,
        architecture=network.architecture,
        classes=classes,
        run_id=network.run_id,
        checkpoint_id=network.checkpoint_id,
        dataset=context.data.manifest.name,
        split=context.manifest.split,
        mammogram=spec.mammogram.sha256,
        height=height,
        width=width,
        spacing=mammogram.pixels.spacing,
        side=mammogram.side,
        view=mammogram.view,
        notes=list(mammogram.notes),
        fraction=prediction.fraction,
        layer=prediction.layer,
        class_name=classes[prediction.class_],
        predicted=classes[int(prediction.probabilities[prediction.tile].argmax())],
        tile=prediction.tile,
        tiles=tile_views(prediction),
        scores=class_scores(classes, prediction),
        logit=prediction.logit,
        bias=found.bias,
        rest=found.rest,
        exact=found.exact,
        units=units,
        contributions=found.units.tolist(),
        named=attribution.named(),
        cases=_cases(spec, context, prediction),
        **stored,
    )


def _cases(spec: ExplanationSpec, context: OpenExtraction, prediction: Prediction) -> list[SimilarCaseView]:
    settings = spec.settings
    if not settings.cases:
        return []
    signatures = _signatures(spec.blobs_url, context.layer(prediction.layer), spec.scratch)
    maxima = prediction.activations.maxima[prediction.tile].numpy()
    found = signatures.most_similar(maxima, context.data, settings.cases, settings.leave_out)
    return case_views(context.data, found)


def _tensors(prediction: Prediction, units: list[UnitContribution]) -> dict[str, Tensor]:
    """The tensors that are stored: see docs/explanations.md."""
    channels = [unit.unit for unit in units]
    activations = prediction.activations
    return {
        "boxes": torch.tensor([[box.row, box.column, box.height, box.width] for box in prediction.tiles.boxes]),
        "logits": activations.logits,
        "maxima": activations.maxima,
        "units": torch.tensor(channels),
        "maps": activations.maps[:, channels].contiguous(),
    }


def _encode_pictures(mammogram: Mammogram) -> tuple[bytes, bytes]:
    """The mammogram in 8 bits at its full size, and its preview, as JPEG."""
    picture = Image.fromarray(mammogram.shown)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), encode_preview(picture)


@lru_cache(maxsize=1)
def _open_extraction(blobs_url: str, extraction: ObjectRef, device: str, batch_size: int) -> OpenExtraction:
    """The extraction with its data set and network, which stay open for the next job."""
    blobs = open_blobs(blobs_url)
    manifest = ExtractionManifest.model_validate_json(read_verified(blobs, extraction))
    return OpenExtraction(blobs, manifest, choose_device(device), batch_size)


@lru_cache(maxsize=2)
def _signatures(blobs_url: str, layer: ExtractedLayer, scratch: str) -> Signatures:
    matrices = Matrices(open_blobs(blobs_url), layer.maxima, Path(scratch))
    return Signatures.of_blocks(matrices.ids, matrices.blocks())
