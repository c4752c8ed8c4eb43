"""Prometheus with the shipped configuration, over services that run a plan."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import yaml
from primitives.training.v1 import training_pb2, training_pb2_grpc

from deploy.local.servers import free_ports
from tests.integration.embedded import LIMIT_S, Embedded, embedded
from tests.integration.test_plan import import_data, start_plan

DEPLOY = Path(__file__).parents[2] / "deploy"
WITHOUT_GPU = {"Memory of GPUs"}


@contextmanager
def prometheus(folder: Path, home: Embedded) -> Iterator[httpx.Client]:
    """Run Prometheus over a home's services: the shipped configuration with their ports, and without the broker that
    the embedded form lacks. It scrapes every second."""
    program = shutil.which("prometheus")
    assert program, "prometheus is missing: apt-get install prometheus (`make setup` does it)"
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], "1s")
    config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "services"]
    (scrape,) = config["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == [
        "training:8001", "activation-extraction:8002", "patch-rendering:8003", "annotation:8000",
    ]  # fmt: skip
    scrape["static_configs"][0]["targets"] = [base.removeprefix("http://") for base in home.services.all()]
    scrape["authorization"]["credentials_file"] = str(folder / "token")
    (folder / "token").write_text("not-asked-for")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client:
                yield client
        finally:
            process.terminate()
            process.wait(LIMIT_S)


def fetch(client: httpx.Client, path: str, **query: str) -> Any:
    """Return the response of Prometheus; None while it does not listen yet."""
    try:
        answer = client.get(path, params=query)
    except httpx.ConnectError:
        return None
    assert answer.is_success, answer.text
    return answer.json()["data"]


def panels() -> dict[str, list[str]]:
    """Return the queries of all dashboards by the title of their panel."""
    return {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
    }


def test_dashboards_show_a_plan_and_nothing_alarms(tmp_path: Path) -> None:
    """All four services are scraped, every panel without a GPU shows something after a plan, jobs have the names of
    their functions, and every alert rule is evaluated and silent."""
    with embedded(tmp_path / "home") as home, prometheus(tmp_path, home) as client:
        dataset = import_data(home, tmp_path / "ddsm")
        home.wait_for(lambda: fetch(client, "/targets") is not None)
        home.wait_for(lambda: {one["health"] for one in fetch(client, "/targets")["activeTargets"]} == {"up"})
        start_plan(home, dataset)
        home.wait_for_plan("plan-1")
        with grpc.insecure_channel(f"127.0.0.1:{home.grpc['TRAINING']}") as channel:
            training_pb2_grpc.TrainingServiceStub(channel).ListRuns(training_pb2.ListRunsRequest(), timeout=30)
        home.wait_for(lambda: empty(client) <= WITHOUT_GPU)  # until the last jobs have been scraped twice
        assert empty(client) == WITHOUT_GPU
        assert shown(client, 'primitives_job_reports_total{function="train_slice"}')
        written = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
        # The rules were last evaluated up to a second ago, perhaps while a task of the plan still waited.
        home.wait_for(lambda: "pending" not in {state for _, state in alerts(client).values()})
        assert alerts(client) == {rule["alert"]: ("ok", "inactive") for rule in written}


def alerts(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """Return the health and the state of each alert rule by its name."""
    (group,) = fetch(client, "/rules")["groups"]
    return {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]}


def empty(client: httpx.Client) -> set[str]:
    """Return the panels with a query that finds nothing now."""
    return {title for title, queries in panels().items() if not all(shown(client, query) for query in queries)}


def shown(client: httpx.Client, query: str) -> list[Any]:
    """Return the series that a query finds now."""
    found: list[Any] = fetch(client, "/query", query=query)["result"]
    return found
