"""`primitives plan`: plans over the API of the training service."""

import time
from typing import Annotated, Any

import typer

from services.cli.client import Services, named_services, plan_stages, post
from services.cli.output import Key, print_json
from services.cli.progress import STAGES, StageBars
from services.common.errors import PrimitivesError

POLL_S = 0.5
FAILED = ("failed", "cancelled")

plan_app = typer.Typer(no_args_is_help=True, help="Plans: from a trained network to an open study.")


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
    plan_id = post(services.training, "/v1/plans", request, key)["plan_id"]
    if wait:
        follow_plan(services, plan_id)
    print_json({"plan_id": plan_id, "stages": plan_stages(services, plan_id)})


@plan_app.command("show")
def show(plan: Annotated[str, typer.Argument(help="Id of a plan.")]) -> None:
    """Print the stages of a plan that have begun, from all services."""
    print_json(plan_stages(named_services(), plan))


def follow_plan(services: Services, plan_id: str) -> dict[str, dict[str, Any]]:
    """Show the stages until the study is open and return them by name. PrimitivesError with the stage's message if one
    fails or is cancelled."""
    with StageBars() as bars:
        while True:
            stages = {stage["name"]: stage for stage in plan_stages(services, plan_id)}
            bars.show(list(stages.values()))
            for stage in stages.values():
                if stage["state"] in FAILED:
                    raise PrimitivesError(
                        f"the stage {stage['name']} of plan {plan_id} {stage['state']}: {stage['error']}"
                    )
            if stages.get(STAGES[-1], {}).get("state") == "completed":
                return stages
            time.sleep(POLL_S)
