"""Alerts, dashboards and scrape configuration: they use existing metrics, and alerts fire when they should."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import Metric

from services.common.observability import metrics
from tests.unit.common.runtime.test_status import Watched

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
NAME = re.compile(r"\bprimitives_[a-z_]+\b")
SELECTED = re.compile(r"(primitives_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
LE = "le"
SET_BY_A_SCRAPE = {"job", "instance", "namespace", "pod", "container", "endpoint"}
"""Labels that Prometheus and the operator's PodMonitor set. A metric's own label of that name becomes `exported_…`."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Our metrics by the names of their samples, with their labels."""
    watched = Watched(tmp_path_factory.mktemp("watched"))
    watched.probe()
    found = dict(_of_monitor(watched.monitor.collect()))
    for one in vars(metrics).values():
        if isinstance(one, metrics.Counter | metrics.Gauge | metrics.Histogram):
            names = {
                metrics.Counter: (f"{one._name}_total",),
                metrics.Gauge: (one._name,),
                metrics.Histogram: tuple(f"{one._name}_{part}" for part in ("bucket", "count", "sum")),
            }[type(one)]
            found |= {name: {*one._labelnames, LE} for name in names}
    return found


def _of_monitor(families: "Iterator[Metric] | object") -> Iterator[tuple[str, set[str]]]:
    for family in families:  # type: ignore[attr-defined]
        assert family.samples, f"{family.name} has no sample"
        yield family.name, set(family.samples[0].labels)


def promtool(*words: str) -> str:
    """Run promtool and return its output. It must be installed and succeed."""
    tool = shutil.which("promtool")
    assert tool, "promtool is missing: apt-get install prometheus (`make setup` installs it)"
    done = subprocess.run([tool, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alerts_fire_when_they_should_and_not_before() -> None:
    """promtool accepts the rules, and their tests pass."""
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "--syntax-only", "prometheus.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_and_documented() -> None:
    """alerts_test.yml tests that each alert fires, and docs/observability.md documents it."""
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    names = {rule["alert"] for rule in rules()}
    assert names == fired
    text = (ROOT / "docs" / "observability.md").read_text()
    assert [name for name in names if f"`{name}`" not in text] == []


def queries() -> Iterator[tuple[str, str]]:
    """Yield every query of alerts and dashboards with its place."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]


def test_every_query_uses_existing_metrics(known: dict[str, set[str]]) -> None:
    """Each metric in a query exists, with the labels that the query selects or groups by. Each metric is documented."""
    found = list(queries())
    assert len(found) > 25
    unknown = [(where, name) for where, query in found for name in NAME.findall(query) if name not in known]
    assert unknown == []
    for where, query in found:
        for name, selected in SELECTED.findall(query):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selected))
            assert labels <= known[name], (where, name)
        if NAME.search(query):
            labels = {label for name in NAME.findall(query) for label in known[name]}
            grouped = {label.strip() for one in GROUPED.findall(query) for label in one.split(",")}
            assert grouped <= labels, where
    text = (ROOT / "docs" / "observability.md").read_text()
    families = {re.sub(r"_(bucket|count|sum)$", "", name) if "duration" in name else name for name in known}
    assert sorted(name for name in families if f"`{name}`" not in text) == []


def test_every_metric_names_its_service_and_follows_the_convention(known: dict[str, set[str]]) -> None:
    """Each metric has the label `service` and the prefix `primitives_`."""
    assert [name for name, labels in known.items() if "service" not in labels] == []
    assert [name for name in known if not name.startswith("primitives_")] == []


def test_no_label_is_set_by_the_scrape(known: dict[str, set[str]]) -> None:
    """Prometheus would rename such a label, and queries would read the scrape's label."""
    assert {name: labels & SET_BY_A_SCRAPE for name, labels in known.items() if labels & SET_BY_A_SCRAPE} == {}


def test_dashboards_are_consistent() -> None:
    """Each dashboard has its own id, panels that do not overlap, and the provisioned data source."""
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(boards) == 2
    for board in boards:
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == sources[0]["uid"]
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
            taken |= cells


def test_every_service_is_scraped_at_its_port() -> None:
    """The scrape targets are the services of docker-compose.yml."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    names = [target.partition(":")[0] for target in targets]
    assert sorted(names) == ["activation-extraction", "annotation", "patch-rendering", "training"]
    assert set(names) <= services.keys()
