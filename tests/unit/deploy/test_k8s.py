"""The manifests of k8s/, checked without a cluster: schemas, policies of ours, and what services need of them."""

import base64
import inspect
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.release.digests import set_digests
from services.common.bus.amqp import BLOCKED_LIMIT_S
from services.common.bus.publisher import PUBLISH_LIMIT_S
from services.common.grpc import GrpcServer
from services.common.records.database import CONNECTIONS
from tests.unit.deploy.manifests import (
    CHECKOV,
    NAME,
    NAMESPACE,
    ROOT,
    SERVICES,
    TOOLS,
    Edge,
    Object,
    Workload,
    add_overlay,
    copied,
    edges,
    matches,
    objects,
    render,
    render_folder,
    workloads,
)

OVERLAYS = ("local-cpu", "gpu", "production", "team", "team-elsewhere", "rendering-gpu")
ELSEWHERE = ("production", "team-elsewhere")
"""Overlays with stores outside the cluster, whose Secrets the operator creates."""
STORES = {("rabbitmq", 5672), ("minio", 9000), ("postgres", 5432)}
OUTSIDE = {("rabbitmq", 5672): ("192.0.2.10/32", 5671), ("minio", 9000): ("192.0.2.20/32", 443)} | {
    ("postgres", 5432): ("192.0.2.30/32", 5432)
}
"""Addresses of stores outside the cluster. They lead nowhere until the operator replaces them."""
DEPENDS: dict[str, set[tuple[str, int]]] = {
    "training": STORES,
    "training-worker": STORES,
    "training-team": STORES,
    "activation-extraction": STORES,
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
        ("monitoring", "training-team", 8001),
        ("monitoring", "activation-extraction", 8002),
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
HTTP_GRACE_S = 5.0
RESERVED_CONNECTIONS = 3
"""Connections that PostgreSQL reserves for administrators: superuser_reserved_connections."""
OWN_KINDS = ("ScaledObject", "ScaledJob", "TriggerAuthentication", "PodMonitor", "PrometheusRule")
"""Kinds of KEDA and of the Prometheus operator. kubernetes-validate has no schemas of them; other tests check them."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every overlay and the GPU operator's settings, rendered."""
    k8s = copied(tmp_path_factory.mktemp("manifests"))
    return {overlay: render(k8s, overlay) for overlay in OVERLAYS} | {
        "gpu-operator": render_folder(k8s / "gpu-operator")
    }


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of an overlay."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def read(texts: dict[str, str]) -> dict[str, list[Object]]:
    """The objects of every overlay."""
    return {name: objects(text) for name, text in texts.items()}


@pytest.fixture
def found(read: dict[str, list[Object]], overlay: str) -> list[Object]:
    """The objects of an overlay."""
    return read[overlay]


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


def test_objects_are_in_our_namespace(found: list[Object], texts: dict[str, str]) -> None:
    """All objects of an overlay are in our namespace, and no file names another one: kustomize would move its objects
    silently. Only the separate kustomization of the GPU operator uses the operator's namespace."""
    clusters = [one["kind"] for one in found if "namespace" not in one["metadata"]]
    assert clusters == ["Namespace"]
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
    for name in {"training-worker", "training-team"} & set(workloads(found)):
        assert stop_s() < workloads(found)[name].pod["terminationGracePeriodSeconds"], name


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


@pytest.mark.parametrize("overlay", ["rendering-gpu"], indirect=True)
def test_rendering_decodes_on_a_slice(found: list[Object]) -> None:
    """With its component, rendering is set to decode on its slice of a GPU, and has enough memory for torch."""
    (container,) = (one.container for name, one in workloads(found).items() if name == "patch-rendering")
    assert {"name": "PRIMITIVES_DEVICE", "value": "cuda"} in container["env"]
    assert container["resources"]["limits"]["nvidia.com/gpu.shared"] == "1"
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert container["resources"]["limits"]["memory"] == "8Gi"


@pytest.mark.parametrize("overlay", ["gpu", "production", "team", "team-elsewhere", "rendering-gpu"], indirect=True)
def test_services_that_run_networks_use_gpus(found: list[Object]) -> None:
    """All four services run on nodes with GPUs. Services that run networks use a full GPU, never a slice."""
    known = workloads(found)
    for name in (*SERVICES, "training-worker"):
        assert known[name].pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}, name
        assert [one["key"] for one in known[name].pod["tolerations"]] == ["nvidia.com/gpu"], name
    full = {name for name, one in known.items() if "nvidia.com/gpu" in one.container["resources"]["limits"]}
    sliced = {name for name, one in known.items() if "nvidia.com/gpu.shared" in one.container["resources"]["limits"]}
    assert full - {"training-team"} == {"training-worker", "activation-extraction"}
    assert sliced <= {"patch-rendering", "annotation"}


def test_without_keda_training_uses_a_gpu_itself(tmp_path: Path) -> None:
    """Without KEDA, the component of GPUs gives one each to training and extraction."""
    k8s = copied(tmp_path)
    add_overlay(k8s, "alone", "../../base", ["gpu", "images"])
    known = workloads(objects(render(k8s, "alone")))
    full = {name for name, one in known.items() if "nvidia.com/gpu" in one.container["resources"]["limits"]}
    assert full == {"training", "activation-extraction"}


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


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_scaling_uses_existing_queues(found: list[Object]) -> None:
    """Each trigger reads over HTTP the length of a queue in the definitions, including unacknowledged messages, with
    credentials by reference. Every queue of work has a trigger. Only KEDA sets the number of pods."""
    definitions = json.loads((ROOT / "deploy" / "rabbitmq" / "definitions.json").read_text())
    queues = {queue["name"] for queue in definitions["queues"]}
    references = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "TriggerAuthentication"}
    assert references["rabbitmq"]["secretTargetRef"][0]["parameter"] == "host"
    scaled = [one for one in found if one["kind"] in ("ScaledObject", "ScaledJob")]
    triggers = [trigger for one in scaled for trigger in one["spec"]["triggers"]]
    for trigger in triggers:
        settings = trigger["metadata"]
        assert (trigger["type"], settings["protocol"], settings["mode"]) == ("rabbitmq", "http", "QueueLength")
        assert settings["excludeUnacknowledged"] == "false" and float(settings["value"]) > 0
        assert settings["queueName"] in queues and trigger["authenticationRef"]["name"] in references
    triggering = sorted(trigger["metadata"]["queueName"] for trigger in triggers)
    assert triggering == sorted(queue for queue in queues if queue.endswith((".jobs", ".merges")))
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in scaled if one["kind"] == "ScaledObject"}
    assert targets == set(SERVICES) - {"training"}
    assert {name for name, spec in deployments(found).items() if "replicas" not in spec} == targets


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_training_is_scaled_by_jobs(found: list[Object]) -> None:
    """An update does not stop running jobs. The Deployment runs no jobs, and workers run nothing else."""
    (scaled,) = [one["spec"] for one in found if one["kind"] == "ScaledJob"]
    assert scaled["rollout"] == {"strategy": "gradual"}
    assert scaled["triggers"][0]["metadata"]["queueName"] == "training.jobs"
    known = workloads(found)
    roles = {name: environment(known[name])["PRIMITIVES_TRAINING_ROLE"] for name in ("training", "training-worker")}
    assert roles == {"training": "front", "training-worker": "worker"}
    settings = [one["configMapRef"]["name"] for one in known["training-worker"].container["envFrom"]]
    assert settings == [one["configMapRef"]["name"] for one in known["training"].container["envFrom"]]


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_the_database_allows_what_all_pods_may_open(found: list[Object], overlay: str) -> None:
    """At KEDA's maxima every process can open all its connections, and some remain for Jobs and terminating pods. For a
    database outside the cluster the docs name the number."""
    most = {one["metadata"]["name"]: one["spec"]["maxReplicaCount"] for one in found if "Scaled" in one["kind"]}
    processes = sum(most.values()) + deployments(found)["training"]["replicas"]
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"{processes * CONNECTIONS} connections" in page
    assert f"up to {CONNECTIONS} connections a service process" in (ROOT / "docs" / "operations.md").read_text()
    if overlay == "gpu":
        _, allowed = workloads(found)["postgres"].container["args"][-1].split("max_connections=")
        others = ("migrate", "garbage", *SERVICES)
        assert (processes + len(others)) * CONNECTIONS + RESERVED_CONNECTIONS <= int(allowed)


@pytest.mark.parametrize("overlay", ["team", "team-elsewhere"], indirect=True)
def test_machines_of_a_team_agree(found: list[Object]) -> None:
    """The settings contain the numbers of pods, machines and GPUs, and all pods meet at the first pod."""
    team = workloads(found)["training-team"]
    (settings,) = [one["data"] for one in found if one["metadata"]["name"].startswith("settings-team")]
    nodes = int(settings["PRIMITIVES_TRAINING_NODES"])
    assert (team.spec["completionMode"], team.spec["completions"], team.spec["parallelism"]) == (
        "Indexed",
        nodes,
        nodes,
    )
    assert team.container["resources"]["limits"]["nvidia.com/gpu"] == settings["PRIMITIVES_TRAINING_PROCESSES"]
    assert settings["PRIMITIVES_TRAINING_ROLE"] == "worker"
    host, _, port = environment(team)["PRIMITIVES_TRAINING_RENDEZVOUS"].partition(":")
    assert host == f"training-team-0.{team.pod['subdomain']}"
    script = team.container["args"][-1]
    assert f"--master-addr={host}" in script and f"--master-port={port}" in script
    (service,) = [one for one in found if one["kind"] == "Service" and one["metadata"]["name"] == team.pod["subdomain"]]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True


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
    images = {name: workloads(found)[name].container["image"] for name, _ in STORES}
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


@pytest.mark.parametrize("overlay", ["team", "team-elsewhere"], indirect=True)
def test_only_the_first_pod_of_a_team_is_scraped(found: list[Object]) -> None:
    """The monitor of the services selects the team but keeps only its first pod, which is the service. It keeps all
    pods without an index."""
    team = workloads(found)["training-team"]
    (monitor,) = [
        one["spec"] for one in found if one["kind"] == "PodMonitor" and matches(one["spec"]["selector"], team.labels)
    ]
    (endpoint,) = monitor["podMetricsEndpoints"]
    (keep,) = [one for one in endpoint["relabelings"] if one.get("action") == "keep"]
    assert keep["sourceLabels"] == ["__meta_kubernetes_pod_label_batch_kubernetes_io_job_completion_index"]
    assert [number for number in ("", "0", "1", "10") if re.fullmatch(keep["regex"], number)] == ["", "0"]


@pytest.mark.parametrize("overlay", ["production"], indirect=True)
def test_the_host_of_the_pages_is_consistent(found: list[Object]) -> None:
    """The certificate, the rule and the pages' own origin name the same host, and the namespace of the controller's
    class may call the pages."""
    (ingress,) = [one["spec"] for one in found if one["kind"] == "Ingress"]
    (rule,), (tls,) = ingress["rules"], ingress["tls"]
    origin = environment(workloads(found)["annotation"])["PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN"]
    assert (tls["hosts"], origin) == ([rule["host"]], f"https://{rule['host']}")
    assert (f"ingress-{ingress['ingressClassName']}", "annotation", 8000) in edges(found)


def services(found: list[Object]) -> list[Workload]:
    """Return the four services."""
    return [workloads(found)[name] for name in SERVICES]


def deployments(found: list[Object]) -> dict[str, Object]:
    """Return the spec of each Deployment by its name."""
    return {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "Deployment"}


def images_of(found: list[Object]) -> set[str]:
    """Return the images of all workloads."""
    return {one.container["image"] for one in workloads(found).values()}


def shared_memory(one: Workload) -> str:
    """Return the size of a workload's /dev/shm; empty for the container runtime's default."""
    names = [mount["name"] for mount in one.container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in one.pod["volumes"] if "emptyDir" in volume}
    return "".join(sizes[name] for name in names)


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


def urls_of(one: Workload, contents: dict[str, dict[str, str]]) -> set[tuple[str, int]]:
    """Return hosts and ports of all URLs in a workload's settings."""
    names = [*secrets_of(one)]
    names += [source["configMapRef"]["name"] for source in one.container.get("envFrom", [])]
    values = [value for name in names for key, value in contents[name].items() if key.lower().endswith("_url")]
    return {(parts.hostname or "", parts.port or 0) for parts in map(urlsplit, values)}
