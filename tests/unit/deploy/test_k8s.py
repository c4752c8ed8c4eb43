"""The manifests of k8s/, checked without a cluster: schemas, policies of ours, and the needs of services."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.release.digests import set_digests
from tests.unit.deploy.manifests import (
    CHECKOV,
    ELSEWHERE,
    HTTP_GRACE_S,
    NAME,
    NAMESPACE,
    ROOT,
    SERVICES,
    TOOLS,
    Object,
    Workload,
    copied,
    environment,
    matches,
    objects,
    render,
    secrets_of,
    services,
    stop_s,
    workloads,
)

OWN_KINDS = ("ScaledObject", "ScaledJob", "TriggerAuthentication", "PodMonitor", "PrometheusRule")
"""Kinds of KEDA and of the Prometheus operator. kubernetes-validate has no schemas of them; other tests check them."""


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_all_objects_fit_their_schemas(version: str, texts: dict[str, str], tmp_path: Path) -> None:
    """kubernetes-validate finds no faults, such as unknown fields. It knows all kinds except those of operators."""
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    command = [TOOLS / "kubernetes-validate", "--strict", "-k", version, *tmp_path.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    faults = [line for line in lines if line and not line.startswith("INFO")]
    assert [line for line in faults if not any(f"schema for kind {kind} " in line for kind in OWN_KINDS)] == []
    assert len([line for line in lines if line.startswith("INFO")]) >= len(texts)


def test_checkov_passes(texts: dict[str, str], tmp_path: Path) -> None:
    """checkov finds nothing beyond the skips of k8s/checkov.yaml, which gives a reason for each."""
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    command = [CHECKOV, "--config-file", ROOT / "k8s" / "checkov.yaml", "-d", tmp_path, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    failed = [(one["check_id"], one["file_path"], one["resource"]) for one in report["results"]["failed_checks"]]
    assert failed == []
    assert report["summary"]["resource_count"] > 100


def test_objects_are_in_our_namespace(found: list[Object], texts: dict[str, str]) -> None:
    """All objects of an overlay are in our namespace, except those that belong to the cluster. No file names another
    one: kustomize would move its objects silently. Only the separate kustomization of the GPU operator uses the
    operator's namespace."""
    clusters = {one["kind"] for one in found if "namespace" not in one["metadata"]}
    assert clusters <= {"Namespace", "PriorityClass"}
    assert {one["metadata"].get("namespace", NAMESPACE) for one in found} == {NAMESPACE}
    paths = [path for path in (ROOT / "k8s").rglob("*.yaml") if path.parent.name != "gpu-operator"]
    written = {
        (path.name, one["metadata"]["namespace"])
        for path in paths
        for one in yaml.safe_load_all(path.read_text())
        if isinstance(one, dict) and "namespace" in one.get("metadata", {})
    }
    assert written == set()
    assert [one["metadata"]["namespace"] for one in objects(texts["gpu-operator"])] == ["gpu-operator"]


def test_accounts_are_created_and_used(found: list[Object]) -> None:
    """Every workload has its own service account, and every account is used."""
    created = {one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"}
    used = [one.pod["serviceAccountName"] for one in workloads(found).values()]
    assert sorted(used) == sorted(created)


def test_images_are_named_by_digest(found: list[Object], overlay: str) -> None:
    """Images have digests. Only images that are built on the machine have tags, which are exact."""
    images = [one.container["image"] for one in workloads(found).values()]
    if overlay == "local-cpu":
        tags = [image.rpartition(":")[2] for image in images]
        assert all(":" in image for image in images) and "latest" not in tags
    else:
        assert [image for image in images if "@sha256:" not in image] == []


def test_a_release_renames_no_image_that_is_built_on_the_machine(tmp_path: Path) -> None:
    """When digests and repositories are set, local-cpu keeps its own images, and the other overlays use those of the
    release."""
    k8s = copied(tmp_path)
    digest = "sha256:" + "1f" * 32
    released = {f"visual-primitives/{name}": f"registry.example/{name}@{digest}" for name in SERVICES}
    path = k8s / "components" / "images" / "kustomization.yaml"
    before = images_of(objects(render(k8s, "local-cpu")))
    assert {name for name in before if name.startswith("visual-primitives/")} == {f"{name}:local" for name in released}
    set_digests(path, [f"{name}={image}" for name, image in released.items()])
    assert images_of(objects(render(k8s, "local-cpu"))) == before
    for overlay in ("gpu", "production", "team"):
        assert set(released.values()) <= images_of(objects(render(k8s, overlay)))


def test_pods_are_restricted(found: list[Object]) -> None:
    """Pods run without root, privileges, a writable image or an API token. The namespace refuses other pods."""
    (namespace,) = [one for one in found if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for one in workloads(found).values():
        security, pod = one.container["securityContext"], one.pod["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, one.name
        assert security["allowPrivilegeEscalation"] is False, one.name
        assert security["capabilities"] == {"drop": ["ALL"]}, one.name
        assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0, one.name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, one.name
        assert one.pod["automountServiceAccountToken"] is False, one.name
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(one.pod), one.name


def test_pods_have_requests_and_limits(found: list[Object]) -> None:
    """Pods have requests and limits of CPU, memory and disk, and no volumes of the node."""
    for one in workloads(found).values():
        resources = one.container["resources"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(resources[kind]), one.name
        for volume in one.pod["volumes"]:
            assert "hostPath" not in volume, one.name
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], one.name


def test_services_are_probed_at_their_own_paths(found: list[Object]) -> None:
    """Probes use the paths of services/common/http/app.py: liveness is not readiness, and starting may take long."""
    for one in services(found):
        probes = {kind: one.container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
        paths = {kind: (probe["httpGet"]["path"], probe["httpGet"]["port"]) for kind, probe in probes.items()}
        assert paths == {
            "startup": ("/healthz", "http"), "readiness": ("/readyz", "http"), "liveness": ("/healthz", "http"),
        }  # fmt: skip
        assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] >= 120


def test_pods_have_the_time_that_a_service_needs_to_stop(found: list[Object]) -> None:
    """The grace period is longer than the wait before the signal and the time that a service needs to stop."""
    for one in services(found):
        before_s = one.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert before_s + stop_s() < one.pod["terminationGracePeriodSeconds"], one.name
    for name, one in workloads(found).items():
        if one.kind == "ScaledJob" or name == "training-team":
            assert stop_s() < one.pod["terminationGracePeriodSeconds"], name


def test_the_grace_of_http_is_that_of_the_service() -> None:
    """HTTP_GRACE_S is the value that services/common/runtime/service.py passes to its HTTP server."""
    text = (ROOT / "services" / "common" / "runtime" / "service.py").read_text()
    assert f"timeout_graceful_shutdown={HTTP_GRACE_S:.0f}" in text


def test_a_drained_node_leaves_other_pods(found: list[Object]) -> None:
    """Each Deployment and StatefulSet has a PodDisruptionBudget, which allows draining. Services spread over nodes and
    zones."""
    budgets = [one["spec"] for one in found if one["kind"] == "PodDisruptionBudget"]
    serving = {name for name, one in workloads(found).items() if one.kind in ("Deployment", "StatefulSet")}
    assert {budget["selector"]["matchLabels"][NAME] for budget in budgets} == serving
    assert all(budget["maxUnavailable"] == 1 for budget in budgets)
    for one in services(found):
        keys = [constraint["topologyKey"] for constraint in one.pod["topologySpreadConstraints"]]
        assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_services_select_pods_with_their_ports(found: list[Object]) -> None:
    """Each Service selects the pods of one workload, and its ports are ports of these pods."""
    known = workloads(found)
    for one in found:
        if one["kind"] == "Service":
            pods = known[one["spec"]["selector"][NAME]]
            ports = {port["name"]: port["containerPort"] for port in pods.container["ports"]}
            for port in one["spec"]["ports"]:
                assert port["targetPort"] in ports or port["targetPort"] in ports.values(), one["metadata"]
                assert port["port"] == ports.get(port["targetPort"], port["port"]), one["metadata"]


def test_no_secret_is_in_the_manifests() -> None:
    """No committed file below k8s/ contains a Secret, or the content of one."""
    listed = subprocess.run(["git", "ls-files", "k8s"], cwd=ROOT, capture_output=True, text=True, check=True)
    committed = [ROOT / line for line in listed.stdout.splitlines()]
    assert [path.name for path in committed if "generated-secrets/files" in str(path)] == []
    assert [path.name for path in committed if "kind: Secret\n" in path.read_text()] == []
    assert [
        path.name for path in committed if "literals:" in path.read_text() and "secretGenerator" in path.read_text()
    ] == []


def test_secrets_are_created_or_named(found: list[Object], overlay: str) -> None:
    """Pods mount the Secrets that they need as files. An overlay with its own stores creates all of them; the others
    create none."""
    named = {name for one in workloads(found).values() for name in secrets_of(one)}
    created = {one["metadata"]["name"] for one in found if one["kind"] == "Secret"}
    assert created == set() if overlay in ELSEWHERE else named <= created
    for one in workloads(found).values():
        assert [entry for entry in one.container.get("env", []) if "secretKeyRef" in str(entry)] == [], one.name


def test_compose_and_kubernetes_agree(read: dict[str, list[Object]]) -> None:
    """Services agree on variables and their values, ports, secrets, user and the path of the readiness check; Jobs on
    their command; stores on the image, by tag, and its arguments; all of them on the size of shared memory."""
    found = read["local-cpu"]
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    healthcheck = (ROOT / "deploy" / "image" / "healthcheck").read_text()
    paths = {one.container["readinessProbe"]["httpGet"]["path"] for one in services(found)}
    assert all(f"{{port}}{path}" in healthcheck for path in paths)
    kubernetes = {name: side_of_kubernetes(workloads(found)[name], found) for name in SERVICES}
    assert kubernetes == {name: side_of_compose(composed[name]) for name in SERVICES}
    once = {name: workloads(found)[name].container["args"] for name in ("migrate", "buckets")}
    assert once == {name: composed[name]["command"] for name in once}
    images = {name: workloads(found)[name].container["image"] for name in ("rabbitmq", "minio", "postgres")}
    assert images == {name: default(composed[name]["image"]) for name in images}
    arguments = {name: workloads(found)[name].container.get("args") for name in images}
    assert arguments == {name: composed[name].get("command") for name in images}
    shared = {name: shared_memory(workloads(found)[name]) for name in (*SERVICES, *images)}
    sizes = {name: composed[name].get("shm_size", "") for name in shared}
    assert shared == {name: size.replace("gb", "Gi").replace("mb", "Mi") for name, size in sizes.items()}


def side_of_kubernetes(one: Workload, found: list[Object]) -> Object:
    """Return the configuration of a service in the manifests."""
    contents = {one["metadata"]["name"]: one.get("data", {}) for one in found if one["kind"] in ("ConfigMap", "Secret")}
    maps = [contents[source["configMapRef"]["name"]] for source in one.container["envFrom"]]
    return {
        "environment": {key: value for settings in maps for key, value in settings.items()} | environment(one),
        "ports": {port["containerPort"] for port in one.container["ports"]},
        "secrets": {key for name in secrets_of(one) for key in contents[name]},
        "user": f"{one.pod['securityContext']['runAsUser']}:{one.pod['securityContext']['runAsGroup']}",
    }


def side_of_compose(service: Object) -> Object:
    """Return the configuration of a service in docker-compose.yml."""
    return {
        "environment": {key: default(value) for key, value in service["environment"].items()},
        "ports": {int(port.rpartition(":")[2]) for port in service["ports"]},
        "secrets": set(service["secrets"]),
        "user": service["user"],
    }


def default(value: str) -> str:
    """Replace variables `${NAME:-value}` by their defaults."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.mark.parametrize("overlay", ["gpu", "production", "team"], indirect=True)
def test_observability_agrees_with_compose(found: list[Object]) -> None:
    """The Prometheus operator has the alerts of deploy/prometheus and the jobs that they name, Grafana has all
    dashboards, and the monitors use port names of the pods."""
    (rules,) = [one["spec"] for one in found if one["kind"] == "PrometheusRule"]
    assert rules == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    (boards,) = [one for one in found if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert set(boards["data"]) == {path.name for path in (ROOT / "deploy" / "grafana" / "dashboards").iterdir()}
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    monitors = [one["spec"] for one in found if one["kind"] == "PodMonitor"]
    endpoints = [endpoint for monitor in monitors for endpoint in monitor["podMetricsEndpoints"]]
    assert {one["relabelings"][0]["replacement"] for one in endpoints} == {one["job_name"] for one in scraped}
    for monitor in monitors:
        (endpoint,) = monitor["podMetricsEndpoints"]
        for one in (one for one in workloads(found).values() if matches(monitor["selector"], one.labels)):
            assert endpoint["port"] in [port["name"] for port in one.container["ports"]], one.name


def images_of(found: list[Object]) -> set[str]:
    """Return the images of all workloads."""
    return {one.container["image"] for one in workloads(found).values()}


def shared_memory(one: Workload) -> str:
    """Return the size of a workload's /dev/shm; empty for the container runtime's default."""
    names = [mount["name"] for mount in one.container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in one.pod["volumes"] if "emptyDir" in volume}
    return "".join(sizes[name] for name in names)
