"""Contributions and silenced units, compared with what the network itself computes."""

import pytest
import torch
from torch import Tensor, nn

from services.activation_extraction.explanations.causality import silence_each, silence_named
from services.activation_extraction.explanations.contributions import Contributions, contributions_of
from services.imaging.architectures import build_network, layer_names
from services.imaging.capture import capture
from tests.unit.activation_extraction.analyses.networks import Classified, Pooled, Residual, UnitsLast, make

SIZE = 20


def contributions(network: nn.Module, module: str, image: Tensor, class_: int) -> Contributions:
    """The contributions of a layer, with the maxima that a forward gives."""
    with torch.inference_mode(), capture(network, {"layer": module}) as acts:
        logits = network(image)
    return contributions_of(network, module, image, class_, acts["layer"][0].amax((1, 2)), float(logits[0, class_]))


@pytest.mark.parametrize(("kind", "module"), [(Pooled, "last"), (Residual, "blocks"), (UnitsLast, "mix")])
@pytest.mark.parametrize("class_", [0, 2])
def test_contributions_add_up_where_the_head_is_linear(kind: type[nn.Module], module: str, class_: int) -> None:
    """Average times weight, plus the bias, is the logit; silencing a unit takes exactly its contribution away."""
    network, image = make(kind).float(), torch.randn(1, 3, SIZE, SIZE)
    found = contributions(network, module, image, class_)
    logit = float(network(image)[0, class_].detach())
    assert found.exact
    assert abs(found.rest) < 1e-5
    assert float(found.units.sum()) + found.bias == pytest.approx(logit, abs=1e-5)
    silenced = silence_each(network, module, range(6), image, class_)
    assert [logit - one for one in silenced] == pytest.approx(found.units.tolist(), abs=1e-5)


LINEAR_HEADS = (
    "resnet18",
    "inception_v3",
    "googlenet",
    "densenet121",
    "mobilenet_v2",
    "efficientnet_b0",
    "mnasnet0_5",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "tf_efficientnet_lite0",
)


@pytest.mark.parametrize("architecture", LINEAR_HEADS)
def test_contributions_add_up_on_every_kind_of_network_with_a_linear_head(architecture: str) -> None:
    """The sum is within 1e-4 of the logit without any rest, whatever the network does between its last layer and the
    averages."""
    torch.manual_seed(3)
    network = build_network(architecture, 3).eval().double()
    *_, module = layer_names(architecture, network).values()
    image = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    found = contributions(network, module, image, 1)
    assert found.exact
    assert float(found.units.sum()) + found.bias == pytest.approx(float(network(image)[0, 1].detach()), abs=1e-4)


def test_gradients_replace_weights_where_the_head_is_not_linear() -> None:
    """AlexNet's head is not linear over averages: contributions are gradient x activation, and the rest is stated."""
    network, image = make(Classified).float(), torch.randn(1, 3, SIZE, SIZE)
    found = contributions(network, "features", image, 1)
    assert not found.exact and found.bias == 0
    with capture(network, {"layer": "features"}) as acts:
        logit = network(image)[0, 1]
    activation = acts["layer"].detach().requires_grad_()
    network.classifier(activation.flatten(1))[0, 1].backward()
    expected = (activation.grad * activation).sum((0, 2, 3))
    assert found.units.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)
    assert float(found.units.sum()) + found.rest == pytest.approx(float(logit), abs=1e-5)
    assert abs(found.rest) > 1e-3


@pytest.mark.parametrize(("kind", "module"), [(Pooled, "last"), (UnitsLast, "mix")])
def test_named_units_are_silenced_together(kind: type[nn.Module], module: str) -> None:
    """Without the named units the logit falls by the sum of their contributions; with nothing else it is that sum and
    the bias; without the layer it is the bias."""
    network, image = make(kind).float(), torch.randn(1, 3, SIZE, SIZE)
    found = contributions(network, module, image, 2)
    named = [1, 4]
    total = float(found.units[named].sum())
    logits = silence_named(network, module, named, image, 2)
    assert logits.without_named == pytest.approx(logits.full - total, abs=1e-5)
    assert logits.only_named == pytest.approx(total + found.bias, abs=1e-5)
    assert logits.without_layer == pytest.approx(found.bias, abs=1e-5)
    torch.testing.assert_close(float(network(image)[0, 2].detach()), logits.full)
