"""Runs plans at once on a cluster with the overlay `gpu`, and prints how they shared its GPUs.

python -m deploy.cluster.gpus [--plans 2] [--namespace visual-primitives]

It uses `kubectl` and the cluster that KUBECONFIG names, and PRIMITIVES_TOKEN as `primitives demo` does. The services
must log as JSON at the level debug (PRIMITIVES_LOG_LEVEL), because the times of jobs come from the logs of the workers.
The last line is JSON. The exit status is 1 if a plan fails, a message is parked, or a pod has waited for more than 30
seconds for a GPU while not all GPUs were at work.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.cluster.pods import GpuPod, Watch, gpus_of_nodes, longest_wait_for_nothing
from deploy.smoke.run import PLAN
from services.cli.client import Services, get, plan_stages, post
from services.cli.demo import services_at
from services.common.errors import Unavailable
from services.common.identity import new_id

PORTS = {"training": 8001, "activation-extraction": 8002, "patch-rendering": 8003, "annotation": 8000}
LIMIT_S = 3600.0
LONGEST_WAIT_S = 30.0
POLL_S = 2.0
ENDED = ("completed", "failed", "cancelled")


@contextmanager
def forwarded(namespace: str) -> Iterator[None]:
    """Forward the ports of the services to this machine. A forward ends with its pod, and begins again."""
    stopping = threading.Event()
    running: dict[str, subprocess.Popen[bytes]] = {}

    def forward(name: str, port: int) -> None:
        while not stopping.is_set():
            command = ["kubectl", "port-forward", "--namespace", namespace, f"service/{name}", f"{port}:{port}"]
            running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running[name].wait()
            stopping.wait(1.0)

    threads = [threading.Thread(target=forward, args=one, daemon=True) for one in PORTS.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for process in running.values():
            process.terminate()
        for thread in threads:
            thread.join()


def run_plans(services: Services, count: int) -> dict[str, dict[str, str]]:
    """Start plans at once and follow them until their stages and analyses have ended. Return all states by plan."""
    plans = [new_id("gpus") for _ in range(count)]
    for plan_id in plans:
        post(services.training, "/v1/plans", {"plan_id": plan_id} | PLAN)
    deadline, states = time.monotonic() + LIMIT_S, dict[str, dict[str, str]]()
    while not all(map(is_over, states.values())) or len(states) < count:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
        try:
            states = {plan_id: states_of(services, plan_id) for plan_id in plans}
        except Unavailable as error:  # a forward begins again
            print(error, file=sys.stderr)
    return states


def states_of(services: Services, plan_id: str) -> dict[str, str]:
    """The states of a plan's stages, and of the analyses of its extraction."""
    stages = {stage["name"]: stage for stage in plan_stages(services, plan_id)}
    states = {name: stage["state"] for name, stage in stages.items()}
    if "extraction" in stages:
        path = f"/v1/extractions/{stages['extraction']['id']}/analyses"
        analyses = get(services.activation_extraction, path)["analyses"]
        states |= {analysis["kind"]: analysis["state"] for analysis in analyses}
    return states


def is_over(states: dict[str, str]) -> bool:
    """Whether a plan has failed, or its study and all its analyses have ended."""
    complete = {"study", *PLAN["extraction"]["analyses"]} <= set(states)
    return "failed" in states.values() or (complete and all(state in ENDED for state in states.values()))


def described(pod: GpuPod, began: float) -> dict[str, Any]:
    """A pod in seconds since the begin, with what is missing as null."""
    times = {"created": pod.created, "scheduled": pod.scheduled, "finished": pod.finished}
    rounded = {name: None if moment is None else round(moment - began) for name, moment in times.items()}
    return {"pod": pod.name, **rounded, "jobs": [[round(at - began, 1) for at in job] for job in pod.jobs]}


def measure(namespace: str, count: int) -> dict[str, Any]:
    """Run plans and return what is printed."""
    began = datetime.now(UTC).timestamp()
    with tempfile.TemporaryDirectory() as folder, forwarded(namespace), services_at("http://127.0.0.1") as services:
        watch = Watch(namespace, Path(folder))
        watch.start()
        states = run_plans(services, count)
        seconds = datetime.now(UTC).timestamp() - began
        deadline = time.monotonic() + LIMIT_S
        while not watch.none_left() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        watch.stop()
        parked = [message for base in services.all() for message in get(base, "/v1/parked")["messages"]]
    # Pods that had ended before belong to an earlier run.
    pods = [pod for pod in watch.pods.values() if pod.finished is None or pod.finished > began]
    for pod in sorted(pods, key=lambda pod: pod.created):
        print(json.dumps(described(pod, began)), file=sys.stderr)
    return {
        "plans": list(states.values()),
        "seconds": round(seconds),
        "gpus": gpus_of_nodes(),
        "pods": len(pods),
        "most_with_a_gpu_at_once": dict(watch.most),
        "jobs": sum(len(pod.jobs) for pod in pods),
        "longest_wait_for_nothing_s": round(longest_wait_for_nothing(pods, gpus_of_nodes(), began + seconds), 1),
        "parked": len(parked),
    }


def is_good(result: dict[str, Any]) -> bool:
    """Whether all work was done, and no pod waited for long for nothing."""
    done = all(set(states.values()) == {"completed"} for states in result["plans"])
    return done and not result["parked"] and result["longest_wait_for_nothing_s"] <= LONGEST_WAIT_S


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=2, help="plans that begin at once")
    parser.add_argument("--namespace", default="visual-primitives")
    arguments = parser.parse_args()
    result = measure(arguments.namespace, arguments.plans)
    print(json.dumps(result))
    sys.exit(not is_good(result))


if __name__ == "__main__":
    main()
