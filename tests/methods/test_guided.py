"""Guided backpropagation: every way to call a ReLU, dropout at test time, and guided Grad-CAM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.networks import LinearHead, card, conv, planted_image, planted_model
from helpers.questions import ask, bent, close, of_function, random_image, tensor_of
from helpers.states import assert_same_state, state_of
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.backward_rules.mc_dropout import draw_seed


class Deep(nn.Module):
    """Three convolutions with an activation after each of the first two, and dropout if wanted."""

    def __init__(self, act, ndim: int = 2, dropout: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(5)
        self.parts = nn.ModuleList(conv(ndim)(a, b, 3, padding=1) for a, b in ((1, 6), (6, 6), (6, 2)))
        self.act = act
        self.drop = dropout or nn.Identity()

    def forward(self, x):
        one, two, three = self.parts
        return three(self.drop(self.act(two(self.act(one(x))))))


def add_then(function):
    """An in-place function is given a tensor that nobody else needs."""
    return lambda x: function(x + 0)


WAYS = {
    "functional": F.relu,
    "functional, in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": lambda x: torch.relu_(x),
    "method": lambda x: x.relu(),
    "method, in place": add_then(lambda x: x.relu_()),
    "module, in place": nn.ReLU(inplace=True),
    "threshold": nn.Threshold(0, 0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clip, in place": add_then(lambda x: x.clip_(min=0)),
    "clamp with a ceiling": lambda x: torch.clamp(x, 0, 1e4),
    "clamp at a tensor": lambda x: x.clamp(min=torch.tensor(0.0)),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max": lambda x: torch.max(torch.zeros(1), x),
    "product": lambda x: x * (x > 0),
    "product with numbers": lambda x: (x >= 0).float() * x,
    "product, in place": add_then(lambda x: x.mul_(x > 0)),
    "choice": lambda x: torch.where(x > 0, x, 0.0),
    "choice, turned round": lambda x: torch.where(x < 0, torch.zeros_like(x), x),
    "choice, method": lambda x: x.where(~(x < 0), torch.zeros(())),
    "choice, times 0": lambda x: torch.where(x > 0, x, 0 * x),
    "filling": lambda x: x.masked_fill(x < 0, 0),
    "filling, in place": add_then(lambda x: x.masked_fill_(x <= 0, 0)),
    "half of x + |x|": lambda x: (x + x.abs()) / 2,
}


def hooked_gradient(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Guided backpropagation by module hooks, for networks whose ReLUs are all nn.ReLU."""
    handles = [
        part.register_full_backward_hook(lambda _m, inwards, _out: (inwards[0].clamp(min=0),))
        for part in module.modules()
        if isinstance(part, nn.ReLU)
    ]
    assert handles
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0, 1].mean(), x)
    for handle in handles:
        handle.remove()
    return gradient[0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_map_equals_that_of_module_hooks(ndim):
    class Separate(Deep):  # a module with a hook may run once only
        def __init__(self):
            super().__init__(nn.ReLU(), ndim)
            self.again = nn.ReLU()

        def forward(self, x):
            one, two, three = self.parts
            return three(self.again(two(self.act(one(x)))))

    module, image = Separate(), random_image(ndim)
    expected = hooked_gradient(module, tensor_of(image))
    model = sx.load_model(module, card=card(ndim))
    close(ask(model, image, "guided-backprop").map, expected.abs().amax(0), rtol=1e-5)
    close(ask(model, image, "guided-backprop", signed=True).map, expected.sum(0), rtol=1e-5)
    vanilla = ask(model, image, "vanilla-gradient").map
    assert not np.allclose(vanilla, expected.abs().amax(0), rtol=0.01)


@pytest.mark.parametrize("way", WAYS)
def test_relus_are_guided_however_they_are_called(way):
    image = random_image(2)
    maps = [
        ask(sx.load_model(Deep(act), card=card()), image, "guided-backprop").map
        for act in (nn.ReLU(), WAYS[way])
    ]
    close(maps[1], maps[0], rtol=1e-5)


@pytest.mark.parametrize(
    "act", [lambda x: torch.where(x > 0, x, 0.2 * x), lambda x: torch.max(x, 0.2 * x)], ids=["where", "max"]
)
def test_leaky_relus_are_told_however_they_are_written(act):
    image = random_image(2)
    want, found = (
        ask(sx.load_model(Deep(one), card=card()), image, "guided-backprop")
        for one in (nn.LeakyReLU(0.2), act)
    )
    close(found.map, want.map, rtol=1e-5)
    assert found.record.warnings == want.record.warnings


def test_what_is_written_into_in_between_is_another_value():
    def act(x):
        above = x > 0
        return x.add_(1) * above

    model = sx.load_model(Deep(add_then(act)), card=card())
    with pytest.raises(sx.UserError, match="written with gt"):
        ask(model, random_image(2), "guided-backprop")


def test_relu6_is_a_relu_below_its_ceiling():
    image = random_image(2)
    expected = ask(sx.load_model(Deep(nn.ReLU()), card=card()), image, "guided-backprop")
    found = ask(sx.load_model(Deep(nn.ReLU6()), card=card()), image, "guided-backprop")
    close(found.map, expected.map, rtol=1e-5)
    assert not found.record.warnings


@pytest.mark.parametrize(
    "act",
    [
        nn.LeakyReLU(0.1),
        nn.GELU(),
        nn.SiLU(),
        nn.ELU(),
        nn.SELU(),
        nn.CELU(0.5),
        nn.PReLU(),
        nn.PReLU(6),
        nn.Hardswish(),
    ],
)
def test_smooth_activations_are_clamped_and_that_is_said(act):
    image = random_image(2)
    module = Deep(act)
    found = ask(sx.load_model(module, card=card()), image, "guided-backprop")
    assert found.record.warnings == [
        f"{type(act).__name__}: no ReLU, so only negative gradients were clamped there."
    ]
    x = tensor_of(image).requires_grad_()
    one, two, three = module.parts
    first = one(x)
    second = two(act(first))
    third = three(act(second))
    # by hand, from the back: clamp what enters the activation, then its own derivative
    step = lambda out, at, gradient: torch.autograd.grad(out, at, gradient, retain_graph=True)[0]
    back = act(second)
    gradient = torch.autograd.grad(three(back)[0, 1].mean(), back)[0].clamp(min=0)
    gradient = step(act(second), second, gradient)
    middle = act(first)
    gradient = step(two(middle), middle, gradient).clamp(min=0)
    gradient = step(one(x), x, step(act(first), first, gradient))
    close(found.map, gradient[0].abs().amax(0), rtol=1e-4)
    assert third.shape[1] == 2


def test_what_speaks_against_the_label_is_hidden():
    model, image = of_function(
        lambda x: 2 + x[:, 2, 3].relu() - 0.5 * x[:, 5, 6].relu(), {(2, 3): 1, (5, 6): 1}
    )
    map = ask(model, image, "guided-backprop").map
    assert map[2, 3] == 1
    assert np.count_nonzero(map) == 1
    assert ask(model, image, "vanilla-gradient").map[5, 6] == 0.5


def test_a_network_without_relu_is_refused():
    with pytest.raises(sx.UserError, match="no ReLU"):
        sx.explain(planted_model(), planted_image(), "object", "guided-backprop")
    beside = sx.load_model(Deep(lambda x: x), card=card())
    with pytest.raises(sx.UserError, match="no ReLU"):
        ask(beside, random_image(2), "guided-backprop")
    for act, words in (
        (nn.Hardsigmoid(), "Hardsigmoid is left alone"),
        (lambda x: x * (x > 0.1), "written with gt is not recognised"),
        (lambda x: torch.max(x, -x), "written with max is not recognised"),
    ):
        with pytest.raises(sx.UserError, match=words):
            ask(sx.load_model(Deep(act), card=card()), random_image(2), "guided-backprop")


def test_what_is_not_guided_is_named_beside_what_is():
    for act, words in (
        (
            lambda x: x.relu() * (x > 0.1),
            "computes with gt; an activation function that is written so is not guided",
        ),
        (lambda x: nn.functional.hardshrink(x.relu(), 0.1), "Hardshrink: off around 0"),
    ):
        found = ask(sx.load_model(Deep(act), card=card()), random_image(2), "guided-backprop")
        assert any(words in warning for warning in found.record.warnings)


def test_a_clamp_that_keeps_a_divisor_from_zero_is_no_relu():
    module = Deep(lambda x: x / x.abs().clamp(min=1e-3))
    with pytest.raises(sx.UserError, match="no ReLU"):
        ask(sx.load_model(module, card=card()), random_image(2), "guided-backprop")


def test_other_methods_are_not_guided_afterwards():
    model, image = bent()
    before = ask(model, image, "vanilla-gradient").map
    ask(model, image, "guided-backprop")
    np.testing.assert_array_equal(ask(model, image, "vanilla-gradient").map, before)


# -- dropout --------------------------------------------------------------------------------------------------


class Dropping(Deep):
    """Dropout and a batch normalisation, which must stay as it is."""

    def __init__(self, drop: nn.Module):
        super().__init__(nn.ReLU(), dropout=drop)
        self.norm = nn.BatchNorm2d(6)
        self.again = nn.ReLU()
        self.eval()

    def forward(self, x):
        one, two, three = self.parts
        return three(self.drop(self.again(self.norm(two(self.act(one(x)))))))


@pytest.mark.parametrize("drop", [nn.Dropout(0.5), nn.Dropout2d(0.5), nn.AlphaDropout(0.3)])
def test_mean_and_deviation_are_those_of_a_plain_loop(drop):
    module, image = Dropping(drop), random_image(2)
    model = sx.load_model(module, card=card())
    before, random = state_of(module), torch.get_rng_state()
    found = ask(model, image, "guided-backprop", dropout_passes=7, seed=3)
    assert_same_state(before, state_of(module))
    assert torch.equal(torch.get_rng_state(), random)
    module.drop.train()
    maps = []
    for number in range(7):
        torch.manual_seed(draw_seed(3, number))
        maps.append(hooked_gradient(module, tensor_of(image)).abs().amax(0))
    maps = torch.stack(maps).numpy()
    assert maps.std(0).max() > 0
    close(found.map, maps.mean(0), rtol=1e-4)
    close(found.maps["standard_deviation"], maps.std(0), rtol=1e-4)
    spread = maps.std(0, ddof=1) / np.sqrt(7)  # standard error of the mean
    error = np.sqrt((spread**2).mean()) / np.ptp(maps.mean(0))
    assert found.record.results == {
        "passes": 7,
        "error": pytest.approx(error, rel=1e-3),
        "dropout_layers": 1,
    }
    assert found.record.passes == {"forward": 8, "backward": 7}


def test_dropout_is_drawn_by_the_seed():
    model, image = sx.load_model(Dropping(nn.Dropout(0.5)), card=card()), random_image(2)
    map = lambda seed: ask(model, image, "guided-backprop", dropout_passes=3, seed=seed).map
    np.testing.assert_array_equal(map(1), map(1))
    assert not np.allclose(map(1), map(2))


@pytest.mark.parametrize("drop", [nn.Identity(), nn.Dropout(0.0)])
def test_a_network_that_drops_nothing_is_refused(drop):
    model = sx.load_model(Dropping(drop), card=card())
    with pytest.raises(sx.UserError, match="no dropout"):
        ask(model, random_image(2), "guided-backprop", dropout_passes=3)


class Breaks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("boom")


@pytest.mark.parametrize("params", [{}, {"dropout_passes": 3}])
def test_an_exception_on_the_way_back_leaves_everything_as_it_was(params):
    class Broken(Dropping):
        def forward(self, x):
            return super().forward(Breaks.apply(x))

    module, image = Broken(nn.Dropout(0.5)), random_image(2)
    model = sx.load_model(module, card=card())
    before, random = state_of(module), torch.get_rng_state()
    with pytest.raises(ValueError, match="boom"):
        ask(model, image, "guided-backprop", **params)
    assert_same_state(before, state_of(module))
    assert torch.equal(torch.get_rng_state(), random)
    gradient = torch.ones(1, requires_grad=True)
    (-gradient.relu()).backward()
    assert gradient.grad == -1  # guided, it would be 0


def test_stopping_between_passes_with_dropout():
    module, image = Dropping(nn.Dropout(0.5)), random_image(2)
    model = sx.load_model(module, card=card())
    before = state_of(module)
    target = sx.Target("object", region="image")
    work = sx.explain_steps(model, image, target, "guided-backprop", dropout_passes=9)
    steps = [next(work), next(work)]
    assert not module.drop.training  # nothing is switched on while it waits
    found = steps[1].partial()
    close(found.map, ask(model, image, "guided-backprop", dropout_passes=2).map, rtol=1e-5)
    work.close()
    assert_same_state(before, state_of(module))


# -- guided Grad-CAM ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cam", ["seg-grad-cam", "seg-hires-grad-cam"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_guided_grad_cam_is_the_product_of_its_parts(ndim, cam):
    model, image = bent(ndim)
    found = ask(model, image, "guided-grad-cam", layer="features.2", cam=cam, signed=True)
    where = ask(model, image, cam, layer="features.2").map.clip(min=0)
    guided = ask(model, image, "guided-backprop", signed=True).map
    assert where.any()
    close(found.map, where * guided)
    close(found.maps["cam"], where)
    close(found.maps["guided_gradient"], guided)
    assert found.record.passes == {"forward": 2, "backward": 2}


def test_guided_grad_cam_of_a_coarse_layer_is_enlarged():
    class Coarse(LinearHead):
        def forward(self, x):
            return self.head(F.interpolate(F.avg_pool2d(self.features(x), 4), x.shape[2:]))

    with torch.no_grad():
        module = Coarse()
        model, image = sx.load_model(module, card=card(grid={"size": [16, 20]})), random_image(2)
    found = ask(model, image, "guided-grad-cam", layer="features.1")
    assert found.map.shape == image.array.shape
    assert found.map.any()


def test_a_cam_without_positive_values_is_named():
    model, image = bent()
    with torch.no_grad():
        model.module.head.weight[1] = 0
    found = ask(model, image, "guided-grad-cam", layer="features.2")
    assert not found.map.any()
    assert any("nowhere positive" in warning for warning in found.record.warnings)


class Seen(nn.Module):
    """Looks at one patch through ReLUs: the object is drawn everywhere as brightly as the patch is."""

    def __init__(self):
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            for conv_ in (self.look[0], self.mix[0], self.head):
                conv_.weight.fill_(0.3)
                conv_.bias.zero_()
            self.head.weight[0] = -0.3

    def forward(self, x):
        patch = torch.zeros_like(x)
        patch[..., 4:10, 20:26] = 1
        maps = self.mix(self.look(x) * patch)
        return self.head(maps) + self.head(maps.mean((2, 3), keepdim=True)) * 20


@pytest.mark.parametrize("method", ["guided-backprop", "guided-grad-cam"])
def test_a_cause_behind_relus_is_found(method):
    """Nothing but the patch (and its rim of one cell) can matter, and nothing else is drawn."""
    model = sx.load_model(Seen(), card=card(grid={"size": [32, 32]}))
    image = sx.Image(np.random.default_rng(0).random((32, 32), np.float32) + 0.5)
    params = {"layer": "mix"} if method == "guided-grad-cam" else {}
    map = sx.explain(model, image, sx.Target("object", region="image"), method, **params).map
    inside = np.zeros((32, 32), bool)
    inside[3:11, 19:27] = True
    assert map[4:10, 20:26].min() > 0
    assert not map[~inside].any()
