"""`primitives plan`: plans, from the training service that starts them to the study."""

from typing import Annotated, Any

import typer

from services.cli.client import get, named_services
from services.cli.connection import Connection
from services.cli.output import Key, print_json
from services.cli.plan_reader import PlanReader, act_on_plan, follow_plan
from services.common.identity import new_id

plan_app = typer.Typer(no_args_is_help=True, help="Plans: start, list, watch, pause, resume, cancel.")

Plan = Annotated[str, typer.Argument(help="Id of a plan.")]


# typer reads a command's options from its parameters.
@plan_app.command("start")
def start(
    run: Annotated[str, typer.Option(help="A completed run.")],
    checkpoint: Annotated[str, typer.Option(help="best, last, or the number of a saved epoch.")] = "",
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "--layers", help="A layer, or auto; repeatable. See `primitives layers`."),
    ] = None,
    split: Annotated[str, typer.Option(help="The split whose patches are extracted.")] = "val",
    top_k: Annotated[int, typer.Option(help="Top patches of each unit.")] = 64,
    title: Annotated[str, typer.Option(help="The study's title.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show the stages, and end when the study is open.")] = False,
    key: Key = "",
) -> None:
    """Extract and render the units of a run's checkpoint and open a study. Print the plan's stages as JSON."""
    services = named_services()
    request: dict[str, Any] = {
        "network": {"run_id": run, "checkpoint": checkpoint},
        "extraction": {"split": split, "layers": layer or [], "top_k": top_k},
        "study": {"title": title},
    }
    if not key:
        request["plan_id"] = new_id("plan")  # with it the call has the same effect when it arrives twice
    plan_id = Connection(services.training).post_repeatable("/v1/plans", request, key)["plan_id"]
    typer.echo(f"plan {plan_id}", err=True)
    if wait:
        follow_plan(services, plan_id)
    print_json({"plan_id": plan_id, "stages": PlanReader(services, plan_id, known=True).read()})


@plan_app.command("list")
def list_plans(
    limit: Annotated[int, typer.Option(help="The largest number of plans.")] = 20,
    offset: Annotated[int, typer.Option(help="Number of newer plans to skip.")] = 0,
) -> None:
    """Print plans, newest first, each with its stages in the training service."""
    print_json(get(named_services().training, f"/v1/plans?limit={limit}&offset={offset}")["plans"])


@plan_app.command("show")
def show(plan: Plan) -> None:
    """Print the stages of a plan that have begun, from all services."""
    print_json(PlanReader(named_services(), plan).read())


@plan_app.command("watch")
def watch(plan: Plan) -> None:
    """Show the stages of a plan until its study is open; then print them. An interrupt ends only this command."""
    print_json(list(follow_plan(named_services(), plan, known=False).values()))


@plan_app.command("pause")
def pause(plan: Plan) -> None:
    """Pause a plan where it is. Print its stages."""
    print_json(act_on_plan(named_services(), plan, "pause"))


@plan_app.command("resume")
def resume(plan: Plan) -> None:
    """Resume a paused plan. Print its stages."""
    print_json(act_on_plan(named_services(), plan, "resume"))


@plan_app.command("cancel")
def cancel(plan: Plan) -> None:
    """Cancel a plan: its current stage stops, and no other begins. Print its stages."""
    print_json(act_on_plan(named_services(), plan, "cancel"))
