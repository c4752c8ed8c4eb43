"""Three ways to train a network on the same patches for an epoch: the service's, the bare steps, and a plain loop."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from bench.tissue import CLASSES, StoredPatches, open_tissue
from services.imaging.architectures import build_network, native_preprocessing
from services.imaging.preprocessing import Preprocessing
from services.training.batches import Batches
from services.training.learner import start_learner
from services.training.loop import fit
from services.training.schedule import build_optimizer
from services.training.schemas import RunSettings
from services.training.settings import TrainingSettings

Contender = Callable[[], None]
"""Trains on every patch once."""

PLAIN_WORKERS = min(4, os.cpu_count() or 4)
"""Processes that decode for the plain loop: those of the original's runs, but none without a core, which would slow
it."""


@dataclass(frozen=True)
class Task:
    """What all of them do: an epoch of a run, on patches, on a device."""

    settings: RunSettings
    folder: Path
    device: torch.device

    @cached_property
    def patches(self) -> StoredPatches:
        """Those below the folder, opened by this process."""
        return open_tissue(self.folder)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the network."""
        return native_preprocessing(self.settings.architecture, self.settings.image_size)

    def finish(self) -> None:
        """Wait until the device has done all that it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def our_loop(task: Task, cache_bytes: int = 0) -> Contender:
    """The training service's `fit`, over batches of a stored data set; it saves nothing."""
    learner = start_learner(task.settings, len(CLASSES), task.device)
    batches = Batches(
        task.patches.dataset, task.patches.local, learner.preprocessing, task.settings.batch_size, cache_bytes
    )

    def epoch() -> None:
        learner.settings = learner.settings.model_copy(update={"epochs": learner.epoch + 1})
        fit(learner, batches, None, math.inf, lambda **_: None, lambda: None)
        task.finish()

    return epoch


def our_loop_cached(task: Task) -> Contender:
    """The same with the memory for decoded patches that the service's settings give a run."""
    return our_loop(task, TrainingSettings().cache_mb << 20)


def bare_steps(task: Task) -> Contender:
    """Forward, backward and step alone, as many as an epoch has, on one batch that is ready on the device."""
    network = _start_network(task, torch.channels_last)
    optimizer = build_optimizer(network, task.settings)
    size, side = task.settings.batch_size, task.preprocessing.size
    images = torch.randn((size, 3, side, side), device=task.device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(size, device=task.device) % len(CLASSES)

    def epoch() -> None:
        for _ in range(len(task.patches.files) // size):
            _plain_step(network, optimizer, images, labels)
        task.finish()

    return epoch


def plain_loop(task: Task) -> Contender:
    """A loop as the original's: PIL, torchvision's transforms and a DataLoader over files, images as N x C x H x W."""
    network = _start_network(task, torch.contiguous_format)
    options = task.settings
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay
    )
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(
        PatchFiles(task.patches.files, task.preprocessing),
        batch_size=task.settings.batch_size,
        shuffle=True,
        num_workers=PLAIN_WORKERS,
        pin_memory=task.device.type == "cuda",
        persistent_workers=True,  # else each epoch would start them anew: more than a short epoch should pay
    )

    def epoch() -> None:
        for images, labels in loader:
            here = (images.to(task.device, non_blocking=True), labels.to(task.device, non_blocking=True))
            _plain_step(network, optimizer, *here)
        task.finish()

    return epoch


class PatchFiles(TorchDataset[tuple[Tensor, int]]):
    """Patches from files, three equal channels, normalised."""

    def __init__(self, files: Sequence[tuple[Path, int]], preprocessing: Preprocessing) -> None:
        self._files = files
        self._transform = transforms.Compose(
            [
                transforms.Resize((preprocessing.size, preprocessing.size)),
                transforms.ToTensor(),
                transforms.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        path, label = self._files[number]
        image: Tensor = self._transform(Image.open(path).convert("RGB"))
        return image, label


def _start_network(task: Task, layout: torch.memory_format) -> nn.Module:
    """The network at its start, in training mode, its weights in a layout."""
    torch.manual_seed(task.settings.seed)
    network = build_network(task.settings.architecture, len(CLASSES), task.settings.weights)
    return network.to(task.device, memory_format=layout).train()  # type: ignore[call-overload, no-any-return]


def _plain_step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    loss = functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
