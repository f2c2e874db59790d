"""Adversarial attack: the budget, FGSM in closed form, maps that move while the prediction stays, smooth ReLUs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.networks import LinearHead, card, planted_image, planted_model
from skimage.metrics import structural_similarity
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.backward_rules.smooth_relu import SmoothReLU
from napari_segxai.methods.counterfactual.adversarial_attack import pearson, share, ssim
from napari_segxai.methods.counterfactual.change import budget
from napari_segxai.models.labeling import Labeling, is_label


class Curved(nn.Module):
    """A small random network with ReLUs in every spelling; it draws bright pixels."""

    def __init__(self, ndim: int = 2):
        super().__init__()
        torch.manual_seed(1)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        self.first, self.second = conv(1, 16, 3, padding=1), conv(16, 16, 3, padding=1)
        self.third, self.head = conv(16, 16, 1), conv(16, 1, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        hidden = self.act(self.first(4 * (x - 0.2)))
        hidden = F.relu(3 * self.second(hidden))
        detail = 5 * self.head(self.third(hidden).relu_())
        return torch.cat([0 * x, 6 * (x - 0.5) + detail], 1)


def image_of(ndim: int) -> sx.Image:
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.3, (16, 16) if ndim == 2 else (5, 12, 12)).astype(np.float32)
    array[..., 4:9, 4:9] += 0.6
    return sx.Image(array, name="noisy")


def attack(ndim: int = 2, module: nn.Module | None = None, region="image", **params):
    model = sx.load_model(module or Curved(ndim), card=card(ndim))
    target = sx.Target("object", region=region)  # of the whole image, so that the whole map can move
    return sx.explain(model, image_of(ndim), target, "adversarial-attack", **params)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("goal", ["explanation", "segmentation"])
@pytest.mark.parametrize("epsilon", [0.01, 0.1])
def test_the_budget_is_kept_exactly(ndim, goal, epsilon):
    ex = attack(ndim, attack=goal, steps=8, epsilon=epsilon)
    x, changed = image_of(ndim).array.astype(float), ex.maps["changed_image"].astype(float)
    room = epsilon * (x.max() - x.min())
    assert np.abs(changed - x).max() <= room  # in double precision, without tolerance
    assert np.abs(changed - x).max() > 0.05 * room
    assert changed.min() >= x.min()
    assert changed.max() <= x.max()


def test_the_bounds_hold_for_awkward_numbers_and_channels():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 50, 50) * torch.tensor([1.0, 1e4]).view(1, 2, 1, 1) + 1e3
    low, high = budget(x, 0.0314)
    for k in range(2):
        room = 0.0314 * float(x[0, k].double().max() - x[0, k].double().min())
        assert float((high - x.double())[0, k].max()) <= room
        assert float((x.double() - low)[0, k].max()) <= room
        assert float((high.double() - x.double())[0, k].max()) > 0.999 * room
    assert (low <= x).all()
    assert (x <= high).all()


def test_fgsm_in_closed_form():
    """In the planted network only the object and the patch count, each pixel by its own weight: all fall by epsilon."""
    ex = sx.explain(
        planted_model(), planted_image(), "object", "adversarial-attack", preset="fgsm", epsilon=0.1
    )
    image = planted_image().array
    reason = image == 1
    span = image.max() - image.min()
    expected = np.where(reason, image - 0.1 * span, image)
    np.testing.assert_allclose(ex.maps["changed_image"], expected, atol=1e-6)
    with torch.no_grad():
        logits = planted_model().module(torch.from_numpy(expected)[None, None])
    np.testing.assert_array_equal(ex.masks["prediction_after"], logits[0].argmax(0) == 1)
    np.testing.assert_array_equal(ex.masks["prediction_before"], reason)
    assert ex.record.passes == {"forward": 3, "backward": 3}


def test_the_object_vanishes_within_a_large_budget_and_stays_within_a_small_one():
    ask = lambda epsilon: (
        sx.explain(
            planted_model(),
            planted_image(),
            "object",
            "adversarial-attack",
            attack="segmentation",
            epsilon=epsilon,
        ).record.results
    )
    # logit 20 x + 12 patch - 26 of a pixel at 1: it falls below 0 when all reasons fall by more than 6 / 32
    assert ask(0.18)["dice_prediction"] == 1
    assert ask(0.2)["dice_prediction"] == 0
    assert ask(0.2)["share_of_M_predicted"] == 0


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("explanation", ["vanilla gradient", "input x gradient", "seg-grad-cam"])
def test_the_map_moves_to_the_pattern_and_the_prediction_stays(ndim, explanation):
    ex = attack(ndim, explanation=explanation, layer="first", epsilon=0.1, steps=20, gamma=1.0)
    results = ex.record.results
    assert results["dice_prediction"] > 0.9
    assert results["pearson_pattern_after"] > results["pearson_pattern_before"] + 0.02
    assert results["pearson_maps"] < 0.995
    distance = ex.curves["attack"]["distance_to_pattern"]
    assert distance[-1] < distance[0]
    assert results["relus_softened"] == 3


def test_numbers_are_those_of_the_network_as_it_is():
    module = Curved()
    ex = attack(2, module, epsilon=0.1, steps=5, explanation="vanilla gradient")
    image, changed = image_of(2).array, ex.maps["changed_image"]
    maps = []
    for array in (image, changed):
        x = torch.from_numpy(array)[None, None].requires_grad_(True)
        logits = module(x)
        (gradient,) = torch.autograd.grad(logits[0, 1].mean(), x)
        maps.append(gradient[0, 0].abs().numpy())
    np.testing.assert_allclose(ex.maps["map_before"], maps[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ex.maps["map_after"], maps[1], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ex.map, maps[1] - maps[0], rtol=1e-3, atol=1e-6)
    expected = np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1]
    assert ex.record.results["pearson_maps"] == pytest.approx(expected, abs=1e-4)
    scaled = [m.astype(float) / m.max() for m in maps]
    assert ex.record.results["ssim_maps"] == pytest.approx(
        structural_similarity(*scaled, win_size=7, data_range=1.0), abs=1e-4
    )
    np.testing.assert_array_equal(
        ex.masks["prediction_after"],
        module(torch.from_numpy(changed)[None, None])[0].argmax(0).numpy() == 1,
    )


def test_seg_grad_cam_is_the_method_of_that_name():
    module = LinearHead()
    with torch.no_grad():
        module.head.bias.copy_(torch.tensor([0.0, 0.3]))
    model = sx.load_model(module, card=card())
    params = {"explanation": "seg-grad-cam", "layer": "features.0", "steps": 1}
    ex = sx.explain(model, planted_image(), "object", "adversarial-attack", **params)
    cam = sx.explain(model, planted_image(), "object", "seg-grad-cam", layer="features.0").map
    np.testing.assert_allclose(ex.maps["map_before"], cam, rtol=1e-4, atol=1e-7)


def test_the_corner_pattern_lies_far_from_the_object():
    ex = attack(2, region=((4, 4), (8, 8)), steps=1)  # above left of the middle
    pattern = ex.maps["pattern"]
    assert pattern.mean() == pytest.approx(1)
    np.testing.assert_array_equal(pattern > 0, np.pad(np.ones((4, 4), bool), ((12, 0), (12, 0))))
    mirrored = attack(2, steps=1, pattern="mirrored")
    before = mirrored.maps["map_before"]
    np.testing.assert_allclose(mirrored.maps["pattern"], before[:, ::-1] / before.mean(), rtol=1e-4)


def test_a_prediction_that_moves_is_told():
    ex = attack(2, epsilon=1.0, gamma=0.0, steps=30)
    assert ex.record.results["dice_prediction"] < 0.9
    assert any("prediction moved too" in warning for warning in ex.record.warnings)


def test_a_seed_repeats_bit_for_bit():
    np.testing.assert_array_equal(attack(2, steps=4).map, attack(2, steps=4).map)


def test_a_network_without_gradients_is_told():
    class Cut(Curved):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(sx.UserError, match="no gradient"):
        attack(2, Cut())


def test_hooks_and_modes_are_gone_after_an_exception():
    class Breaks(Curved):
        calls = 0

        def forward(self, x):
            Breaks.calls += 1
            if Breaks.calls == limit:
                raise RuntimeError("boom")
            return super().forward(x)

    limit = None
    module = Breaks()
    model = sx.load_model(module, card=card())
    model.layers_for(torch.zeros(1, 1, 16, 16))
    _ = model.example_layers
    limit = Breaks.calls + 3
    with pytest.raises(RuntimeError, match="boom"):
        sx.explain(
            model, image_of(2), "object", "adversarial-attack", explanation="seg-grad-cam", layer="first"
        )
    assert not any(m._forward_hooks for m in module.modules())
    x = torch.tensor([-1.0, 2.0])
    assert F.relu(x).tolist() == [0, 2]  # no ReLU is smooth any more


def test_stopping_leaves_no_mode_open():
    job = sx.explain_steps(
        sx.load_model(Curved(), card=card()), image_of(2), "object", "adversarial-attack", steps=5
    )
    for _ in range(3):
        next(job)
    assert F.relu(torch.tensor([-1.0])).item() == 0  # not even between two steps
    job.close()


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        torch.relu,
        torch.Tensor.relu,
        lambda x: x.clone().relu_(),
        lambda x: torch.relu_(x.clone()),
        lambda x: F.relu(input=x),
        lambda x: nn.ReLU(inplace=True)(x.clone()),
        nn.LeakyReLU(0.2),
        nn.ReLU6(),
        nn.Hardtanh(-2, 3),
        nn.Threshold(0.5, 0.5),
        nn.RReLU(0.1, 0.3).eval(),
        lambda x: nn.PReLU(init=0.3).double()(x),
        lambda x: torch.prelu(x[None, None], torch.tensor([0.3], dtype=x.dtype))[0, 0],
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Softshrink(0.7),
        nn.ELU(0.5),
        nn.SELU(),
        nn.CELU(1.5),
        lambda x: F.elu_(x.clone(), 0.5),
        lambda x: x.clamp(min=0),
        lambda x: x.clamp(0, 5),
        lambda x: torch.clip(x, min=0),
        lambda x: torch.clamp_min(x, 0.0),
        lambda x: x.clone().clamp_min_(0),
        lambda x: x.clamp(min=torch.tensor(0.0)),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: torch.max(torch.zeros(1, dtype=x.dtype), x),
    ],
)
def test_every_relu_becomes_smooth_and_near_itself(relu):
    x = torch.linspace(-8, 8, 161, dtype=torch.float64, requires_grad=True)
    with SmoothReLU(1e4) as soft:
        sharp = relu(x)
    assert soft.count == 1
    np.testing.assert_allclose(sharp.detach(), relu(x).detach(), atol=1e-3)
    with SmoothReLU(2.0):
        (first,) = torch.autograd.grad(relu(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    assert (second.abs() > 1e-4).any()
    assert relu(x.detach()).equal(relu(x.detach()))  # as ever, once the mode is left


def plus(x):
    return torch.log1p(torch.exp(2 * x)) / 2


SMOOTH = {
    "clamp": (lambda x: x.clamp(min=0), plus),
    "clamp with ceiling": (lambda x: x.clamp(0, 4), lambda x: plus(x) - plus(x - 4)),
    "relu6": (F.relu6, lambda x: plus(x) - plus(x - 6)),
    "leaky": (nn.LeakyReLU(0.2), lambda x: plus(x) - 0.2 * plus(-x)),
    "prelu": (nn.PReLU(init=0.25).double(), lambda x: plus(x) - 0.25 * plus(-x)),
    "hardsigmoid": (nn.Hardsigmoid(), lambda x: (plus(x + 3) - plus(x - 3)) / 6),
    "hardswish": (nn.Hardswish(), lambda x: x * (plus(x + 3) - plus(x - 3)) / 6),
    "softshrink": (nn.Softshrink(1), lambda x: plus(x - 1) - plus(-x - 1)),
    "elu": (nn.ELU(0.5), lambda x: plus(x) + 0.5 * (torch.exp(-plus(-x)) - 1)),
    "celu": (nn.CELU(0.5), lambda x: plus(x) + 0.5 * (torch.exp(-plus(-x) / 0.5) - 1)),
    "silu": (nn.SiLU(), lambda x: x / (1 + torch.exp(-x))),
    "gelu": (nn.GELU(), lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
    "mish": (nn.Mish(), lambda x: x * torch.tanh(torch.log1p(torch.exp(x)))),
    "divisor": (lambda x: 1 / (x * x).clamp(min=1e-3), lambda x: 1 / (x * x).clamp(min=1e-3)),
    "indices": (lambda x: x * x.long().clamp(min=0), lambda x: x * x.long().clamp(min=0)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_are_those_of_the_formula(name):
    sharp, formula = SMOOTH[name]
    x = torch.linspace(-6, 6, 41, dtype=torch.float64, requires_grad=True)
    with SmoothReLU(2.0):
        values = sharp(x)
    np.testing.assert_allclose(values.detach(), formula(x).detach(), rtol=1e-9, atol=1e-9)


def test_each_channel_keeps_its_own_slope():
    x, slopes = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.tensor([0.1, 0.5, -0.2]).double()
    with SmoothReLU(2.0):
        values = F.prelu(x, slopes)
    for k in range(3):
        np.testing.assert_allclose(values[:, k], plus(x[:, k]) - slopes[k] * plus(-x[:, k]), rtol=1e-9)


def test_what_is_written_in_place_is_changed_in_place():
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    with SmoothReLU(2.0):
        F.relu(x, inplace=True)  # what it returns is not used
    np.testing.assert_allclose(x, plus(torch.tensor([-1.0, 1.0], dtype=torch.float64)))


class Acting(Curved):
    """As its parent, with one activation function everywhere."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        hidden = self.function(self.first(4 * (x - 0.2)))
        hidden = self.function(3 * self.second(hidden))
        detail = 5 * self.head(self.function(self.third(hidden)))
        return torch.cat([0 * x, 6 * (x - 0.5) + detail], 1)


@pytest.mark.parametrize(
    ("function", "softened"),
    [
        (nn.PReLU(), 3),
        (nn.Hardswish(), 3),
        (lambda x: x.clamp(min=0), 3),
        (lambda x: torch.maximum(x, torch.zeros(())), 3),
        (lambda x: x * (x > 0), 3),
        (lambda x: torch.where(x > 0, x, 0.1 * x), 3),
        (nn.ELU(), 3),
        (nn.SiLU(), 0),
        (nn.GELU(), 0),
    ],
)
def test_the_map_moves_whatever_the_activation(function, softened):
    found = attack(module=Acting(function), epsilon=0.1, steps=4, gamma=1.0)
    assert found.record.results["largest_change"] > 0.005
    assert found.record.results["relus_softened"] == softened
    assert not any("zero everywhere" in warning or "smooth" in warning for warning in found.record.warnings)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x * (x > 0.1), "computes with gt"),
        (lambda x: torch.where(x > 0, x, x.square()), "computes with gt, where"),
        (lambda x: torch.max(x, -x), "computes with max"),
        (nn.Hardshrink(0.1), "hardshrink has jumps"),
    ],
)
def test_what_cannot_be_made_smooth_is_named(function, words):
    warnings = attack(module=Acting(function), steps=2).record.warnings
    assert any(words in warning for warning in warnings), warnings


def test_margin_is_positive_where_the_label_wins():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, 6)
    for label in range(4):
        np.testing.assert_array_equal(Labeling().margin(logits, label) > 0, is_label(logits, label))
    assert Labeling().margin(torch.tensor([[[2.0]], [[5.0]]])[None, :, :, 0], 1).item() == 3


def test_comparisons_of_maps_have_stated_values_for_constant_maps():
    flat, ramp = torch.ones(8, 8), torch.arange(64.0).view(8, 8)
    assert pearson(flat, ramp) is None
    assert pearson(ramp, -ramp) == pytest.approx(1)  # of absolute values
    assert ssim(ramp, 3 * ramp) == pytest.approx(1)
    assert ssim(flat[:2], ramp[:2]) is None
    assert not share(torch.zeros(3, 3)).any()


class Attends(nn.Module):
    """Tokens of 4 x 4 cells attend to each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(1, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.ConvTranspose2d(8, 2, 4, stride=4)

    def forward(self, x):
        y = self.patch(x)
        t = self.block(y.flatten(2).transpose(1, 2))
        return self.head(t.transpose(1, 2).unflatten(2, y.shape[2:]))


def test_an_attention_is_attacked_through_its_second_derivative():
    found = attack(module=Attends(), epsilon=0.1, steps=2)
    assert found.record.results["largest_change"] > 0


class Once(torch.autograd.Function):
    """As many functions with a backward pass of their own."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient


def test_what_has_no_second_derivative_is_refused_by_name():
    module = Acting(lambda x: Once.apply(x).sin())
    with pytest.raises(sx.UserError, match=r"cannot be differentiated twice \(.*once.*attack=segmentation"):
        attack(module=module, steps=2)
    assert attack(module=module, steps=2, attack="segmentation").map.any()


def test_no_network_layer_is_asked_for_where_none_is_watched():
    scripted = torch.jit.trace(Acting(nn.SiLU()).eval(), torch.rand(1, 1, 64, 64))
    assert attack(module=scripted, steps=2).record.results["largest_change"] >= 0
