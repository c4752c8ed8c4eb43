"""A checkpoint of the original gives here what it gave there: logits, and the maxima of the units it looks at."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor, nn

from services.activation_extraction.extract import TallyOptions, extract, read_batches
from services.activation_extraction.tally import LayerTally
from services.common.blobs import FolderBlobs
from services.imaging.architectures import ORIGINAL_LAYERS, resolve_layers
from services.imaging.checkpoint import load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.training.original import read_network
from services.training.schemas import DatasetView, RunView
from services.training.settings import TrainingSettings
from services.training.tables import Base
from services.training.workflow.datasets import Datasets
from services.training.workflow.runs import Runs
from tests.fakes.ddsm import make_ddsm
from tests.fakes.ports import FakeRunner, World
from tests.fakes.torchvision_0_1_9 import make_network, outputs, read_image, save_checkpoint

TOLERANCE = 1e-5
RUNS = {
    "alexnet": "alexnet_2class",
    "vgg16": "vgg16_2class",
    "inception_v3": "inception_v3_2class",
    "resnet152": "resnet152_3class",
}


class Imports(World):
    """A data set of two patches to look at, and the import of a checkpoint on it."""

    def __init__(self, folder: Path, classes: int) -> None:
        super().__init__(folder, Base.metadata)
        runner = FakeRunner()
        datasets = Datasets(self.ports, runner)  # type: ignore[arg-type]
        self.runs = Runs(self.ports, runner, TrainingSettings())  # type: ignore[arg-type]
        ddsm = make_ddsm(folder / "ddsm", {"train": 3, "val": 2}, classes)
        self.dataset: DatasetView = datasets.import_directory(ddsm, classes, None, lambda *_: None)
        data = Dataset.open(self.blobs, self.dataset.manifest)
        self.patches = list(data.stream(*data.shards("val")))

    def take(self, network: nn.Module, file: Path, config: str) -> RunView:
        """Import a network from the file that the original would have written of it, which is removed."""
        save_checkpoint(network, file, 5)
        run = self.runs.import_original(file, read_network(config), self.dataset.dataset_id)
        file.unlink()
        return run


def extracted(blobs: FolderBlobs, run: RunView, patches: list[tuple[int, bytes]]) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits of patches and the maxima of the paper's layers, by the network and the pass that extraction uses."""
    assert run.checkpoint is not None
    checkpoint = open_checkpoint(blobs, run.checkpoint)
    network = load_network(blobs, checkpoint)
    layers = resolve_layers(checkpoint.architecture, network, ORIGINAL_LAYERS[checkpoint.architecture])
    logits: list[Tensor] = []
    network.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    batches = read_batches(iter(patches), checkpoint.preprocessing, len(patches))
    options = TallyOptions.of(len(patches), torch.tensor([patch_id for patch_id, _ in patches]).numpy())
    tallies = extract(network, layers, batches, options, torch.device("cpu"), checkpoint.preprocessing)
    return logits[0], {name: maxima_by_patch(tally) for name, tally in tallies.items()}


def maxima_by_patch(tally: LayerTally) -> Tensor:
    """The (patches, units) maxima in float32, of which the top state holds all: it keeps as many as there are."""
    state = tally.state_dict()
    return state["values"].gather(1, state["ids"].argsort(1)).T


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is gone after the test: pytest would keep its hundreds of megabytes for three sessions."""
    with TemporaryDirectory(prefix="primitives-") as path:
        yield Path(path)


@pytest.mark.parametrize("model", RUNS)
def test_a_checkpoint_of_the_original_gives_what_it_gave(folder: Path, model: str) -> None:
    """Imported and loaded, its logits are those of an independent network with torchvision 0.1.9's semantics within
    1e-5, and so are its units' maxima, as parts of their layer's largest."""
    config = RUNS[model]
    imports = Imports(folder, read_network(config).arch.num_classes)
    theirs = make_network(model, len(imports.dataset.classes))
    images = torch.stack([read_image(image, theirs.side) for _, image in imports.patches])
    expected, maxima = outputs(theirs, images)
    run = imports.take(theirs, folder / "checkpoint_00000005.pth.tar", config)
    del theirs
    logits, found = extracted(imports.blobs, run, imports.patches)
    assert (logits - expected).abs().max() < TOLERANCE
    assert expected.std() > 0.1, "logits that hardly differ would prove nothing"
    assert list(found) == list(maxima)
    for layer, values in maxima.items():
        assert (found[layer] - values).abs().max() < TOLERANCE * values.abs().max(), layer
