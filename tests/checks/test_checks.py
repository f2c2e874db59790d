"""Trust checks: planted causes pass, edge filters and random maps do not, and the network is left as it was."""

from __future__ import annotations

import copy
import json
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, located_model, planted_image, planted_model
from scipy.stats import spearmanr
from skimage.filters import sobel
from torch import nn
from torch.nn.utils import prune

import napari_segxai as sx
from napari_segxai.checks import run as checking
from napari_segxai.checks.noised_image import noised
from napari_segxai.checks.randomize_weights import RandomizedCopy, layers_of
from napari_segxai.checks.registry import all_checks
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.progress import Passes
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.finding import Finding
from napari_segxai.methods import registry as methods

TRIANGLE = resource("sample_data/images/triangle_1.png")
CPU = torch.device("cpu")
EVERY = [check.name for check in all_checks()]


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


@pytest.fixture
def method():
    """Add a method for one test: what it makes of a question on the model grid."""
    added = []

    def add(make, passes=0):
        name = f"test-{len(added)}"

        def run(question, options):
            yield question.step("working")
            return Finding(make(question))

        known = {
            "title": name,
            "question": "evidence",
            "summary": "",
            "source": "",
            "unit": "",
        }
        methods.explainer(name, options=Nothing, passes=lambda o, s: Passes(passes), **known)(run)
        added.append(name)
        return name

    methods.all_methods()
    yield add
    for name in added:
        methods._known._things.pop(name)


def edge_filter(question):
    question.logits  # noqa: B018  (asks the network, as a method would)
    return torch.from_numpy(sobel(question.input[0, 0].numpy()))


def state(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


class Deep(nn.Module):
    """Convolutions with normalisation between, as networks in use have: buffers, and an own parameter."""

    def __init__(self, ndim: int = 2):
        super().__init__()
        torch.manual_seed(5)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[ndim]
        self.first = nn.Sequential(conv(1, 8, 3, padding=1), norm(8), nn.ReLU())
        self.second = nn.Sequential(conv(8, 8, 3, padding=1), norm(8), nn.ReLU())
        self.head = conv(8, 2, 1)
        self.gain = nn.Parameter(torch.tensor([1.0, 1.5]))
        for module in (self.first[1], self.second[1]):
            module.running_mean.uniform_(-0.1, 0.1)

    def forward(self, x):
        out = self.head(self.second(self.first(x)))
        return out * self.gain.view(1, 2, *(1,) * (x.ndim - 2))


def deep_model(ndim: int = 2) -> sx.SegmentationModel:
    size = [32, 32] if ndim == 2 else [6, 32, 32]
    return sx.load_model(Deep(ndim), card=card(ndim, grid={"size": size}))


def whole(label: str = "object") -> sx.Target:
    return sx.Target(label, region="image")


# -- randomised network ---------------------------------------------------------------------------------


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
    assert "such as 0.kernel, stayed as it was" in verdict.sentence


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
    found = sx.explain(model, image, "triangle", "rise", masks=150)
    few = {"randomized-network": {"layers": 1, "networks": 1}}
    [verdict] = sx.check(found, model, checks=few)
    assert verdict.passed is True
    assert verdict.number < 0.3
    assert verdict.details["control: the method alone"] > 0.5
    assert "of the method alone" in verdict.sentence
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


# -- does it stay? ----------------------------------------------------------------------------------------


def test_another_seed_changes_few_random_masks_and_no_gradient():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "rise", masks=20)
    [verdict] = sx.check(found, model, checks="other-seed")
    assert verdict.passed is False
    other = sx.explain(model, image, "object", "rise", masks=20, seed=1)
    assert verdict.number == pytest.approx(rank_correlation(found.map, other.map))
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks={"other-seed": {"seeds": 2}})
    assert verdict.passed is True
    assert verdict.number == pytest.approx(1)
    assert set(verdict.details) == {"seed 1", "seed 2"}


def test_a_little_noise_leaves_a_gradient_and_breaks_a_fragile_map(method):
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="noised-image")
    assert verdict.passed is True  # the network is linear, and the same pixels are asked about
    fragile = method(lambda question: (1e4 * question.input[0, 0]).sin())
    found = sx.explain(model, image, "object", fragile)
    [verdict] = sx.check(found, model, checks="noised-image")
    assert verdict.passed is False
    assert verdict.details["dice of the predictions"] > 0.9
    assert "the map is fragile" in verdict.sentence


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_noise_is_measured_by_the_range_of_each_channel(axis):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (60, 60)).astype(np.uint8)
    if axis is not None:
        array = np.stack([array, array // 10], axis)
    image = sx.Image(array, channel_axis=axis)
    before, after = image.channels_first().astype(float), noised(image, 0.1, 0).channels_first()
    for old, new in zip(before, after, strict=True):
        assert (new - old).std() == pytest.approx(0.1 * np.ptp(old), rel=0.05)
    np.testing.assert_array_equal(noised(image, 0.1, 0).array, noised(image, 0.1, 0).array)
    assert (noised(image, 0.1, 1).array != noised(image, 0.1, 0).array).any()


# -- better than chance --------------------------------------------------------------------------------


def with_map(found: sx.Explanation, map: np.ndarray) -> sx.Explanation:
    return replace(found, map=map.astype(np.float32), record=copy.deepcopy(found.record))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_true_cause_beats_chance_edges_and_the_prediction_and_a_random_map_does_not(ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    at = (20, 10) if ndim == 2 else (3, 20, 10)
    target = sx.Target("object", region=sx.Component(at))
    found = sx.explain(model, image, target, "vanilla-gradient")
    cause = np.zeros(image.spatial_shape)
    cause[(..., *OBJECT)] = cause[(..., *PATCH)] = 1
    [verdict] = sx.check(with_map(found, cause), model, target, "better-than-chance")
    assert verdict.passed is True, verdict
    assert verdict.number > 0.02
    for rival in ("a random order", "a coarse random map", "an edge filter", "the prediction itself"):
        assert verdict.details[f"score of {rival}"] < verdict.details["score of the map"]
    chance = np.random.default_rng(7).random(image.spatial_shape)
    [verdict] = sx.check(with_map(found, chance), model, target, "better-than-chance")
    assert verdict.passed is False
    assert "the prediction itself" in verdict.sentence
    # the object alone is the prediction: no better than itself, though better than chance
    alone = np.zeros(image.spatial_shape)
    alone[(..., *OBJECT)] = 1
    [verdict] = sx.check(with_map(found, alone), model, target, "better-than-chance")
    assert verdict.passed is False
    assert verdict.details["score of the map"] == pytest.approx(
        verdict.details["score of the prediction itself"]
    )


# -- other methods ------------------------------------------------------------------------------------------


def test_agreement_is_the_median_of_rank_correlations():
    model, image = deep_model(), planted_image()
    found = sx.explain(model, image, whole(), "seg-grad-cam", layer="first.2")
    [verdict] = sx.check(found, model, checks="methods-agree")
    others = {
        "seg-hires-grad-cam": {"layer": "first.2"},  # the same network layer
        "input-x-gradient": {},
        "smooth-grad": {},
    }
    by_hand = {
        name: spearmanr(found.map, sx.explain(model, image, whole(), name, **params).map, axis=None)[0]
        for name, params in others.items()
    }
    assert dict(verdict.details) == pytest.approx(by_hand, abs=1e-3)
    assert verdict.number == pytest.approx(np.median(list(by_hand.values())), abs=1e-3)
    assert verdict.passed is (verdict.number >= 0.4)
    chosen = {"methods-agree": {"methods": "seg-hires-grad-cam"}}
    one = sx.check(found, model, checks=chosen)[0]
    assert set(one.details) == {"seg-hires-grad-cam"}
    same = sx.explain(model, image, whole(), "seg-hires-grad-cam", layer="first.2")
    [agreed] = sx.check(with_map(found, same.map), model, checks=chosen)
    assert agreed.passed is True
    assert agreed.number == pytest.approx(1)
    [turned] = sx.check(with_map(found, -same.map), model, checks=chosen)
    assert turned.passed is False
    assert turned.number == pytest.approx(-1)


# -- the prediction --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_map_that_restates_the_prediction_is_warned_about(ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    found = sx.explain(model, image, "object", "vanilla-gradient")
    drawn = found.prediction == 1
    [verdict] = sx.check(with_map(found, drawn), model, checks="restates-prediction")
    assert (verdict.passed, verdict.number) == (False, 1.0)
    [inside] = sx.check(with_map(found, drawn & (np.arange(32) < 8)), model, checks="restates-prediction")
    assert inside.passed is False
    assert inside.number < 0.8
    assert "inside the prediction" in inside.sentence
    [other] = sx.check(with_map(found, ~drawn), model, checks="restates-prediction")
    assert (other.passed, other.number) == (True, 0.0)
    [none] = sx.check(with_map(found, -1.0 * drawn), model, checks="restates-prediction")
    assert (none.passed, none.number) == (None, None)


def test_where_the_label_fills_the_image_nothing_is_held_against_a_map():
    model, array = planted_model(), np.ones((32, 32), np.float32)
    array[:2, :2] = 0
    found = sx.explain(model, sx.Image(array), "object", "vanilla-gradient")
    drawn = found.prediction == 1
    assert drawn.mean() > 0.98
    even = np.random.default_rng(0).uniform(0.8, 1, drawn.shape)
    [verdict] = sx.check(with_map(found, even), model, checks="restates-prediction")
    assert (verdict.passed, verdict.number) == (None, None)
    assert "random maps" in verdict.sentence
    assert verdict.details["dice of random maps"] > 0.98


@pytest.mark.parametrize("ndim", [2, 3])
def test_of_an_even_map_no_check_says_that_it_passed(method, ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    found = sx.explain(model, image, "object", method(lambda question: torch.ones(question.grid)))
    asked = [name for name in EVERY if name != "masked-input"]  # which is about the network
    assert [verdict.passed for verdict in sx.check(found, model, checks=asked)] == [None] * len(asked)


def test_a_correlation_that_random_maps_reach_is_no_agreement():
    from napari_segxai.metrics.functional.similarity import chance_correlation

    model, image = deep_model(), planted_image()
    ramp = np.linspace(0, 1, 32) + np.linspace(0, 1, 32)[:, None]
    assert 0.1 < chance_correlation(ramp, 0) < 0.9
    found = sx.explain(model, image, whole(), "input-x-gradient")
    asked = {"methods-agree": {"threshold": 0}, "other-seed": {}}
    same, agree = sx.check(with_map(found, ramp), model, checks=asked)
    assert agree.number < chance_correlation(ramp, 0)
    assert agree.passed is False
    assert "random maps" in agree.sentence
    assert "random maps reach" in same.sentence


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_that_draws_on_an_empty_image_is_warned_about(ndim):
    class Inverted(nn.Module):
        """Draws what is dark."""

        def forward(self, x):
            return torch.cat([torch.zeros_like(x), 10 - 20 * x], 1)

    image = planted_image(ndim)
    model = sx.load_model(Inverted(), card=card(ndim))
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    assert verdict.passed is False
    assert verdict.number == pytest.approx(image.array.size / (found.prediction == 1).sum())
    model = planted_model(ndim)
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    assert (verdict.passed, verdict.number) == (True, 0.0)


def test_a_network_that_knows_nothing_of_half_an_image_is_warned_about():
    class Unsure(nn.Module):
        """Draws what is bright; the more is hidden, the less it knows."""

        def forward(self, x):
            known = (x.flatten(1).mean(1) > 0.19).float().view(-1, 1, 1, 1)
            logit = 20 * x - 10
            return torch.cat([torch.zeros_like(x), logit * known - 0.01], 1)

    model = sx.load_model(Unsure(), card=card())
    array = np.full((32, 32), 0.2, np.float32)
    array[OBJECT] = 1
    found = sx.explain(model, sx.Image(array), "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks={"masked-input": {"baseline": 0.2}})
    assert verdict.passed is True  # half of the ground stays as it was
    [verdict] = sx.check(found, model, checks={"masked-input": {"baseline": "zero"}})
    assert verdict.number == 0
    assert verdict.passed is False
    assert verdict.details["uncertainty when half is hidden"] > 0.9
    assert verdict.details["uncertainty of the image"] < 0.1


class Scales(nn.Module):
    """Divides by the deviation of its input, which a hidden image has not; no module has a name."""

    def forward(self, x):
        z = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)
        return torch.cat([torch.zeros_like(z), 5 * z - 5], 1)


def test_a_network_that_cannot_answer_on_the_baseline_is_warned_about():
    model, image = sx.load_model(Scales(), card=card()), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    assert (verdict.passed, verdict.number) == (False, None)
    assert verdict.sentence.startswith(
        "On the baseline alone (background) the network returns values that are not"
    )


def test_a_network_without_named_layers_is_checked_by_the_other_methods():
    model, image = sx.load_model(Scales(), card=card()), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="methods-agree")
    assert set(verdict.details) == {"input-x-gradient", "smooth-grad"}


def test_what_any_missing_half_does_is_not_held_against_hiding():
    class Crowded(nn.Module):
        """Draws what is bright, and is unsure of everything where its bright pixels no longer form one square."""

        def forward(self, x):
            bright = (x > 0.5).float()
            whole = (bright[..., OBJECT[0], OBJECT[1]].flatten(1).mean(1) > 0.99).float().view(-1, 1, 1, 1)
            logit = (20 * x - 10) * whole - 0.01
            return torch.cat([torch.zeros_like(x), logit], 1)

    model, image = sx.load_model(Crowded(), card=card()), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    details = verdict.details
    assert details["uncertainty when half is hidden"] - details["uncertainty of the image"] > 0.5
    assert details["uncertainty when half is mixed"] == pytest.approx(
        details["uncertainty when half is hidden"], abs=0.05
    )
    assert verdict.passed is True
    assert f"{details['uncertainty when half is mixed']:.2f} with other blocks" in verdict.sentence


# -- all of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(("name", "more"), [("input-x-gradient", {}), ("rise", {"masks": 10})])
def test_what_is_stated_beforehand_is_what_it_costs(ndim, name, more):
    model, image = planted_model(ndim), planted_image(ndim)
    found = sx.explain(model, image, "object", name, **more)
    params = {name: {} for name in EVERY}
    params |= {"better-than-chance": {"steps": 4, "random": 1}, "randomized-network": {"networks": 2}}
    stated = checking.planned_passes(found, model, checks=params)
    seen = []
    verdicts = sx.check(found, model, checks=params, progress=seen.append)
    assert [verdict.check for verdict in verdicts] == EVERY
    assert {verdict.check: verdict.passes for verdict in verdicts} == stated
    total = sum(stated.values(), Passes()).cost
    assert {step.total for step in seen} == {total}
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert seen[-1].done <= total
    for verdict in verdicts:
        assert verdict.sentence.endswith(".")
        assert (
            verdict.passed is None
            or f"{abs(verdict.number):.2f}" in verdict.sentence
            or "%" in verdict.sentence
        )
        assert verdict.passed is not None or verdict.number is None
        assert all(np.isfinite(value) for value in verdict.details.values())


def test_verdicts_are_recorded_and_saved_and_shown_with_the_layers(tmp_path):
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "input-x-gradient")
    assert found.record.trust == []
    sx.check(found, model, checks=["restates-prediction", "masked-input"])
    sx.check(found, model, checks={"masked-input": {"masks": 2}})
    names = [row["check"] for row in found.record.trust]
    assert names == ["restates-prediction", "masked-input"]  # the later takes the place of the earlier
    assert found.record.trust[1]["parameters"]["masks"] == 2
    found.save(tmp_path)
    saved = json.loads((tmp_path / "record.json").read_text())["trust"]
    assert saved == found.record.trust
    assert {"check", "passed", "number", "threshold", "sentence", "details", "passes", "seconds"} <= set(
        saved[0]
    )
    for _, kwargs, _ in found.to_layers():
        assert kwargs["metadata"]["segxai"]["trust"] == found.record.trust


def test_a_cancelled_check_keeps_the_verdicts_that_it_had():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "input-x-gradient")
    steps = sx.check_steps(found, model, checks=["other-seed", "restates-prediction", "masked-input"])
    step = next(step for step in steps if step.note.startswith("Masked input"))
    steps.close()
    assert [verdict.check for verdict in step.partial()] == ["other-seed", "restates-prediction"]
    assert [row["check"] for row in found.record.trust] == ["other-seed", "restates-prediction"]


def test_nothing_is_decided_where_there_is_nothing():
    model = planted_model()
    black = sx.Image(np.zeros((32, 32), np.float32), name="black")
    found = sx.explain(model, black, "object", "input-x-gradient")
    for verdict in sx.check(found, model):
        assert (verdict.passed, verdict.number) == (None, None)
        assert verdict.sentence


def test_a_2d_model_on_a_volume_is_checked_where_the_label_is_largest():
    model = planted_model(2)
    volume = np.zeros((4, 32, 32), np.float32)
    volume[2] = planted_image().array
    volume[1, PATCH[0], PATCH[1]] = 1
    found = sx.explain(model, sx.Image(volume), "object", "input-x-gradient")
    names = ["other-seed", "noised-image", "better-than-chance", "restates-prediction", "masked-input"]
    alone = sx.explain(model, planted_image(), "object", "input-x-gradient")
    many, one = sx.check(found, model, checks=names), sx.check(alone, model, checks=names)
    for a, b in zip(many, one, strict=True):
        if a.check != "noised-image":  # another noise
            assert (a.check, a.number, a.passes) == (b.check, pytest.approx(b.number), b.passes)


def test_what_was_asked_wrongly_is_said():
    model, image = planted_model(), planted_image()
    target = sx.Target("object", region=OBJECT_MASK)
    found = sx.explain(model, image, target, "input-x-gradient")
    lost = replace(found, region=None)  # the mask of what was drawn
    with pytest.raises(sx.UserError, match="give the target"):
        sx.check_steps(lost, model)
    with pytest.raises(sx.UserError, match="region 'predicted pixels'"):
        sx.check_steps(found, model, sx.Target("object"))
    with pytest.raises(sx.UserError, match="other weights"):
        sx.check_steps(found, deep_model(), target)
    with pytest.raises(sx.UserError, match="did you mean 'other-seed'"):
        sx.check_steps(found, model, target, "other-seeds")
    with pytest.raises(sx.UserError, match="checks is empty"):
        sx.check_steps(found, model, target, [])
    with pytest.raises(sx.UserError, match="seeds"):
        sx.check_steps(found, model, target, {"other-seed": {"seeds": 0}})
    found.record.partial = True
    with pytest.raises(sx.UserError, match="stopped before its end"):
        sx.check_steps(found, model, target)


OBJECT_MASK = np.zeros((32, 32), bool)
OBJECT_MASK[OBJECT] = True


def test_the_list_of_checks_says_what_each_asks():
    listed = sx.list_checks()
    assert [row["name"] for row in listed] == EVERY
    for row in listed:
        assert row["question"].endswith("?")
        assert row["source"]
        assert row["cost"]
        assert any(parameter["name"] == "threshold" for parameter in row["parameters"])


@pytest.mark.parametrize("change", [0, 2])
def test_what_a_check_costs_is_said_in_words(change):
    """The words hold a formula of the parameters; here it is worked out, and compared with what is planned."""
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    found = sx.explain(model, image, "triangle", "input-x-gradient")
    method, rest = Passes(**found.record.passes), []
    for check in all_checks():
        counts = {p.name: p.default + change for p in check.parameters if p.type is int}
        counts |= {"layers": 5 + change} if "layers" in counts else {}  # the network has more
        planned = checking.planned_passes(found, model, checks={check.name: counts})[check.name]
        formula, times, _ = check.cost.partition(" times the method's passes")
        if not times:
            formula, forward, _ = check.cost.partition(" forward passes")
            if not forward:
                rest.append((check.cost, planned.cost > 0))
                continue
        number = eval(formula.replace(" x ", " * "), {}, counts)
        more = check.cost.partition(" passes + ")[2].partition(" ")[0]
        assert planned == (method * number + Passes(int(more or 0)) if times else Passes(number)), check.name
    assert rest == [("the passes of the other methods", True), ("no passes", False)]


@pytest.mark.parametrize("seed", [0, 1])
def test_rank_correlation_is_spearmans(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, (9, 8, 7)).astype(float)  # with ties
    b = a + rng.normal(0, 2, a.shape)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b, axis=None)[0], abs=1e-4)
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert rank_correlation(a, np.full(a.shape, 0.1) + rng.normal(0, 1e-9, a.shape)) is None


def test_the_command_line_prints_and_keeps_the_verdicts(tmp_path):
    from typer.testing import CliRunner

    from napari_segxai.cli.app import app

    def explain(out, *more):
        base = ["explain", str(TRIANGLE), "--model", "triangle", "--label", "triangle", "--out", str(out)]
        return CliRunner().invoke(app, [*base, "--method", "input-x-gradient", *more])

    done = explain(tmp_path / "a", "--check", "masked-input", "--check", "restates-prediction")
    assert done.exit_code == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["pass", "pass"]
    assert lines[-2].startswith("pass: More than the prediction: The map shows something else")
    kept = json.loads((tmp_path / "a" / "record.json").read_text())["trust"]
    assert [row["check"] for row in kept] == ["restates-prediction", "masked-input"]
    done = explain(tmp_path / "b", "--check", "other-sead")
    assert done.exit_code == 2
    assert "other-seed" in done.stderr
    assert not (tmp_path / "b").exists()


def run(*args):
    from typer.testing import CliRunner

    from napari_segxai.cli.app import app

    return CliRunner().invoke(app, list(args))


def test_the_command_line_sets_parameters_of_checks(tmp_path):
    base = [
        "explain",
        str(TRIANGLE),
        "--model",
        "triangle",
        "--label",
        "triangle",
        "--method",
        "seg-grad-cam",
    ]
    asked = ["other-seed:seeds=2", "restates-prediction:threshold=0.001", "other-seed:threshold=0.9"]
    flags = [word for text in asked for word in ("--check", text)]
    done = run(*base, *flags, "--out", str(tmp_path / "a"))
    assert done.exit_code == 0, done.stderr
    seeds, restates = json.loads((tmp_path / "a" / "record.json").read_text())["trust"]
    assert seeds["parameters"] == {"seeds": 2, "threshold": 0.9}
    assert len(seeds["details"]) == 2
    assert restates["parameters"]["threshold"] == 0.001
    assert restates["passed"] is False  # any overlap at all is too much
    for text, words in [
        ("other-seed:seeds", "other-seed:seeds=3"),
        ("other-seed:sead=2", "seeds"),
        ("other-seed:seeds=0", "1 or more"),
        ("all:threshold=0.5", "all stands for every check"),
    ]:
        done = run(*base, "--check", text, "--out", str(tmp_path / "b"))
        assert done.exit_code == 2, text
        assert words in done.stderr
        assert not (tmp_path / "b").exists()


def test_the_command_line_lists_the_checks():
    assert json.loads(run("checks", "--json").stdout) == sx.list_checks()
    blocks = run("checks").stdout.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == EVERY
    for block, row in zip(blocks, sx.list_checks(), strict=True):
        assert row["question"] in block
        assert f"cost: {row['cost']}" in block
        for parameter in row["parameters"]:
            assert (
                f"      {parameter['name']}={parameter['default']}" in block or parameter["default"] is None
            )


def test_all_checks_with_parameters_of_one():
    chosen = checking.choose({"all": {}, "other-seed": {"seeds": 3}})
    assert [check.name for check, _ in chosen] == EVERY
    assert {check.name: options for check, options in chosen}["other-seed"].seeds == 3
