"""Settings come from code, from the environment, or from files of secrets."""

from pathlib import Path

import pytest

from services.common import settings
from services.common.settings import Shared
from services.training.settings import TrainingSettings


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files with secrets."""
    monkeypatch.setattr(settings, "SECRETS", tmp_path)
    return tmp_path


def test_a_secret_is_a_file_named_as_its_variable(secrets: Path) -> None:
    """The content of the file, without the line break, is the value, also for the settings of one service."""
    (secrets / "primitives_bus_url").write_text("amqp://user:password@broker:5672/%2F\n")
    (secrets / "primitives_training_slice_s").write_text("60")
    read = TrainingSettings()
    assert read.shared.bus_url == "amqp://user:password@broker:5672/%2F"
    assert read.slice_s == 60


def test_the_environment_wins_over_a_file(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set takes precedence."""
    (secrets / "primitives_bus_url").write_text("amqp://from-a-file")
    monkeypatch.setenv("PRIMITIVES_BUS_URL", "amqp://from-the-environment")
    assert Shared().bus_url == "amqp://from-the-environment"


@pytest.mark.filterwarnings("error")
def test_without_the_folder_there_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without such a folder the settings have their defaults."""
    monkeypatch.setattr(settings, "SECRETS", tmp_path / "none")
    assert Shared().bus_url == "memory://"
