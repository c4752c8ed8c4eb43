"""The bench of rendering, with small sizes."""

import json

import pytest

from bench import rendering
from bench.rendering import Sizes, bench_rendering


def test_both_rates_and_their_ratio_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """bench_rendering returns the rates of both ways for the first side, as plain JSON."""
    monkeypatch.setattr(rendering, "await_quiet", lambda: 0.0)
    figures = bench_rendering(Sizes(sides=(64,), patches=64, units=2, original_units=1, rounds=1))
    json.dumps(figures)
    for name in ("ours_pictures_s", "original_pictures_s", "webp_pictures_s", "heat_map_pictures_s"):
        assert figures[name] > 0
    assert figures["ratio"] == round(figures["ours_pictures_s"] / figures["original_pictures_s"], 2)
    assert figures["by_side"]["64"]["rounds"]["ours"] == [figures["ours_pictures_s"]]
