"""The network policies of k8s/: the connections that they allow, against those that the workloads need."""

from urllib.parse import urlsplit

import pytest

from tests.unit.deploy.manifests import (
    ELSEWHERE,
    Edge,
    Object,
    Workload,
    decoded,
    edges,
    environment,
    objects,
    secrets_of,
    workloads,
)

STORES = {("rabbitmq", 5672), ("minio", 9000), ("postgres", 5432)}

OUTSIDE = {("rabbitmq", 5672): ("192.0.2.10/32", 5671), ("minio", 9000): ("192.0.2.20/32", 443)} | {
    ("postgres", 5432): ("192.0.2.30/32", 5432)
}
"""Addresses of stores outside the cluster. They lead nowhere until the operator replaces them."""

DEPENDS: dict[str, set[tuple[str, int]]] = {
    "training": STORES,
    "training-worker": STORES,
    "training-plain-worker": STORES,
    "training-team": STORES,
    "activation-extraction": STORES,
    "activation-extraction-worker": STORES,
    "activation-extraction-plain-worker": STORES,
    "patch-rendering": STORES,
    "annotation": STORES | {("training", 8001), ("activation-extraction", 8002), ("patch-rendering", 8003)},
    "migrate": {("postgres", 5432)},
    "buckets": {("minio", 9000)},
    "garbage": {("minio", 9000), ("postgres", 5432)},
}
"""Workloads and ports that each workload calls."""

CALLED_FROM: dict[str, set[Edge]] = {
    "keda": {("keda", "rabbitmq", 15672)},
    "monitoring": {
        ("monitoring", "training", 8001),
        ("monitoring", "training-worker", 8001),
        ("monitoring", "training-plain-worker", 8001),
        ("monitoring", "training-team", 8001),
        ("monitoring", "activation-extraction", 8002),
        ("monitoring", "activation-extraction-worker", 8002),
        ("monitoring", "activation-extraction-plain-worker", 8002),
        ("monitoring", "patch-rendering", 8003),
        ("monitoring", "annotation", 8000),
        ("monitoring", "rabbitmq", 15692),
    },
    "ingress": {("ingress-nginx", "annotation", 8000)},
    "team": {("training-team", "training-team", "any")},
}
"""Other allowed callers, by the component that allows them."""

COMPONENTS = {
    "local-cpu": (),
    "gpu": ("keda", "monitoring"),
    "rendering-gpu": ("keda", "monitoring"),
    "production": ("keda", "monitoring", "ingress"),
    "team": ("keda", "monitoring", "team"),
    "team-elsewhere": ("keda", "monitoring", "ingress", "team"),
}


def test_policies_allow_exactly_the_needed_connections(found: list[Object], overlay: str) -> None:
    """The edges that the policies allow are those of the table of dependencies."""
    present = set(workloads(found))
    needed = {(caller, *called) for caller, callees in DEPENDS.items() if caller in present for called in callees}
    if overlay in ELSEWHERE:
        needed = {(caller, *OUTSIDE.get((called, port), (called, port))) for caller, called, port in needed}
    extra = set().union(*(CALLED_FROM[component] for component in COMPONENTS[overlay]))
    assert edges(found) == needed | {edge for edge in extra if edge[1] in present}


def test_the_table_of_dependencies_matches_the_settings_of_pods(texts: dict[str, str]) -> None:
    """Hosts and ports in the Secrets and ConfigMaps of each workload are those of the table."""
    found = objects(texts["team"])
    contents = {
        one["metadata"]["name"]: one.get("stringData", {}) | decoded(one.get("data", {}), one["kind"])
        for one in found
        if one["kind"] in ("Secret", "ConfigMap")
    }
    configured = {name: urls_of(one, contents) for name, one in workloads(found).items() if name in DEPENDS}
    assert configured == {name: callees for name, callees in DEPENDS.items() if name in configured}
    assert set(configured) == set(DEPENDS)


def test_connections_are_denied_by_default(found: list[Object]) -> None:
    """One policy selects all pods in both directions and allows nothing."""
    specs = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "NetworkPolicy"}
    assert specs["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_only_the_clusters_dns_resolves_names(found: list[Object]) -> None:
    """On port 53 every pod may call kube-dns and a node's cache, and nothing else."""
    allowed = [
        (one["metadata"]["name"], one["spec"]["podSelector"], rule["to"], {port["port"] for port in rule["ports"]})
        for one in found
        if one["kind"] == "NetworkPolicy"
        for rule in one["spec"].get("egress", [])
        if 53 in [port["port"] for port in rule.get("ports", [])]
    ]
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    assert allowed == [("names", {}, [dns, {"ipBlock": {"cidr": "169.254.20.10/32"}}], {53})]


def test_keda_calls_the_broker_by_its_full_name(read: dict[str, list[Object]]) -> None:
    """KEDA's URL has the full name of a Service with that port, because a short name means another host in KEDA's
    namespace."""
    found = read["gpu"]
    (secret,) = [one for one in found if one["kind"] == "Secret" and one["metadata"]["name"] == "keda-rabbitmq"]
    url = urlsplit(decoded(secret["data"], "Secret")["management_url"])
    name, namespace, kind = (url.hostname or "").split(".")
    (service,) = [one for one in found if one["kind"] == "Service" and one["metadata"]["name"] == name]
    assert (namespace, kind) == (service["metadata"]["namespace"], "svc")
    assert url.port in [port["port"] for port in service["spec"]["ports"]]
    assert ("keda", name, url.port) in edges(found)


@pytest.mark.parametrize("overlay", ["production"], indirect=True)
def test_the_host_of_the_pages_is_consistent(found: list[Object]) -> None:
    """The certificate, the rule and the pages' own origin name the same host, and the namespace of the controller's
    class may call the pages."""
    (ingress,) = [one["spec"] for one in found if one["kind"] == "Ingress"]
    (rule,), (tls,) = ingress["rules"], ingress["tls"]
    origin = environment(workloads(found)["annotation"])["PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN"]
    assert (tls["hosts"], origin) == ([rule["host"]], f"https://{rule['host']}")
    assert (f"ingress-{ingress['ingressClassName']}", "annotation", 8000) in edges(found)


def urls_of(one: Workload, contents: dict[str, dict[str, str]]) -> set[tuple[str, int]]:
    """Return hosts and ports of all URLs in a workload's settings."""
    names = [*secrets_of(one)]
    names += [source["configMapRef"]["name"] for source in one.container.get("envFrom", [])]
    values = [value for name in names for key, value in contents[name].items() if key.lower().endswith("_url")]
    return {(parts.hostname or "", parts.port or 0) for parts in map(urlsplit, values)}
