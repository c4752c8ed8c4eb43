"""The baseline of an evaluation: a linear probe, which is logistic regression on the features of a frozen network.

A run that is worse than a probe on the features with which it began has learned less than nothing from its data.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from services.common.errors import InvalidInput
from services.imaging.architectures import build_network, head_path
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import Dataset
from services.training.evaluation.predictions import Predictions, read_batches
from services.training.schemas import RunSettings

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty (scikit-learn's C), of which cross-validation over patients chooses one."""
FOLDS = 5
DEFAULT_STRENGTH = 1e-2
"""With patches of one patient only, nothing can be chosen."""
STEPS = 2000
TRAIN = "train"


def probe(
    checkpoint: CheckpointManifest,
    data: Dataset,
    split: str,
    batch_size: int,
    device: torch.device,
    on_patches: Callable[[int], None] = lambda _done: None,
) -> Predictions:
    """Fit the probe on the split `train` of a data set, and predict another split. The features are the inputs of the
    last layer of the checkpoint's architecture, with the weights from which its run started.

    InvalidInput if the data set has no split `train`, or only one class in it. `on_patches` receives the number of
    patches of both splits that are done.
    """
    if TRAIN not in data.manifest.splits:
        raise InvalidInput(f"data set {data.manifest.name} has no split {TRAIN} to fit a probe on")
    network = _frozen(checkpoint).to(device)
    done = 0

    def features(name: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        nonlocal done
        ids, found = [], []
        for batch_ids, batch_features in _features(network, data, name, checkpoint, batch_size, device):
            ids.append(batch_ids)
            found.append(batch_features)
            done += len(batch_ids)
            on_patches(done)
        return np.concatenate(ids), np.concatenate(found)

    train_ids, train_features = features(TRAIN)
    patients = data.index.take(train_ids)["patient"].to_pylist()
    model = fit_probe(train_features, data.labels[train_ids], patients)
    ids, seen = (train_ids, train_features) if split == TRAIN else features(split)
    rows = data.index.take(ids)
    probabilities = np.zeros((len(ids), len(data.manifest.classes)))
    probabilities[:, model.classes_] = model.predict_proba(seen.astype(np.float64))
    return Predictions(ids, data.labels[ids], rows["patient"].to_pylist(), probabilities)


def fit_probe(features: NDArray[np.float32], labels: NDArray[np.int64], patients: list[str]) -> LogisticRegression:
    """Fit logistic regression on (n, features), standardised. The strength of the penalty is the one with the largest
    likelihood of patients that were left out. InvalidInput if there is only one class."""
    if len(set(labels.tolist())) < 2:
        raise InvalidInput("the patches of the split train are all of one class; a probe needs at least two")
    groups = np.unique(patients, return_inverse=True)[1]
    folds = min(FOLDS, int(groups.max()) + 1)
    strength = DEFAULT_STRENGTH
    if folds > 1:
        splits = [
            (kept, left)
            for kept, left in GroupKFold(folds).split(features, labels, groups)
            if len(set(labels[kept].tolist())) > 1
        ]
        strength = max(STRENGTHS, key=lambda one: _likelihood(features, labels, splits, one))
    return _model(strength).fit(features.astype(np.float64), labels)


def _likelihood(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    strength: float,
) -> float:
    """The mean log-likelihood of patches of patients that were left out. A class that the others do not have counts as
    a probability of a millionth."""
    total = 0.0
    for kept, left in splits:
        model = _model(strength).fit(features[kept], labels[kept])
        columns = {label: column for column, label in enumerate(model.classes_.tolist())}
        predicted = model.predict_proba(features[left])
        own = [predicted[row, columns[label]] if label in columns else 0.0 for row, label in enumerate(labels[left])]
        total += float(np.log(np.maximum(own, 1e-6)).sum())
    return total


def _model(strength: float) -> LogisticRegression:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=STEPS))


def _frozen(checkpoint: CheckpointManifest) -> nn.Module:
    settings = RunSettings.model_validate(checkpoint.settings)
    torch.manual_seed(settings.seed)
    network = build_network(
        settings.architecture,
        len(checkpoint.classes),
        settings.weights,
        settings.semantics,
        checkpoint.transform_input,
        settings.channels,
    )
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _features(
    network: nn.Module, data: Dataset, split: str, checkpoint: CheckpointManifest, batch_size: int, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield ids and features of the batches of a split."""
    seen: list[Tensor] = []
    head = network.get_submodule(head_path(network))
    hook = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].flatten(1)))
    try:
        for batch in read_batches(data, split, checkpoint.preprocessing, batch_size):
            network(checkpoint.preprocessing.normalise(batch.pixels.to(device, non_blocking=True)))
            yield batch.ids.numpy(), seen.pop().float().cpu().numpy()
    finally:
        hook.remove()
