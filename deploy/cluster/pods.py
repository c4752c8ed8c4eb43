"""The pods of a cluster that request a GPU, and when they waited, started and worked."""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

POLL_S = 2.0
GPU = "nvidia.com/gpu"

Interval = tuple[float, float]


@dataclass
class GpuPod:
    """A pod that requests a GPU. Times are seconds since the epoch, and the API gives whole seconds."""

    name: str
    kind: str
    """The name of its ScaledJob."""
    created: float
    scheduled: float | None = None
    finished: float | None = None
    jobs: list[Interval] = field(default_factory=list)

    def pending(self, now: float) -> Interval:
        """The time in which it waited for a GPU."""
        return self.created, now if self.scheduled is None else self.scheduled

    def at_work(self) -> list[Interval]:
        """The times in which it worked, from the moment when it got its GPU for its first job."""
        if self.scheduled is None or not self.jobs:
            return []
        return [(self.scheduled, self.jobs[0][1]), *self.jobs[1:]]


class Watch:
    """Follows the GPU pods of a namespace and their logs, in threads, from `start` to `stop`."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.pods: dict[str, GpuPod] = {}
        self.most: Counter[str] = Counter()
        """The most pods of each kind that had a GPU at once."""
        self._namespace, self._folder = namespace, folder
        self._logs: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Read all logs to their end."""
        self._stopping.set()
        self._thread.join()
        for name, process in self._logs.items():
            process.wait()
            self.pods[name].jobs = jobs_in((self._folder / f"{name}.log").read_text())

    def none_left(self) -> bool:
        """Whether no GPU pod waits or runs."""
        return all(pod.finished is not None for pod in self.pods.values())

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            listed = kubectl("get", "pods", "--namespace", self._namespace, "--output=json", check=False)
            if listed:
                self._read(json.loads(listed)["items"])

    def _read(self, items: list[Any]) -> None:
        having: Counter[str] = Counter()
        present = {item["metadata"]["name"] for item in items if requests_gpu(item)}
        for item in filter(requests_gpu, items):
            name = item["metadata"]["name"]
            pod = self.pods.setdefault(name, pod_of(item))
            seen = pod_of(item)
            pod.scheduled, pod.finished = seen.scheduled, seen.finished
            having[pod.kind] += pod.scheduled is not None and pod.finished is None
            if name not in self._logs and item["status"]["phase"] != "Pending":
                self._follow(name)
        for name, pod in self.pods.items():
            if name not in present and pod.finished is None:
                pod.finished = datetime.now(UTC).timestamp()
        self.most |= having

    def _follow(self, name: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as out:
            command = ["kubectl", "logs", "--follow", "--namespace", self._namespace, name]
            self._logs[name] = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)


def kubectl(*words: str, check: bool = True) -> str:
    """Run kubectl and return its output; empty if it fails and `check` is false."""
    done = subprocess.run(["kubectl", *words], check=check, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def gpus_of_nodes() -> int:
    """The number of GPUs that the nodes of the cluster offer."""
    nodes = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    return sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in nodes)


def requests_gpu(item: Any) -> bool:
    """Whether a pod requests a GPU."""
    return any(GPU in one["resources"].get("limits", {}) for one in item["spec"]["containers"])


def pod_of(item: Any) -> GpuPod:
    """Read a pod of the API."""
    status = item["status"]
    scheduled = [
        one["lastTransitionTime"]
        for one in status.get("conditions", [])
        if (one["type"], one["status"]) == ("PodScheduled", "True")
    ]
    ends = [one["state"]["terminated"]["finishedAt"] for one in status.get("containerStatuses", []) if ended(one)]
    return GpuPod(
        item["metadata"]["name"],
        item["metadata"]["labels"]["app.kubernetes.io/name"],
        seconds(item["metadata"]["creationTimestamp"]),
        seconds(scheduled[0]) if scheduled else None,
        max(map(seconds, ends)) if ends else None,
    )


def ended(status: Any) -> bool:
    """Whether a container has ended, at a known time."""
    return bool(status["state"].get("terminated", {}).get("finishedAt"))


def seconds(moment: str) -> float:
    """Seconds since the epoch of a moment in ISO 8601."""
    return datetime.fromisoformat(moment).timestamp()


def jobs_in(log: str) -> list[Interval]:
    """The times of the jobs in a worker's log, which has a line for each message at the level debug."""
    found = []
    for line in log.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("event") == "message processed" and entry["outcome"] == "done":
            end = seconds(entry["timestamp"])
            found.append((end - entry["seconds"], end))
    return found


def longest_wait_for_nothing(pods: Iterable[GpuPod], gpus: int, now: float) -> float:
    """The longest time without a break in which a pod waited for a GPU while not all GPUs were at work.

    Several pods that have their GPUs one after the other without work make one time.
    """
    known = list(pods)
    busy = times_of_at_least(gpus, (interval for pod in known for interval in pod.at_work()))
    waits = [gap for pod in known for gap in without(pod.pending(now), busy)]
    return max((end - begin for begin, end in waits), default=0.0)


def times_of_at_least(count: int, intervals: Iterable[Interval]) -> list[Interval]:
    """The times that are in at least `count` of the intervals, in order and apart."""
    changes = sorted(
        (change for begin, end in intervals for change in ((begin, 1), (end, -1))), key=lambda one: (one[0], -one[1])
    )
    times: list[Interval] = []
    level, since = 0, 0.0
    for moment, change in changes:
        if level < count <= level + change:
            since = moment
        if level + change < count <= level and moment > since:
            times.append((since, moment))
        level += change
    return times


def without(interval: Interval, others: Iterable[Interval]) -> list[Interval]:
    """The parts of an interval that are in none of the others, which are in order and apart."""
    parts, (begin, end) = [], interval
    for first, last in others:
        if begin < first and begin < end:
            parts.append((begin, min(first, end)))
        begin = max(begin, last)
    if begin < end:
        parts.append((begin, end))
    return parts
