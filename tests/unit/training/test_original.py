"""The original's YAML files and its checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from services.cli.main import app
from services.common.errors import Conflict, InvalidInput
from services.imaging.architectures import build_network
from services.training import original
from services.training.job import resume
from services.training.learner import start_learner
from services.training.original import PRESETS, presets, read_checkpoint, read_network, read_run
from services.training.schemas import RunSettings, StartRunRequest
from services.training.weights_file import WeightsFile
from tests.fakes.data import SilentJob
from tests.fakes.torchvision_0_1_9 import make_network, save_checkpoint
from tests.unit.training.test_loop import SETTINGS, Run
from tests.unit.training.test_workflow import Training, saved

RUNS = {
    "alexnet_2class": ("alexnet", 227, 45, 5, []),
    "vgg16_2class": ("vgg16", 227, 12, 1, []),
    "inception_v3_2class": ("inception_v3", 299, 7, 1, []),
    "resnet152_2class": ("resnet152", 227, 5, 1, [4]),
    "resnet152_3class": ("resnet152", 227, 5, 1, [4]),
}


def test_the_five_runs_are_the_papers() -> None:
    """Each preset has the network, sizes, epochs and schedule of the original, and no warm-up or augmentation."""
    assert presets() == sorted(RUNS)
    for name, (model, size, epochs, every, decay) in RUNS.items():
        run = read_run(name)
        assert run.arch.num_classes == int(name[-6])
        assert run.run_settings() == RunSettings(
            architecture=model, semantics="torchvision-0.1.9", weights="imagenet", image_size=size, epochs=epochs,
            checkpoint_epochs=every, batch_size=32, optimizer="sgd", learning_rate=1e-4, momentum=0.9,
            weight_decay=1e-4, schedule="step", decay_epochs=decay, warmup_steps=0, flips=False, rotation=0.0,
            contrast=0.0, brightness=0.0, balance="none", accumulate_steps=1, clip_norm=0.0, patience=0, keep="last",
            precision="fp32",
        )  # fmt: skip


def write(folder: Path, changes: dict[str, Any]) -> str:
    """Write the file of a preset with values changed by their paths. None removes a key."""
    content = yaml.safe_load((PRESETS / "resnet152_2class.yml").read_text())
    for path, value in changes.items():
        *parts, last = path.split(".")
        part = content
        for name in parts:
            part = part[name]
        if value is None:
            del part[last]
        else:
            part[last] = value
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.nesterov": True}, r"config\.yml .*: optimizer\.nesterov: unknown key"),
        ({"extra": {}}, "extra: unknown key"),
        ({"training.epochs": None}, r"training\.epochs: missing key"),
        ({"data": None}, "data: missing key"),
        ({"training.epochs": "5"}, r"training\.epochs: .* valid integer, found '5'"),
        ({"optimizer.lr": "1e-4"}, r"optimizer\.lr: .* valid number, found '1e-4'"),
        ({"arch.pretrained": 1}, r"arch\.pretrained: .* valid boolean, found 1"),
        ({"optimizer.lr_decay_epochs": [4, "x"]}, r"optimizer\.lr_decay_epochs\.1: .* integer"),
        ({"optimizer.lr_decay_epochs": 4}, r"optimizer\.lr_decay_epochs: .* list"),
        ({"optimizer.type": "adam"}, r"optimizer\.type: .*'sgd', found 'adam'"),
        ({"arch.model": "resnet18"}, r"arch\.model: .*resnet152', found 'resnet18'"),
        ({"data.batch_size": 0}, r"data\.batch_size: .* greater than or equal to 2"),
        ({"arch": [1]}, "arch: expected keys"),
    ],
)
def test_a_fault_in_a_file_is_named_with_its_path(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """InvalidInput names unknown, missing and mistyped keys, and values that no run can have."""
    with pytest.raises(InvalidInput, match=message):
        read_run(write(tmp_path, changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {root: a, root: b}", "root twice"),
        ("- 1", "contains list"),
        ("a: [", "not a readable YAML"),
        ("a: !!python/object/apply:os.getpid []", "not a readable YAML"),
        ("\xff", "not a readable YAML"),
    ],
)
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """InvalidInput names the file and the fault. No YAML tag creates an object."""
    (tmp_path / "config.yml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match=message):
        read_run(str(tmp_path / "config.yml"))


def test_a_name_that_is_neither_file_nor_preset_lists_the_presets() -> None:
    """InvalidInput lists the presets."""
    with pytest.raises(InvalidInput, match=r"no file alexnet_4class, and no preset .* alexnet_2class, inception_v3"):
        read_run("alexnet_4class")


def test_the_file_next_to_a_published_checkpoint_says_what_network_it_is(tmp_path: Path) -> None:
    """It has of `training` only two keys; a run cannot start from it, and says what it lacks."""
    published = {"training": {"experiment_name": "resnet152_2class", "resume": "checkpoint_00000005.pth.tar"}}
    file = write(tmp_path, published)
    assert read_network(file).arch == read_network("resnet152_2class").arch
    with pytest.raises(InvalidInput, match=r"training\.epochs: missing key"):
        read_run(file)
    with pytest.raises(InvalidInput, match=r"training\.logs_dir: missing key"):
        read_network(write(tmp_path, {"training.logs_dir": None}))


def test_a_file_that_the_original_wrote_itself_loads(tmp_path: Path) -> None:
    """With a checkpoint it wrote its settings, `log_dir` and `resume` filled in."""
    filled = {"training.log_dir": "logs/now", "training.resume": "checkpoints/now/checkpoint_00000001.pth.tar"}
    run = read_run(write(tmp_path, filled))
    assert run.training.resume == "checkpoints/now/checkpoint_00000001.pth.tar"
    assert run.run_settings() == read_run("resnet152_2class").run_settings()


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def network_of(training: Training, name: str = "alexnet_2class") -> original.OriginalNetwork:
    """A preset's network, with the number of classes of the data set."""
    network = read_network(name)
    return network.model_copy(update={"arch": network.arch.model_copy(update={"num_classes": 3})})


def test_another_number_of_classes_than_the_data_sets_is_refused(training: Training, tmp_path: Path) -> None:
    """InvalidInput names both numbers before the checkpoint is read."""
    with pytest.raises(InvalidInput, match=r"alexnet_2class has arch\.num_classes 2; data set .* has 3 classes"):
        training.imports.import_original(tmp_path / "missing", read_network("alexnet_2class"), training.dataset_id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("features.module.3.bias"), r"lacks features\.3\.bias"),
        (lambda weights: weights.update({"features.module.9.bias": torch.zeros(1)}), r"unexpected features\.9\.bias"),
        (lambda weights: weights.update({"classifier.6.bias": torch.zeros(2)}), r"classifier\.6\.bias \[2\], expected"),
        (lambda weights: weights.update({"features.0.bias": torch.zeros(1)}), r"features\.0\.bias twice"),
    ],
)  # fmt: skip
def test_a_checkpoint_with_other_keys_is_refused(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    """InvalidInput names missing, extra, misshapen and repeated keys, and nothing is stored."""
    with torch.device("meta"):
        weights = build_network("alexnet", 3).state_dict()
    weights = {name.replace("features.", "features.module."): value for name, value in weights.items()}
    change(weights)
    groups = [{"params": list(range(len(weights)))}]
    content = {"epoch": 5, "state_dict": weights, "optimizer": {"state": {}, "param_groups": groups}}
    monkeypatch.setattr(original, "read_file", lambda _: content)
    with pytest.raises(InvalidInput, match=message):
        training.imports.import_original(tmp_path / "c.pth.tar", network_of(training), training.dataset_id)
    assert training.runs.all().runs == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1, "state_dict": {}}, "has epoch, state_dict; .* has epoch, optimizer, state_dict"),
        ({"epoch": 1, "state_dict": {}, "optimizer": {}, "best": 1}, "has best, epoch, optimizer, state_dict"),
        ([1], "has no keys"),
        ({"epoch": "1", "state_dict": {}, "optimizer": {}}, "epoch '1'"),
        ({"epoch": 1, "state_dict": {"a": 1}, "optimizer": {}}, "no state dict"),
        ({"epoch": 1, "state_dict": {}, "optimizer": {}}, "not a state of SGD"),
        (
            {"epoch": 1, "state_dict": {}, "optimizer": {"state": {}, "param_groups": [{"params": [1]}]}},
            "an optimizer of 1 weights; its state_dict has 0",
        ),
        (
            {
                "epoch": 1,
                "state_dict": {"module.a": torch.zeros(2)},
                "optimizer": {
                    "state": {1: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"params": [1]}],
                },
            },
            r"momentum_buffer that does not fit a \[2\]",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_checkpoint_of_the_original_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    """InvalidInput names the file and its content."""
    torch.save(content, tmp_path / "c.pth.tar")
    with pytest.raises(InvalidInput, match=rf"c\.pth\.tar .*{message}"):
        read_checkpoint(tmp_path / "c.pth.tar")


def test_a_run_resumes_from_a_checkpoint_of_the_original(training: Training, tmp_path: Path) -> None:
    """Weights, momentum and epoch are from the file, with today's numbers in the optimizer's state. A run with another
    network cannot resume from it."""
    theirs = make_network("inception_v3", 3)
    save_checkpoint(theirs, tmp_path / "checkpoint_00000002.pth.tar", 2, momentum=True)
    network = network_of(training, "inception_v3_2class")
    imported = training.imports.import_original(
        tmp_path / "checkpoint_00000002.pth.tar", network, training.dataset_id
    )  # fmt: skip
    settings = network.settings(epochs=7)
    request = StartRunRequest(dataset_id=training.dataset_id, settings=settings, resume_from=imported.run_id)
    run = training.runs.start(request)
    training.sent()
    assert run.last_checkpoint == imported.checkpoint
    learner = start_learner(settings, 3, torch.device("cpu"), resumed=True)
    assert imported.checkpoint is not None
    resume(training.blobs, learner, imported.checkpoint)
    assert (learner.epoch, learner.step, learner.network.transform_input) == (2, 0, True)
    weights = theirs.state_dict()
    for name, parameter in learner.network.named_parameters():
        assert torch.equal(parameter, weights[name]), name
        assert torch.equal(learner.optimizer.state[parameter]["momentum_buffer"], 0.5 * weights[name]), name
    other = StartRunRequest(
        dataset_id=training.dataset_id, settings=RunSettings(weights="none"), resume_from=imported.run_id
    )
    with pytest.raises(InvalidInput, match="architecture 'efficientnet_lite0', expected 'inception_v3'"):
        training.runs.start(other)
    for change, message in (
        ({"weights": "none"}, "transform_input False, expected True"),
        ({"semantics": "current"}, r"semantics 'current', expected 'torchvision-0\.1\.9'"),
        ({"epochs": 2}, "has done 2 epochs, all that are requested"),
    ):
        changed = request.model_copy(update={"settings": settings.model_copy(update=change)})
        with pytest.raises(InvalidInput, match=message):
            training.runs.start(changed)


def test_a_run_cannot_resume_from_weights_alone(training: Training, tmp_path: Path) -> None:
    """InvalidInput is raised when the run is started, not minutes later."""
    torch.save(build_network("test_resnet", 3).state_dict(), tmp_path / "w.pth")
    imported = training.imports.import_checkpoint(
        tmp_path / "w.pth", training.dataset_id, WeightsFile("test_resnet", 64)
    )
    request = StartRunRequest(
        dataset_id=training.dataset_id, settings=RunSettings(weights="none"), resume_from=imported.run_id
    )
    with pytest.raises(InvalidInput, match="was imported as weights alone"):
        training.runs.start(request)


def test_a_run_cannot_resume_from_a_cancelled_run(training: Training) -> None:
    """The collector removes the checkpoints of cancelled runs."""
    origin = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=RunSettings(weights="none")))
    training.runs.act("cancel", origin.run_id)
    request = StartRunRequest(
        dataset_id=training.dataset_id, settings=RunSettings(weights="none"), resume_from=origin.run_id
    )
    with pytest.raises(Conflict, match="is cancelled; its checkpoints are not kept"):
        training.runs.start(request)


def test_a_run_retains_a_checkpoint_every_few_epochs(training: Training) -> None:
    """An epoch that is repeated after a crash has the newer checkpoint. Other checkpoints are not retained."""
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=RunSettings(weights="none")))
    [command] = training.sent()
    refs = [training.blobs.put("training", str(number), b"") for number in range(4)]
    milestones = [saved(ref, kept) for ref, kept in zip(refs, (5, None, 5, 10), strict=True)]
    training.runner.answers["train_slice"] = lambda _: (milestones, True)
    training.runs.train_slice(command)
    kept = training.runs.get(run.run_id).checkpoints
    assert [(one.epoch, one.checkpoint) for one in kept] == [(5, refs[2]), (10, refs[3])]


def test_milestones_say_which_checkpoints_are_retained(tmp_path: Path) -> None:
    """Checkpoints after every second epoch are retained, and none within an epoch."""
    run, job = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 4, "checkpoint_epochs": 2})), SilentJob()
    assert run.slice(0.0, job) is False
    while not run.slice(job=job):
        pass
    assert [milestone.kept for milestone in job.milestones] == [None, None, 2, None, 4]


def test_a_run_without_metrics_of_its_first_epochs_counts_all_epochs(tmp_path: Path) -> None:
    """An imported checkpoint has no metrics. The remaining epochs follow from its number of epochs."""
    run = Run(tmp_path, SETTINGS.model_copy(update={"epochs": 2}))
    assert run.slice() is True
    imported = run.manifest().model_copy(update={"metrics": [], "best": None})
    run.checkpoint = run.blobs.put("training", "imported.json", imported.model_dump_json().encode())
    run.settings = run.settings.model_copy(update={"epochs": 3})
    job = SilentJob()
    assert run.slice(job=job) is True
    assert [epoch.epoch for epoch in run.epochs] == [3]
    assert (run.manifest().epoch, job.milestones[-1].best_checkpoint) == (3, run.checkpoint)


def test_a_size_that_the_papers_network_does_not_accept_is_refused_at_once(training: Training) -> None:
    """Without adaptive pooling AlexNet accepts a single size. InvalidInput is raised before anything is enqueued."""
    settings = RunSettings(architecture="alexnet", semantics="torchvision-0.1.9", weights="none", image_size=299)
    with pytest.raises(InvalidInput, match="accepts no images of 299 x 299 pixels"):
        training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=settings))
    with pytest.raises(InvalidInput, match=r"'densenet121' has no semantics torchvision-0\.1\.9"):
        changed = settings.model_copy(update={"architecture": "densenet121"})
        training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=changed))
    assert training.sent() == []


def test_the_command_lists_the_presets() -> None:
    """`primitives run presets` prints them by name."""
    listed = yaml.safe_load(CliRunner().invoke(app, ["run", "presets"]).output)
    assert {name: settings["architecture"] for name, settings in listed.items()} == {
        name: run[0] for name, run in RUNS.items()
    }


def test_an_import_needs_exactly_one_network(tmp_path: Path) -> None:
    """Passing neither or both of --architecture and --config is refused."""
    for more in ([], ["--architecture", "alexnet", "--config", "alexnet_2class"]):
        result = CliRunner().invoke(app, ["checkpoint", "import", "w.pth", "--dataset", "dataset-1", *more])
        assert isinstance(result.exception, InvalidInput)
        assert "one of --architecture and --config" in str(result.exception)
