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
"""Overlays whose stores are outside of the cluster, and whose Secrets somebody else makes."""
STORES = {("rabbitmq", 5672), ("minio", 9000), ("postgres", 5432)}
OUTSIDE = {("rabbitmq", 5672): ("192.0.2.10/32", 5671), ("minio", 9000): ("192.0.2.20/32", 443)} | {
    ("postgres", 5432): ("192.0.2.30/32", 5432)
}
"""Those stores: addresses that lead nowhere until somebody puts real ones there."""
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
"""Whom each workload calls, and on which port."""
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
"""Who else is let in, by the component that lets them."""
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
"""Those that PostgreSQL keeps for its administrators: superuser_reserved_connections."""
OWN_KINDS = ("ScaledObject", "ScaledJob", "TriggerAuthentication", "PodMonitor", "PrometheusRule")
"""Kinds of KEDA and of the Prometheus operator: no schema of them is bundled; tests below look at them by hand."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every overlay, rendered, and what goes to the GPU operator."""
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
    """kubernetes-validate finds no fault, unknown fields included; it knows all kinds but those of operators."""
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    command = [TOOLS / "kubernetes-validate", "--strict", "-k", version, *tmp_path.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = (done.stdout + done.stderr).splitlines()
    faults = [line for line in told if line and not line.startswith("INFO")]
    assert [line for line in faults if not any(f"schema for kind {kind} " in line for kind in OWN_KINDS)] == []
    assert len([line for line in told if line.startswith("INFO")]) >= len(texts)


def test_checkov_finds_nothing_that_is_not_explained(texts: dict[str, str], tmp_path: Path) -> None:
    """checkov passes with the skips of k8s/checkov.yaml, each of which has its reason there."""
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    command = [CHECKOV, "--config-file", ROOT / "k8s" / "checkov.yaml", "-d", tmp_path, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    failed = [(one["check_id"], one["file_path"], one["resource"]) for one in told["results"]["failed_checks"]]
    assert failed == []
    assert told["summary"]["resource_count"] > 100


def test_what_passes_the_network_is_what_is_needed(found: list[Object], overlay: str) -> None:
    """Edges that the policies allow are the table of dependencies, and nothing else."""
    present = set(workloads(found))
    needed = {(caller, *called) for caller, callees in DEPENDS.items() if caller in present for called in callees}
    if overlay in ELSEWHERE:
        needed = {(caller, *OUTSIDE.get((called, port), (called, port))) for caller, called, port in needed}
    extra = set().union(*(CALLED_FROM[component] for component in COMPONENTS[overlay]))
    assert edges(found) == needed | {edge for edge in extra if edge[1] in present}


def test_the_table_of_dependencies_is_what_pods_are_told(texts: dict[str, str]) -> None:
    """Hosts and ports in the Secrets and ConfigMaps of each workload are those that the table names."""
    found = objects(texts["team"])
    contents = {
        one["metadata"]["name"]: one.get("stringData", {}) | decoded(one.get("data", {}), one["kind"])
        for one in found
        if one["kind"] in ("Secret", "ConfigMap")
    }
    told = {name: urls_of(one, contents) for name, one in workloads(found).items() if name in DEPENDS}
    assert told == {name: callees for name, callees in DEPENDS.items() if name in told}
    assert set(told) == set(DEPENDS)


def test_nothing_passes_that_no_policy_names(found: list[Object]) -> None:
    """One policy selects all pods, for both directions, and allows nothing."""
    specs = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "NetworkPolicy"}
    assert specs["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_names_are_asked_of_the_clusters_dns_alone(found: list[Object]) -> None:
    """Every pod may ask kube-dns, and the cache that a node may have, and on port 53 nobody asks anyone else."""
    asking = [
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
    assert asking == [("names", {}, [dns, {"ipBlock": {"cidr": "169.254.20.10/32"}}], {53})]


def test_objects_are_in_our_namespace(found: list[Object], texts: dict[str, str]) -> None:
    """All of an overlay, and nothing that was written for another namespace: kustomize would move it without a word.
    What the GPU operator reads is a kustomization of its own."""
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


def test_keda_calls_the_broker_by_its_whole_name(read: dict[str, list[Object]]) -> None:
    """KEDA asks from a namespace of its own, where a short name is another's; the name is that of a Service with the
    port."""
    found = read["gpu"]
    (secret,) = [one for one in found if one["kind"] == "Secret" and one["metadata"]["name"] == "keda-rabbitmq"]
    url = urlsplit(decoded(secret["data"], "Secret")["management_url"])
    name, namespace, kind = (url.hostname or "").split(".")
    (service,) = [one for one in found if one["kind"] == "Service" and one["metadata"]["name"] == name]
    assert (namespace, kind) == (service["metadata"]["namespace"], "svc")
    assert url.port in [port["port"] for port in service["spec"]["ports"]]
    assert ("keda", name, url.port) in edges(found)


def test_accounts_are_made_and_used(found: list[Object]) -> None:
    """Every workload runs as an account of its own, and no account is there for nobody."""
    made = {one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"}
    used = [one.pod["serviceAccountName"] for one in workloads(found).values()]
    assert sorted(used) == sorted(made)


def test_images_are_named_by_digest(found: list[Object], overlay: str) -> None:
    """By an exact tag only where images are built on the machine, and by none that moves."""
    images = [one.container["image"] for one in workloads(found).values()]
    if overlay == "local-cpu":
        tags = [image.rpartition(":")[2] for image in images]
        assert all(":" in image for image in images) and "latest" not in tags
    else:
        assert [image for image in images if "@sha256:" not in image] == []


def test_a_release_renames_no_image_that_is_built_on_the_machine(tmp_path: Path) -> None:
    """With digests and repositories set, local-cpu names its own images as before, and the others those of the
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
    """No root, no privileges, nothing written to the image, no token of the API; the namespace refuses others."""
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


def test_pods_ask_for_what_they_may_take(found: list[Object]) -> None:
    """Requests and limits of processor, memory and disk, and no volume of the node."""
    for one in workloads(found).values():
        resources = one.container["resources"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(resources[kind]), one.name
        for volume in one.pod["volumes"]:
            assert "hostPath" not in volume, one.name
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], one.name


def test_services_are_probed_where_they_answer(found: list[Object]) -> None:
    """The paths of services/common/http/app.py: alive is not ready, and starting may take long."""
    for one in services(found):
        probes = {kind: one.container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
        paths = {kind: (probe["httpGet"]["path"], probe["httpGet"]["port"]) for kind, probe in probes.items()}
        assert paths == {
            "startup": ("/healthz", "http"), "readiness": ("/readyz", "http"), "liveness": ("/healthz", "http"),
        }  # fmt: skip
        assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] >= 120


def test_pods_have_the_time_that_a_service_needs_to_stop(found: list[Object]) -> None:
    """Grace is longer than the wait before the signal, the servers' own graces, and, where the broker is away, the time
    in which the outbox and the consumer of jobs give up one message each, one after the other."""
    grpc_grace_s = inspect.signature(GrpcServer.stop).parameters["grace_s"].default
    stop_s = HTTP_GRACE_S + grpc_grace_s + 2 * (PUBLISH_LIMIT_S + BLOCKED_LIMIT_S)
    for one in services(found):
        before_s = one.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert before_s + stop_s < one.pod["terminationGracePeriodSeconds"], one.name
    for name in {"training-worker", "training-team"} & set(workloads(found)):
        assert stop_s < workloads(found)[name].pod["terminationGracePeriodSeconds"], name


def test_the_grace_of_http_is_the_one_of_the_service() -> None:
    """The number above is what services/common/runtime/service.py gives its HTTP server."""
    text = (ROOT / "services" / "common" / "service.py").read_text()
    assert f"timeout_graceful_shutdown={HTTP_GRACE_S:.0f}" in text


def test_a_drained_node_leaves_the_others(found: list[Object]) -> None:
    """A PodDisruptionBudget for each that serves, which selects its pods and does not forbid to drain; services spread
    over nodes and zones."""
    budgets = [one["spec"] for one in found if one["kind"] == "PodDisruptionBudget"]
    serving = {name for name, one in workloads(found).items() if one.kind in ("Deployment", "StatefulSet")}
    assert {budget["selector"]["matchLabels"][NAME] for budget in budgets} == serving
    assert all(budget["maxUnavailable"] == 1 for budget in budgets)
    for one in services(found):
        keys = [constraint["topologyKey"] for constraint in one.pod["topologySpreadConstraints"]]
        assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_services_select_pods_that_listen(found: list[Object]) -> None:
    """Each Service selects pods of one workload, and its ports are ports of theirs."""
    known = workloads(found)
    for one in found:
        if one["kind"] == "Service":
            pods = known[one["spec"]["selector"][NAME]]
            listened = {port["name"]: port["containerPort"] for port in pods.container["ports"]}
            for port in one["spec"]["ports"]:
                assert port["targetPort"] in listened or port["targetPort"] in listened.values(), one["metadata"]
                assert port["port"] == listened.get(port["targetPort"], port["port"]), one["metadata"]


@pytest.mark.parametrize("overlay", ["rendering-gpu"], indirect=True)
def test_rendering_decodes_on_a_slice(found: list[Object]) -> None:
    """With its component it asks for the GPU that it has a slice of, and has the memory that torch takes."""
    (container,) = (one.container for name, one in workloads(found).items() if name == "patch-rendering")
    assert {"name": "PRIMITIVES_DEVICE", "value": "cuda"} in container["env"]
    assert container["resources"]["limits"]["nvidia.com/gpu.shared"] == "1"
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert container["resources"]["limits"]["memory"] == "8Gi"


@pytest.mark.parametrize("overlay", ["gpu", "production", "team", "team-elsewhere", "rendering-gpu"], indirect=True)
def test_gpus_are_taken_where_networks_compute(found: list[Object]) -> None:
    """All four services run on nodes with GPUs; those that compute take a whole one, and never a slice."""
    known = workloads(found)
    for name in (*SERVICES, "training-worker"):
        assert known[name].pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}, name
        assert [one["key"] for one in known[name].pod["tolerations"]] == ["nvidia.com/gpu"], name
    whole = {name for name, one in known.items() if "nvidia.com/gpu" in one.container["resources"]["limits"]}
    sliced = {name for name, one in known.items() if "nvidia.com/gpu.shared" in one.container["resources"]["limits"]}
    assert whole - {"training-team"} == {"training-worker", "activation-extraction"}
    assert sliced <= {"patch-rendering", "annotation"}


def test_without_keda_training_takes_a_gpu_itself(tmp_path: Path) -> None:
    """The component of GPUs alone gives one to training and to extraction."""
    k8s = copied(tmp_path)
    add_overlay(k8s, "alone", "../../base", ["gpu", "images"])
    known = workloads(objects(render(k8s, "alone")))
    whole = {name for name, one in known.items() if "nvidia.com/gpu" in one.container["resources"]["limits"]}
    assert whole == {"training", "activation-extraction"}


def test_no_secret_stands_in_the_manifests() -> None:
    """Nothing below k8s/ that git keeps holds a Secret or the files that make one."""
    listed = subprocess.run(["git", "ls-files", "k8s"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = [ROOT / line for line in listed.stdout.splitlines()]
    assert [path.name for path in kept if "generated-secrets/files" in str(path)] == []
    assert [path.name for path in kept if "kind: Secret\n" in path.read_text()] == []
    assert [
        path.name for path in kept if "literals:" in path.read_text() and "secretGenerator" in path.read_text()
    ] == []


def test_secrets_are_made_or_named(found: list[Object], overlay: str) -> None:
    """Pods name the Secrets that they need, as files; an overlay with its own stores makes all of them, the others
    none."""
    named = {name for one in workloads(found).values() for name in secrets_of(one)}
    made = {one["metadata"]["name"] for one in found if one["kind"] == "Secret"}
    assert made == set() if overlay in ELSEWHERE else named <= made
    for one in workloads(found).values():
        assert [entry for entry in one.container.get("env", []) if "secretKeyRef" in str(entry)] == [], one.name


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_scaling_goes_by_queues_that_are_there(found: list[Object]) -> None:
    """Each trigger asks over HTTP for the length of a queue of the definitions, messages in hand included, with
    credentials by reference, and every queue of work has one; KEDA alone says how many pods there are."""
    definitions = json.loads((ROOT / "deploy" / "rabbitmq" / "definitions.json").read_text())
    queues = {queue["name"] for queue in definitions["queues"]}
    references = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "TriggerAuthentication"}
    assert references["rabbitmq"]["secretTargetRef"][0]["parameter"] == "host"
    scaled = [one for one in found if one["kind"] in ("ScaledObject", "ScaledJob")]
    triggers = [trigger for one in scaled for trigger in one["spec"]["triggers"]]
    for trigger in triggers:
        told = trigger["metadata"]
        assert (trigger["type"], told["protocol"], told["mode"]) == ("rabbitmq", "http", "QueueLength")
        assert told["excludeUnacknowledged"] == "false" and float(told["value"]) > 0
        assert told["queueName"] in queues and trigger["authenticationRef"]["name"] in references
    asked = sorted(trigger["metadata"]["queueName"] for trigger in triggers)
    assert asked == sorted(queue for queue in queues if queue.endswith((".jobs", ".merges")))
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in scaled if one["kind"] == "ScaledObject"}
    assert targets == set(SERVICES) - {"training"}
    assert {name for name, spec in deployments(found).items() if "replicas" not in spec} == targets


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_training_is_scaled_by_jobs(found: list[Object]) -> None:
    """An update leaves jobs at work alone; the Deployment takes no jobs, and workers take nothing else."""
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
    """At KEDA's own maxima every process has all of its connections, with some left for what runs once and for pods
    that are on their way out. For a database elsewhere the page says how many."""
    most = {one["metadata"]["name"]: one["spec"]["maxReplicaCount"] for one in found if "Scaled" in one["kind"]}
    processes = sum(most.values()) + deployments(found)["training"]["replicas"]
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"{processes * CONNECTIONS} connections" in page
    assert f"up to {CONNECTIONS} connections a service process" in (ROOT / "docs" / "operations.md").read_text()
    if overlay == "gpu":
        _, allowed = workloads(found)["postgres"].container["args"][-1].split("max_connections=")
        beside = ("migrate", "garbage", *SERVICES)
        assert (processes + len(beside)) * CONNECTIONS + RESERVED_CONNECTIONS <= int(allowed)


@pytest.mark.parametrize("overlay", ["team", "team-elsewhere"], indirect=True)
def test_machines_of_a_team_agree(found: list[Object]) -> None:
    """Pods, machines and GPUs are as many as the settings say, and all meet where the first pod is."""
    team = workloads(found)["training-team"]
    (told,) = [one["data"] for one in found if one["metadata"]["name"].startswith("settings-team")]
    nodes = int(told["PRIMITIVES_TRAINING_NODES"])
    assert (team.spec["completionMode"], team.spec["completions"], team.spec["parallelism"]) == (
        "Indexed",
        nodes,
        nodes,
    )
    assert team.container["resources"]["limits"]["nvidia.com/gpu"] == told["PRIMITIVES_TRAINING_PROCESSES"]
    assert told["PRIMITIVES_TRAINING_ROLE"] == "worker"
    host, _, port = environment(team)["PRIMITIVES_TRAINING_RENDEZVOUS"].partition(":")
    assert host == f"training-team-0.{team.pod['subdomain']}"
    script = team.container["args"][-1]
    assert f"--master-addr={host}" in script and f"--master-port={port}" in script
    (service,) = [one for one in found if one["kind"] == "Service" and one["metadata"]["name"] == team.pod["subdomain"]]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True


def test_compose_and_kubernetes_agree(read: dict[str, list[Object]]) -> None:
    """Of each service: names and values of its variables, its ports, its secrets, its user, and the path that says that
    it takes work. Of what runs once: its command. Of the stores: the images, by tag, and their arguments. Of all: the
    memory that processes share."""
    found = read["local-cpu"]
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    asked = (ROOT / "deploy" / "image" / "healthcheck").read_text()
    assert all(f"{{port}}{one.container['readinessProbe']['httpGet']['path']}" in asked for one in services(found))
    told = {name: side_of_kubernetes(workloads(found)[name], found) for name in SERVICES}
    assert told == {name: side_of_compose(composed[name]) for name in SERVICES}
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
    """What a service is given, by the manifests."""
    contents = {one["metadata"]["name"]: one.get("data", {}) for one in found if one["kind"] in ("ConfigMap", "Secret")}
    told = [contents[source["configMapRef"]["name"]] for source in one.container["envFrom"]]
    return {
        "environment": {key: value for settings in told for key, value in settings.items()} | environment(one),
        "ports": {port["containerPort"] for port in one.container["ports"]},
        "secrets": {key for name in secrets_of(one) for key in contents[name]},
        "user": f"{one.pod['securityContext']['runAsUser']}:{one.pod['securityContext']['runAsGroup']}",
    }


def side_of_compose(service: Object) -> Object:
    """What a service is given, by docker-compose.yml."""
    return {
        "environment": {key: default(value) for key, value in service["environment"].items()},
        "ports": {int(port.rpartition(":")[2]) for port in service["ports"]},
        "secrets": set(service["secrets"]),
        "user": service["user"],
    }


def default(value: str) -> str:
    """What stands for a variable that nobody sets: `${NAME:-value}`."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.mark.parametrize("overlay", ["gpu", "production", "team"], indirect=True)
def test_what_is_seen_is_what_compose_sees(found: list[Object]) -> None:
    """The Prometheus operator has the alerts of deploy/prometheus and the jobs that these name, Grafana has all
    dashboards, and the ports that are asked have the names that pods give them."""
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
def test_of_a_team_the_first_pod_is_asked(found: list[Object]) -> None:
    """The monitor of the services selects the team and keeps the pod that is the service; of other pods it keeps all,
    which have no such number."""
    team = workloads(found)["training-team"]
    (monitor,) = [
        one["spec"] for one in found if one["kind"] == "PodMonitor" and matches(one["spec"]["selector"], team.labels)
    ]
    (endpoint,) = monitor["podMetricsEndpoints"]
    (kept,) = [one for one in endpoint["relabelings"] if one.get("action") == "keep"]
    assert kept["sourceLabels"] == ["__meta_kubernetes_pod_label_batch_kubernetes_io_job_completion_index"]
    assert [number for number in ("", "0", "1", "10") if re.fullmatch(kept["regex"], number)] == ["", "0"]


@pytest.mark.parametrize("overlay", ["production"], indirect=True)
def test_the_host_of_the_pages_is_one(found: list[Object]) -> None:
    """The certificate, the rule and the origin that the pages know are of the same host; the controller has a class,
    and its namespace is let in."""
    (ingress,) = [one["spec"] for one in found if one["kind"] == "Ingress"]
    (rule,), (tls,) = ingress["rules"], ingress["tls"]
    origin = environment(workloads(found)["annotation"])["PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN"]
    assert (tls["hosts"], origin) == ([rule["host"]], f"https://{rule['host']}")
    assert (f"ingress-{ingress['ingressClassName']}", "annotation", 8000) in edges(found)


def services(found: list[Object]) -> list[Workload]:
    """The four services."""
    return [workloads(found)[name] for name in SERVICES]


def deployments(found: list[Object]) -> dict[str, Object]:
    """What is said of each Deployment, by its name."""
    return {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "Deployment"}


def images_of(found: list[Object]) -> set[str]:
    """The images of all that makes pods."""
    return {one.container["image"] for one in workloads(found).values()}


def shared_memory(one: Workload) -> str:
    """How large /dev/shm of a workload is; empty for the container runtime's own."""
    names = [mount["name"] for mount in one.container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in one.pod["volumes"] if "emptyDir" in volume}
    return "".join(sizes[name] for name in names)


def secrets_of(one: Workload) -> set[str]:
    """The names of the Secrets that a workload mounts."""
    sources = [
        source for volume in one.pod["volumes"] for source in volume.get("projected", {}).get("sources", [volume])
    ]
    return {one["secret"].get("secretName", one["secret"].get("name")) for one in sources if "secret" in one}


def environment(one: Workload) -> dict[str, str]:
    """The variables that a container is given by value."""
    return {entry["name"]: entry["value"] for entry in one.container.get("env", [])}


def decoded(data: dict[str, str], kind: str) -> dict[str, str]:
    """The contents of a Secret or a ConfigMap."""
    return {key: base64.b64decode(value).decode() for key, value in data.items()} if kind == "Secret" else data


def urls_of(one: Workload, contents: dict[str, dict[str, str]]) -> set[tuple[str, int]]:
    """Hosts and ports of all URLs that a workload is told."""
    names = [*secrets_of(one)]
    names += [source["configMapRef"]["name"] for source in one.container.get("envFrom", [])]
    values = [value for name in names for key, value in contents[name].items() if key.lower().endswith("_url")]
    return {(parts.hostname or "", parts.port or 0) for parts in map(urlsplit, values)}
