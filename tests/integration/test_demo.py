"""`primitives demo --once`, as `make demo ONCE=1` runs it: over the real sample, with a network that trains quickly."""

import json
import socket
from pathlib import Path

import pytest

from deploy.local.servers import free_ports
from services.cli import demo
from tests.integration.embedded import PREFIXES


def test_the_demo_ends_with_a_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is JSON with the results of the plan, and the services are stopped. A second demo finds the same
    study."""
    ports = free_ports(2 * len(PREFIXES))
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    for prefix, http, grpc in zip(PREFIXES, ports[::2], ports[1::2], strict=True):
        monkeypatch.setenv(f"PRIMITIVES_{prefix}_HTTP_PORT", str(http))
        monkeypatch.setenv(f"PRIMITIVES_{prefix}_GRPC_PORT", str(grpc))
    train = {"architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 1}
    extraction = {"split": "val", "layers": ["layer3", "layer4"], "top_k": 8, "analyses": ["dissection"]}
    monkeypatch.setattr(demo, "DEMO_PLAN", {"network": {"train": train}, "extraction": extraction})
    demo.run_demo(once=True, fresh=False)
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(first) == {"auc", "patches", "layers", "units", "pictures", "analyses", "seconds", "study"}
    assert first["patches"] >= 1200
    assert (first["layers"], 0 < first["pictures"] <= first["units"] * 8) == (2, True)
    assert 0 <= first["auc"] <= 1
    assert set(first["analyses"]) == {"dissection"}
    assert set(demo.STAGES) < set(first["seconds"])
    assert first["seconds"]["total"] >= sum(first["seconds"][stage] for stage in demo.STAGES)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still taken"
    demo.run_demo(once=True, fresh=False)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["study"] == first["study"]
