"""`primitives plan`: plans over the API of the training service."""

import json
from typing import Annotated, Any

import typer

plan_app = typer.Typer(no_args_is_help=True, help="Plans: from a trained network to an open study.")


@plan_app.command("start")
def start(
    run: Annotated[str, typer.Option(help="A completed run.")],
    checkpoint: Annotated[str, typer.Option(help="best, last, or the number of a kept epoch.")] = "",
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "--layers", help="A layer, or auto; repeatable. See `primitives layers`."),
    ] = None,
    split: Annotated[str, typer.Option(help="The split whose patches are looked at.")] = "val",
    top_k: Annotated[int, typer.Option(help="Patches kept for each unit.")] = 64,
    title: Annotated[str, typer.Option(help="The study's title.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show the stages, and end when the study is open.")] = False,
) -> None:
    """Look at the units of a run's checkpoint: extract, render, open a study. Prints the plan's stages as JSON."""
    from services.cli.client import plan_stages, post
    from services.cli.demo import follow, named_services
    from services.common.identity import new_id

    services, plan_id = named_services(), new_id("plan")
    request: dict[str, Any] = {
        "plan_id": plan_id,
        "network": {"run_id": run, "checkpoint": checkpoint},
        "extraction": {"split": split, "layers": layer or [], "top_k": top_k},
        "study": {"title": title},
    }
    post(services.training, "/v1/plans", request)
    if wait:
        follow(services, plan_id)
    typer.echo(json.dumps({"plan_id": plan_id, "stages": plan_stages(services, plan_id)}, indent=1))


@plan_app.command("show")
def show(plan: Annotated[str, typer.Argument(help="Id of a plan.")]) -> None:
    """Print the stages of a plan that have begun, from all services."""
    from services.cli.client import plan_stages
    from services.cli.demo import named_services

    typer.echo(json.dumps(plan_stages(named_services(), plan), indent=1))
