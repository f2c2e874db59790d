"""Networks that lose gradients on the way: the right map or a refusal that names the place, never a zero without a reason."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import napari_segxai as sx
from napari_segxai.engine.primitives import gradient_check

IMAGE = np.random.default_rng(0).random((24, 24), np.float32)
WHOLE = sx.Target("object", region="image")


class Net(nn.Module):
    """Two blocks, a head, and a skip of the input; `how` says how they are run."""

    def __init__(self, how=None):
        super().__init__()
        torch.manual_seed(0)
        self.enc = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(5, 2, 1)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.enc(x)) if self.how is None else self.how(self, x)

    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(torch.cat([self.mid(y), x], 1))


def model_of(how=None) -> sx.SegmentationModel:
    return sx.load_model(Net(how).eval(), card=card())


@cache
def plain(method: str, **params) -> sx.Explanation:
    """What the network gives that loses nothing; it is read only."""
    return sx.explain(model_of(), IMAGE, WHOLE, method, **params)


GRADIENTS = {
    "vanilla-gradient": {},
    "integrated-gradients": {"steps": 4},
    "misure": {"iterations": 3},
    "extremal-perturbation": {"iterations": 3},
    "grid-saliency": {"iterations": 3},
    "guided-backprop": {},
}
FORWARD = {
    "rise": {"masks": 32},
    "occlusion": {"patch": 8},
    "seg-eigen-cam": {"layer": "enc.0"},
    "seg-ablation-cam": {"layer": "mid"},
}


def some(names: dict) -> list:
    """Of each method, what its options allow of the parameters above."""
    from napari_segxai.methods.registry import find_method

    known = {name: {p.name for p in find_method(name).parameters} for name in names}
    return [(name, {k: v for k, v in given.items() if k in known[name]}) for name, given in names.items()]


# -- the same map as without ---------------------------------------------------------------------------


def reentrant(net: Net, x: Tensor) -> Tensor:
    return net.join(x, checkpoint(net.enc, x, use_reentrant=True))


def recomputing(net: Net, x: Tensor) -> Tensor:
    return checkpoint(
        lambda y: net.join(x, checkpoint(net.enc, y, use_reentrant=False)), x, use_reentrant=False
    )


class Own(torch.autograd.Function):
    """A function that tells by itself what flows back, as in deformable attention or memory-saving activations."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return gradient * (s * (1 + x * (1 - s)))


def harmless(net: Net, x: Tensor) -> Tensor:
    """What is detached here is constant, or nothing depends on it."""
    y = net.enc(x)
    _ = float(y.detach().mean()), y.detach().cpu().numpy().sum()
    with torch.no_grad():
        grid = torch.linspace(0, 1, x.shape[-1]) + torch.zeros_like(x)
    return net.join(x, y + 0 * grid.detach() + torch.zeros_like(y))


SAME = {"reentrant": reentrant, "recomputing": recomputing, "harmless": harmless}


@pytest.mark.parametrize("how", SAME)
@pytest.mark.parametrize(
    ("method", "params"),
    [
        *some(GRADIENTS),
        *some(FORWARD),
        ("seg-grad-cam", {"layer": "enc"}),
        ("seg-hires-grad-cam", {"layer": "enc.0"}),
        ("guided-grad-cam", {"layer": "mid"}),
    ],
)
def test_checkpoints_and_harmless_detaching_change_no_map(how, method, params):
    want = plain(method, **params)
    found = sx.explain(model_of(SAME[how]), IMAGE, WHOLE, method, **params)
    np.testing.assert_allclose(found.map, want.map, atol=1e-5 * np.abs(want.map).max())
    assert want.map.any() or method == "grid-saliency"  # which hides all that it can
    assert found.record.passes == want.record.passes


@pytest.mark.parametrize("how", [reentrant, recomputing])
def test_gradients_behind_checkpoints_are_those_of_plain_autograd(how):
    plain, image = Net().eval(), torch.from_numpy(IMAGE)[None, None].requires_grad_()
    plain(image)[0, 1].mean().backward()
    found = sx.explain(model_of(how), IMAGE, WHOLE, "vanilla-gradient", signed=True)
    np.testing.assert_allclose(found.map, image.grad[0, 0], atol=1e-6 * float(image.grad.abs().max()))


def test_checkpoints_are_back_when_a_network_has_run():
    from torch.utils import checkpoint as torch_checkpoint

    functions = lambda: {name: value for name, value in vars(torch_checkpoint).items() if callable(value)}
    before = functions()
    sx.explain(model_of(reentrant), IMAGE, WHOLE, "vanilla-gradient")

    class Breaks(Net):
        def forward(self, x):
            return checkpoint(self.broken, x, use_reentrant=False)

        def broken(self, x):
            raise KeyError("inside a checkpoint")

    with pytest.raises(sx.UserError, match="inside a checkpoint"):
        sx.load_model(Breaks(), card=card())
    assert functions() == before


def test_functions_with_a_backward_of_their_own_are_right():
    model = model_of(lambda net, x: net.join(x, Own.apply(net.enc(x))))
    net, x = model.module, torch.from_numpy(IMAGE)[None, None].requires_grad_()
    net.join(x, nn.functional.silu(net.enc(x)))[0, 1].mean().backward()
    found = sx.explain(model, IMAGE, WHOLE, "vanilla-gradient", signed=True)
    np.testing.assert_allclose(found.map, x.grad[0, 0], atol=1e-6 * float(x.grad.abs().max()))


# -- refused, with the place -------------------------------------------------------------------------


def no_grad(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = net.enc(x)
    return net.join(x, y)


def inference(net: Net, x: Tensor) -> Tensor:
    with torch.inference_mode():
        y = net.enc(x)
    return net.join(x, y)


@torch.inference_mode()
def whole(net: Net, x: Tensor) -> Tensor:
    return net.join(x, net.enc(x))


def in_place(net: Net, x: Tensor) -> Tensor:
    y = net.enc(x)
    y.data.mul_(2)
    return net.join(x, y)


def in_place_without(net: Net, x: Tensor) -> Tensor:
    y = net.enc(x) + 0
    with torch.no_grad():
        y.mul_(2)
    return net.join(x, y)


def through_numpy(net: Net, x: Tensor) -> Tensor:
    return net.join(x, torch.from_numpy(net.enc(x).detach().cpu().numpy() ** 2))


def hard(net: Net, x: Tensor) -> Tensor:
    chosen = torch.cat([net.mid(net.enc(x)), x], 1).argmax(1)
    return net.head(nn.functional.one_hot(chosen, 5).movedim(-1, 1).float())


LOST = {
    "no_grad": (no_grad, "in network layer 'enc.0' runs with gradients switched off"),
    "inference": (inference, "in network layer 'enc.0' runs with gradients switched off"),
    "whole": (whole, "in network layer 'enc.0' runs with gradients switched off"),
    "detach": (lambda net, x: net.join(x, net.enc(x).detach()), r"in its own forward\(\) is detached"),
    "data": (lambda net, x: net.join(x, net.enc(x).data), r"in its own forward\(\) is detached"),
    "gate": (
        lambda net, x: net.join(x, (y := net.enc(x)) * y.detach()),
        r"in its own forward\(\) is detached",
    ),
    "in place": (in_place, r"in its own forward\(\) is detached"),
    "in place without": (in_place_without, r"in its own forward\(\) runs with gradients switched off"),
    "numpy": (through_numpy, r"in its own forward\(\) is detached"),
    "argmax": (hard, "goes through argmax"),
    "round": (lambda net, x: (10 * net.join(x, net.enc(x))).round(), "rounded by round"),
    "threshold": (lambda net, x: 4 * torch.cat([x < 0.5, x > 0.5], 1).float(), "goes through lt"),
}


@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize(("method", "params"), some(GRADIENTS))
def test_gradient_methods_name_where_the_gradient_stops(case, method, params):
    how, words = LOST[case]
    with pytest.raises(sx.UserError, match=f"passes no gradient .*{words}.*such as rise"):
        sx.explain(model_of(how), IMAGE, WHOLE, method, **params)


@pytest.mark.parametrize("case", sorted(LOST.keys() - {"threshold"}))
def test_layers_before_that_are_refused_and_those_behind_are_right(case):
    how, _ = LOST[case]
    model = model_of(how)
    with pytest.raises(sx.UserError, match="passes no gradient"):
        sx.explain(model, IMAGE, WHOLE, "seg-grad-cam", layer="enc.0")
    with pytest.raises(sx.UserError, match="passes no gradient"):
        sx.information_flow(model, IMAGE, layers=["enc.0", "mid"])
    if case in ("whole", "argmax", "round"):
        return
    found = sx.explain(model, IMAGE, WHOLE, "seg-hires-grad-cam", layer="mid")
    net, taken = model.module.requires_grad_(False), []
    handle = net.mid.register_forward_hook(
        lambda _m, _a, out: taken.append(out.detach().clone().requires_grad_()) or taken[0]
    )
    net(torch.from_numpy(IMAGE)[None, None])[0, 1].mean().backward()
    handle.remove()
    want = (taken[0] * taken[0].grad).sum(1)[0].detach().numpy()
    np.testing.assert_allclose(found.map, want, atol=1e-5 * np.abs(want).max())
    assert want.any()


@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize(
    ("method", "params"), some({k: FORWARD[k] for k in ("rise", "occlusion", "seg-eigen-cam")})
)
def test_forward_only_methods_always_work(case, method, params):
    how, _ = LOST[case]
    if case == "threshold" and "layer" in params:
        pytest.skip("it has no such layer")
    assert sx.explain(model_of(how), IMAGE, WHOLE, method, **params).map.any()


def test_a_network_made_in_inference_mode_is_told():
    with torch.inference_mode():
        network = Net().eval()
    model = sx.load_model(network, card=card())
    with pytest.raises(sx.UserError, match=r"made inside torch\.inference_mode"):
        sx.explain(model, IMAGE, WHOLE, "vanilla-gradient")
    assert sx.explain(model, IMAGE, WHOLE, "rise", masks=32).map.any()


def test_what_is_found_is_kept_until_the_network_changes():
    network = Net(no_grad).eval()
    model = sx.load_model(network, card=card())
    for _ in range(2):
        with pytest.raises(sx.UserError, match="passes no gradient"):
            sx.explain(model, IMAGE, WHOLE, "vanilla-gradient")
    network.how = None
    want = sx.explain(model_of(), IMAGE, WHOLE, "vanilla-gradient").map
    assert np.array_equal(sx.explain(model, IMAGE, WHOLE, "vanilla-gradient").map, want)
    runs = []
    handle = network.head.register_forward_hook(lambda *_: runs.append(1))
    sx.explain(model, IMAGE, WHOLE, "vanilla-gradient")  # another hook, another network
    runs.clear()
    sx.explain(model, IMAGE, WHOLE, "vanilla-gradient")
    assert len(runs) == 1  # nothing but the job itself
    handle.remove()


# -- callers ------------------------------------------------------------------------------------------

CALLERS = [torch.no_grad, torch.inference_mode]


@pytest.mark.parametrize("mode", CALLERS)
@pytest.mark.parametrize(
    ("method", "params"),
    [
        *some(GRADIENTS),
        *some(FORWARD),
        ("seg-grad-cam", {"layer": "enc"}),
        ("seg-score-cam", {"layer": "mid"}),
    ],
)
def test_callers_without_gradients_get_the_same_maps(mode, method, params):
    want = plain(method, **params).map
    network = Net().eval()
    with mode():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        model = sx.load_model(network, card=card())
        found = sx.explain(model, IMAGE, WHOLE, method, **params).map
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
    assert np.array_equal(found, want)


@pytest.mark.parametrize("mode", CALLERS)
def test_every_job_runs_inside_them(mode):
    model = sx.load_model(Net().eval(), card=card())
    with mode():
        ex = sx.explain(model, IMAGE, WHOLE, "vanilla-gradient")
        assert sx.information_flow(model, IMAGE, causal=True).tiles
        assert sx.compare(model, IMAGE, WHOLE, ["vanilla-gradient", "seg-grad-cam"]).rows
        assert sx.check(ex, model, WHOLE, ["masked-input"])
        loaded = sx.load_model("triangle")
        steps = sx.explain_steps(model, IMAGE, WHOLE, "misure")
        next(steps)
        assert not torch.is_grad_enabled()
        steps.close()
    assert not any(p.is_inference() for p in loaded.module.parameters())


def test_a_saturated_output_is_called_that():
    saturated = lambda net, x: (1e9 * (net.head(torch.cat([net.enc(x), x], 1)) + x - 0.5)).sigmoid()
    fields = {"activation": "sigmoid", "values": "probabilities", "background_output": True}
    model = sx.load_model(Net(saturated).eval(), card=card(**fields))
    with pytest.raises(sx.UserError, match=r"only zeros .* saturated"):
        sx.explain(model, IMAGE, WHOLE, "vanilla-gradient")


def test_a_network_that_does_not_run_with_gradients_is_told_why():
    """A full backward hook that somebody left, before an operation in place."""
    kept = lambda net, x: net.head(torch.cat([net.enc(x).add_(1), x], 1))
    model = model_of(kept)
    model.module.enc.register_full_backward_hook(lambda *_: None)
    for method in ("vanilla-gradient", "seg-grad-cam"):
        with pytest.raises(
            sx.UserError, match=r"while gradients are kept \(Output 0 of BackwardHook"
        ) as caught:
            sx.explain(
                model, IMAGE, WHOLE, method, **({"layer": "enc.0"} if method == "seg-grad-cam" else {})
            )
        assert "You can" not in str(caught.value)
    assert np.isfinite(sx.explain(model, IMAGE, WHOLE, "rise", masks=2).map).all()


def test_a_network_is_followed_once_for_a_layer_and_what_stands_for_it(monkeypatch):
    followed = []
    real = gradient_check._find_loss
    monkeypatch.setattr(gradient_check, "_find_loss", lambda *args: followed.append(args[1]) or real(*args))
    model = sx.load_model("triangle")
    with model.in_use("cpu"):
        own = model.find_layer("bottleneck").name
        for name in ("bottleneck", own):
            gradient_check.check_gradients(model, [name])
    assert followed == [(own,)]


def test_a_job_of_many_gradients_does_not_look_at_every_step_whether_they_arrive(monkeypatch):
    asked = []
    monkeypatch.setattr(gradient_check, "state", lambda module: asked.append(module) or 0)
    sx.explain(model_of(), IMAGE, WHOLE, "guided-integrated-gradients", steps=8)
    assert len(asked) < 3  # of 17 rounds
