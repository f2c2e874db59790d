"""The CAM family against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cams import setup
from helpers.networks import OBJECT, PATCH, LinearHead, card, located_model, patch_of, planted_image

import napari_segxai as sx
from napari_segxai.methods.activation.seg_xres_cam import pool_windows
from napari_segxai.methods.registry import all_methods, find_method


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hires_map_of_a_linear_head_adds_up_to_the_score_minus_the_bias(ndim, reduction):
    model, image = setup(ndim)
    target = sx.Target("object", region="image", reduction=reduction)
    ex = sx.explain(model, image, target, "seg-hires-grad-cam", layer="features")
    logits = model.module(torch.from_numpy(image.array)[None, None])[0, 1]
    score = logits.mean() if reduction == "mean" else logits.sum()
    bias = model.module.head.bias[1] * (1 if reduction == "mean" else logits.numel())
    assert ex.map.sum() == pytest.approx(float(score - bias), rel=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_xres_reaches_from_hires_to_seg_grad_cam(ndim):
    model, image = setup(ndim)
    ask = lambda method, **params: (
        sx.explain(model, image, "object", method, layer="features.0", **params).map
    )
    hires, pooled = ask("seg-hires-grad-cam"), ask("seg-grad-cam")
    np.testing.assert_array_equal(ask("seg-xres-cam", window=1), hires)
    np.testing.assert_array_equal(ask("seg-xres-cam", window=1, pooling="max"), hires)
    whole = ask("seg-xres-cam", window=1000, pooling="mean")
    np.testing.assert_allclose(whole, pooled, rtol=1e-4, atol=1e-7)
    between = ask("seg-xres-cam", window=3)
    assert not np.allclose(between, hires)
    assert not np.allclose(between, pooled)


def test_pooling_windows_at_the_edge_hold_their_own_cells_only():
    gradient = torch.arange(10.0).view(1, 1, 2, 5)
    out = pool_windows(gradient, 2, "mean")
    assert out.shape == gradient.shape
    np.testing.assert_allclose(out[0, 0, :, 4], [6.5, 6.5])  # mean of 4 and 9, not of 4, 9 and two zeros
    np.testing.assert_allclose(out[0, 0, 0], [3, 3, 5, 5, 6.5])
    np.testing.assert_allclose(pool_windows(gradient, 2, "max")[0, 0, 0], [6, 6, 8, 8, 9])


def test_seg_grad_cam_equals_the_formula_written_out():
    model, image = setup(2)
    ex = sx.explain(model, image, "object", "seg-grad-cam", layer="features.0")
    x = torch.from_numpy(image.array)[None, None]
    activation = model.module.features[0](x).detach().requires_grad_(True)
    logits = model.module.head(model.module.features[2](model.module.features[1](activation)))
    inside = logits[0].argmax(0) == 1
    (gradient,) = torch.autograd.grad(logits[0, 1][inside].mean(), activation)
    expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1)[0]
    np.testing.assert_allclose(ex.map, expected.detach(), rtol=1e-5, atol=1e-8)
    assert ex.map.min() < 0 < ex.map.max()  # raw and signed


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", ["seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"])
def test_cams_find_the_planted_patch(ndim, method):
    """The patch's own feature channel pushes the score; the decoy's pixels count for nothing in HiRes."""
    ex = sx.explain(located_model(ndim), planted_image(ndim), "object", method, layer="look")
    middle = ex.map if ndim == 2 else ex.map[3]
    ground = np.median(middle)
    assert middle[PATCH].mean() > ground + 5 * middle.std() / 10
    assert middle[PATCH].mean() > 3 * abs(ground)
    if method == "seg-hires-grad-cam":
        assert abs(middle[2:6, 2:6]).max() < 1e-6
        reasons = np.zeros(ex.map.shape, bool)
        reasons[patch_of(ndim)] = True
        reasons[(..., *OBJECT)] = True
        reasons[(..., *PATCH)] = True
        assert abs(ex.map[~reasons]).max() < 1e-6


@pytest.mark.parametrize("method", ["seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"])
def test_an_empty_region_gives_a_zero_map_and_says_why(method):
    model, image = setup(2)
    with torch.no_grad():
        model.module.head.bias[1] -= 1000
    ex = sx.explain(model, image, "object", method, layer="features")
    assert ex.map.shape == image.spatial_shape
    assert not ex.map.any()
    assert "predicts no pixel as 'object'" in ex.record.warnings[0]


class Idle(LinearHead):
    """Calls a layer whose output it never uses."""

    def __init__(self):
        super().__init__()
        self.idle = torch.nn.Conv2d(1, 2, 1)

    def forward(self, x):
        self.idle(x)
        return super().forward(x)


@pytest.mark.parametrize(
    "method",
    [
        one.name
        for one in all_methods("image")
        if "network layers" in one.needs and one.layers_of(one.make_options({}))
    ],
)
def test_a_layer_that_does_not_reach_the_output_is_refused_before_the_work(method):
    model = sx.load_model(Idle(), card=card())
    field = next(iter(find_method(method).layers_of(find_method(method).make_options({}))))
    with pytest.raises(sx.UserError, match="'idle' does not reach the output"):
        sx.explain(model, setup(2)[1], "object", method, **{field: "idle"})


def test_a_layer_that_does_not_reach_the_output_is_refused_by_whatever_names_layers():
    model, image = sx.load_model(Idle(), card=card()), setup(2)[1]
    with pytest.raises(sx.UserError, match="'idle' does not reach the output"):
        sx.information_flow(model, image, ["object"], layers=["idle"])
    with pytest.raises(sx.UserError, match="'idle' does not reach the output"):
        sx.explain(model, image, "object", "segmentation-ability", layers="idle")


def test_pooled_gradients_that_cancel_are_told():
    """An instance normalisation after the layer makes every channel's mean gradient vanish."""

    class Normalized(LinearHead):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.InstanceNorm2d(6)

        def forward(self, x):
            return self.head(self.norm(self.features(x)) ** 2)

    model = sx.load_model(Normalized(), card=card())
    ex = sx.explain(model, setup(2)[1], "object", "seg-grad-cam", layer="features")
    assert any("cancel" in warning for warning in ex.record.warnings)
    ex = sx.explain(model, setup(2)[1], "object", "seg-hires-grad-cam", layer="features")
    assert not ex.record.warnings


class Normalized(LinearHead):
    """What `features` returns is normalised cell by cell (over channels) or channel by channel."""

    def __init__(self, norm: str):
        super().__init__()
        self.norm, self.bottom = norm, torch.nn.Conv2d(1, 1, 1)

    def forward(self, x):
        low = self.bottom(torch.nn.functional.max_pool2d(x, 2))  # so that `features` are a decoder
        f = self.features(torch.nn.functional.interpolate(low, scale_factor=2))
        if self.norm == "channels":
            f = torch.nn.functional.layer_norm(f.movedim(1, -1), (6,), eps=1e-12).movedim(-1, 1)
        if self.norm == "cells":
            f = torch.nn.functional.instance_norm(f, eps=1e-12)
        return self.head(f**3 + f)


@pytest.mark.parametrize(
    ("norm", "method", "params"),
    [
        ("channels", "seg-hires-grad-cam", {}),
        ("channels", "seg-xres-cam", {"window": 1}),
        ("channels", "grad-pam", {"pixels": 2}),
        ("cells", "seg-grad-cam", {}),
        ("cells", "improved-grad-cam", {"threshold": 0}),
        ("cells", "adapted-seg-grad-cam", {}),
        ("cells", "seg-xgrad-cam", {}),
    ],
)
def test_maps_of_rounding_errors_before_a_normalisation_are_told(norm, method, params):
    image, target = setup(2)[1], sx.Target("object", region="image")
    layer = {} if method.startswith("adapted") else {"layer": "features"}
    for where, told in [(norm, True), ("nowhere", False)]:
        model = sx.load_model(Normalized(where), card=card())
        ex = sx.explain(model, image, target, method, **params, **layer)
        assert any("numerical noise" in warning for warning in ex.record.warnings) is told


@pytest.mark.parametrize(
    ("norm", "method"),
    [("channels", "seg-hires-grad-cam"), ("cells", "seg-grad-cam"), ("cells", "layer-cam")],
)
def test_an_information_flow_names_the_layers_whose_maps_are_rounding_errors(norm, method):
    flow = sx.information_flow(
        sx.load_model(Normalized(norm), card=card()),
        setup(2)[1],
        method=method,
        layers=["features", "head"],
        region="image",
    )
    told = [warning for warning in flow.warnings if "numerical noise" in warning]
    assert len(told) == (method != "layer-cam")
    assert all("features" in warning and "head" not in warning for warning in told)


def test_depth_one_in_3d_equals_2d():
    flat, volume = LinearHead(2), LinearHead(3)
    with torch.no_grad():
        for a, b in zip(flat.parameters(), volume.parameters(), strict=True):
            b.zero_()
            if a.ndim == 4 and a.shape[-1] == 3:
                b[:, :, 1] = a
            else:
                b.copy_(a.view_as(b))
    array = setup(2)[1].array
    one = sx.explain(
        sx.load_model(flat, card=card(2)), sx.Image(array), "object", "seg-hires-grad-cam", layer="features.0"
    )
    two = sx.explain(
        sx.load_model(volume, card=card(3)),
        sx.Image(array[None]),
        "object",
        "seg-hires-grad-cam",
        layer="features.0",
    )
    np.testing.assert_allclose(two.map[0], one.map, rtol=1e-4, atol=1e-7)


def test_permuting_channels_does_not_change_the_map():
    model, image = setup(2)
    before = sx.explain(model, image, "object", "seg-grad-cam", layer="features").map
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    with torch.no_grad():
        last, head = model.module.features[2], model.module.head
        last.weight.copy_(last.weight[order].clone())
        last.bias.copy_(last.bias[order].clone())
        head.weight.copy_(head.weight[:, order].clone())
    after = sx.explain(model, image, "object", "seg-grad-cam", layer="features").map
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-7)


def test_map_is_on_the_image_grid_and_native_keeps_the_layers_resolution():
    model = sx.load_model("triangle")
    from napari_segxai.datasets.resources import resource

    image = sx.read_image(resource("sample_data/images/triangle_1.png"))
    ex = sx.explain(model, image, "triangle", "seg-grad-cam")
    bottleneck = model.find_layer("bottleneck")
    assert ex.map.shape == image.spatial_shape
    assert ex.map.dtype == np.float32
    assert max(ex.native.shape) < max(ex.map.shape)
    assert bottleneck.stage == "bottleneck"
    assert ex.record.passes == {"forward": 1, "backward": 1}
