"""The draw of games: what a trial shows, that another implementation can replay it, and what is refused."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.annotation.games.document import GameDocument, GameKind, Player
from services.annotation.games.draw import HELD_OUT, Draw, LayerUnits
from services.common.errors import InvalidInput
from tests.fakes.replayed_games import replayed_items, replayed_trial

PATCHES = 8
KINDS: list[GameKind] = ["intruder", "prediction"]


def shared_names(units: int, ranks: int) -> dict[int, list[str]]:
    """A layer whose units share many patches: unit u has the patches 3u, 3u + 1 and so on."""
    return {unit: [f"patch-{3 * unit + rank}" for rank in range(ranks)] for unit in range(units)}


def layer_of(names: dict[int, list[str]], texts: dict[int, str] | None = None) -> LayerUnits:
    """A layer of units with these patches."""
    return LayerUnits("block4", sorted(names), lambda channel: names[channel], texts or {})


def draw(kind: GameKind = "intruder", seed: int = 1, reader: str = "P01") -> Draw:
    """The draw of one reader."""
    return Draw(kind, seed, reader, PATCHES)


@given(
    st.integers(0, 2**53), st.sampled_from(["P01", "P37"]), st.sampled_from(KINDS), st.integers(0, 39), st.booleans()
)
def test_a_trial_is_that_of_an_independent_implementation(
    seed: int, reader: str, kind: GameKind, unit: int, alike: bool
) -> None:
    """For any seed, reader and unit, both implementations show the same patches in the same places."""
    names = shared_names(40, 30)
    texts = {channel: f"text {channel % 3 if alike else channel}" for channel in range(0, 40, 2)}
    trial = draw(kind, seed, reader).trial(unit + 5, unit, layer_of(names, texts))
    shown, right = replayed_trial((seed, reader, unit + 5), kind, unit, names, texts, PATCHES)
    assert ([tuple(one) for one in trial.shown], trial.right) == (shown, right)


@given(st.integers(0, 2**53), st.sets(st.integers(0, 19)), st.sets(st.integers(0, 9), max_size=5), st.integers(1, 14))
def test_the_items_of_a_reader_are_those_of_an_independent_implementation(
    seed: int, known: set[int], alone: set[int], trials: int
) -> None:
    """For any seed and knowledge, both implementations give the same items in the same order."""
    player = Player(pseudonym="P01", known=tuple(sorted(known)), alone=tuple(sorted(alone)))
    assert draw(seed=seed).items(player, 20, trials) == replayed_items((seed, "P01"), 20, known, alone, trials)


def test_a_known_draw_never_changes() -> None:
    """Two trials and an order are written down here, so that no later version can change them unnoticed."""
    names = shared_names(40, 30)
    found = {kind: draw(kind, seed=7).trial(3, 20, layer_of(names)) for kind in KINDS}
    assert {kind: ([tuple(one) for one in trial.shown], trial.right) for kind, trial in found.items()} == KNOWN
    assert draw(seed=7).items(Player(pseudonym="P01"), 8, None) == KNOWN_ITEMS


KNOWN = {
    "intruder": ([(20, 3), (20, 4), (20, 1), (20, 8), (34, 7)], 5),
    "prediction": ([(34, 23), (6, 10), (32, 21), (20, 18)], 4),
}
KNOWN_ITEMS = [1, 2, 5, 3, 4, 0, 6, 7]


def test_an_intruder_is_among_the_first_patches_of_another_unit_only() -> None:
    """Four of five patches are the unit's own first ones, and the right one is of another unit and unknown to it."""
    names = shared_names(40, 30)
    for unit in range(40):
        trial = draw().trial(unit, unit, layer_of(names))
        right = trial.shown[trial.right - 1]
        assert [one.unit for one in trial.shown].count(unit) == 4
        assert right.unit != unit
        assert names[right.unit][right.rank - 1] not in names[unit]
        assert all(1 <= one.rank <= PATCHES for one in trial.shown)


def test_a_prediction_shows_held_out_patches_of_four_units() -> None:
    """All ranks are beyond those that readers saw, the right one is of the unit, and no patch occurs twice."""
    names = shared_names(40, 30)
    for unit in range(40):
        trial = draw("prediction").trial(unit, unit, layer_of(names))
        assert trial.shown[trial.right - 1].unit == unit
        assert len({one.unit for one in trial.shown}) == 4
        assert all(PATCHES < one.rank <= PATCHES + HELD_OUT for one in trial.shown)
        assert len({names[one.unit][one.rank - 1] for one in trial.shown}) == 4


def test_foils_have_another_description() -> None:
    """A unit that is described in the same words never gives a foil: nobody could distinguish its patches."""
    texts = dict.fromkeys(range(0, 40, 2), "spiculated")
    layer = layer_of(shared_names(40, 30), texts)
    foils = [one.unit for unit in range(0, 40, 2) for one in draw("prediction").trial(unit, unit, layer).shown]
    assert sorted(unit for unit in foils if unit % 2 == 0) == list(range(0, 40, 2))


@pytest.mark.parametrize(("kind", "options"), [("intruder", 5), ("prediction", 4)])
def test_the_right_answer_is_at_every_place(kind: GameKind, options: int) -> None:
    """Over 2,000 trials each place is right about equally often: within five standard deviations."""
    layer = layer_of(shared_names(40, 30))
    found = Counter(draw(kind, seed).trial(item, item, layer).right for seed in range(50) for item in range(40))
    expected = 2000 / options
    assert sorted(found) == list(range(1, options + 1))
    assert all(abs(count - expected) < 5 * (expected * (1 - 1 / options)) ** 0.5 for count in found.values())


def test_readers_have_different_trials() -> None:
    """Two readers see other patches of a unit, or the same ones at other places, and play in another order."""
    layer = layer_of(shared_names(40, 30))
    one, other = (draw(reader=reader) for reader in ("P01", "P02"))
    assert one.trial(0, 0, layer) != other.trial(0, 0, layer)
    assert one.items(Player(pseudonym="P01"), 40, None) != other.items(Player(pseudonym="P02"), 40, None)


def test_units_that_the_reader_does_not_know_come_first() -> None:
    """With few trials, only unknown units are played; those that the reader has described alone never are."""
    player = Player(pseudonym="P01", known=(0, 1, 2, 3), alone=(3, 4))
    assert set(draw().items(player, 8, 3)) == {5, 6, 7}
    assert set(draw().items(player, 8, None)) == {0, 1, 2, 5, 6, 7}
    with pytest.raises(InvalidInput, match=r"P01 can have 6 trials; the game requires 7\. .* 8 units, of which 2"):
        draw().items(player, 8, 7)


@pytest.mark.parametrize(
    ("kind", "ranks", "message"),
    [
        ("intruder", 3, "unit_0001 of layer .*block4.* has 3 patches, and readers .* see 8; the intruder game shows 4"),
        ("prediction", 8, "unit_0001 of layer .*block4.* has 8 patches, and readers .* saw 8; .* at least one more"),
    ],
)
def test_a_unit_with_too_few_patches_is_named(kind: GameKind, ranks: int, message: str) -> None:
    """The error says what the unit has, what the game needs, and what to do."""
    with pytest.raises(InvalidInput, match=message):
        draw(kind).trial(0, 0, layer_of(shared_names(10, ranks)))


@pytest.mark.parametrize("units", [1, 3])
def test_a_layer_without_foreign_patches_is_named(units: int) -> None:
    """A layer with one unit, and one whose units have the same patches, cannot give an intruder."""
    same = {unit: [f"patch-{rank}" for rank in range(30)] for unit in range(units)}
    with pytest.raises(InvalidInput, match=r"has 0 patches of other units .* unit_0001; a trial needs 1"):
        draw().trial(0, 0, layer_of(same))


def test_a_document_refuses_what_it_does_not_know() -> None:
    """A misspelt field of a frozen document is an error, and the defaults are those of the documentation."""
    with pytest.raises(ValueError, match="second"):
        GameDocument.model_validate({"kind": "intruder", "title": "x", "second": 3})
    assert GameDocument(kind="intruder", title="x").seconds == 20
