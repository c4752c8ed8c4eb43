"""`make smoke`: builds the images, starts docker-compose.yml unchanged, and uses it.

python -m deploy.smoke.run [--full] [--keep]

It runs on Debian, as root, without a registry. A smaller version of the demo's plan runs over the published ports. Then
each container is restarted in turn, and the same plan runs again: its results show that all containers reconnected. The
analyses of both plans, which run during the restarts, are compared too. The last line is JSON: seconds, megabytes, and
the results of the plan.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy import secrets
from deploy.local.servers import free_ports
from deploy.smoke.engine import Docker, install_programs, running_engine
from deploy.smoke.standins import make_stand_ins, pip_arguments
from services.cli.analyses import follow_analysis, summarise_analyses
from services.cli.client import get, post
from services.cli.connection import Connection
from services.cli.demo import DEMO_PLAN, services_at, summarise
from services.cli.plan_reader import follow_plan
from services.common.identity import new_id

ROOT = Path(__file__).parents[2]
HOME = ROOT / "var" / "smoke"
SERVICES = {
    "training": "TRAINING",
    "activation-extraction": "EXTRACTION",
    "patch-rendering": "RENDERING",
    "annotation": "ANNOTATION",
}
IMAGES = (*SERVICES, "patch-rendering-gpu")
WITH_TORCH = ("training", "activation-extraction", "patch-rendering-gpu")
SBOM = "/usr/share/visual-primitives/sbom.cdx.json"
STORES = ("rabbitmq", "minio", "postgres")
PLAN = DEMO_PLAN | {"network": {"train": DEMO_PLAN["network"]["train"] | {"image_size": 96, "epochs": 1}}}
"""The demo's plan with less training. It passes all stages in little time on two cores."""
READY_LIMIT_S = 180.0
POLL_S = 0.2


@dataclass
class Times:
    """Seconds of each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Measure a block and print its seconds."""
        began = time.monotonic()
        yield
        self.seconds[what] = round(time.monotonic() - began, 1)
        print(f"{what}: {self.seconds[what]} s", file=sys.stderr)


@dataclass(frozen=True)
class Stack:
    """docker-compose.yml on an engine, with free ports and its own secrets."""

    docker: Docker
    environment: dict[str, str]

    def compose(self, *words: str) -> str:
        """Run `docker compose WORDS`."""
        return self.docker.compose(*words, cwd=ROOT, environment=self.environment)

    def await_healthy(self, *names: str) -> None:
        """Wait until the health checks of containers succeed. RuntimeError with the log if one does not in time."""
        deadline = time.monotonic() + READY_LIMIT_S
        for name in names:
            container = self.compose("ps", "--all", "--quiet", name)
            while (state := self.docker.run("inspect", "--format={{.State.Health.Status}}", container)) != "healthy":
                if time.monotonic() > deadline:
                    self.compose("logs", "--tail=30", name)
                    raise RuntimeError(f"{name} is {state}, not healthy; its log ends:\n{self.docker.tail()}")
                time.sleep(POLL_S)


def pinned() -> dict[str, str]:
    """Return the pinned names of registry images by kind, from the Compose file and the Dockerfile."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    names = {kind: services[kind]["image"].partition(":-")[2].removesuffix("}") for kind in STORES}
    arguments = services["training"]["build"]["args"]
    return {"python": arguments["BASE_IMAGE"].partition(":-")[2].removesuffix("}")} | names


def check_image(docker: Docker, tag: str, torch: bool) -> None:
    """Check an image. RuntimeError unless it runs as a numeric user on a read-only root, has neither pip nor a
    compiler, and its SBOM names the product. torch must be in the SBOM, and importable, if and only if `torch`."""
    shell = ["--read-only", "--network=none", "--entrypoint=sh", tag, "-c"]
    found = docker.run("run", "--rm", *shell, "id -u; command -v gcc cc pip pip3; touch /opt/written 2>&1 || true")
    if found.splitlines() != ["10001", "touch: cannot touch '/opt/written': Read-only file system"]:
        raise RuntimeError(f"{tag} is not as it should be: {found}")
    content = json.loads(docker.run("run", "--rm", "--network=none", "--entrypoint=cat", tag, SBOM))
    names = {component["name"] for component in content["components"]}
    if "visual-primitives" not in names or ("torch" in names) != torch:
        raise RuntimeError(f"the SBOM of {tag} names {sorted(names)}")
    if torch:
        docker.run("run", "--rm", "--read-only", "--network=none", "--entrypoint=python", tag, "-c", "import torch")


def build_images(docker: Docker, times: Times) -> dict[str, float]:
    """Build all images. Return their sizes in MB by name."""
    sizes: dict[str, float] = {}
    with pip_arguments() as arguments:
        for name in IMAGES:
            tag = f"visual-primitives/{name}:0.1.0"
            target = ["--file=deploy/Dockerfile", f"--target={name}", f"--tag={tag}"]
            with times.of(f"build {name}"):
                docker.run("build", "--network=host", *arguments, *target, ".", cwd=ROOT)
            check_image(docker, tag, name in WITH_TORCH)
            sizes[name] = round(int(docker.run("inspect", "--format={{.Size}}", tag)) / 1e6)
    return sizes


def compose_environment(folder: Path) -> dict[str, str]:
    """Create secrets and choose ports. Return them as the environment of Compose and of the `primitives` command."""
    secrets.make(folder)
    environment = {"SECRETS": str(folder), "PRIMITIVES_TOKEN": (folder / "operator_token").read_text()}
    ports = map(str, free_ports(2 * len(SERVICES)))
    for prefix in SERVICES.values():
        port = next(ports)
        environment |= {f"{prefix}_HTTP_PORT": port, f"PRIMITIVES_{prefix}_HTTP_PORT": port}
        environment[f"{prefix}_GRPC_PORT"] = next(ports)
    return environment


def run_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """Start a plan as `primitives demo --url` does, follow it until its study is open, and return its results."""
    with services_at("http://127.0.0.1") as services:
        began, plan_id = time.monotonic(), new_id("smoke")
        post(services.training, "/v1/plans", {"plan_id": plan_id} | plan)
        stages = follow_plan(services, plan_id)
        summary = summarise(services, stages)
        summary["seconds"]["total"] = round(time.monotonic() - began, 3)
        return summary | {"extraction": stages["extraction"]["id"]}


def end_analyses(extraction_id: str) -> dict[str, Any]:
    """Follow the analyses of an extraction to their end and return their results. PrimitivesError if one fails."""
    with services_at("http://127.0.0.1") as services:
        base = services.activation_extraction
        for view in get(base, f"/v1/extractions/{extraction_id}/analyses")["analyses"]:
            follow_analysis(base, view["analysis_id"])
        return summarise_analyses(Connection(base), extraction_id)


def use(stack: Stack, times: Times, plan: dict[str, Any]) -> dict[str, Any]:
    """Run a plan, restart every container, run the plan again, and compare both with their analyses. Return the results
    of the first plan."""
    with times.of("plan"):
        first = run_plan(plan)
    for name in (*STORES, *SERVICES):
        with times.of(f"restart {name}"):
            stack.compose("restart", "--no-deps", name)
            stack.await_healthy(name)
    stack.await_healthy(*SERVICES)
    with times.of("plan after restarts"):
        second = run_plan(plan)
    with times.of("analyses"):
        for each in (first, second):
            each["analyses"] = end_analyses(each["extraction"])
    if set(first["analyses"]) != set(plan["extraction"]["analyses"]):
        raise RuntimeError(f"the plan requests {plan['extraction']['analyses']}, but these analyses exist: {first}")
    same = {what: first[what] == second[what] for what in ("auc", "patches", "units", "pictures", "analyses")}
    if not all(same.values()):
        raise RuntimeError(f"the results differ after the restarts: {first}, then {second}")
    return {"plan": first}


def smoke(docker: Docker, times: Times, plan: dict[str, Any]) -> dict[str, Any]:
    """Build, start, use and stop everything with this plan. Return what is printed."""
    with times.of("stand-ins"):
        make_stand_ins(docker, HOME, pinned())
    sizes = build_images(docker, times)
    stack = Stack(docker, compose_environment(HOME / "secrets"))
    os.environ.update(stack.environment)  # for the client in this process and the commands that it starts
    try:
        try:
            with times.of("up"):
                stack.compose("up", "--detach", "--no-build", "--quiet-pull")
                stack.await_healthy(*STORES, *SERVICES)
            used = use(stack, times, plan)
        finally:
            stack.compose("logs", "--no-color")  # before "down": it removes them
        with times.of("down"):
            stack.compose("down")
    finally:
        stack.compose("down", "--volumes", "--timeout=10")
    return used | {"megabytes": sizes, "seconds": times.seconds}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="run the demo's own plan, not the smaller one")
    parser.add_argument("--keep", action="store_true", help="keep the engine's data (about 20 GB) for inspection")
    arguments = parser.parse_args()
    install_programs()
    try:
        with running_engine(HOME) as docker:
            result = smoke(docker, Times(), DEMO_PLAN if arguments.full else PLAN)
    finally:
        if not arguments.keep:
            shutil.rmtree(HOME / "data", ignore_errors=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
