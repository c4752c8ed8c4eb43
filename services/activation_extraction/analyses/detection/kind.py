"""Scores units as detectors of concepts on patients that did not choose their names, next to a network with random
weights and to sham units."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.detection.patches import DetectionPatches
from services.activation_extraction.analyses.detection.random_network import random_networks
from services.activation_extraction.analyses.detection.rows import Activations, Chosen, detection_rows
from services.activation_extraction.analyses.detection.scores import Sample
from services.activation_extraction.analyses.patches import requested_layers
from services.activation_extraction.analyses.settings import DetectionSettings
from services.activation_extraction.batches import read_batches
from services.imaging.capture import hook_layers
from services.imaging.manifests import DETECTION_SCHEMA
from services.imaging.preprocessing import Batch

TRAINED = "trained"


class Detection:
    """Units as detectors of concepts. A piece is a shard of the split that names are chosen on, or scored on."""

    name = "detection"
    settings = DetectionSettings

    def pieces(self, context: Context[DetectionSettings]) -> int:
        """The number of shards. NotFound for a layer that was not extracted, InvalidInput if nothing is known of the
        mammograms of a split."""
        requested_layers(context)
        return len(DetectionPatches(context).shards)

    def run_piece(self, context: Context[DetectionSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Compute `ids` (n,), and for each layer the spatial maxima `<layer>/trained` and `<layer>/random-0` …, each
        (n, units), of the needed patches of a shard."""
        patches = DetectionPatches(context)
        shard = patches.shards[piece]
        wanted = set(patches.within(shard).tolist())
        kinds, first = _random_kinds(context), context.settings.seed
        random = random_networks(context, range(first, first + len(kinds)))
        networks = {TRAINED: context.network} | dict(zip(kinds, random, strict=True))
        stream = (pair for pair in context.data.stream(shard) if pair[0] in wanted) if wanted else iter(())
        maxima = _Maxima(context, networks)
        for batch in read_batches(stream, context.checkpoint.preprocessing, context.batch_size):
            maxima.add(batch)
            on_progress(maxima.patches, len(wanted))
        return maxima.state()

    def merge(
        self, context: Context[DetectionSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """Compute the rows of each layer; see DETECTION_SCHEMA."""
        patches = DetectionPatches(context)
        place = {patch_id: row for row, patch_id in enumerate(_joined(states, "ids").tolist())}
        choosing = [place[patch_id] for patch_id in patches.choosing.tolist()]
        scoring = [place[patch_id] for patch_id in patches.scoring.tolist()]
        names, labels = patches.concepts.names, patches.concepts.shown(patches.choosing)
        known, patients = patches.concepts.shown(patches.scoring), patches.patients(patches.scoring)
        heartbeat()
        for layer in requested_layers(context):
            trained = _joined(states, f"{layer}/{TRAINED}").double().numpy()
            kinds = _random_kinds(context)
            random = torch.cat([_joined(states, f"{layer}/{kind}") for kind in kinds], dim=1).double().numpy()
            activations = Activations(
                chosen=Chosen(trained[choosing], random[choosing], labels),
                trained=Sample(trained[scoring], known, patients),
                random=Sample(random[scoring], known, patients),
            )
            rows = detection_rows(activations, names, context.settings.terms, context.settings.replicates, heartbeat)
            yield layer, pa.Table.from_pylist(rows, schema=DETECTION_SCHEMA)


class _Maxima:
    """Collects the spatial maxima of the requested layers of some networks, batch by batch."""

    def __init__(self, context: Context[DetectionSettings], networks: dict[str, nn.Module]) -> None:
        self._context, self._networks = context, networks
        self._layers = requested_layers(context)
        self._ids: list[Tensor] = [torch.empty(0, dtype=torch.int64)]
        self._found: dict[str, list[Tensor]] = {
            f"{name}/{kind}": [torch.empty(0, context.layer(name).units)] for name in self._layers for kind in networks
        }

    @property
    def patches(self) -> int:
        """The number of patches so far."""
        return sum(map(len, self._ids))

    @torch.inference_mode()
    def add(self, batch: Batch) -> None:
        """Run the networks on a batch."""
        images = self._context.checkpoint.preprocessing.normalise(batch.pixels.to(self._context.device))
        for kind, network in self._networks.items():

            def visit(name: str, maps: Tensor, kind: str = kind) -> None:
                self._found[f"{name}/{kind}"].append(maps[: len(batch.ids)].amax((2, 3)).float().cpu())

            with hook_layers(network, self._layers, visit):
                network(images)
        self._ids.append(batch.ids)

    def state(self) -> dict[str, Tensor]:
        """Ids and maxima of all patches."""
        return {"ids": torch.cat(self._ids)} | {key: torch.cat(parts) for key, parts in self._found.items()}


def _random_kinds(context: Context[DetectionSettings]) -> list[str]:
    return [f"random-{number}" for number in range(context.settings.random_networks)]


def _joined(states: Sequence[dict[str, Tensor]], key: str) -> Tensor:
    return torch.cat([state[key] for state in states])
