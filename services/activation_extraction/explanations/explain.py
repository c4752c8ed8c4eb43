"""Explains a mammogram: runs the network on its tiles, and finds which units of a layer the prediction rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.activation_extraction.explanations.causality import silence_each, silence_named
from services.activation_extraction.explanations.contributions import Contributions, contributions_of
from services.activation_extraction.explanations.mammogram import Mammogram
from services.activation_extraction.explanations.places import Canvas
from services.activation_extraction.explanations.schemas import (
    BoxView,
    ClassScore,
    ExplanationSettings,
    NamedUnits,
    OutlineView,
    TileView,
    UnitContribution,
)
from services.activation_extraction.explanations.tile_runner import TileActivations, run_tiles
from services.activation_extraction.explanations.tiles import DEFAULT_FRACTION, Tiles, cut_tiles, fraction_of_patches
from services.activation_extraction.open_extraction import OpenExtraction
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.breast import find_breast
from services.imaging.licence import DataCard
from services.imaging.manifests import QUANTILES
from services.imaging.outputs import probabilities
from services.imaging.patch_grid import blank_background
from services.imaging.patches import Box
from services.imaging.units import unit_name

FIRING = 0.5
"""A unit is outlined where it exceeds this part of its largest activation in the mammogram."""


@dataclass(frozen=True)
class Prediction:
    """The tiles of a mammogram with what the network computes on them, the explained tile, and the explained class."""

    layer: str
    fraction: float
    tiles: Tiles
    activations: TileActivations
    probabilities: Tensor
    tile: int
    class_: int

    @property
    def box(self) -> Box:
        """The place of the explained tile."""
        return self.tiles.boxes[self.tile]

    @property
    def logit(self) -> float:
        """The explained logit."""
        return float(self.activations.logits[self.tile, self.class_])


def predict(
    context: OpenExtraction,
    settings: ExplanationSettings,
    mammogram: Mammogram,
    on_tiles: Callable[[int, int], None] = lambda _done, _all: None,
) -> Prediction:
    """Run the network on the tiles of a mammogram, and choose what is explained. `on_tiles` receives how many tiles are
    done, and how many there are. InvalidInput if there is no such layer or class, or no breast in the mammogram."""
    checkpoint = context.checkpoint
    layer = context.layer(settings.layer or context.manifest.layers[-1].name)
    class_ = _class_number(checkpoint.classes, settings.class_name) if settings.class_name else None
    fraction = settings.fraction or fraction_of_patches(context.data) or DEFAULT_FRACTION
    grey = mammogram.pixels.grey
    breast = find_breast(grey)
    if _blanks_background(context):
        grey = blank_background(grey, breast)
    tiles = cut_tiles(grey, breast, fraction)
    activations = run_tiles(
        context.network,
        (layer.name, layer.module),
        checkpoint.preprocessing,
        tiles,
        context.batch_size,
        lambda done: on_tiles(done, len(tiles.boxes)),
    )
    found = probabilities(activations.logits, checkpoint.outputs)
    tile = _explained_tile(settings, tiles, found)
    if class_ is None:
        class_ = int(found[tile].argmax())
    return Prediction(layer.name, fraction, tiles, activations, found, tile, class_)


def _explained_tile(settings: ExplanationSettings, tiles: Tiles, found: Tensor) -> int:
    if settings.row is not None and settings.column is not None:
        return tiles.nearest(settings.row, settings.column)
    if settings.row is not None or settings.column is not None:
        raise InvalidInput("row and column name a place together; only one of them is given")
    return int(found[:, -1].argmax())


def _class_number(classes: Sequence[str], name: str) -> int:
    if name not in classes:
        raise InvalidInput(f"the network has no class {quoted(name)}; it has {', '.join(classes)}")
    return list(classes).index(name)


def _blanks_background(context: OpenExtraction) -> bool:
    """Whether the patches of the data set were cut from mammograms without background."""
    card = context.data.manifest.card
    if card is None:
        return False
    recipe = DataCard.model_validate_json(read_verified(context.blobs, card)).recipe
    return recipe.get("blank_background") is True


def class_scores(classes: Sequence[str], prediction: Prediction) -> list[ClassScore]:
    """The scores of all classes on the explained tile, and their largest probabilities."""
    found, logits = prediction.probabilities, prediction.activations.logits[prediction.tile]
    largest, tiles = found.max(0)
    return [
        ClassScore(
            name=name,
            probability=float(found[prediction.tile, number]),
            logit=float(logits[number]),
            largest=float(largest[number]),
            tile=int(tiles[number]),
        )
        for number, name in enumerate(classes)
    ]


def tile_views(prediction: Prediction) -> list[TileView]:
    """All tiles with their probabilities."""
    return [
        TileView(box=box_view(box), probabilities=row)
        for box, row in zip(prediction.tiles.boxes, prediction.probabilities.tolist(), strict=True)
    ]


def box_view(box: Box) -> BoxView:
    """A box as it is shown."""
    return BoxView(row=box.row, column=box.column, height=box.height, width=box.width)


class Attribution:
    """What the logit of a prediction consists of, and what happens to it when units are silenced."""

    def __init__(self, context: OpenExtraction, settings: ExplanationSettings, prediction: Prediction) -> None:
        self._context, self._settings, self._prediction = context, settings, prediction
        layer = context.layer(prediction.layer)
        self._layer = layer.name, layer.module
        preprocessing, tile = context.checkpoint.preprocessing, prediction.tile
        pixels = torch.from_numpy(prediction.tiles.pixels(tile, tile + 1, preprocessing.size))
        self._image = preprocessing.normalise(pixels.to(context.device))
        maxima = prediction.activations.maxima[tile]
        self.contributions: Contributions = contributions_of(
            context.network, layer.module, self._image, prediction.class_, maxima, prediction.logit
        )

    @property
    def top_units(self) -> list[int]:
        """The units with the most influence, most first."""
        order: list[int] = self.contributions.influence.argsort(descending=True, stable=True).tolist()
        return order[: self._settings.units]

    def units(self) -> list[UnitContribution]:
        """The units with the most influence, and where in the mammogram they respond."""
        prediction, context = self._prediction, self._context
        units, contributions = self.top_units, self.contributions
        silenced = silence_each(context.network, self._layer[1], units, self._image, prediction.class_)
        quantiles = context.statistics(prediction.layer)["quantiles"].take(units).to_pylist()
        speaks_for, speaks_against = self._totals()
        canvas = Canvas(*prediction.tiles.grey.shape)
        views = []
        for unit, logit, values in zip(units, silenced, quantiles, strict=True):
            contribution = float(contributions.units[unit])
            total = speaks_for if contribution > 0 else speaks_against
            maxima = prediction.activations.maxima[:, unit]
            maximum = float(maxima[prediction.tile])
            views.append(
                UnitContribution(
                    unit=unit,
                    name=unit_name(unit),
                    influence=float(contributions.influence[unit]),
                    contribution=contribution,
                    share=contribution / total if total else 0.0,
                    necessity=prediction.logit - logit,
                    maximum=maximum,
                    quantile=float(np.interp(maximum, values, QUANTILES)),
                    largest_in_mammogram=float(maxima.max()),
                    outlines=self._outlines(canvas, unit),
                )
            )
        return views

    def named(self) -> NamedUnits | None:
        """The named units together; None if none is named. InvalidInput for a channel that the layer does not have."""
        named = sorted(set(self._settings.named))
        if not named:
            return None
        contributions = self.contributions.units
        if named[-1] >= len(contributions):
            raise InvalidInput(f"layer {self._layer[0]} has no unit {named[-1]}; it has {len(contributions)} units")
        prediction = self._prediction
        logits = silence_named(self._context.network, self._layer[1], named, self._image, prediction.class_)
        chosen = contributions[named]
        speaks_for, _ = self._totals()
        return NamedUnits(
            units=named,
            contribution=float(chosen.sum()),
            evidence=float(chosen.clamp(min=0).sum()) / speaks_for if speaks_for else 0.0,
            without=logits.without_named,
            only=logits.only_named,
            nothing=logits.without_layer,
        )

    def _totals(self) -> tuple[float, float]:
        """The sum of all that speaks for the class, and of all that speaks against it, both positive."""
        found = self.contributions
        parts = torch.cat([found.units, torch.tensor([found.bias, found.rest], dtype=torch.float64)])
        return float(parts.clamp(min=0).sum()), float((-parts).clamp(min=0).sum())

    def _outlines(self, canvas: Canvas, unit: int) -> list[OutlineView]:
        maps: NDArray[np.float32] = self._prediction.activations.maps[:, unit].float().numpy()
        found = canvas.largest_of(self._prediction.tiles.boxes, maps)
        most = found.max()
        if not most > 0:
            return []
        outlines = canvas.outlines(found > FIRING * most)
        return [
            OutlineView(rows=[row for row, _ in outline], columns=[column for _, column in outline])
            for outline in outlines
        ]
