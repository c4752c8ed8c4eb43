"""GPUs, scaling and teams of machines in the manifests of k8s/."""

import json
import re
from pathlib import Path

import pytest

from services.common.records.postgres import CONNECTIONS
from services.common.settings import ComputeSettings
from services.training.settings import TrainingSettings
from tests.unit.deploy.manifests import (
    ROOT,
    SERVICES,
    Object,
    add_overlay,
    copied,
    deployments,
    environment,
    matches,
    objects,
    render,
    secrets_of,
    workloads,
)

GPU_WORKERS = {"training-worker", "activation-extraction-worker"}
RESERVED_CONNECTIONS = 3
"""Connections that PostgreSQL reserves for administrators: superuser_reserved_connections."""


@pytest.mark.parametrize("overlay", ["rendering-gpu"], indirect=True)
def test_rendering_decodes_on_a_slice(found: list[Object]) -> None:
    """With its component, rendering is set to decode on its slice of a GPU, and has enough memory for torch."""
    (container,) = (one.container for name, one in workloads(found).items() if name == "patch-rendering")
    assert {"name": "PRIMITIVES_DEVICE", "value": "cuda"} in container["env"]
    assert container["resources"]["limits"]["nvidia.com/gpu.shared"] == "1"
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert container["resources"]["limits"]["memory"] == "8Gi"


@pytest.mark.parametrize("overlay", ["gpu", "production", "team", "team-elsewhere", "rendering-gpu"], indirect=True)
def test_only_pods_that_run_networks_use_gpus(found: list[Object]) -> None:
    """Workers of jobs that run networks use a full GPU, never a slice, and only they do: no Deployment keeps a GPU
    that no job needs. Pods without a GPU, or a slice of one, need no node with GPUs."""
    known = workloads(found)
    full = {name for name, one in known.items() if "nvidia.com/gpu" in one.container["resources"]["limits"]}
    sliced = {name for name, one in known.items() if "nvidia.com/gpu.shared" in one.container["resources"]["limits"]}
    assert full - {"training-team"} == GPU_WORKERS
    assert sliced <= {"patch-rendering", "annotation"}
    for name, one in known.items():
        tolerated = [toleration["key"] for toleration in one.pod.get("tolerations", [])]
        gpu = name in full | sliced
        assert one.pod.get("nodeSelector") == ({"nvidia.com/gpu.present": "true"} if gpu else None), name
        assert tolerated == (["nvidia.com/gpu"] if gpu else []), name
        device = "cuda" if gpu else "cpu"
        assert environment(one).get("PRIMITIVES_DEVICE", device) == device, name


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_gpus_are_shared_by_priority(found: list[Object]) -> None:
    """The next free GPU goes to an extraction before a training slice. No pod ends others, and a training worker gives
    its GPU back after a slice, so that the priority has an effect while there is always something to train."""
    classes = {one["metadata"]["name"]: one for one in found if one["kind"] == "PriorityClass"}
    assert {one["preemptionPolicy"] for one in classes.values()} == {"Never"}
    known = workloads(found)
    values = {name: classes[known[name].pod["priorityClassName"]]["value"] for name in GPU_WORKERS}
    assert values["activation-extraction-worker"] > values["training-worker"]
    turn_s = float(environment(known["training-worker"])["PRIMITIVES_TRAINING_WORKER_TURN_S"])
    assert 0 < turn_s <= TrainingSettings.model_fields["slice_s"].default


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_no_pod_waits_long_behind_an_idle_worker(found: list[Object]) -> None:
    """The time without work after which a GPU worker ends, KEDA's interval and the time to stop are well below 30 s. A
    worker that gets a GPU although its work is done starts no service."""
    known = workloads(found)
    for one in (one for one in found if one["kind"] == "ScaledJob"):
        name, (trigger,) = one["metadata"]["name"], one["spec"]["triggers"]
        queue = trigger["metadata"]["queueName"]
        assert known[name].container["args"][:4] == ["python", "-m", "services.common.runtime.worker", queue]
        if one["metadata"]["labels"]["visual-primitives/role"] == "worker":
            assert not [key for key in environment(known[name]) if key.endswith("WORKER_IDLE_S")]
            assert ComputeSettings.model_fields["worker_idle_s"].default + one["spec"]["pollingInterval"] <= 15


def test_without_keda_training_uses_a_gpu_itself(tmp_path: Path) -> None:
    """Without KEDA, the component of GPUs gives one each to training and extraction."""
    k8s = copied(tmp_path)
    add_overlay(k8s, "alone", "../../base", ["gpu", "images"])
    known = workloads(objects(render(k8s, "alone")))
    full = {name for name, one in known.items() if "nvidia.com/gpu" in one.container["resources"]["limits"]}
    assert full == {"training", "activation-extraction"}


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_scaling_uses_existing_queues(found: list[Object]) -> None:
    """Each trigger reads over HTTP the length of a queue in the definitions, including unacknowledged messages, with
    credentials by reference. Every queue of work has a trigger; webhooks have none, because more pods do not help a
    receiver that is away. Only KEDA sets the number of pods."""
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
    assert triggering == sorted(queue for queue in queues if not queue.endswith((".events", ".parked", ".webhooks")))
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in scaled if one["kind"] == "ScaledObject"}
    assert targets == {"patch-rendering", "annotation"}
    assert {name for name, spec in deployments(found).items() if "replicas" not in spec} == targets


@pytest.mark.parametrize(
    ("service", "queues", "variable"),
    [
        ("training", ("training.jobs", "training.plain_jobs"), "PRIMITIVES_TRAINING_ROLE"),
        (
            "activation-extraction",
            ("activation_extraction.jobs", "activation_extraction.merges"),
            "PRIMITIVES_EXTRACTION_ROLE",
        ),
    ],
)
@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_jobs_are_performed_by_workers(
    service: str, queues: tuple[str, str], variable: str, found: list[Object]
) -> None:
    """The Deployment performs no jobs. Each kind of worker performs those of the queue that starts it, as the service
    and its settings define them. An update does not stop running jobs."""
    known = workloads(found)
    names = {"worker": f"{service}-worker", "plain-worker": f"{service}-plain-worker"}
    assert environment(known[service])[variable] == "front"
    for (role, name), queue in zip(names.items(), queues, strict=True):
        (scaled,) = [one for one in found if one["kind"] == "ScaledJob" and one["metadata"]["name"] == name]
        assert scaled["spec"]["rollout"] == {"strategy": "gradual"}
        assert [trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]] == [queue]
        assert environment(known[name])[variable] == role == scaled["metadata"]["labels"]["visual-primitives/role"]
        assert known[name].container["args"][-1] == f"services.{service.replace('-', '_')}.main"
        assert known[name].container["image"] == known[service].container["image"]
        assert known[name].container["envFrom"] == known[service].container["envFrom"]
        assert secrets_of(known[name]) == secrets_of(known[service])


@pytest.mark.parametrize("overlay", ["gpu", "production"], indirect=True)
def test_the_database_allows_what_all_pods_may_open(found: list[Object], overlay: str) -> None:
    """At KEDA's maxima every process can open all its connections, and some remain for Jobs and terminating pods. For a
    database outside the cluster the docs name the number."""
    most = {one["metadata"]["name"]: one["spec"]["maxReplicaCount"] for one in found if "Scaled" in one["kind"]}
    processes = sum(most.values()) + sum(one.get("replicas", 0) for one in fronts(found))
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"{processes * CONNECTIONS} connections" in page
    assert f"up to {CONNECTIONS} connections a service process" in (ROOT / "docs" / "operations.md").read_text()
    if overlay == "gpu":
        _, allowed = workloads(found)["postgres"].container["args"][-1].split("max_connections=")
        others = ("migrate", "garbage", *SERVICES)
        assert (processes + len(others)) * CONNECTIONS + RESERVED_CONNECTIONS <= int(allowed)


def fronts(found: list[Object]) -> list[Object]:
    """The Deployments of the two services whose jobs are performed by workers."""
    return [deployments(found)[name] for name in ("training", "activation-extraction")]


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
