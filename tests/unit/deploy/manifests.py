"""The manifests of k8s/ as kubectl renders them, and what their network policies let pass."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.secrets import make

ROOT = Path(__file__).parents[3]
TOOLS = Path(sys.executable).parent
CHECKOV = TOOLS.parent / "checkov" / "bin" / "checkov"
"""In an environment of its own, which `make setup` makes."""
SERVICES = ("training", "activation-extraction", "patch-rendering", "annotation")
NAME = "app.kubernetes.io/name"
NAMESPACE = "visual-primitives"
MORE = {
    "team": ("gpu", ("training-multi-node", "gpu-time-slicing", "images")),
    "rendering-gpu": ("gpu", ("gpu-rendering", "images")),
    "team-elsewhere": ("production", ("training-multi-node", "images")),
}
"""Overlays of what ours leave out: by name the one below, and its components."""

Object = dict[str, Any]
Edge = tuple[str, str, int | str]
"""Who calls, who is called, and the port."""


@dataclass(frozen=True)
class Workload:
    """An object that makes pods, and what it makes them by."""

    kind: str
    name: str
    labels: dict[str, str]
    pod: Object
    spec: Object

    @property
    def container(self) -> Object:
        """The only container."""
        (container,) = self.pod["containers"]
        return container


def copied(folder: Path) -> Path:
    """The manifests in a folder of their own, with secrets made, and the overlays of MORE."""
    shutil.copytree(ROOT / "k8s", folder / "k8s", ignore=shutil.ignore_patterns("files"))
    for name in ("rabbitmq", "grafana"):
        shutil.copytree(ROOT / "deploy" / name, folder / "deploy" / name)
    make(folder / "k8s" / "components" / "generated-secrets" / "files")
    for name, (below, components) in MORE.items():
        add_overlay(folder / "k8s", name, f"../{below}", components)
    return folder / "k8s"


def add_overlay(k8s: Path, name: str, below: str, components: Iterable[str]) -> None:
    """An overlay of our namespace that has nothing of its own."""
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": [below],
        "components": [f"../../components/{one}" for one in components],
    }
    (k8s / "overlays" / name).mkdir()
    (k8s / "overlays" / name / "kustomization.yaml").write_text(yaml.safe_dump(content))


def render(k8s: Path, overlay: str) -> str:
    """What `kubectl apply -k` of an overlay would send."""
    return render_folder(k8s / "overlays" / overlay)


def render_folder(folder: Path) -> str:
    """What `kubectl apply -k` would send."""
    done = subprocess.run([TOOLS / "kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[Object]:
    """The objects of a rendering."""
    return list(yaml.load_all(text, yaml.CSafeLoader))


def workloads(found: list[Object]) -> dict[str, Workload]:
    """All that makes pods, by the name in the pods' labels."""
    made = (workload(one) for one in found)
    return {one.labels[NAME]: one for one in made if one is not None}


def workload(one: Object) -> Workload | None:
    """What makes pods in an object, if anything does."""
    spec = one.get("spec", {})
    if one["kind"] in ("Deployment", "StatefulSet", "Job"):
        job = spec
    elif one["kind"] == "CronJob":
        job = spec["jobTemplate"]["spec"]
    elif one["kind"] == "ScaledJob":
        job = spec["jobTargetRef"]
    else:
        return None
    template = job["template"]
    return Workload(one["kind"], one["metadata"]["name"], template["metadata"]["labels"], template["spec"], job)


def edges(found: list[Object]) -> set[Edge]:
    """What may pass between pods, and between pods and those outside that a policy names: namespaces and addresses.
    Both ends have to allow it; an end outside is not ours to ask. Names are asked of DNS by everybody, and left out."""
    policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    pods = {name: one.labels for name, one in workloads(found).items()}
    ports = {port["port"] for policy in policies for _, port in _rules(policy) if port is not None} - {53} | {"any"}
    inside = {
        (caller, called, port)
        for caller in pods
        for called in pods
        for port in ports
        if _lets(policies, "egress", pods[caller], pods[called], port)
        and _lets(policies, "ingress", pods[called], pods[caller], port)
    }
    every_port = {(caller, called) for caller, called, port in inside if port == "any"}
    by_port = {edge for edge in inside if edge[2] == "any" or edge[:2] not in every_port}
    return by_port | set(_outside(policies, pods))


def _outside(policies: list[Object], pods: dict[str, dict[str, str]]) -> Iterator[Edge]:
    for policy in policies:
        for name in (name for name, labels in pods.items() if matches(policy["podSelector"], labels)):
            for peer, port in _rules(policy):
                number = "any" if port is None else port["port"]
                if number == 53:
                    continue
                if "ipBlock" in peer:
                    yield (name, peer["ipBlock"]["cidr"], number)
                elif "namespaceSelector" in peer:
                    yield (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], name, number)


def _rules(policy: Object) -> Iterator[tuple[Object, Object | None]]:
    for direction, key in (("ingress", "from"), ("egress", "to")):
        for rule in policy.get(direction, []):
            for peer in rule[key]:
                for port in rule.get("ports", [None]):
                    yield peer, port


def _lets(
    policies: list[Object], direction: str, labels: dict[str, str], other: dict[str, str], port: int | str
) -> bool:
    key = "from" if direction == "ingress" else "to"
    return any(
        "namespaceSelector" not in peer and "podSelector" in peer and matches(peer["podSelector"], other)
        for policy in policies
        if matches(policy["podSelector"], labels)
        for rule in policy.get(direction, [])
        if "ports" not in rule or port in [one["port"] for one in rule["ports"]]
        for peer in rule[key]
    )


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a selector selects what has these labels."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
