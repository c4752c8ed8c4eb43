"""The `primitives` command. Sub-commands import torch only when they run, so that help is quick.

typer reads the options of a command from its parameters, so some commands have many.
"""

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

import services
from services.cli.accounts import accounts_app
from services.cli.analyses import analyse, analyses
from services.cli.audit import audit_app
from services.cli.evaluations import compare, evaluate, export
from services.cli.evidence.command import evidence
from services.cli.explain import explain
from services.cli.fetch.command import fetch
from services.cli.gallery.command import gallery
from services.cli.migrations import migrate
from services.cli.objects import buckets, check, copy_objects, gc
from services.cli.output import Permission, print_json
from services.cli.parked import parked_app
from services.cli.plans import plan_app
from services.cli.recovery import recover
from services.cli.running import run_command
from services.cli.runs import run_app
from services.cli.studies import study_app
from services.cli.tensorboard import tensorboard
from services.cli.tokens import command_audit, operator, token
from services.common.errors import InvalidInput, NotFound
from services.common.settings import Shared
from services.imaging.licence import Term

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What the units of a mammogram network respond to.")
dataset_app = typer.Typer(no_args_is_help=True, help="Data sets: import, export, sample, list.")
checkpoint_app = typer.Typer(no_args_is_help=True, help="Checkpoints trained elsewhere.")
app.add_typer(dataset_app, name="dataset")
app.add_typer(checkpoint_app, name="checkpoint")
app.add_typer(run_app, name="run")
app.add_typer(plan_app, name="plan")
app.add_typer(parked_app, name="parked")
app.add_typer(study_app, name="studies")
app.add_typer(audit_app, name="audit")
app.add_typer(accounts_app, name="accounts")
for command in (
    migrate, buckets, gc, check, copy_objects, recover, token, tensorboard, evaluate, compare, export, gallery, analyse,
    analyses, explain, evidence,
):  # fmt: skip
    app.command()(command)
dataset_app.command()(fetch)


CHECKOUT = Path(services.__file__).parents[1]
"""The folder above `services`: of a checkout, it holds `bench` too."""


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> None:
    """Measure this machine and its services (in a checkout only)."""
    if not (CHECKOUT / "bench" / "__main__.py").is_file():
        raise NotFound("the benches are part of a checkout, not of the installed package")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "bench", *context.args], check=False).returncode)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(services.__version__)


@app.command()
def up() -> None:
    """Run the four services together in this process until interrupted (the embedded form)."""
    from services.cli.embedded import run_embedded

    run_embedded()


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option(help="End with the plan, and print a summary as JSON on the last line.")
    ] = False,
    fresh: Annotated[bool, typer.Option(help="Start a new plan even if the demo has run before.")] = False,
    url: Annotated[
        str, typer.Option(help="http://HOST of running services, each at its own port; none are started.")
    ] = "",
) -> None:
    """Train on the sample, extract, render and open a study through the services' APIs; then leave the pages open."""
    from services.cli.demo import run_demo

    run_demo(once, fresh, url)


@app.command()
def layers(
    architecture: Annotated[str, typer.Argument(help="A torchvision or timm classifier.")],
    image_size: Annotated[int, typer.Option(help="Side of its input in pixels; 0 is the network's own.")] = 0,
) -> None:
    """List the layers that a network offers: name, module path, units and size of the activation map. Layers that
    `auto` selects are marked."""
    from services.imaging.layers import describe_layers

    for line in describe_layers(architecture, image_size):
        typer.echo("\t".join(line))


@dataset_app.command("import")
def dataset_import(
    directory: Annotated[
        Path, typer.Argument(help="Raw mammograms of a --layout, or train.txt, val.txt, test.txt and their patches.")
    ],
    layout: Annotated[
        str, typer.Option(help="How the raw mammograms are laid out: `primitives dataset layouts` lists all.")
    ] = "",
    name: Annotated[str, typer.Option(help="The data set's name; that of the folder if it is empty.")] = "",
    recipe: Annotated[Path | None, typer.Option(help="A JSON file that says how to cut and label patches.")] = None,
    cut: Annotated[
        list[str] | None, typer.Option(help="An option of the recipe, such as classes=two; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that cut mammograms; 0: one for each core.")] = 0,
    dicomweb: Annotated[
        str, typer.Option(help="The name of a DICOMweb server with the mammograms; the folder then has labels.csv.")
    ] = "",
    studies: Annotated[
        Path | None,
        typer.Option(help="Of a DICOMweb server: file of StudyInstanceUIDs or accession numbers, one a line."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Of a DICOMweb server: first day of studies.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Of a DICOMweb server: last day of studies.")
    ] = None,
    classes: Annotated[
        int, typer.Option(help="Of patches in lists: 2 (1 = cancer) or 3 (0 normal, 1 benign, 2 cancer).")
    ] = 0,
    mammograms: Annotated[
        Path | None, typer.Option(help="Of patches in lists: folder with the full mammograms, <stem>.jpg or .png.")
    ] = None,
    outlines: Annotated[
        Path | None, typer.Option(help="Of patches in lists: JSON lines of known outlines; see docs/formats.md.")
    ] = None,
) -> None:
    """Store a data set and register it: cut from raw mammograms with --layout, or from patches in the layout of
    ddsm-visual-primitives with --classes."""
    from services.cli.datasets import import_dataset, import_raw_dataset
    from services.cli.raw_import import DicomwebOptions

    server = DicomwebOptions(dicomweb, studies, since and since.date(), until and until.date())
    if bool(layout) == bool(classes):
        raise InvalidInput("pass --layout for raw mammograms, or --classes for patches in lists")
    if layout:
        print_json(import_raw_dataset(directory, layout, name, recipe, cut or [], workers, server))
    elif server != DicomwebOptions():
        raise InvalidInput("patches in lists lie in a folder; a DICOMweb server needs --layout dicom")
    else:
        print_json(import_dataset(directory, classes, mammograms, outlines))


@dataset_app.command("export")
def dataset_export(
    dataset: Annotated[str, typer.Argument(help="A registered data set.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it is empty or does not exist.")],
    mammograms: Annotated[
        Path | None, typer.Option(help="A second folder, for the full mammograms; without it they are left out.")
    ] = None,
    confirm_permission: Permission = False,
) -> None:
    """Write a data set as patches in lists, in the layout of ddsm-visual-primitives. `primitives dataset import OUT
    --classes N --mammograms FOLDER` makes the same data set of it."""
    from services.cli.datasets import export_patches
    from services.training.dataset_export import ExportTarget

    audit = command_audit(Shared())
    exported = export_patches(dataset, ExportTarget(out, mammograms), confirm_permission)
    outcome = "; ".join(filter(None, (f"patches to {out}", exported["permission"])))
    audit.record("export", f"data set {dataset}", outcome=outcome, actor=operator())
    print_json(exported)


@dataset_app.command("upload")
def dataset_upload(
    folder: Annotated[Path, typer.Argument(help="A folder of raw mammograms.")],
    bucket: Annotated[str, typer.Argument(help="A bucket of PRIMITIVES_TRAINING_IMPORT_BUCKETS.")],
    prefix: Annotated[str, typer.Option(help="The folder of the bucket; empty: the whole bucket.")] = "",
) -> None:
    """Upload raw mammograms to a bucket, from which the workers of the training service can import them. It continues
    after an interruption. The objects have the names of patients until you remove them."""
    from services.cli.upload import upload_folder
    from services.training.settings import TrainingSettings

    print_json(upload_folder(folder, bucket, prefix, TrainingSettings()))


@dataset_app.command("layouts")
def dataset_layouts() -> None:
    """List the layouts of raw mammograms, with their licences."""
    from services.training.raw.layouts import LAYOUTS

    print_json(
        [{"layout": name, "title": one.title} | one.licence.model_dump(mode="json") for name, one in LAYOUTS.items()]
    )


@dataset_app.command("sample")
def dataset_sample() -> None:
    """Build and register the sample: real tissue, simulated lesions."""
    from services.cli.datasets import build_sample_dataset

    print_json(build_sample_dataset())


@dataset_app.command("list")
def dataset_list() -> None:
    """List the registered data sets."""
    from services.cli.datasets import list_datasets

    print_json(list_datasets())


@checkpoint_app.command("import")
def checkpoint_import(
    file: Annotated[Path, typer.Argument(help="Weights as .safetensors, .pth or .pth.tar.")],
    dataset: Annotated[str, typer.Option(help="The registered data set whose classes they predict.")],
    architecture: Annotated[str, typer.Option(help="Their torchvision or timm classifier.")] = "",
    config: Annotated[
        str, typer.Option(help="For a checkpoint of the original: its YAML file, or the name of a preset.")
    ] = "",
    image_size: Annotated[int, typer.Option(help="Side of its input in pixels; 0 is the network's own.")] = 0,
    channels: Annotated[int, typer.Option(help="Channels of its input: 3 equal ones, or 1.")] = 3,
    prefix: Annotated[str, typer.Option(help="Use only the weights whose names begin with this, without it.")] = "",
    rename: Annotated[
        str, typer.Option(help="A file with an old and a new name on each line, or efficientnet-pytorch.")
    ] = "",
    outputs: Annotated[
        Literal["softmax", "sigmoid"],
        typer.Option(help="sigmoid: an output for each class, or one for the second of two classes."),
    ] = "softmax",
    headless: Annotated[
        bool, typer.Option("--headless", help="The file has no last layer: import it with zeros.")
    ] = False,
    term: Annotated[
        list[Term] | None, typer.Option(help="A term of the weights' licence that binds what is made of them.")
    ] = None,
) -> None:
    """Register weights trained elsewhere as a completed run, from which a plan can start. Pass the --architecture, or
    the --config of a checkpoint of the original."""
    from services.cli.datasets import import_checkpoint, import_original
    from services.training.original import read_network
    from services.training.weights_file import WeightsFile

    if bool(architecture) == bool(config):
        raise InvalidInput("pass one of --architecture and --config, to name the network of the weights")
    if config:
        print_json(import_original(file, read_network(config), dataset))
    else:
        described = WeightsFile(
            architecture, image_size, channels, prefix, rename, outputs, headless, tuple(term or ())
        )
        print_json(import_checkpoint(file, dataset, described))


def main() -> None:
    """Run the command."""
    run_command(app)
