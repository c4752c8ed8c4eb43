"""An explanation of a drawn mammogram with the network of a real extraction."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_tensors

from services.activation_extraction.explanations.job import explain_mammogram
from services.activation_extraction.explanations.schemas import Explanation, ExplanationSettings
from services.activation_extraction.explanations.specs import ExplanationSpec
from services.activation_extraction.explanations.tiles import cut_tiles, fraction_of_patches
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.breast import find_breast
from services.imaging.checkpoint import load_network, open_checkpoint
from services.imaging.dataset import Dataset
from tests.fakes.data import RecordingJob
from tests.fakes.outlined import extract_outlined, store_outlined
from tests.fakes.raw.drawn import drawn_breast, encoded

HEIGHT, WIDTH = 400, 300


class Case:
    """A completed extraction, and a drawn mammogram in the store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.blobs = folder, FolderBlobs(folder / "blobs")
        data, dataset = store_outlined(self.blobs)
        self.data = data
        self.manifest, self.extraction = extract_outlined(self.blobs, folder, data, dataset)
        self.grey = drawn_breast(HEIGHT, WIDTH)
        self.mammogram = self.blobs.put("activation-extraction", "uploads/m", encoded(self.grey))
        self.job = RecordingJob()

    def explain(self, mammogram: ObjectRef | None = None, **settings: object) -> Explanation:
        spec = ExplanationSpec(
            blobs_url=self.blobs.url,
            explanation_id="explanation-1",
            extraction=self.extraction,
            mammogram=mammogram or self.mammogram,
            settings=ExplanationSettings.model_validate(settings),
            batch_size=7,
            device="cpu",
            scratch=str(self.folder),
        )
        return Explanation.model_validate_json(read_verified(self.blobs, explain_mammogram(self.job, spec)))

    def stored(self, ref: ObjectRef) -> bytes:
        return read_verified(self.blobs, ref)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"))


def test_the_tiles_have_the_scale_of_the_patches(case: Case) -> None:
    """The side of a tile is that of the data set's patches, as a part of the shorter side; all lie in the breast."""
    found = case.explain()
    shorter = [min(160, 130)] * 3
    assert found.fraction == fraction_of_patches(case.data) == round(float(np.median([64, 90, 64])) / shorter[0], 3)
    side = int(found.fraction * WIDTH)
    mask = find_breast(case.grey).full()
    for tile in found.tiles:
        box = tile.box
        assert (box.height, box.width) == (side, side)
        assert mask[box.row : box.row + side, box.column : box.column + side].mean() > 0.45
        assert sum(tile.probabilities) == pytest.approx(1, abs=1e-5)
    assert case.job.done[-1] == len(found.tiles)


def test_the_prediction_is_the_networks_own(case: Case) -> None:
    """Logits of tiles are those of a plain forward of the same crops, the explained tile is the most suspicious, and
    the explained class is the one with the largest probability on it."""
    found = case.explain()
    trained = open_checkpoint(case.blobs, case.manifest.network.checkpoint)
    network, preprocessing = load_network(case.blobs, trained), trained.preprocessing
    crops = []
    for tile in found.tiles:
        box = tile.box
        crop = Image.fromarray(case.grey[box.row : box.row + box.height, box.column : box.column + box.width])
        buffer = io.BytesIO()
        crop.save(buffer, "PNG")
        crops.append(preprocessing.pixels(buffer.getvalue(), "crop"))
    with torch.inference_mode():
        logits = network(preprocessing.normalise(torch.from_numpy(preprocessing.stack(crops))))
    probabilities = logits.softmax(1)
    np.testing.assert_allclose([tile.probabilities for tile in found.tiles], probabilities, atol=1e-5)
    assert found.tile == int(probabilities[:, -1].argmax())
    assert found.class_name == found.predicted == trained.classes[int(probabilities[found.tile].argmax())]
    number = trained.classes.index(found.class_name)
    assert found.logit == pytest.approx(float(logits[found.tile, number]), abs=1e-5)
    for place, score in enumerate(found.scores):
        assert score.largest == pytest.approx(float(probabilities[:, place].max()), abs=1e-5)
        assert found.tiles[score.tile].probabilities[place] == pytest.approx(score.largest)


def test_all_contributions_add_up_to_the_logit(case: Case) -> None:
    """Units, bias and rest are the logit to 1e-4, and the rest is rounding. Shares for and against add up."""
    found = case.explain(units=100)
    assert found.exact and abs(found.rest) < 1e-4
    assert sum(found.contributions) + found.bias + found.rest == pytest.approx(found.logit, abs=1e-4)
    by_influence = [unit.influence for unit in found.units]
    assert by_influence == sorted(by_influence, reverse=True)
    for unit in found.units:
        assert unit.contribution == pytest.approx(found.contributions[unit.unit])
        assert unit.necessity == pytest.approx(unit.contribution, abs=1e-4)
        assert 0 <= unit.quantile <= 1
    positive = [one for one in [*found.contributions, found.bias, found.rest] if one > 0]
    for unit in found.units:
        if unit.contribution > 0:
            assert unit.share == pytest.approx(unit.contribution / sum(positive), rel=1e-5)


def test_a_place_a_class_and_a_layer_can_be_chosen(case: Case) -> None:
    """The tile nearest to the place is explained, for the class and the layer that the settings name."""
    found = case.explain(row=200.0, column=10.0, class_name="no", layer="layer3", units=3, cases=2)
    box = found.tiles[found.tile].box
    side = box.height
    assert abs(box.row + side / 2 - 200) <= side / 4 + 1 and box.column == 0
    assert (found.class_name, found.layer, len(found.units), len(found.cases)) == ("no", "layer3", 3, 2)
    assert not found.exact
    assert sum(found.contributions) + found.rest == pytest.approx(found.logit, abs=1e-4)


def test_named_units_are_measured_together(case: Case) -> None:
    """Silencing them moves the logit by the sum of their contributions, and the evidence is their positive part."""
    found = case.explain(named=[3, 1, 3])
    assert found.named is not None and found.named.units == [1, 3]
    total = found.contributions[1] + found.contributions[3]
    assert found.named.contribution == pytest.approx(total)
    assert found.logit - found.named.without == pytest.approx(total, abs=1e-4)
    assert found.named.only == pytest.approx(total + found.bias, abs=1e-4)
    assert found.named.nothing == pytest.approx(found.bias, abs=1e-4)
    assert 0 <= found.named.evidence <= 1
    assert case.explain().named is None
    with pytest.raises(InvalidInput, match="layer4 has no unit 4096; it has "):
        case.explain(named=[4096])


def test_the_pictures_and_the_maps_are_stored(case: Case) -> None:
    """The mammogram is stored in 8 bits at its full size, the maps with their boxes and units."""
    found = case.explain(units=4)
    image = Image.open(io.BytesIO(case.stored(found.image)))
    assert (image.mode, image.size) == ("L", (WIDTH, HEIGHT))
    assert np.abs(np.asarray(image).astype(int) - (case.grey // 257).astype(int)).max() < 24
    tensors = load_tensors(case.stored(found.maps))
    tiles = len(found.tiles)
    assert tensors["units"].tolist() == [unit.unit for unit in found.units]
    assert tensors["maps"].shape[:2] == (tiles, 4)
    assert tensors["boxes"].tolist() == [list(tile.box.model_dump().values()) for tile in found.tiles]
    torch.testing.assert_close(
        tensors["maps"].float().amax((2, 3)), tensors["maxima"][:, tensors["units"]], rtol=1e-3, atol=1e-3
    )


def test_an_image_without_a_breast_is_refused(case: Case) -> None:
    """The message says so."""
    dark = case.blobs.put("activation-extraction", "uploads/dark", encoded(np.zeros((300, 200), np.uint8)))
    with pytest.raises(InvalidInput, match="shows no breast"):
        case.explain(dark)
    with pytest.raises(InvalidInput, match="no class 'cancer'; it has no, yes"):
        case.explain(class_name="cancer")
    with pytest.raises(InvalidInput, match="row and column name a place together"):
        case.explain(row=3.0)


def test_a_small_breast_still_has_a_tile() -> None:
    """If no tile is half breast, the one with the most breast is taken."""
    grey = np.zeros((400, 300), np.uint8)
    grey[100:200, :60] = 200
    tiles = cut_tiles(grey, find_breast(grey), 0.9)
    assert len(tiles.boxes) == 1
    with pytest.raises(InvalidInput, match=r"has 0 tiles of 0\.001"):
        cut_tiles(grey, find_breast(grey), 0.001)


def test_similar_cases_come_from_the_split_of_the_extraction(case: Case) -> None:
    """Each patient appears once, most similar first, and the patient herself can be left out."""
    found = case.explain()
    index = Dataset.open(case.blobs, case.manifest.dataset).index
    assert {one.patient for one in found.cases} <= set(index["patient"].to_pylist())
    assert len({one.patient for one in found.cases}) == len(found.cases) == 4
    first = found.cases[0].patient
    assert first not in {one.patient for one in case.explain(leave_out=first).cases}
    similarities = [one.similarity for one in found.cases]
    assert similarities == sorted(similarities, reverse=True)
