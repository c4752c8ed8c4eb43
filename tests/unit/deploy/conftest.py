"""The rendered manifests of k8s/, for the tests of this folder."""

import pytest

from tests.unit.deploy.manifests import OVERLAYS, Object, copied, objects, render, render_folder


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def read(texts: dict[str, str]) -> dict[str, list[Object]]:
    """The objects of every overlay."""
    return {name: objects(text) for name, text in texts.items()}


@pytest.fixture
def found(read: dict[str, list[Object]], overlay: str) -> list[Object]:
    """The objects of an overlay."""
    return read[overlay]
