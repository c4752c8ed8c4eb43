"""The journal of a part: which mammogram is left out after a process has ended."""

from pathlib import Path

import pytest

from services.common.blobs import Blobs, open_blobs
from services.training.raw.journal import MOST_ENDS, PartJournal


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs(f"folder://{tmp_path}")


def journal(blobs: Blobs) -> PartJournal:
    """The journal of the part."""
    return PartJournal(blobs, "training", "journal.json")


def end_during(blobs: Blobs, mammogram: str) -> None:
    """Begin a mammogram in a process that then ends: the block is never left."""
    assert journal(blobs).__enter__().begin(mammogram)


def test_a_part_that_is_cut_leaves_no_journal(blobs: Blobs) -> None:
    """Every mammogram is begun once."""
    with journal(blobs) as current:
        assert all(current.begin(name) for name in ("a", "b"))
    assert list(blobs.list("training")) == []


def test_a_mammogram_that_crashed_is_left_out(blobs: Blobs) -> None:
    """It is, and so is a second one that crashes later. Those before and between are cut."""
    end_during(blobs, "b")
    assert journal(blobs).blame()
    with journal(blobs) as current:
        assert [current.begin(name) for name in ("a", "b", "c")] == [True, False, True]
    end_during(blobs, "b")
    assert journal(blobs).blame()
    end_during(blobs, "d")
    assert journal(blobs).blame()
    with journal(blobs) as current:
        assert [current.begin(name) for name in ("a", "b", "c", "d", "e")] == [True, False, True, False, True]


def test_nothing_is_blamed_between_two_mammograms(blobs: Blobs) -> None:
    """Without a journal, or after an exception that ended the part in order, no mammogram is at fault."""
    assert not journal(blobs).blame()
    with pytest.raises(RuntimeError), journal(blobs) as current:
        current.begin("a")
        raise RuntimeError
    assert not journal(blobs).blame()


def test_a_mammogram_during_which_workers_are_killed_is_left_out_in_the_end(blobs: Blobs) -> None:
    """A worker may be killed for other reasons, so one or two ends are no proof; a stop in between forgets nothing."""
    for _ in range(MOST_ENDS - 1):
        end_during(blobs, "a")
        with pytest.raises(RuntimeError), journal(blobs) as current:
            raise RuntimeError
    end_during(blobs, "a")
    with journal(blobs) as current:
        assert [current.begin(name) for name in ("a", "b")] == [False, True]
