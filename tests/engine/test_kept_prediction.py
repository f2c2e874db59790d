"""The prediction through windows that is kept: for all who ask, and for what a job is said to take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.odd_networks.windowed import Batched, model_of
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def region() -> np.ndarray:
    mask = np.zeros((48, 96), bool)
    mask[20:28, 44:52] = True  # at the border of windows of 32
    return mask


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return RNG(0).random((48, 96)).astype(np.float32)


def test_a_job_says_before_how_many_windows_its_region_takes(image, region):
    model = model_of(Batched(), size=[16, 16], overlap=0.5)
    of = len(model.tiling(image.shape).corners)
    for asked, needed in (
        (region, 9),
        (sx.Box((20, 44), (27, 51)), 9),
        (sx.Point((0, 0)), 1),
        ("image", of),
        (None, None),
        (sx.Component((24, 48)), None),
    ):
        plan = ExplanationPlan.make(model, image, sx.Target("thing", region=asked), "vanilla-gradient")
        assert plan.windows == (needed, of)
        if isinstance(asked, np.ndarray):
            assert (
                plan.windows_words == f"9 of {of} windows in the region, behind a prediction ({of} windows)"
            )
        if isinstance(asked, str):
            assert plan.windows_words == f"{of} windows a pass"
        if asked is None:
            assert plan.windows_words.startswith(f"{of} windows a pass or fewer (")
    assert plan.windows_words.startswith(f"4 of {of} windows or more (")
    found = sx.explain(model, image, sx.Target("thing", region=region), "seg-hires-grad-cam", device="cpu")
    assert found.record.engine["windows_run"] == of + 9
    turned = model_of(Batched(), size=[16, 16])
    words = ExplanationPlan.make(turned, image, "thing").windows_words
    assert words == f"{of} windows a pass or fewer (those of the region, once it is predicted)"
    assert ExplanationPlan.make(model_of(Batched()), image, "thing").windows is None


def test_a_prediction_that_is_kept_says_how_many_windows_a_job_takes(image, monkeypatch):
    model = model_of(Batched(), size=[16, 16], overlap=0.5)
    of = len(model.tiling(image.shape).corners)

    def words(target: sx.Target | str, seen: np.ndarray = image) -> str:
        # Docks make an image of the layer every time.
        return ExplanationPlan.make(model, sx.Image(seen.copy()), target, "vanilla-gradient").windows_words

    assert words("thing").startswith(f"{of} windows a pass or fewer")
    drawn = torch.from_numpy(model.predict(image) > 0)
    place = tuple(int(k) for k in drawn.nonzero()[0])
    needed = len(model.tiling(image.shape).touching(drawn))
    object_ = sx.Target("thing", region=sx.Component(place))
    assert words("thing") == (
        f"{of} windows a pass" if needed == of else f"{needed} of {of} windows in the region"
    )
    found = int(words(object_).split()[0])
    assert 0 < found <= needed
    assert words("thing", image + 1).startswith(f"{of} windows a pass or fewer")
    region = np.zeros(image.shape, bool)
    region[4:6, 4:6] = True
    asked = sx.Target("thing", region=region)
    assert words(asked) == f"1 of {of} windows in the region"
    plan = ExplanationPlan.make(model, image, asked, "vanilla-gradient")
    assert plan.cost_of(plan.passes) == pytest.approx(plan.passes.cost / of)
    monkeypatch.setattr(
        "napari_segxai.analyses.explain.windows_needed.AT_ONCE", 1
    )  # a large image: what a run found is known
    model.kept.windows.clear()
    assert "windows or more (those of the object" in words(object_)
    sx.explain(model, image, object_, "vanilla-gradient", device="cpu")
    assert int(words(object_).split()[0]) == found
    with torch.no_grad():
        model.module.head.bias += 1
    assert words("thing").startswith(f"{of} windows a pass or fewer")


def test_a_method_of_many_passes_uses_the_prediction_that_is_kept_and_keeps_it_for_others(image, region):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model = model_of(network, size=[16, 16], overlap=0.5)
    target = sx.Target("thing", region=region)
    of = len(model.tiling(image.shape).corners)
    found = sx.explain(model, image, target, "rise", device="cpu", masks=40)
    assert "network" in found.record.engine  # a fused one
    first = found.record.engine["windows_run"]
    with model.in_use("cpu"):
        assert model.has_kept(sx.Image(image))
    again = sx.explain(model, image, target, "rise", device="cpu", masks=40)
    assert again.record.engine["windows_run"] == first - of
    np.testing.assert_array_equal(again.map, found.map)


def test_a_prediction_is_made_once_for_all_who_ask(image, monkeypatch):
    network = Batched()
    model, runs = model_of(network, size=[48, 32], overlap=0.5), []
    network.register_forward_hook(lambda module, args, out: runs.append(len(args[0])))
    model.predict(image)
    before = sum(runs)
    model.predict(image)
    assert sum(runs) == before
    with torch.no_grad():
        network.head.bias += 1
    model.predict(image)
    assert sum(runs) > before  # weights have changed
