"""The manifests of k8s/ as kubectl renders them, and the connections that their network policies allow."""

import base64
import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.secrets import make
from services.common.bus.amqp import BLOCKED_LIMIT_S
from services.common.bus.publisher import PUBLISH_LIMIT_S
from services.common.grpc.server import GrpcServer

ROOT = Path(__file__).parents[3]
TOOLS = Path(sys.executable).parent
CHECKOV = TOOLS.parent / "checkov" / "bin" / "checkov"
"""In its own environment, which `make setup` creates."""
SERVICES = ("training", "activation-extraction", "patch-rendering", "annotation")
OVERLAYS = ("local-cpu", "gpu", "production", "team", "team-elsewhere", "rendering-gpu")
ELSEWHERE = ("production", "team-elsewhere")
"""Overlays with stores outside the cluster, whose Secrets the operator creates."""
HTTP_GRACE_S = 5.0
"""The value that services/common/runtime/service.py passes to its HTTP server; test_k8s.py checks this."""
NAME = "app.kubernetes.io/name"
NAMESPACE = "visual-primitives"
MORE = {
    "team": ("gpu", ("training-multi-node", "gpu-time-slicing", "images")),
    "rendering-gpu": ("gpu", ("gpu-rendering", "images")),
    "team-elsewhere": ("production", ("training-multi-node", "images")),
}
"""Extra overlays with components that ours do not use: by name, the base overlay and its components."""

Object = dict[str, Any]
Edge = tuple[str, str, int | str]
"""Caller, callee and port."""


@dataclass(frozen=True)
class Workload:
    """An object that creates pods, with the template of its pods."""

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
    """Copy the manifests into a folder, create the secrets, and add the overlays of MORE."""
    shutil.copytree(ROOT / "k8s", folder / "k8s", ignore=shutil.ignore_patterns("files"))
    for name in ("rabbitmq", "grafana"):
        shutil.copytree(ROOT / "deploy" / name, folder / "deploy" / name)
    make(folder / "k8s" / "components" / "generated-secrets" / "files")
    for name, (below, components) in MORE.items():
        add_overlay(folder / "k8s", name, f"../{below}", components)
    return folder / "k8s"


def add_overlay(k8s: Path, name: str, below: str, components: Iterable[str]) -> None:
    """Add an overlay that only combines others, in our namespace."""
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
    """Return what `kubectl apply -k` would send for an overlay."""
    return render_folder(k8s / "overlays" / overlay)


def render_folder(folder: Path) -> str:
    """Return what `kubectl apply -k` would send for a folder."""
    done = subprocess.run([TOOLS / "kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[Object]:
    """Parse the rendered objects."""
    return list(yaml.load_all(text, yaml.CSafeLoader))


def workloads(found: list[Object]) -> dict[str, Workload]:
    """Return all objects that create pods, by the name in the pods' labels."""
    candidates = (workload(one) for one in found)
    return {one.labels[NAME]: one for one in candidates if one is not None}


def workload(one: Object) -> Workload | None:
    """Return an object as a workload; None if it creates no pods."""
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
    """Return the allowed connections between pods, and between pods and the namespaces and addresses that a policy
    names. Both ends must allow a connection, except ends outside our namespace. DNS is left out, since all pods use
    it."""
    policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    pods = {name: one.labels for name, one in workloads(found).items()}
    ports = {port["port"] for policy in policies for _, port in _rules(policy) if port is not None} - {53} | {"any"}
    inside = {
        (caller, called, port)
        for caller in pods
        for called in pods
        for port in ports
        if _allows(policies, "egress", pods[caller], pods[called], port)
        and _allows(policies, "ingress", pods[called], pods[caller], port)
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


def _allows(
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
    """Whether a selector matches these labels."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def services(found: list[Object]) -> list[Workload]:
    """Return the four services."""
    return [workloads(found)[name] for name in SERVICES]


def deployments(found: list[Object]) -> dict[str, Object]:
    """Return the spec of each Deployment by its name."""
    return {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "Deployment"}


def secrets_of(one: Workload) -> set[str]:
    """Return the names of the Secrets that a workload mounts."""
    sources = [
        source for volume in one.pod["volumes"] for source in volume.get("projected", {}).get("sources", [volume])
    ]
    return {one["secret"].get("secretName", one["secret"].get("name")) for one in sources if "secret" in one}


def environment(one: Workload) -> dict[str, str]:
    """Return the variables of a container that have literal values."""
    return {entry["name"]: entry["value"] for entry in one.container.get("env", [])}


def decoded(data: dict[str, str], kind: str) -> dict[str, str]:
    """Return the contents of a Secret or a ConfigMap."""
    return {key: base64.b64decode(value).decode() for key, value in data.items()} if kind == "Secret" else data


def stop_s() -> float:
    """Return the longest time that a service needs to stop: the graces of its servers, and the time in which the outbox
    and a consumer try to send one message each, one after the other, when the broker is unreachable."""
    grpc_grace_s: float = inspect.signature(GrpcServer.stop).parameters["grace_s"].default
    return HTTP_GRACE_S + grpc_grace_s + 2 * (PUBLISH_LIMIT_S + BLOCKED_LIMIT_S)
