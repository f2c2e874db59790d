"""Gradients of the input: closed forms, axioms, planted reasons, and what may go wrong on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, conv, planted_image, planted_model
from helpers.questions import ask, bent, close, of_function, random_image, tensor_of
from helpers.states import assert_same_state, state_of
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.engine.primitives import perturb
from napari_segxai.methods.gradient.guided_integrated_gradients import advance

FEW = {
    "vanilla-gradient": {},
    "input-x-gradient": {},
    "integrated-gradients": {"steps": 6},
    "smooth-grad": {"samples": 6},
    "guided-integrated-gradients": {"steps": 6, "segments": 2},
}
PATHS = ("integrated-gradients", "guided-integrated-gradients")


def straight(ndim: int = 2, inputs: int = 1):
    """A linear network with biases, and an image."""
    torch.manual_seed(1)
    kernels = conv(ndim)
    module = nn.Sequential(kernels(inputs, 4, 3, padding=1), kernels(4, 2, 3, padding=1))
    return sx.load_model(module, card=card(ndim, channels=[str(k) for k in range(inputs)])), random_image(
        ndim, inputs
    )


def plain_gradient(model, image, region="image"):
    """Mean logit of the label over M differentiated by plain autograd: (channels, *grid), and the score."""
    x = tensor_of(image).requires_grad_()
    logits = model.module(x)
    inside = (
        torch.ones_like(logits[0, 1], dtype=torch.bool) if region == "image" else logits[0].argmax(0) == 1
    )
    score = logits[0, 1][inside].mean()
    (gradient,) = torch.autograd.grad(score, x)
    return gradient[0], float(score.detach())


# -- closed forms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["image", None])
@pytest.mark.parametrize(("ndim", "inputs"), [(2, 1), (2, 3), (3, 1), (3, 2)])
def test_gradients_are_those_of_plain_autograd(ndim, inputs, region):
    model, image = bent(ndim, inputs)
    gradient, _ = plain_gradient(model, image, region)
    target = sx.Target("object", region=region)
    close(ask(model, image, "vanilla-gradient", target).map, gradient.abs().amax(0))
    close(ask(model, image, "vanilla-gradient", target, signed=True).map, gradient.sum(0))
    found = ask(model, image, "input-x-gradient", target)
    close(found.map, (gradient * tensor_of(image)[0]).sum(0))
    assert found.record.results["sum"] == pytest.approx(float(found.map.sum()), rel=1e-4)
    assert found.record.passes == {"forward": 1, "backward": 1}


@pytest.mark.parametrize("score", ["probability", "log_probability"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_gradient_is_that_of_the_target(score, reduction):
    model, image = bent()
    x = tensor_of(image).requires_grad_()
    logits = model.module(x)
    values = {"probability": logits.softmax(1), "log_probability": logits.log_softmax(1)}[score][0, 1]
    inside = logits[0].argmax(0) == 1
    y = values[inside].mean() if reduction == "mean" else values[inside].sum()
    (gradient,) = torch.autograd.grad(y, x)
    found = ask(model, image, "vanilla-gradient", sx.Target("object", score=score, reduction=reduction))
    close(found.map, gradient[0].abs().amax(0))


@pytest.mark.parametrize("baseline", ["zero", "mean", "blur"])
@pytest.mark.parametrize(("ndim", "inputs"), [(2, 2), (3, 1)])
def test_on_a_linear_network_all_accounts_are_the_same_and_exact(ndim, inputs, baseline):
    model, image = straight(ndim, inputs)
    once = ask(model, image, "input-x-gradient", baseline=baseline)
    rules = [{"rule": rule} for rule in ("adaptive", "midpoint", "gauss-legendre")]
    for params in [*rules, {"steps": 1}]:
        found = ask(model, image, "integrated-gradients", **{"steps": 5, "baseline": baseline, **params})
        close(found.map, once.map, rtol=1e-4)
        assert abs(found.record.results["residual_share"]) < 1e-4
    for params in ({}, {"segments": 3}, {"rule": "left"}, {"fraction": 1.0}, {"fraction": 0.001}):
        found = ask(
            model, image, "guided-integrated-gradients", **{"steps": 6, "baseline": baseline, **params}
        )
        close(found.map, once.map, rtol=1e-3)
        assert abs(found.record.results["residual_share"]) < 1e-3


def test_the_account_names_the_scores_at_both_ends():
    model, image = bent()
    found = ask(model, image, "integrated-gradients", steps=64)
    x = tensor_of(image)
    with torch.no_grad():
        scores = [float(model.module(v)[0, 1].mean()) for v in (x, 0 * x)]
    numbers = found.record.results
    assert [numbers["score"], numbers["score_baseline"]] == pytest.approx(scores, rel=1e-4)
    assert numbers["sum"] == pytest.approx(float(found.map.sum()), rel=1e-4)
    assert numbers["residual"] == pytest.approx(numbers["sum"] - (scores[0] - scores[1]), abs=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", PATHS)
def test_maps_add_up_to_the_change_of_the_score(method, ndim):
    model, image = bent(ndim)
    share = lambda **params: abs(ask(model, image, method, **params).record.results["residual_share"])
    found = share(steps=128)
    assert found < 0.02
    worse = {"steps": 128, "rule": "left"} if method == "guided-integrated-gradients" else {"steps": 4}
    assert found < share(**worse) / 5


def test_points_go_where_the_score_changes():
    """The score rises within a thousandth of the way: equal steps leap over it."""
    model, image = of_function(lambda x: torch.tanh(3000 * x[:, 2, 3]) + 1, {(2, 3): 1.0})
    found = {rule: ask(model, image, "integrated-gradients", rule=rule) for rule in ("adaptive", "midpoint")}
    assert found["adaptive"].map[2, 3] == pytest.approx(1, abs=0.05)
    assert found["midpoint"].map[2, 3] < 0.01
    assert not found["adaptive"].record.warnings
    assert "take more steps" in found["midpoint"].record.warnings[0]


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 23])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("integrated-gradients", {"rule": "adaptive"}),
        ("integrated-gradients", {"rule": "midpoint"}),
        ("integrated-gradients", {"rule": "gauss-legendre"}),
        ("guided-integrated-gradients", {"rule": "simpson", "segments": 3}),
        ("guided-integrated-gradients", {"rule": "left"}),
    ],
)
def test_passes_are_those_announced(method, params, steps):
    model, image = bent()
    job = ExplanationPlan.make(
        model, image, sx.Target("object", region="image"), method, **{"steps": steps, **params}
    )
    found = ask(model, image, method, steps=steps, **params)
    assert found.record.passes == job.passes.as_dict()
    assert found.record.results["steps"] >= steps


def test_guided_paths_of_the_whole_fraction_are_straight_lines():
    model, image = bent()
    x = tensor_of(image)
    straight_line = torch.zeros_like(x)
    for k in range(5):
        at = (x * k / 5).requires_grad_()
        straight_line += torch.autograd.grad(model.module(at)[0, 1].mean(), at)[0] * x / 5
    found = ask(model, image, "guided-integrated-gradients", steps=5, fraction=1.0, rule="left")
    close(found.map, straight_line[0, 0])


def test_values_with_the_smallest_gradients_move_first():
    place, end = torch.zeros(5), torch.tensor([1.0, 1.0, -1.0, 1.0, 0.0])
    gradient = torch.tensor([3.0, -1.0, 2.0, 5.0, 0.0])
    move = lambda left, group: advance(place, end, gradient, left, group).tolist()
    assert move(2.5, 1) == [0, 1, -0.5, 0, 0]
    assert move(3.0, 2) == [0, 0.5, -0.5, 0, 0]
    assert move(0.0, 1) == end.tolist()
    tied = advance(place, end, torch.ones(5), 2.0, 1)
    assert tied.tolist() == [0.5, 0.5, -0.5, 0.5, 0]
    assert advance(place, end, torch.full((5,), torch.nan), 0.0, 1).tolist() == end.tolist()


def test_smooth_grad_is_the_mean_over_the_noise_that_is_told():
    model, image = bent(2, 2)
    x = tensor_of(image)
    gradients = []
    for number in range(5):
        drawn = np.random.Generator(np.random.Philox(key=4, counter=[0, 0, 0, number]))
        noise = torch.from_numpy(drawn.standard_normal((2, 16, 20), np.float32))
        sigma = 0.2 * (x.amax((2, 3), keepdim=True) - x.amin((2, 3), keepdim=True))
        noisy = (x + sigma * noise).requires_grad_()
        gradients.append(torch.autograd.grad(model.module(noisy)[0, 1].mean(), noisy)[0][0])
    gradients = torch.stack(gradients)
    params = {"samples": 5, "sigma": 0.2, "seed": 4}
    close(ask(model, image, "smooth-grad", **params).map, gradients.mean(0).abs().amax(0))
    close(ask(model, image, "smooth-grad", signed=True, **params).map, gradients.mean(0).sum(0))
    close(ask(model, image, "smooth-grad", squared=True, **params).map, gradients.square().mean(0).amax(0))


def test_smooth_grad_without_noise_is_the_gradient():
    model, image = bent()
    once = ask(model, image, "vanilla-gradient").map
    close(ask(model, image, "smooth-grad", sigma=0, samples=3).map, once, rtol=1e-5)
    close(ask(model, image, "smooth-grad", sigma=0, samples=3, squared=True).map, once**2, rtol=1e-5)


# -- axioms and planted reasons -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FEW)
def test_what_the_network_does_not_look_at_gets_nothing(method):
    model, image = of_function(
        lambda x: (x[:, 2, 3] - 0.2).relu() * 3 + x[:, 4, 5] + 1, {(2, 3): 1, (4, 5): 0.7, (6, 6): 2}
    )
    map = ask(model, image, method, **FEW[method]).map
    assert map[2, 3] > 0
    assert map[4, 5] > 0
    map[2, 3] = map[4, 5] = 0
    assert not map.any()


@pytest.mark.parametrize("method", PATHS)
def test_pixels_of_the_same_role_and_value_get_the_same(method):
    model, image = of_function(lambda x: x[:, 2, 3] * x[:, 5, 6] + 1, {(2, 3): 0.8, (5, 6): 0.8, (1, 1): 0.3})
    map = ask(model, image, method, steps=16).map
    assert map[2, 3] == pytest.approx(map[5, 6], rel=1e-5)
    assert map.sum() == pytest.approx(0.64, rel=0.01)
    assert map[2, 3] == pytest.approx(0.32, rel=0.01)


def test_saturation_hides_a_cause_from_the_gradient_and_not_from_the_path():
    model, image = of_function(lambda x: 2 - (1 - x[:, 2, 3]).relu(), {(2, 3): 2.0})
    for method in ("vanilla-gradient", "input-x-gradient"):
        assert not ask(model, image, method).map.any()
    for method in PATHS:
        assert ask(model, image, method, steps=32).map[2, 3] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", FEW)
def test_planted_reasons_are_found(method, ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    map = sx.explain(model, image, "object", method, **FEW[method]).map
    every = (slice(None),) * (ndim - 2)
    inside = np.zeros(image.array.shape, bool)
    inside[(*every, *PATCH)] = inside[(*every, *OBJECT)] = True
    count = inside.sum()
    patch = np.zeros_like(inside)
    patch[(*every, *PATCH)] = True
    # logit of M's pixels: 20 x image + 12 x mean of the patch - 26
    expected = np.where(inside, 20 / count, 0) + np.where(patch, 12 / patch.sum(), 0)
    if method not in ("vanilla-gradient", "smooth-grad"):
        expected = expected * image.array
    np.testing.assert_allclose(map, expected, rtol=2e-3, atol=1e-6)
    assert not map[~inside].any()


def test_one_slice_is_a_volume_of_depth_one():
    flat, deep = LinearHead(2), LinearHead(3)
    with torch.no_grad():
        for name, value in flat.state_dict().items():
            own = deep.state_dict()[name]
            if own.ndim == 5 and own.shape[-1] == 3:
                own.zero_()[:, :, 1] = value
            else:
                own.copy_(value.view_as(own))
    image = random_image(2)
    models = (
        sx.load_model(flat, card=card(2)),
        sx.load_model(deep, card=card(3, grid={"size": [1, 16, 20]})),
    )
    volume = sx.Image(image.array[None])
    cases = {**FEW, "guided-backprop": {}, "guided-grad-cam": {"layer": "features.2"}}
    for method, params in cases.items():
        a, b = ask(models[0], image, method, **params), ask(models[1], volume, method, **params)
        assert a.map.any(), method
        close(b.map[0], a.map, rtol=1e-3)


# -- running --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in FEW if len(FEW[m])])
def test_maps_do_not_depend_on_the_batch_and_repeat_bit_for_bit(method, monkeypatch):
    model, image = bent(2, 2)
    once = ask(model, image, method, **FEW[method]).map
    np.testing.assert_array_equal(ask(model, image, method, **FEW[method]).map, once)
    for batch in (1, 5):
        monkeypatch.setattr(perturb, "batch_size", lambda *_, batch=batch, **__: batch)
        close(ask(model, image, method, **FEW[method]).map, once, rtol=1e-4)


def test_another_seed_is_other_noise():
    model, image = bent()
    maps = [ask(model, image, "smooth-grad", samples=4, seed=seed).map for seed in (1, 2)]
    assert not np.allclose(*maps)


class Narrow(torch.autograd.Function):
    """Memory ends in the backward pass."""

    @staticmethod
    def forward(ctx, x, largest):
        ctx.largest = largest
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if len(gradient) > ctx.largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return gradient, None


class Tight(LinearHead):
    largest = 3

    def forward(self, x):
        return super().forward(Narrow.apply(x, self.largest))


@pytest.mark.parametrize("method", ["integrated-gradients", "smooth-grad"])
def test_running_out_of_memory_backwards_halves_the_batch_and_keeps_the_work(method, monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 8)
    module, image = Tight(), random_image(2)
    model = sx.load_model(module, card=card())
    found = ask(model, image, method, **FEW[method])
    close(found.map, ask(*bent(), method, **FEW[method]).map, rtol=1e-4)
    assert found.record.passes["backward"] == 6
    module.largest = 0
    with pytest.raises(sx.OutOfMemory):
        ask(model, image, method, **FEW[method])
    module.largest = 8
    assert ask(model, image, method, **FEW[method]).map.any()


@pytest.mark.parametrize("method", [m for m in FEW if len(FEW[m])])
def test_stopping_keeps_what_is_there(method, monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 2)
    model, image = bent()
    before = state_of(model.module)
    work = sx.explain_steps(model, image, sx.Target("object", region="image"), method, **FEW[method])
    partial = next(step.partial for step in work if step.partial is not None)
    found = partial()
    assert found.record.partial
    assert found.map.any()
    work.close()
    assert_same_state(before, state_of(model.module))
    assert torch.is_grad_enabled()


def test_partial_smooth_grad_is_that_of_fewer_copies(monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 2)
    model, image = bent()
    work = sx.explain_steps(model, image, sx.Target("object", region="image"), "smooth-grad", samples=8)
    found = next(work).partial()
    work.close()
    close(found.map, ask(model, image, "smooth-grad", samples=2).map, rtol=1e-5)


def test_a_network_that_writes_over_its_input_is_explained():
    class Writes(LinearHead):
        def forward(self, x):
            return super().forward(x.mul_(2))

    model, image = sx.load_model(Writes(), card=card()), random_image(2)
    before = image.array.copy()
    x = tensor_of(image).requires_grad_()
    (expected,) = torch.autograd.grad(LinearHead()(2 * x)[0, 1].mean(), x)
    close(ask(model, image, "input-x-gradient").map, (expected * x.detach())[0, 0])
    np.testing.assert_array_equal(image.array, before)


def test_a_network_without_gradient_is_refused_in_words():
    class Detached(LinearHead):
        def forward(self, x):
            return super().forward(x).detach()

    model = sx.load_model(Detached(), card=card())
    for method, params in FEW.items():
        with pytest.raises(sx.UserError, match="passes no gradient"):
            ask(model, random_image(2), method, **params)


def test_an_empty_prediction_gives_zero_and_says_so():
    model, image = of_function(lambda x: x.flatten(1).sum(1) - 100, {(2, 3): 1})
    for method, params in FEW.items():
        found = sx.explain(model, image, "object", method, **params)
        assert not found.map.any()
        assert "no pixel" in found.record.warnings[0]


@pytest.mark.parametrize("method", PATHS)
def test_an_image_that_is_its_baseline_gets_a_zero_map_and_no_share(method):
    model, image = of_function(lambda x: x.flatten(1).sum(1) + 1, {})
    found = ask(model, image, method, steps=4)
    assert not found.map.any()
    assert found.record.results["residual_share"] is None


def test_torchscript_models_have_gradients(tmp_path):
    eager, image = bent()
    torch.jit.trace(LinearHead().eval(), tensor_of(image)).save(tmp_path / "traced.pt")
    model = sx.load_model(tmp_path / "traced.pt", card=card())
    for method, params in FEW.items():
        for _ in range(3):  # the first runs of a TorchScript module are not like the later ones
            close(ask(model, image, method, **params).map, ask(eager, image, method, **params).map, rtol=1e-3)
    for method in ("guided-backprop", "guided-grad-cam"):
        with pytest.raises(sx.UserError, match="TorchScript"):
            ask(model, image, method)
