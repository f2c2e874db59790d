"""The quick twin of a network computes the same, and the user's network stays as it is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.networks import card, planted_image
from helpers.states import Mixed
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import napari_segxai as sx
from napari_segxai.analyses.explain import run as explain_run
from napari_segxai.datasets.resources import resource
from napari_segxai.models.inference.fused import SMALL, Changes, fuse
from napari_segxai.models.inference.weights import state
from napari_segxai.models.introspection.modules import all_modules, named_modules

KINDS = {
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
}


class Normalized(nn.Module):
    """Convolutions of many kinds, each with a normalisation that has seen something."""

    def __init__(self, ndim: int = 2, **batch_norm):
        super().__init__()
        conv, up, norm = KINDS[ndim]
        torch.manual_seed(1)
        self.blocks = nn.Sequential(
            *(conv(1, 8, 3, padding=1), norm(8, **batch_norm), nn.ReLU()),
            *(conv(8, 8, 3, padding=1, stride=2, bias=False), norm(8, **batch_norm), nn.ReLU()),
            *(conv(8, 8, 3, padding=2, dilation=2, groups=4), norm(8, **batch_norm), nn.ReLU()),
            *(up(8, 8, 2, stride=2), norm(8, **batch_norm), nn.ReLU()),
            conv(8, 2, 1),
        )
        stir(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def stir(module: nn.Module) -> None:
    """Give every batch normalisation a history."""
    for one in module.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is not None:
            one.running_mean.normal_(0, 0.5)
            one.running_var.uniform_(0.3, 3)
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.affine:
            nn.init.normal_(one.weight)
            nn.init.normal_(one.bias)


@pytest.fixture(autouse=True)
def _no_gradients_of_weights():
    """As `SegmentationModel.in_use` has it; what is asked here of the input is asked explicitly."""
    with torch.no_grad():
        yield


def twin_of(module: nn.Module, x: Tensor) -> tuple[nn.Module, str] | None:
    return fuse(module.eval(), lambda one: one(x))


def assert_same(module: nn.Module, twin: nn.Module, x: Tensor) -> None:
    """Outputs and gradients of the input agree."""
    found = []
    for one in (module, twin):
        with torch.enable_grad():
            leaf = x.clone().requires_grad_()
            out = one(leaf)
            found.append((out.detach(), torch.autograd.grad(out.square().sum(), leaf)[0]))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("batch_norm", [{}, {"affine": False}])
def test_a_twin_computes_the_same(ndim, images, batch_norm):
    module, x = Normalized(ndim, **batch_norm), torch.randn(images, 1, *(12,) * ndim)
    twin, changes = twin_of(module, x)
    assert (changes.folded, changes.channels_last) == (4, True)
    assert not any(isinstance(one, KINDS[ndim][2]) for one in twin.modules())
    assert_same(module, twin, x)
    assert_same(module, twin, torch.randn(2, 1, *(16,) * ndim))


@pytest.mark.parametrize(
    "given",
    [{"bias": False}, {"stride": 2}, {"dilation": 2}, {"padding": "same"}, {"kernel_size": 1, "padding": 0}],
)
@pytest.mark.parametrize("side", [8, 64])
def test_a_3d_convolution_of_one_image_in_two_groups_is_the_same(given, side):
    """Below and above the size where torch chooses its slow way."""
    torch.manual_seed(0)
    conv = nn.Conv3d(8, 6, **{"kernel_size": 3, "padding": 1, **given})
    module, x = nn.Sequential(conv, nn.ReLU(), nn.Conv3d(6, 3, 1)), torch.randn(1, 8, side, side, 6)
    assert (x[0, :, :, :, 0].numel() > SMALL) == (side == 64)
    twin, changes = twin_of(module, x)
    assert changes == Changes(channels_last=True, grouped=True)
    seen: list[int] = []
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        twin(x)
    seen = [event.count for event in profile.key_averages() if event.key == "aten::cat"]
    assert sum(seen) == (1 if side == 8 else 0)
    assert_same(module, twin, x)
    assert_same(module, twin, x.repeat(2, 1, 1, 1, 1))


def test_instance_normalisation_keeps_channels_first():
    """It would copy what is not."""
    module = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.Conv3d(4, 2, 1))
    x = torch.randn(1, 2, 8, 8, 8)
    twin, changes = twin_of(module, x)
    assert changes == Changes(grouped=True)
    assert all(value is module.state_dict(keep_vars=True)[name] for name, value in twin.named_parameters())
    assert twin(x).is_contiguous()
    assert_same(module, twin, x)


class Skipping(nn.Module):
    """What the convolution returns is used beside the normalisation too."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        stir(self)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.conv(x)
        if self.how == "before":
            raw = raw.relu_()
        out = self.norm(raw)
        if self.how == "sum":
            out = out + raw
        if self.how == "list":
            out = torch.cat([out, raw], 1)
        if self.how == "twice":
            out = out + self.conv(x * 2)
        if self.how == "normalised twice":
            out = out + self.norm(x.expand(-1, 4, -1, -1))
        if self.how == "function":
            out = out + F.conv2d(x, self.conv.weight, padding=1)
        return out


@pytest.mark.parametrize("how", ["before", "sum", "list", "twice", "normalised twice"])
def test_nothing_is_folded_that_is_used_elsewhere(how):
    module, x = Skipping(how), torch.randn(1, 1, 16, 16)
    twin, changes = twin_of(module, x)
    assert changes == Changes(channels_last=True)
    assert_same(module, twin, x)


def test_a_twin_that_does_not_compute_the_same_is_not_used():
    """Who takes the weights past the module cannot be seen, but what comes out can."""
    assert twin_of(Skipping("function"), torch.randn(1, 1, 16, 16)) is None


def test_asking_for_the_shape_of_a_map_is_no_use_of_it():
    class Asks(Skipping):
        def forward(self, x: Tensor) -> Tensor:
            raw = self.conv(x)
            assert raw.shape[1] == raw.size(1) == 4
            assert raw.is_contiguous() or raw.numel()
            return self.norm(raw)

    module, x = Asks(""), torch.randn(1, 1, 16, 16)
    twin, _ = twin_of(module, x)
    assert_same(module, twin, x)


def no_history():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


def grouped_transposed():
    return nn.Sequential(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4))


def parametrised():
    return nn.Sequential(weight_norm(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4))


def hooked():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    module[0].register_forward_hook(lambda module, args, out: out * 2)
    return module


def normalized_first():
    return nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3))


@pytest.mark.parametrize("make", [no_history, grouped_transposed, parametrised, hooked, normalized_first])
def test_what_cannot_be_folded_is_left(make):
    module = nn.Sequential(make(), nn.Conv2d(4, 2, 1))  # whose kernel is turned
    stir(module)
    channels = next(p.shape[0] for p in module.parameters()) if make is grouped_transposed else 1
    x = torch.randn(1, channels, 8, 8)
    twin, changes = twin_of(module, x)
    assert not changes.folded
    assert_same(module, twin, x)


def test_a_training_normalisation_is_left():
    module = Normalized().eval()
    module.blocks[1].train()
    copied = copy.deepcopy(module)
    x = torch.randn(2, 1, 8, 8)
    twin, changes = fuse(module, lambda one: one(x))
    assert changes.folded == 3
    torch.testing.assert_close(twin(x), copied(x), rtol=1e-4, atol=1e-4)


def test_the_network_is_neither_changed_nor_copied_where_that_is_not_needed():
    module, x = Normalized().eval(), torch.randn(1, 1, 8, 8)
    before = {name: (id(value), value.clone()) for name, value in module.state_dict(keep_vars=True).items()}
    twin, _ = twin_of(module, x)
    for name, value in module.state_dict(keep_vars=True).items():
        assert id(value) == before[name][0]
        assert torch.equal(value, before[name][1])
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in twin.modules())
    assert isinstance(module.blocks[1], nn.BatchNorm2d)
    assert isinstance(twin.blocks[1], nn.Identity)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    both = nn.ModuleList([module, linear]).eval()
    pair, _ = fuse(both, lambda one: one[1](one[0](x[..., :6, :6])[:, :1]))
    assert pair[1][1].weight is linear[1].weight


def test_a_network_that_cannot_be_copied_runs_as_it_is():
    class Stubborn(Normalized):
        def __deepcopy__(self, memo):
            raise TypeError("cannot be copied")

    assert twin_of(Stubborn(), torch.randn(1, 1, 8, 8)) is None


def test_a_network_in_which_nothing_would_change_has_no_twin():
    assert twin_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.randn(1, 1, 8, 8)) is None


def test_a_compiled_network_stays_as_it_is():
    """It is quick already, and a twin would be compiled once more."""
    assert twin_of(torch.compile(Normalized(), backend="eager"), torch.randn(1, 1, 8, 8)) is None


def test_the_state_changes_with_weights_modules_and_hooks_only():
    module = Normalized().eval()
    first = state(module)
    module(torch.randn(1, 1, 8, 8))
    assert state(module) == first
    module.blocks[0].weight.mul_(2)
    second = state(module)
    module.blocks[1].running_mean.add_(1)
    third = state(module)
    module.blocks[2].register_forward_hook(lambda *_: None)
    fourth = state(module)
    module.register_forward_hook(lambda *_: None)
    fifth = state(module)
    module.blocks[2] = nn.Tanh()
    sixth = state(module)
    module.scale = 2
    seventh = state(module)
    module.scale = 3
    eighth = state(module)
    module.sizes = [1, {"a": (2.0, None)}]
    ninth = state(module)
    module.sizes[1]["a"] = (2.5, None)
    assert state(module) == state(module)
    assert len({first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, state(module)}) == 10


# -- in explanations ----------------------------------------------------------------------------------------------


def explained(model, image, label, method, monkeypatch, *, quick: bool, **params):
    monkeypatch.setattr(explain_run, "MANY_PASSES", 32 if quick else 10**9)
    return sx.explain(model, image, label, method, device="cpu", precision="float32", **params)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("rise", {"masks": 32}),
        ("integrated-gradients", {"steps": 12}),
        ("misure", {"iterations": 12}),
        ("occlusion", {"patch": 28}),
    ],
)
def test_an_explanation_is_that_of_the_network(method, params, monkeypatch):
    image = sx.read_image(resource("sample_data/images") / "triangle_1.png")
    slow, quick = (
        explained(sx.load_model("triangle"), image, "triangle", method, monkeypatch, quick=quick, **params)
        for quick in (False, True)
    )
    assert "network" not in slow.record.engine
    assert quick.record.engine["network"] == "18 batch normalisations folded, kernels channels last"
    assert np.corrcoef(slow.map.ravel(), quick.map.ravel())[0, 1] > 0.9999
    assert slow.record.passes == quick.record.passes


def test_weights_that_change_are_noticed(monkeypatch):
    module = Normalized()
    fields = card(labels=["background", "object"], grid={"multiple": 2})
    model = sx.load_model(module, card=fields)
    image = sx.Image(np.random.default_rng(0).random((16, 16)).astype(np.float32))
    target = sx.Target("object", region="image")

    def ask(quick=True, model=model):
        return explained(model, image, target, "integrated-gradients", monkeypatch, quick=quick).map

    first, twin = ask(), model._fused
    assert ask() is not first
    assert model._fused is twin
    module.blocks[0].weight.mul_(-1)
    changed = ask()
    assert model._fused is not twin
    assert not np.allclose(changed, first, rtol=1e-2)
    np.testing.assert_allclose(changed, ask(quick=False), rtol=1e-3, atol=1e-4 * np.abs(changed).max())
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with torch.enable_grad():
        module.train()(torch.randn(2, 1, 8, 8)).square().mean().backward()
    optimizer.step()
    np.testing.assert_allclose(ask(), ask(quick=False), rtol=1e-3, atol=1e-4 * np.abs(changed).max())
    assert module.training
    assert all(p.requires_grad for p in module.parameters())


def test_a_plain_attribute_that_changes_is_noticed(monkeypatch):
    class Turned(Normalized):
        sign = 1

        def forward(self, x: Tensor) -> Tensor:
            return self.sign * super().forward(x)

    model = sx.load_model(
        Turned(), card=card(labels=["background", "object"], activation="softmax", grid={"multiple": 2})
    )
    image = sx.Image(np.random.default_rng(0).random((16, 16)).astype(np.float32))

    def ask():
        target = sx.Target("object", region="image")
        return explained(model, image, target, "integrated-gradients", monkeypatch, quick=True).map

    first = ask()
    model.module.sign = -1
    np.testing.assert_allclose(ask(), -first, rtol=1e-3, atol=1e-5 * np.abs(first).max())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("seg-score-cam", {"layer": "blocks.0"}),
        ("adversarial-attack", {"explanation": "seg-grad-cam", "layer": "blocks.0", "steps": 20}),
        ("stable-explanation", {"wraps": "seg-grad-cam", "parameters": "layer=blocks.0", "copies": 20}),
    ],
)
def test_methods_that_look_at_layers_see_those_of_the_network(method, params, monkeypatch):
    model = sx.load_model(Normalized(), card=card(grid={"multiple": 2}))
    image = sx.Image(np.random.default_rng(0).random((16, 16)).astype(np.float32))
    found = explained(
        model, image, sx.Target("object", region="image"), method, monkeypatch, quick=True, **params
    )
    assert "network" not in found.record.engine
    assert model._fused is None


def test_a_torchscript_model_has_no_twin():
    script = torch.jit.trace(Normalized().eval(), torch.randn(1, 1, 16, 16))
    model = sx.load_model(script, card=card(grid={"multiple": 2}))
    with model.in_use("cpu"):
        assert model.fused(torch.randn(1, 1, 16, 16)) is model


def test_a_weight_that_changed_without_a_trace_is_seen():
    """``.data`` and numpy count no version: the second explanation is that of the new weights."""
    module = Mixed()
    model = sx.load_model(module, card=card())
    asked = (planted_image(), sx.Target("object", region="image"), "rise")
    first = sx.explain(model, *asked, masks=64, device="cpu")
    assert first.record.engine["network"]
    module.head.weight.data.mul_(-1)
    module.norm.weight.detach().numpy()[:] = 2
    changed = sx.explain(model, *asked, masks=64, device="cpu")
    fresh = sx.explain(sx.load_model(module, card=card()), *asked, masks=64, device="cpu")
    np.testing.assert_array_equal(changed.map, fresh.map)
    assert not np.array_equal(first.map, changed.map)


def test_every_module_is_met_once_in_the_order_of_named_modules():
    shared, part = nn.ReLU(), nn.Sequential(nn.Conv2d(1, 1, 1))
    part.append(shared)
    root = nn.Sequential(part, shared, nn.Sequential(shared, part, nn.Conv2d(1, 1, 1)))
    root.register_module("nothing", None)
    expected = [root, *(module for _, module in named_modules(root))]
    assert all(one is other for one, other in zip(all_modules(root), expected, strict=True))
    assert len(expected) == 6
