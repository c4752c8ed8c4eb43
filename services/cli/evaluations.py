"""`primitives evaluate`, `compare` and `export`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from services.cli.client import named_services, post
from services.cli.connection import Connection
from services.cli.output import Key, Permission
from services.cli.tokens import command_audit, operator
from services.cli.watch import follow_task
from services.common.settings import Shared

CURVES = ("roc", "precision_recall")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
Replicates = Annotated[int, typer.Option(help="Bootstrap replicates over patients for the intervals.")]
Checkpoint = Annotated[
    str, typer.Option(help="best, last, or a number of epochs; by default the one that later stages use.")
]
Format = Literal["safetensors", "onnx"]


def evaluate(
    run: Annotated[str, typer.Argument(help="The run whose checkpoint is evaluated.")],
    split: Annotated[str, typer.Option(help="val, test or train.")] = "val",
    dataset: Annotated[str, typer.Option(help="Another registered data set with the same classes.")] = "",
    checkpoint: Checkpoint = "",
    replicates: Replicates = 1000,
    baseline: Annotated[
        Literal["", "probe"],
        typer.Option(help="probe: compare with a linear probe on the features with which the run began."),
    ] = "",
    as_json: AsJson = False,
    key: Key = "",
) -> None:  # typer reads a command's options from its parameters
    """Evaluate a run on a split, on the running services: AUC with intervals over patients, calibration, figures."""
    base = named_services().training
    options: dict[str, Any] = {"run_id": run, "split": split, "dataset_id": dataset, "checkpoint": checkpoint}
    options["settings"] = {"replicates": replicates} | ({"baseline": baseline} if baseline else {})
    started = post(base, "/v1/evaluations", options, key)
    evaluation_id = started["evaluation_id"]
    path = f"/v1/evaluations/{evaluation_id}"
    follow_task(base, path, f"evaluation {evaluation_id}", lambda view: str(view["state"]))
    report = Connection(base, known=True).get(f"{path}/report")
    if as_json:
        for one in report["classes"]:
            for curve in CURVES:
                del one[curve]  # some hundred points each, which the API returns
        typer.echo(json.dumps(report))
    else:
        _print_report(report)
        typer.echo(f"figures: {base}{path}/figures/roc.svg, precision-recall, reliability, confusion")


def compare(
    evaluation_a: Annotated[str, typer.Argument(help="A completed evaluation.")],
    evaluation_b: Annotated[str, typer.Argument(help="Another evaluation of the same split.")],
    replicates: Replicates = 1000,
    as_json: AsJson = False,
    key: Key = "",
) -> None:
    """Compare two evaluations of the same split, on the running services: does the AUC of A differ from that of B?"""
    options = {"evaluation_a": evaluation_a, "evaluation_b": evaluation_b, "settings": {"replicates": replicates}}
    comparison = post(named_services().training, "/v1/comparisons", options, key)
    if as_json:
        typer.echo(json.dumps(comparison))
    else:
        _print_comparison(comparison)


def export(
    run: Annotated[str, typer.Argument(help="The run whose checkpoint is exported.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[Format, typer.Option(help="safetensors, or onnx (needs the extra `export`).")] = "safetensors",
    checkpoint: Checkpoint = "",
    confirm_permission: Permission = False,
) -> None:
    """Write a run's network to a file. An ONNX file is first compared with PyTorch; the largest difference of a logit
    is printed."""
    from services.cli.datasets import export_run

    audit = command_audit(Shared())
    exported = export_run(run, checkpoint, format, out, confirm_permission)
    outcome = "; ".join(filter(None, (f"{format} to {out}", exported["permission"])))
    audit.record("export", f"{run} {exported['checkpoint_id']}", outcome=outcome, actor=operator())
    typer.echo(json.dumps(exported))


def _print_report(report: dict[str, Any]) -> None:
    console = Console()
    title = (
        f"{report['evaluation_id']}: {report['split']}, {report['patches']} patches of {report['patients']} patients"
    )
    sensitivity_columns = [f"sensitivity at {value:g}" for value in report["settings"]["specificities"]]
    table = Table("class", "patches", "AUC (95%)", "AP", "Brier", *sensitivity_columns, title=title)
    for one in report["classes"]:
        sensitivities = [f"{point['sensitivity']:.3f}" for point in one["sensitivities"]]
        figures = [_number(one["average_precision"]), _number(one["brier"]), *sensitivities]
        table.add_row(one["name"], str(one["patches"]), _estimate(one["auc"]), *figures)
    console.print(table)
    console.print(f"AUC macro {_estimate(report['macro_auc'])}, micro {_estimate(report['micro_auc'])}")
    accuracy = f"accuracy {report['accuracy']:.3f}, Brier {report['brier']:.3f}"
    console.print(f"{accuracy}, expected calibration error {report['calibration']['error']:.3f}")
    _print_reasons([one["auc"] for one in report["classes"]] + [report["macro_auc"], report["micro_auc"]])
    if report.get("baseline") is not None:
        _print_baseline(report["baseline"])


def _print_baseline(baseline: dict[str, Any]) -> None:
    table = Table("AUC", "run", baseline["name"], "run - probe (95%)", "p (patients as clusters)")
    compared = (*baseline["classes"], baseline["macro"], baseline["micro"])
    for one in compared:
        figures = _number(one["a"]), _number(one["b"]), _estimate(one["difference"]), _number(one["clustered"]["p"])
        table.add_row(one["name"], *figures)
    console = Console()
    console.print(table)
    console.print(f"probe: AUC macro {_estimate(baseline['macro_auc'])}, micro {_estimate(baseline['micro_auc'])}")
    _print_reasons([one["difference"] for one in compared] + [baseline["macro_auc"], baseline["micro_auc"]])


def _print_comparison(comparison: dict[str, Any]) -> None:
    a, b = comparison["evaluation_a"], comparison["evaluation_b"]
    title = f"A {a}, B {b}: {comparison['patches']} patches of {comparison['patients']} patients"
    table = Table("AUC", "A", "B", "A - B (95%)", "p (DeLong)", "p (patients as clusters)", title=title)
    compared = (*comparison["classes"], comparison["macro"], comparison["micro"])
    for one in compared:
        tests = [_number(one[test]["p"]) for test in ("delong", "clustered")]
        table.add_row(one["name"], _number(one["a"]), _number(one["b"]), _estimate(one["difference"]), *tests)
    Console().print(table)
    _print_reasons([one["difference"] for one in compared])


def _print_reasons(estimates: list[dict[str, Any]]) -> None:
    """Print once why figures are undefined or have no interval."""
    for reason in dict.fromkeys(one["reason"] for one in estimates if one["low"] is None):
        typer.echo(reason)


def _estimate(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "-"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f} (no interval)"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
