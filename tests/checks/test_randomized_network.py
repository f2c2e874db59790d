"""The map changes when the network's weights become random, and the user's network stays as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from helpers.checks import TRIANGLE, Deep, deep_model, edge_filter, whole
from helpers.networks import LinearHead, card, located_model, planted_image, planted_model
from torch import nn
from torch.nn.utils import prune

import napari_segxai as sx
from napari_segxai.checks.randomize_weights import RandomizedCopy, layers_of
from napari_segxai.core.progress import Passes, finish
from napari_segxai.engine.primitives.input_gradients import input_gradient

CPU = torch.device("cpu")


def state(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def test_an_edge_filter_stays_when_the_network_forgets_and_seg_grad_cam_does_not(method):
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    edges = sx.explain(model, image, "triangle", method(edge_filter, passes=1))
    [verdict] = sx.check(edges, model, checks="randomized-network")
    assert verdict.passed is False
    assert verdict.number == pytest.approx(1)
    assert "shows the image" in verdict.sentence
    assert verdict.word == "warn"
    found = sx.explain(model, image, "triangle", "seg-grad-cam")
    [verdict] = sx.check(found, model, checks="randomized-network")
    assert verdict.passed is True
    assert verdict.number < 0.5
    assert f"{verdict.number:.2f}" in verdict.sentence


def test_the_cascade_goes_from_the_output_to_the_input_and_every_layer_is_tried_alone():
    model = deep_model()
    assert layers_of(model) == ["", "first.0", "first.1", "second.0", "second.1", "head"]
    found = sx.explain(model, planted_image(), whole(), "input-x-gradient")
    [verdict] = sx.check(found, model, checks={"randomized-network": {"networks": 2}})
    assert [name for name in verdict.details if name.startswith("cascading")] == [
        f"cascading: {name}"
        for name in ("head", "second.1", "second.0", "first.1", "first.0", "the network's own")
    ]
    assert sum(name.startswith("alone") for name in verdict.details) == 6
    # the first step of the cascade is the head alone, with the same random weights
    assert verdict.details["cascading: head"] == verdict.details["alone: head"]
    assert verdict.details["cascading: second.1"] != verdict.details["alone: second.1"]
    few = sx.check(found, model, checks={"randomized-network": {"layers": 2}})[0]
    assert "cascading: head to second.0" in few.details
    assert few.passes == Passes(7 + 3, 7)  # with the control, and what tells whether the weights count


def test_one_layer_becomes_random_and_no_other_and_back_bit_for_bit():
    model = deep_model()
    before, copied = state(model.module), RandomizedCopy(model, CPU)
    for name in layers_of(model):
        copied.randomize([name], seed=1)
        now = state(copied.model.module)
        changed = {key.rpartition(".")[0] for key in before if now[key] != before[key]}
        assert changed == {name}
        copied.restore()
        assert state(copied.model.module) == before
    assert state(model.module) == before
    copied.randomize(["head"], 1)
    one = state(copied.model.module)
    copied.randomize(["head"], 2)
    assert state(copied.model.module) != one
    copied.restore()
    copied.randomize(["head"], 1)
    assert state(copied.model.module) == one


def test_weights_without_a_reset_of_their_own_keep_their_moments():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(3 + 0.5 * torch.randn(40, 40))

        def forward(self, x):
            return torch.cat([x, self.weight.mean() - x], 1)

    model = sx.load_model(Own(), card=card())
    copied = RandomizedCopy(model, CPU)
    copied.randomize([""], 0)
    now = copied.model.module.weight
    assert not torch.equal(now, model.module.weight)
    assert now.mean().item() == pytest.approx(3, abs=0.1)
    assert now.std().item() == pytest.approx(0.5, abs=0.05)


def test_the_users_network_is_the_same_at_every_step_and_after_a_cancel():
    model, image = deep_model(), planted_image()
    model.module.train()
    found = sx.explain(model, image, whole(), "input-x-gradient")
    before = state(model.module)
    parameters = [id(p) for p in model.module.parameters()]
    count = sum(1 for _ in sx.check_steps(found, model, checks="randomized-network"))
    assert count > 20
    for stop in (1, 2, count // 2, count - 1):
        steps = sx.check_steps(found, model, checks="randomized-network")
        for _ in range(stop):
            next(steps)
            assert state(model.module) == before
        steps.close()
        assert state(model.module) == before
        assert model.module.training
        assert all(p.requires_grad for p in model.module.parameters())
    assert [id(p) for p in model.module.parameters()] == parameters
    again = sx.explain(model, image, whole(), "input-x-gradient")
    np.testing.assert_array_equal(again.map, found.map)


def test_the_users_network_is_the_same_after_an_error(method):
    model = deep_model()
    before = state(model.module)
    calls = []

    def fails_later(question):
        calls.append(state(question.model.module))
        if len(calls) == 4:
            raise RuntimeError("broken")
        return question.input[0, 0]

    found = sx.explain(model, planted_image(), whole(), method(fails_later))
    with pytest.raises(RuntimeError, match="broken"):
        sx.check(found, model, checks="randomized-network")
    assert len(calls) == 4
    assert all(seen != before for seen in calls[1:])  # the method did see other weights
    assert state(model.module) == before


def test_networks_whose_weights_cannot_be_made_random_are_told():
    model = located_model()  # has none
    found = sx.explain(model, planted_image(), "object", "input-x-gradient")
    [verdict] = sx.check(found, model, checks="randomized-network")
    assert verdict.passed is None
    assert verdict.word == "undecided"
    assert "no weights" in verdict.sentence
    stuck = sx.load_model(Deep(), card=card())
    stuck.module.lock = threading.Lock()
    found = sx.explain(stuck, planted_image(), whole(), "input-x-gradient")
    [verdict] = sx.check(found, stuck, checks="randomized-network")
    assert verdict.passed is None
    assert "cannot be copied" in verdict.sentence


def test_torchscript_is_randomised_too():
    module = torch.jit.script(LinearHead().eval())
    model = sx.load_model(module, card=card())
    before = state(model.module)
    found = sx.explain(model, planted_image(), whole(), "input-x-gradient")
    [verdict] = sx.check(found, model, checks={"randomized-network": {"networks": 1}})
    assert verdict.number is not None
    assert abs(verdict.number) < 1
    assert state(model.module) == before


def conv_net(wrap) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        wrap(nn.Conv2d(1, 8, 3, padding=1)), nn.ReLU(), wrap(nn.Conv2d(8, 8, 3, padding=1)), nn.ReLU()
    )
    return net.append(wrap(nn.ConvTranspose2d(8, 8, 1))).append(nn.Conv2d(8, 2, 1)).eval()


def pruned(module: nn.Module) -> nn.Module:
    return prune.random_unstructured(module, "weight", amount=0.2)


NORMS = {
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrized weight_norm": nn.utils.parametrizations.weight_norm,
    "parametrized spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "orthogonal by reflections": lambda m: nn.utils.parametrizations.orthogonal(
        m, orthogonal_map="householder"
    ),
    "pruned": pruned,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("name", NORMS)
def test_random_weights_reach_what_is_computed_with(name):
    net = conv_net(NORMS[name])
    model, image = sx.load_model(net, card=card()), planted_image()
    net(torch.rand(1, 1, 32, 32))  # hooks leave weights with a history behind
    copied = RandomizedCopy(model, CPU)
    trained = net[2].weight.detach().clone()
    copied.randomize(layers_of(model), 1)
    copied.model.module(torch.rand(1, 1, 32, 32))
    random = copied.model.module[2].weight.detach()
    assert abs(np.corrcoef(trained.flatten(), random.flatten())[0, 1]) < 0.5
    assert random.abs().max() < 30 * trained.abs().max()
    copied.restore()
    copied.model.module(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(copied.model.module[2].weight.detach(), trained, rtol=0, atol=1e-6)
    found = sx.explain(model, image, whole(), "input-x-gradient")
    [verdict] = sx.check(found, model, checks={"randomized-network": {"layers": 1, "networks": 1}})
    assert verdict.passed is not None
    assert abs(verdict.number) < 0.99
    assert verdict.details["layers that random weights do not reach"] == 0


class Anchored(nn.Module):
    """A parametrisation that moves little and cannot be assigned."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("base", weight.detach().clone())

    def forward(self, original):
        return self.base + 0.1 * original


def test_a_weight_that_stays_much_the_same_is_told():
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    nn.utils.parametrize.register_parametrization(net[0], "weight", Anchored(net[0].weight))
    model = sx.load_model(net, card=card())
    found = sx.explain(model, planted_image(), whole(), "input-x-gradient")
    [verdict] = sx.check(found, model, checks={"randomized-network": {"layers": 1, "networks": 1}})
    assert verdict.details["layers that random weights do not reach"] == 1
    assert "such as 0." in verdict.sentence


@pytest.mark.parametrize(("draws", "passed"), [("edges", None), ("answer", True)])
def test_weights_held_as_buffers_are_not_said_to_be_random(method, draws, passed):
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer(
                "kernel", torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))
            )
            self.bias = nn.Parameter(torch.ones(8))

        def forward(self, x):
            return nn.functional.conv2d(x, self.kernel, self.bias, padding=1).relu()

    net = nn.Sequential(Held(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        net[1].weight.fill_(0.1)
    model, image = sx.load_model(net, card=card()), planted_image()
    name = method(edge_filter, passes=1) if draws == "edges" else "vanilla-gradient"
    found = sx.explain(model, image, whole(), name)
    options = {"layers": 1, "networks": 1, "threshold": 0.5 if draws == "edges" else 1.0}
    [verdict] = sx.check(found, model, checks={"randomized-network": options})
    assert verdict.passed is passed
    assert "all weights" not in verdict.sentence
    assert "such as 0.kernel, stayed as they were" in verdict.sentence


class MadeOnce(nn.Module):
    """Computes with weights that were made of its parameter when it was built."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 1, 3, 3))
        self.made = self.weight.detach().clone()

    def forward(self, x):
        return nn.functional.conv2d(x, self.made, padding=1)


def test_layers_that_random_weights_do_not_reach_are_not_held_against_the_map(method):
    net = nn.Sequential(MadeOnce(), nn.Conv2d(8, 2, 1))
    model, image = sx.load_model(net, card=card()), planted_image()
    found = sx.explain(model, image, whole(), method(edge_filter, passes=1))
    [verdict] = sx.check(found, model, checks="randomized-network")
    assert verdict.passed is None  # it would be a warning
    assert "do not reach what 1 of 2 layers" in verdict.sentence
    assert verdict.details["layers that random weights do not reach"] == 1

    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.made = MadeOnce()

        def forward(self, x):
            return self.made(x)[:, :2]

    model = sx.load_model(Same(), card=card())
    found = sx.explain(model, image, whole(), "input-x-gradient")
    [verdict] = sx.check(found, model, checks="randomized-network")
    assert (verdict.passed, verdict.number) == (None, None)
    assert "answers as before" in verdict.sentence


def test_what_comes_of_the_method_alone_is_not_held_against_the_map_and_is_said(method):
    """The masks of RISE cover some pixels more often than others, whatever is asked."""
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    found = sx.explain(model, image, "triangle", "rise", masks=60)
    few = {"randomized-network": {"layers": 1, "networks": 1}}
    [verdict] = sx.check(found, model, checks=few)
    assert verdict.passed is True
    assert verdict.number < 0.3
    assert verdict.details["control: the method alone"] > 0.5
    assert "from the method alone" in verdict.sentence
    noise = method(lambda question: torch.rand(question.grid, generator=torch.Generator().manual_seed(0)))
    nothing = sx.explain(model, image, "triangle", noise)
    [verdict] = sx.check(nothing, model, checks=few)
    assert verdict.passed is False
    assert verdict.details["control: the method alone"] == pytest.approx(1)


def test_weights_that_are_a_choice_are_taken_over():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "seg-score-cam", weights="softmax", layer="mix")
    [verdict] = sx.check(found, model, checks="other-seed")
    assert verdict.passed is not None


def test_what_the_method_draws_alone_is_taken_out_of_the_correlation(method):
    """The map is a fixed pattern and the gradient: the pattern is in every map, whatever the weights."""
    pattern = torch.from_numpy(np.random.default_rng(3).normal(size=(32, 32)).astype(np.float32))

    def drawn(question):
        gradient = finish(input_gradient(question))[0, 0]
        return pattern + gradient / gradient.std().clamp(min=1e-6)

    model = deep_model()
    found = sx.explain(model, planted_image(), whole(), method(drawn, passes=2))
    [verdict] = sx.check(found, model, checks="randomized-network")
    alone = verdict.details["control: the method alone"]
    assert 0.5 < alone < 0.9
    assert verdict.passed is True
    assert verdict.number < 0.3
    assert f"{alone:.2f}" in verdict.sentence


def test_a_map_that_is_turned_inside_out_is_still_the_same_map(method):
    """Edges of the image, with the sign of a weight: random weights turn some of the maps round."""
    model = deep_model()
    own = [parameter.clone() for parameter in model.module.parameters()]

    def drawn(question):
        same = all(torch.equal(a, b) for a, b in zip(own, question.model.module.parameters(), strict=True))
        return edge_filter(question) * (1 if same else -1)

    found = sx.explain(model, planted_image(), whole(), method(drawn, passes=1))
    [verdict] = sx.check(found, model, checks={"randomized-network": {"layers": 1, "networks": 1}})
    assert verdict.number == pytest.approx(1)
    assert verdict.passed is False
