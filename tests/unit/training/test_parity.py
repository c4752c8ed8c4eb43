"""A checkpoint of the original computes the same logits and unit maxima here as in the original."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor, nn

from services.activation_extraction.batch_runner import BatchRunner
from services.activation_extraction.batches import read_batches
from services.activation_extraction.extract import extract
from services.activation_extraction.tally import LayerTally, TallyOptions
from services.common.blobs import FolderBlobs
from services.imaging.architectures import ORIGINAL_LAYERS, resolve_layers
from services.imaging.checkpoint import load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.training.importer import ImportSource
from services.training.original import read_network
from services.training.schemas import DatasetView, RunView
from services.training.settings import TrainingSettings
from services.training.tables import Base
from services.training.workflow.datasets import Datasets
from services.training.workflow.imports import Imports
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


class Importing(World):
    """A data set with two patches to compare, and the import of a checkpoint on it."""

    def __init__(self, folder: Path, classes: int) -> None:
        super().__init__(folder, Base.metadata)
        runner = FakeRunner()
        datasets = Datasets(self.ports, runner)  # type: ignore[arg-type]
        self.imports = Imports(datasets, Runs(self.ports, runner, TrainingSettings()))  # type: ignore[arg-type]
        ddsm = make_ddsm(folder / "ddsm", {"train": 3, "val": 2}, classes)
        self.dataset: DatasetView = datasets.import_directory(ImportSource(ddsm, classes), lambda *_: None)
        data = Dataset.open(self.blobs, self.dataset.manifest)
        self.patches = list(data.stream(*data.shards("val")))

    def take(self, network: nn.Module, file: Path, config: str) -> RunView:
        """Import a network from a file as the original would have written it, and remove the file."""
        save_checkpoint(network, file, 5)
        run = self.imports.import_original(file, read_network(config), self.dataset.dataset_id)
        file.unlink()
        return run


def extracted(blobs: FolderBlobs, run: RunView, patches: list[tuple[int, bytes]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the logits of patches and the maxima of the paper's layers as extraction does."""
    assert run.checkpoint is not None
    checkpoint = open_checkpoint(blobs, run.checkpoint)
    network = load_network(blobs, checkpoint)
    layers = resolve_layers(checkpoint.architecture, network, ORIGINAL_LAYERS[checkpoint.architecture])
    logits: list[Tensor] = []
    network.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    batches = read_batches(iter(patches), checkpoint.preprocessing, len(patches))
    options = TallyOptions.of(len(patches), torch.tensor([patch_id for patch_id, _ in patches]).numpy())
    runner = BatchRunner(network, layers, checkpoint.preprocessing, torch.device("cpu"))
    tallies = extract(runner, batches, options)
    return logits[0], {name: maxima_by_patch(tally) for name, tally in tallies.items()}


def maxima_by_patch(tally: LayerTally) -> Tensor:
    """Return the maxima (patches, units) in float32. The tally contains all of them: its top k is the number of
    patches."""
    state = tally.state_dict()
    return state["values"].gather(1, state["ids"].argsort(1)).T


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is removed after the test: pytest would keep its hundreds of megabytes for three sessions."""
    with TemporaryDirectory(prefix="primitives-") as path:
        yield Path(path)


@pytest.mark.parametrize("model", RUNS)
def test_a_checkpoint_of_the_original_computes_the_same(folder: Path, model: str) -> None:
    """After the import, its logits equal those of an independent network with torchvision 0.1.9's semantics within
    1e-5. So do its units' maxima, relative to the largest of their layer."""
    config = RUNS[model]
    imports = Importing(folder, read_network(config).arch.num_classes)
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
