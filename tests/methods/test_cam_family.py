"""The further methods of the CAM family: formulas written out, identities, planted reasons, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cam_parts import ask, close, parts
from helpers.cams import setup
from helpers.networks import OBJECT, PATCH, LinearHead, card, located_model, planted_image
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.activation.grad_pam import sample
from napari_segxai.methods.activation.score_maps import rank_regions
from napari_segxai.methods.registry import all_methods, find_method

ALL = sorted(
    m["name"]
    for m in sx.list_methods()
    if m["family"] == "intermediate features" and m["name"] != "score-maps"
)
ONE_LAYER = [
    m["name"]
    for m in sx.list_methods()
    if m["scope"] == ["image"]
    and "layer" in {p["name"] for p in m["parameters"]}
    and m["name"] != "kernel-weighted"
]


@pytest.mark.parametrize("ndim", [2, 3])
def test_formulas_written_out(ndim):
    model, image, a, g, _, _ = parts(ndim)
    dims = tuple(range(2, ndim + 2))
    layer = "features.1"
    close(ask(model, image, "layer-cam", layer=layer), (g.clamp(min=0) * a).sum(1)[0])
    total = a.sum(dims, keepdim=True)
    share = torch.where(g != 0, g**2 / (2 * g**2 + total * g**3 + 1e-6), torch.zeros_like(g))
    weights = (share * g.clamp(min=0)).sum(dims, keepdim=True)
    close(ask(model, image, "seg-grad-cam-plus-plus", layer=layer), (weights * a).sum(1)[0])
    weights = (g * a).sum(dims, keepdim=True) / total
    close(ask(model, image, "seg-xgrad-cam", layer=layer), (weights * a).sum(1)[0])


@pytest.mark.parametrize("ndim", [2, 3])
def test_grad_pam_of_one_pixel_is_hires_of_that_pixel(ndim):
    model, image = setup(ndim)
    pixel = (3, 4, 5)[:ndim]
    target = sx.Target("object", region=sx.Point(pixel))
    hires = ask(model, image, "seg-hires-grad-cam", target, layer="features.1")
    close(ask(model, image, "grad-pam", target, layer="features.1"), hires.clip(min=0))
    close(ask(model, image, "grad-pam", target, layer="features.1", aggregate="before ReLU"), hires)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_grad_pam_of_every_pixel_before_relu_is_hires(reduction):
    model, image = setup(2)
    target = sx.Target("object", reduction=reduction)
    hires = ask(model, image, "seg-hires-grad-cam", target, layer="features.1")
    close(
        ask(model, image, "grad-pam", target, layer="features.1", pixels=10_000, aggregate="before ReLU"),
        hires,
    )
    after = ask(model, image, "grad-pam", target, layer="features.1", pixels=10_000)
    assert (after >= hires - 1e-6).all()
    assert after.sum() > hires.clip(min=0).sum()


def test_pixels_are_sampled_evenly():
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[2:8, 2:8] = True
    places = sample(mask, 6)
    assert len(places) == len(set(places)) == 6
    assert all(mask.flatten()[p] for p in places)
    assert (places[0], places[-1]) == (22, 77)
    assert len(sample(mask, 1000)) == 36


def test_improved_grad_cam_asks_about_probable_pixels():
    model, image, a, _, _, _ = parts(2)
    module = model.module
    activation = a.clone().requires_grad_(True)
    logits = module.head(module.features[2](activation))
    for threshold in (0.4, 0.6):
        sure = logits.softmax(1)[0, 1] > threshold
        (g,) = torch.autograd.grad(logits[0, 1][sure].mean(), activation, retain_graph=True)
        expected = (g.mean((2, 3), keepdim=True) * a).sum(1)[0]
        close(ask(model, image, "improved-grad-cam", layer="features.1", threshold=threshold), expected)
    ex = sx.explain(model, image, "object", "improved-grad-cam", layer="features.1", threshold=1)
    assert not ex.map.any()
    assert "above 1" in ex.record.warnings[0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_ablation_written_out(ndim):
    model, image, a, _, logits, inside = parts(ndim)
    module, y = model.module, logits[0, 1][inside].mean()
    for replacement in ("zero", "mean"):
        weights = []
        for k in range(a.shape[1]):
            changed = a.clone()
            changed[:, k] = 0 if replacement == "zero" else a[:, k].mean()
            new = module.head(module.features[2:](changed))[0, 1][inside].mean()
            weights.append((y - new) / y.abs())
        expected = sum(w * a[0, k] for k, w in enumerate(weights))
        close(ask(model, image, "seg-ablation-cam", layer="features.1", replacement=replacement), expected)


def test_ablation_does_not_turn_round_for_a_negative_score():
    model, image = setup(2)
    before = ask(model, image, "seg-ablation-cam", sx.Target("object", region="image"), layer="features.1")
    with torch.no_grad():
        model.module.head.bias -= 100  # the logits are negative, the prediction stays
    after = ask(model, image, "seg-ablation-cam", sx.Target("object", region="image"), layer="features.1")
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.99


def test_a_dead_channel_counts_for_nothing():
    model, image = setup(2)
    with torch.no_grad():
        model.module.features[0].weight[2] = 0
        model.module.features[0].bias[2] = -1  # dead behind the ReLU
    for method in ONE_LAYER:
        with_it = sx.explain(model, image, "object", method, layer="features.1")
        assert np.isfinite(with_it.map).all(), method
    with torch.no_grad():
        model.module.features[2].weight[:, 2] = 0  # nor does what follows look at it
    for method in ("seg-ablation-cam", "seg-xgrad-cam", "seg-score-cam"):
        assert np.isfinite(ask(model, image, method, layer="features.1")).all(), method


@pytest.mark.parametrize("ndim", [2, 3])
def test_score_cam_written_out(ndim):
    model, image, a, _, _, inside = parts(ndim)
    x = torch.from_numpy(image.array)[None, None]
    scores = []
    for k in range(a.shape[1]):
        mask = (a[:, k] - a[:, k].min()) / (a[:, k].max() - a[:, k].min())
        scores.append(float(model.module(x * mask[None])[0, 1][inside].mean()))
    scores = torch.tensor(scores)
    unit = (scores - scores.min()) / (scores.max() - scores.min())
    for kind, weights in (("softmax", scores.softmax(0)), ("min-max", unit), ("raw", scores)):
        expected = torch.tensordot(weights, a[0], dims=1)
        close(ask(model, image, "seg-score-cam", layer="features.1", weights=kind), expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_eigen_cam_is_the_first_singular_vector_with_a_fixed_sign(ndim):
    model, image, a, g, logits, _ = parts(ndim)
    x = a[0].flatten(1).T.double()
    x = x - x.mean(0)
    _, _, vt = torch.linalg.svd(x, full_matrices=False)
    expected = (x @ vt[0]).view(a.shape[2:])
    found = ask(model, image, "seg-eigen-cam", layer="features.1")
    assert abs(np.corrcoef(found.ravel(), expected.ravel())[0, 1]) > 0.999999
    p = logits.softmax(1)[0, 1]
    assert np.corrcoef(found.ravel(), p.ravel())[0, 1] >= 0
    turned = ask(model, image, "seg-eigen-cam", layer="features.1", sign="magnitude")
    assert turned.max() >= -turned.min()
    close(np.abs(turned), np.abs(found))
    weighted = ask(model, image, "seg-eigen-cam", layer="features.1", weighting="absolute gradient")
    y = (a * g.abs())[0].flatten(1).T.double()
    y = y - y.mean(0)
    _, _, vt = torch.linalg.svd(y, full_matrices=False)
    assert abs(np.corrcoef(weighted.ravel(), (y @ vt[0]).ravel())[0, 1]) > 0.999999


@pytest.mark.parametrize("ndim", [2, 3])
def test_seg_cam_adds_up_to_the_logits_minus_the_bias(ndim):
    model, image = setup(ndim)
    logits = model.module(torch.from_numpy(image.array)[None, None])[0]
    for k, label in enumerate(model.labels):
        close(
            ask(model, image, "seg-cam", sx.Target(label, region="image")),
            logits[k] - model.module.head.bias[k],
        )


def test_seg_cam_of_one_logit_and_without_a_head():
    one = sx.load_model(LinearHead(labels=1), card=card(activation="sigmoid"))
    image = setup(2)[1]
    target = lambda label: sx.Target(label, region="image")
    np.testing.assert_array_equal(
        ask(one, image, "seg-cam", target("background")), -ask(one, image, "seg-cam", target("object"))
    )
    wide = sx.load_model(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh()), card=card())
    with pytest.raises(sx.UserError, match="does not end in a 1x1 convolution"):
        ask(wide, image, "seg-cam")


def test_activations_x_predictions_written_out():
    model, image, a, _, logits, _ = parts(2)
    p = logits.softmax(1)[0, 1]
    close(
        ask(model, image, "activations-x-predictions", layer="features.1", weights="elementwise"),
        a[0].sum(0) * p,
    )
    weights = (a[0] * p).mean((1, 2))
    close(
        ask(model, image, "activations-x-predictions", layer="features.1"),
        torch.tensordot(weights, a[0], dims=1),
    )


@pytest.mark.parametrize(
    "method", [name for name in ALL if "adapted" not in name and name != "kernel-weighted"]
)
def test_every_method_finds_the_planted_patch(method):
    """`look` has the channels image and patch; seg-cam has no head to read, eigen finds what stands out."""
    if method == "seg-cam":
        with pytest.raises(sx.UserError, match="1x1"):
            ask(located_model(), planted_image(), method)
        return
    found = ask(located_model(), planted_image(), method, layer="look")
    ground = np.median(found)
    assert found[PATCH].mean() - ground > 0.3 * (found.max() - ground)
    assert found[PATCH].mean() >= found[OBJECT].mean() * 0.99


@pytest.mark.parametrize("method", ONE_LAYER)
def test_an_empty_region_gives_a_zero_map_and_says_why(method):
    model, image = setup(2)
    with torch.no_grad():
        model.module.head.bias[1] -= 1000
    ex = sx.explain(model, image, "object", method, layer="features.1")
    if method == "seg-eigen-cam":  # knows no label, and says so in its summary
        return
    assert not ex.map.any()
    assert "object" in ex.record.warnings[0]


def test_values_that_cancel_are_told():
    model, image = setup(2)
    with torch.no_grad():
        model.module.features[2].weight[1] = 0
        model.module.features[2].bias[1] = 0
    before = sx.explain(model, image, "object", "seg-xgrad-cam", layer="features.2").record.warnings
    assert not any("cancel" in w for w in before)  # a channel of zeros is not cancelling

    class Centered(LinearHead):
        def forward(self, x):
            f = self.features(x)
            return self.head(self.same(f - f.mean((2, 3), keepdim=True)))

        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

    centered = sx.load_model(Centered(), card=card())
    ex = sx.explain(centered, image, "object", "seg-xgrad-cam", layer="same")
    assert any("6 of 6 channels" in w for w in ex.record.warnings)
    assert np.isfinite(ex.map).all()


def test_intermediate_quantities_on_request():
    model, image, a, g, _, _ = parts(2)
    ex = sx.explain(model, image, "object", "seg-hires-grad-cam", layer="features.1", intermediates=2)
    products = g * a
    order = products.abs().flatten(2).sum(2)[0].argsort(descending=True)[:2].tolist()
    assert list(ex.maps) == [
        f"channel_{k}_{w}" for k in order for w in ("activation", "gradient", "product")
    ] + [
        "sum",
        "sum_after_relu",
    ]
    for k in order:
        close(ex.maps[f"channel_{k}_activation"], a[0, k])
        close(ex.maps[f"channel_{k}_gradient"], g[0, k])
        close(ex.maps[f"channel_{k}_product"], products[0, k])
    close(ex.maps["sum_after_relu"], ex.map.clip(min=0))
    assert {f"channel {order[0]} gradient", "sum after relu"} <= {
        meta["name"].partition(" · ")[0] for _, meta, _ in ex.to_layers()
    }


def test_regions_are_ranked_greedily():
    scores = np.array([[4.0, 4, 1, 1], [2, 2, 1, 1]])
    halves = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    top = np.array([[0, 0, 1, 1], [2, 2, 1, 1]])
    found, ranks = rank_regions(scores, [halves, top])
    np.testing.assert_array_equal(found, scores)
    np.testing.assert_array_equal(ranks, [[1, 1, 3, 3], [2, 2, 3, 3]])
    coarse, _ = rank_regions(scores, [halves])
    np.testing.assert_array_equal(coarse, [[3, 3, 1, 1], [3, 3, 1, 1]])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["segmented", "guided", "similarity", "fusion"])
def test_score_maps_average_the_logit_over_regions(ndim, kind):
    model, image = setup(ndim)
    ex = sx.explain(model, image, sx.Target("object", region="image"), "score-maps", kind=kind)
    logits = model.module(torch.from_numpy(image.array)[None, None])[0].detach().numpy()
    assert ex.map.sum() == pytest.approx(logits[1].sum(), rel=1e-3)  # every pixel is covered once, by a mean
    assert ex.maps["rank"].min() == 1
    if kind == "similarity":
        inside = logits.argmax(0) == 1
        np.testing.assert_allclose(ex.map[inside], logits[1][inside].mean(), rtol=1e-4)


def test_a_region_that_is_drawn_is_what_is_asked_about():
    """Attribution over a user-drawn area: gradients of that area's score alone."""
    model, image, a, _, _, _ = parts(2)
    area = np.zeros((16, 20), bool)
    area[2:5, 3:9] = True
    module = model.module
    activation = a.clone().requires_grad_(True)
    logits = module.head(module.features[2](activation))
    (g,) = torch.autograd.grad(logits[0, 1][torch.from_numpy(area)].mean(), activation)
    found = ask(model, image, "seg-hires-grad-cam", sx.Target("object", region=area), layer="features.1")
    close(found, (g * a).sum(1)[0])


class Odd(nn.Module):
    """One layer that nothing uses, one that is constant, one that no gradient reaches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.side, self.dead, self.cut = (nn.Conv2d(1, 4, size, padding="same") for size in (3, 1, 1))
        self.main, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        nn.init.zeros_(self.dead.weight)
        nn.init.zeros_(self.dead.bias)

    def forward(self, x):
        self.side(x)
        return self.head(self.main(x).relu() + self.dead(x) + self.cut(x).detach())


WITHOUT_GRADIENT = {"activations-x-predictions", "seg-eigen-cam", "seg-score-cam"}
"""These look at activations alone, and cannot know whether anything uses them."""


@pytest.mark.parametrize("layer", ["side", "dead", "cut"])
@pytest.mark.parametrize(
    "method",
    [m.name for m in all_methods("image") if m.layer_parameters and m.family == "intermediate features"],
)
def test_layers_that_do_not_count_are_refused_or_give_a_zero_map_with_the_reason(method, layer):
    model = sx.load_model(Odd(), card=card(grid={"size": [16, 16]}))
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    [name] = find_method(method).layer_parameters
    if layer == "side":
        with pytest.raises(sx.UserError, match="the map of network layer 'side' does not reach the output"):
            sx.explain(model, image, sx.Target("object", region="image"), method, **{name: layer})
        return
    # "cut" does count, so that zero would be wrong; l-crp goes on to the input, from which this network cuts a part
    if method == "l-crp" or (layer == "cut" and "gradients" in find_method(method).needs):
        with pytest.raises(sx.UserError, match=r"passes no gradient .* is detached"):
            sx.explain(model, image, sx.Target("object", region="image"), method, **{name: layer})
        return
    found = sx.explain(model, image, sx.Target("object", region="image"), method, **{name: layer})
    assert np.isfinite(found.map).all()
    counts = layer != "dead" and method in WITHOUT_GRADIENT
    counts |= layer == "cut" and method in ("seg-ablation-cam", "kernel-weighted")  # tried out: it does count
    if not counts:
        assert not found.map.any()
        assert found.record.warnings
