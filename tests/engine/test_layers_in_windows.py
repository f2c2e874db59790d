"""Network layers, perturbations and stopping of a network that sees images through windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.odd_networks.windowed import Batched, Whole, model_of
from helpers.states import SMALL
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import question_of
from napari_segxai.core.progress import Stopped, within_passes
from napari_segxai.engine.primitives.interventions import Interventions
from napari_segxai.engine.primitives.mean_ablation import ablations
from napari_segxai.engine.primitives.whole_activations import whole_activations, whole_means
from napari_segxai.methods.registry import all_methods

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def region() -> np.ndarray:
    mask = np.zeros((48, 96), bool)
    mask[20:28, 44:52] = True  # at the border of windows of 32
    return mask


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return RNG(0).random((48, 96)).astype(np.float32)


LIKE_ONE_PASS = {  # method -> least correlation with one pass, inside the windows that M lies in
    "seg-hires-grad-cam": 0.999,
    "layer-cam": 0.999,
    "seg-xres-cam": 0.99,
    "seg-grad-cam": 0.95,
    "seg-xgrad-cam": 0.95,
    "seg-cam": 0.999,
    "lrp": 0.999,
    "vanilla-gradient": 0.999,
    "grad-pam": 0.99,
    "seg-ablation-cam": 0.95,
    "kernel-weighted": 0.95,
    "decision-tree": 0.99,
    "l-crp": 0.99,
}


@pytest.mark.parametrize("method", LIKE_ONE_PASS)
def test_maps_of_windows_are_those_of_one_pass_where_the_network_allows_it(method, image, region):
    plain = model_of(Batched())
    windowed = model_of(Batched(), size=[48, 32], overlap=0.5)
    found, wanted = (
        sx.explain(model, image, sx.Target("thing", region=region), method, device="cpu").map
        for model in (windowed, plain)
    )
    seen = found != 0
    assert seen.any()
    inner = np.zeros_like(seen)
    inner[4:-4, 32:64] = True  # away from borders, where windows see padding in place of the image
    r = np.corrcoef(found[inner], wanted[inner])[0, 1]
    assert r > LIKE_ONE_PASS[method]
    if method in ("seg-hires-grad-cam", "lrp"):  # contributions add up
        assert found[inner].sum() == pytest.approx(wanted[inner].sum(), rel=0.1)


def test_channels_are_weighted_over_all_windows_and_not_in_each(image, region):
    """One window has no gradient in a channel, its neighbor has: pooled weights are the mean over the whole layer."""
    plain = model_of(Batched())
    windowed = model_of(Batched(), size=[48, 32], overlap=0.5)
    found, wanted = (
        sx.explain(model, image, sx.Target("thing", region=region), "seg-grad-cam", device="cpu").map
        for model in (windowed, plain)
    )
    inner = (slice(4, -4), slice(36, 60))
    assert np.abs(found[inner]).mean() == pytest.approx(np.abs(wanted[inner]).mean(), rel=0.15)


def test_the_means_of_a_layer_are_those_of_the_whole_image_wherever_they_are_asked_for(image, region):
    """What a channel or a layer is filled with does not hang on where M lies, nor on a window."""
    model = model_of(Batched(), size=[16, 32], overlap=0.5, mirror=[1])
    plan = ExplanationPlan.make(
        model, image, sx.Target("thing", region=region), "vanilla-gradient", device="cpu"
    )
    with model.in_use("cpu"):
        question = question_of(plan, model.prepare(plan.image))
        means = whole_means(question, ["down", "leave"])
        for name, one in zip(means, whole_activations(question, ["down", "leave"]), strict=True):
            torch.testing.assert_close(means[name], one.flatten(2).mean(2), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(Interventions(question, "down").means(), means["down"])
        filled = {}
        layer = model.find_layer("leave")
        for _ in ablations(question, [layer], "mean", lambda name, whole, skip: filled.update({name: whole})):
            pass
    head = model.module.head
    expected = head.weight[:, :, 0, 0] @ means["leave"][0] + head.bias  # one value everywhere
    torch.testing.assert_close(filled["leave"][0].flatten(1).amax(1), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(filled["leave"][0].flatten(1).amin(1), expected, rtol=1e-4, atol=1e-5)


def test_only_windows_that_a_mask_touches_and_the_target_needs_are_run(image, region):
    whole = model_of(Batched(), size=[48, 32], overlap=0.5)
    found = sx.explain(whole, image, sx.Target("thing", region=region), "occlusion", device="cpu", patch=8)
    run, of = (found.record.engine[f"windows_{name}"] for name in ("run", "in_all"))
    assert run < of / 2
    # The same numbers as with every window run for every box.
    plain = sx.explain(
        model_of(Whole(whole)), image, sx.Target("thing", region=region), "occlusion", device="cpu", patch=8
    )
    np.testing.assert_allclose(found.map, plain.map, atol=1e-5 * np.abs(plain.map).max())


@pytest.mark.parametrize(
    ("method", "options", "passes"),
    [
        ("vanilla-gradient", {}, 1),
        ("input-x-gradient", {}, 1),
        ("seg-hires-grad-cam", {}, 1),
        ("smooth-grad", {"samples": 3}, 3),
    ],
)
@pytest.mark.parametrize(
    ("asked", "sweeps"), [({}, 1), ({"against": "background"}, 1), ({"score": "probability"}, 2)]
)
def test_a_linear_score_takes_no_pass_before_that_with_the_gradient(
    method, options, passes, asked, sweeps, image, region
):
    network, runs = Batched(), []
    network.register_forward_hook(lambda module, args, out: runs.append(len(args[0])))
    model = model_of(network, size=[16, 16], overlap=0.5)
    target = sx.Target("thing", region=region, **asked)
    model.predict(image)
    sx.explain(model, image, target, method, device="cpu", **options)  # what is looked at once of a network
    runs.clear()
    sx.explain(model, image, target, method, device="cpu", **options)
    tiling = model.tiling(image.shape)
    touched = len(tiling.touching(torch.from_numpy(region)))
    assert touched < len(tiling.corners) / 2
    own = 1 if passes == 1 else sweeps  # of the image itself the logits are known
    assert sum(runs) == own * passes * touched


def test_of_a_window_that_part_is_run_which_a_box_can_change_but_behind_an_instance_norm():
    image = RNG(0).random((64, 96)).astype(np.float32)
    where = np.zeros(image.shape, bool)
    where[28:36, 44:52] = True
    target, options = sx.Target("thing", region=where), {"device": "cpu", "patch": 8, "stride": 8}
    shares = {}
    for norm in (nn.Identity(), nn.InstanceNorm2d(8)):
        network = nn.Sequential(Batched().enter, norm, nn.Conv2d(8, 2, 3, padding=1))
        model, whole = (
            model_of(network, size=[48, 48], overlap=0.5),
            model_of(Whole(model_of(network, size=[48, 48]))),
        )
        found, wanted = (sx.explain(each, image, target, "occlusion", **options) for each in (model, whole))
        np.testing.assert_allclose(found.map, wanted.map, atol=1e-4 * np.abs(wanted.map).max())
        boxes = found.record.results["boxes"]
        shares[type(norm).__name__] = found.record.engine["windows_run"] / boxes
    assert (
        shares["Identity"] < 1.5
    )  # two parts of every window that a box touches, 12 of 48 cells along every axis
    assert shares["InstanceNorm2d"] > 2


def test_windows_hidden_behind_one_value_share_a_pass(image, region):
    model = model_of(Batched(), size=[48, 32], overlap=0.5)
    nothing = {"baseline": "zero"}
    found = sx.explain(model, image, "thing", "occlusion", device="cpu", patch=48, stride=48, **nothing)
    run, of = (found.record.engine[f"windows_{name}"] for name in ("run", "in_all"))
    assert run < of - 3  # windows that are zero alone are run once


def test_one_window_that_sees_everything_gives_what_a_network_without_windows_gives(image):
    small = image[:32, :48]
    plain, windowed = model_of(Batched()), model_of(Batched(), size=[32, 48])
    for method in all_methods("image"):
        if method.name in SLOW:
            continue
        more = {"attack": "segmentation"} if method.name == "adversarial-attack" else {}
        asked = {"device": "cpu", "seed": 0, **SMALL.get(method.name, {}), **more}
        pair = [sx.explain(m, small, "thing", method.name, **asked) for m in (plain, windowed)]
        scale = np.abs(pair[0].map).max()
        np.testing.assert_allclose(pair[1].map, pair[0].map, atol=1e-3 * scale, err_msg=method.name)


SLOW = (
    "u-noise",
    "misure",
    "extremal-perturbation",
    "seg-sobol",
    "kernel-shap",
    "x-ray",
    "stable-explanation",
    "lime",
)


def test_work_stops_in_the_midst_of_a_pass(image):
    model, seen = model_of(Batched(), size=[16, 16], overlap=0.5), []

    def stop(done: int, of: int) -> None:
        seen.append((done, of))
        if done >= 4:
            raise Stopped

    with pytest.raises(Stopped), within_passes(stop):
        model.predict(image)
    assert 0 < len(seen) < seen[0][1]


def test_what_differentiates_a_gradient_is_refused_before_the_work(image):
    model = model_of(Batched(), size=[48, 32])
    with pytest.raises(sx.UserError, match=r"whose gradient has no gradient of its own.*attack=segmentation"):
        sx.explain(model, image, "thing", "adversarial-attack")
    with pytest.raises(sx.UserError, match="this looks at an image in one pass"):  # a method from elsewhere
        model.require(("one pass",))


@pytest.mark.parametrize("method", ["seg-grad-cam", "seg-hires-grad-cam", "grad-pam"])
def test_information_flows_through_windows(method, image, tmp_path):
    plain, windowed = model_of(Batched()), model_of(Batched(), size=[48, 32], overlap=0.5)
    more = {"pixels": 3} if method == "grad-pam" else {}
    small = image[:, :64]
    found, wanted = (
        sx.information_flow(m, small, ["thing"], layers=["enter", "down", "leave"], method=method, **more)
        for m in (windowed, plain)
    )
    for layer in ("enter", "down", "leave"):
        mine, theirs = found.tiles["thing", layer], wanted.tiles["thing", layer]
        assert mine.map.shape == theirs.map.shape
        assert np.isnan(mine.ability)
        if method != "grad-pam":  # other pixels are asked about where the border changes the prediction
            assert np.corrcoef(mine.map.ravel(), theirs.map.ravel())[0, 1] > 0.9
    found.save(tmp_path / "flow")
    assert (
        sx.load_flow(tmp_path / "flow").tiles["thing", "down"].map.shape
        == found.tiles["thing", "down"].map.shape
    )


def test_one_window_that_sees_everything_flows_as_without_windows(image):
    plain, windowed = model_of(Batched()), model_of(Batched(), size=[48, 96])
    flows = [
        sx.information_flow(m, image, ["thing"], layers=["enter", "down"], causal=True, routes=True)
        for m in (plain, windowed)
    ]
    for layer in ("enter", "down"):
        one, other = (flow.tiles["thing", layer] for flow in flows)
        np.testing.assert_allclose(other.map, one.map, atol=1e-4 * np.abs(one.map).max())
        for number in ("energy_inside", "dice", "gradient_norm", "activation_norm", "lost", "relevance"):
            assert getattr(other, number) == pytest.approx(getattr(one, number), rel=1e-3), number
        assert (other.lost_skip is None) == (one.lost_skip is None)


def test_a_causal_check_takes_a_layer_away_in_every_window(image):
    network = Batched()
    model = model_of(network, size=[48, 32], overlap=0.5)
    flow = sx.information_flow(model, image, ["thing"], layers=["leave"], causal=True)
    # Written out: the head sees the channel means of its own window, and the windows are averaged.
    x, tiling = torch.from_numpy(image)[None, None], model.tiling(image.shape)
    total = torch.zeros(2, *image.shape)
    with torch.no_grad():
        for corner in tiling.corners:
            seen = x[(..., *tiling.place(corner))]
            first = network.enter(seen)
            left = network.leave(torch.cat([network.up(network.down(first)), first], 1))
            out = network.head(left.mean((2, 3), keepdim=True).expand_as(left))[0]
            total[(slice(None), *tiling.place(corner))] += out * tiling.importance
    after, before = (total[1] > total[0]).numpy(), model.predict(image) > 0
    dice = 2 * (after & before).sum() / max(1, after.sum() + before.sum())
    assert flow.tiles["thing", "leave"].lost == pytest.approx(1 - dice, abs=1e-6)


@pytest.mark.parametrize("rule", [{"size": [1, 16]}, {"size": [2, 16], "overlap": 0.8}])
@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_windows_that_begin_at_one_place_after_rounding_count_as_often_as_they_are_there(method, rule):
    """As nnU-Net counts them: half a step of a window of one slice."""
    image = RNG(0).random((3, 20)).astype(np.float32)  # few windows: each is a part of the graph of `Whole`
    region = np.zeros(image.shape, bool)
    region[1:3, 8:14] = True
    network = nn.Sequential(nn.Conv2d(1, 4, (1, 3), padding=(0, 1)), nn.InstanceNorm2d(4), nn.Conv2d(4, 2, 1))
    model = model_of(network, **rule)
    corners = model.tiling(image.shape).corners
    assert len(set(corners)) < len(corners)
    options = {"patch": 3, "stride": 3} if method == "occlusion" else {"masks": 8, "precision": "float32"}
    whole = model_of(Whole(model))
    whole.example_side = 16  # its graph has a part for each window: 64 x 64 pixels would take minutes
    found, wanted = (
        sx.explain(each, image, sx.Target("thing", region=region), method, device="cpu", **options).map
        for each in (model, whole)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
