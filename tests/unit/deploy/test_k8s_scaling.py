"""GPUs, scaling and teams of machines in the manifests of k8s/."""

import json
import re
from pathlib import Path

import pytest

from services.common.records.postgres import CONNECTIONS
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
    workloads,
)

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
