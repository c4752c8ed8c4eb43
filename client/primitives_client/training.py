"""Data sets, runs, evaluations and comparisons: the training service."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from primitives_client.connection import path_of
from primitives_client.models import training as models
from primitives_client.pages import Pages
from primitives_client.progress import Bar, bar_of
from primitives_client.resources import Connections, ControlledTask, Resource, id_of, list_of, request
from primitives_client.tables import Row, Table


class Dataset(Resource, models.DatasetView):
    """A registered data set."""

    @property
    def id(self) -> str:
        """The id of the data set, which is made from a hash of its content."""
        return self.dataset_id

    def row(self) -> Row:
        """The row of this data set in a table, with the number of patches of each split."""
        return {
            "dataset_id": self.dataset_id,
            "name": self.name,
            "classes": ", ".join(self.classes),
            **self.splits,
            "mammograms": self.mammograms,
            "created": self.created,
        }


class Run(ControlledTask, models.RunView):
    """A training run, or an imported checkpoint."""

    _id_field: ClassVar[str] = "run_id"
    _plural: ClassVar[str] = "runs"
    _service: ClassVar[str] = "training"

    @property
    def best(self) -> models.EpochMetrics | None:
        """The epoch with the best validation AUC; None before there is one."""
        rated = [epoch for epoch in self.epochs if epoch.val_auc is not None]
        return max(rated, key=lambda epoch: epoch.val_auc or 0.0, default=None)

    @property
    def dataset(self) -> Dataset:
        """The data set on which the run trains."""
        return Datasets(self._connections).get(self.dataset_id)

    @property
    def history(self) -> Table:
        """The metrics of all epochs, a row each."""
        rows = [epoch.model_dump() for epoch in self.epochs]
        return Table([{name: value for name, value in row.items() if name != "val_auc_by_class"} for row in rows])

    def rename(self, name: str) -> "Run":
        """Give the run another name; an empty one removes it."""
        body = models.ChangeRunRequest(name=name)
        return self._take(self._connection().change(type(self), self._path(), body))

    def evaluate(self, split: str = "val", key: str = "", **options: Any) -> "Evaluation":
        """Evaluate a checkpoint of this run on a split; `options` are the other fields of `StartEvaluationRequest`."""
        return Evaluations(self._connections).start(self, split, key, **options)

    def row(self) -> Row:
        """The row of this run in a table."""
        best = self.best
        return {
            "run_id": self.run_id,
            "name": self.name,
            "state": self.state,
            "architecture": self.settings.get("architecture"),
            "dataset_id": self.dataset_id,
            "epochs_done": len(self.epochs),
            "best_epoch": best.epoch if best else None,
            "val_auc": best.val_auc if best else None,
            "val_accuracy": best.val_accuracy if best else None,
            "seconds": sum(epoch.seconds for epoch in self.epochs),
        }

    def _bar(self) -> Bar:
        bar = bar_of("training", self.state, self.progress, self.seconds)
        auc = self.epochs[-1].val_auc if self.epochs else None
        if auc is None:
            return bar
        return Bar(bar.name, bar.state, f"{bar.text}, AUC {auc:.4f}", bar.done, bar.total)


class Comparison(Resource, models.ComparisonView):
    """The comparison of two evaluations on the same patches."""

    @property
    def id(self) -> str:
        """The id of the comparison."""
        return self.comparison_id

    def row(self) -> Row:
        """The row of this comparison in a table, with its macro AUCs and the difference."""
        macro = self.macro
        return {
            "comparison_id": self.comparison_id,
            "evaluation_a": self.evaluation_a,
            "evaluation_b": self.evaluation_b,
            "auc_a": macro.a,
            "auc_b": macro.b,
            "difference": macro.difference.value,
            "low": macro.difference.low,
            "high": macro.difference.high,
            "p": macro.clustered.p,
        }


class Evaluation(ControlledTask, models.EvaluationView):
    """Figures of a checkpoint on a split. A resumed evaluation starts again."""

    _id_field: ClassVar[str] = "evaluation_id"
    _plural: ClassVar[str] = "evaluations"
    _service: ClassVar[str] = "training"

    def report(self) -> models.Report:
        """Read the figures of the completed evaluation."""
        return self._connections.training.get(models.Report, self._path("report"))

    def figure(self, name: str) -> str:
        """Read a picture as SVG: roc, precision-recall, reliability or confusion."""
        return self._connections.training.content(self._path("figures", f"{name}.svg")).decode()

    def compare(self, other: "Evaluation | str", key: str = "") -> Comparison:
        """Test whether the AUCs of this and another evaluation of the same split differ."""
        body = models.CompareRequest(evaluation_a=self.evaluation_id, evaluation_b=id_of(other))
        return self._connections.training.start(Comparison, path_of("comparisons"), body, key)._of(self._connections)


class Datasets:
    """The data sets of the training service. The command `primitives dataset import` registers new ones."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def get(self, dataset_id: str) -> Dataset:
        """Read one data set."""
        return self._connections.training.get(Dataset, path_of("datasets", dataset_id))._of(self._connections)

    def list(self) -> Pages[Dataset]:
        """Return all data sets, newest first."""
        training = self._connections.training
        return list_of(self._connections, training, path_of("datasets"), models.DatasetList, "datasets", Dataset)


class Runs:
    """The runs of the training service."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def start(
        self,
        dataset: Dataset | str,
        settings: models.RunSettings | Mapping[str, Any] | None = None,
        resume_from: Run | str = "",
        key: str = "",
        name: str = "",
    ) -> Run:
        """Train on a data set, from the beginning or from the last checkpoint of another run.

        The same `key` with the same request returns the run that the first call has started.
        """
        values: dict[str, Any] = {"dataset_id": id_of(dataset)}
        if settings is not None:
            values["settings"] = request(models.RunSettings, settings)
        if resume_from != "":
            values["resume_from"] = id_of(resume_from)
        if name:
            values["name"] = name
        body = models.StartRunRequest(**values)
        return self._connections.training.start(Run, path_of("runs"), body, key)._of(self._connections)

    def get(self, run_id: str) -> Run:
        """Read one run."""
        return self._connections.training.get(Run, path_of("runs", run_id))._of(self._connections)

    def list(self) -> Pages[Run]:
        """Return all runs, newest first."""
        return list_of(
            self._connections, self._connections.training, path_of("runs"), models.RunList, "runs", Run
        )  # fmt: skip

    def compare(self, runs: "Sequence[Run | str]") -> Table:
        """Compare runs in a table: their results, and the settings in which they differ."""
        found = [run if isinstance(run, Run) else self.get(run) for run in runs]
        names = dict.fromkeys(name for run in found for name in run.settings)
        differing = [name for name in names if len({repr(run.settings.get(name)) for run in found}) > 1]
        return Table([{**run.row(), **{name: run.settings.get(name) for name in differing}} for run in found])


class Evaluations:
    """The evaluations of the training service, and comparisons of two of them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def start(self, run: Run | str, split: str = "val", key: str = "", **options: Any) -> Evaluation:
        """Evaluate a checkpoint of a run on a split; `options` are the other fields of `StartEvaluationRequest`."""
        body = request(models.StartEvaluationRequest, {"run_id": id_of(run), "split": split, **options})
        return self._connections.training.start(Evaluation, path_of("evaluations"), body, key)._of(self._connections)

    def get(self, evaluation_id: str) -> Evaluation:
        """Read one evaluation."""
        path = path_of("evaluations", evaluation_id)
        return self._connections.training.get(Evaluation, path)._of(self._connections)

    def list(self) -> Pages[Evaluation]:
        """Return all evaluations, newest first."""
        return list_of(
            self._connections, self._connections.training, path_of("evaluations"),
            models.EvaluationList, "evaluations", Evaluation,
        )  # fmt: skip

    def comparisons(self) -> Pages[Comparison]:
        """Return all comparisons, newest first."""
        return list_of(
            self._connections, self._connections.training, path_of("comparisons"),
            models.ComparisonList, "comparisons", Comparison,
        )  # fmt: skip
