"""Counterfactual: planted reasons are found and nothing else, no piece can be put back, results are checked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.counterfactual.counterfactual import cut

AT_OBJECT = sx.Component((20, 10))


def ask(ndim: int = 2, target=None, **params):
    if target is None:
        target = sx.Target("object", region=AT_OBJECT if ndim == 2 else sx.Component((3, 20, 10)))
    return sx.explain(planted_model(ndim), planted_image(ndim), target, "counterfactual", **params)


def inside(ndim: int, part) -> np.ndarray:
    mask = np.zeros((32, 32) if ndim == 2 else (6, 32, 32), bool)
    mask[(..., *part)] = True
    return mask


def predict(ndim: int, array: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return planted_model(ndim).module(torch.from_numpy(array)[None, None])[0].argmax(0).numpy() == 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_outside_the_object_only_the_patch_can_make_it_vanish(ndim):
    ex = ask(ndim, where="outside M")
    results, changed = ex.record.results, ex.masks["changed_region"]
    assert results["status"] == "reached"
    assert results["dice_after"] < 0.1
    assert results["dice_before"] == 1
    patch = inside(ndim, PATCH)
    assert (changed & patch).sum() > 0.5 * patch.sum()  # the patch's mean has to fall by half
    assert not (changed & inside(ndim, OBJECT)).any()
    assert ex.map[patch].mean() > 10 * np.abs(ex.map[~patch]).mean()
    assert results["changed_cells"] == changed.sum()
    assert results["changed_share"] == pytest.approx(changed.mean())


@pytest.mark.parametrize("search", ["segments", "gradient"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_edited_image_does_what_is_said(ndim, search):
    ex = ask(ndim, search=search, iterations=40)
    image, edited = planted_image(ndim).array, ex.maps["edited_image"]
    np.testing.assert_array_equal(ex.masks["changed_region"], edited != image)
    after = predict(ndim, edited)
    np.testing.assert_array_equal(ex.masks["prediction_after"], after)
    here = inside(ndim, OBJECT)
    after &= ~inside(ndim, PATCH)  # another object of the label: left out
    dice = 2 * (after & here).sum() / (after.sum() + here.sum())
    assert ex.record.results["dice_after"] == pytest.approx(dice, abs=1e-6)
    assert ex.record.results["status"] == "reached"
    assert dice < 0.1
    assert edited.min() >= image.min() - 1e-6
    assert edited.max() <= image.max() + 1e-6


def test_no_single_piece_can_be_put_back():
    class All(nn.Module):
        """Draws the bright middle while any two of three lamps are lit."""

        def forward(self, x):
            lamps = torch.stack([x[:, 0, 2:6, 8 * k + 2 : 8 * k + 6].mean((1, 2)) for k in range(3)])
            lit = (20 * (lamps.sum(0) - 1.5)).view(-1, 1, 1, 1).tanh()
            logit = 10 * (x - 0.5).clamp(max=0) + 3 * lit
            return torch.cat([-logit, logit], 1)

    array = np.zeros((24, 24), np.float32)
    for k in range(3):
        array[2:6, 8 * k + 2 : 8 * k + 6] = 0.9
    array[12:20, 8:16] = 1
    model = sx.load_model(All(), card=card())
    target = sx.Target("object", region=((12, 8), (19, 15)))
    ex = sx.explain(model, sx.Image(array), target, "counterfactual", where="outside M", segments=30)
    changed = ex.masks["changed_region"]
    assert ex.record.results["status"] == "reached"
    lamps = [changed[2:6, 8 * k + 2 : 8 * k + 6].any() for k in range(3)]
    assert sum(lamps) == 2
    pieces = cut(torch.from_numpy(array)[None], 30, 0.1, torch.from_numpy(ex.prediction == 1)).numpy()
    replaced = list(np.unique(pieces[changed]))
    assert ex.record.results["pieces_replaced"] >= len(replaced)
    for k in replaced:
        back = np.where(pieces == k, array, ex.maps["edited_image"]).astype(np.float32)
        with torch.no_grad():
            drawn = model.module(torch.from_numpy(back)[None, None])[0].argmax(0).numpy() == 1
        assert drawn[12:20, 8:16].any()


def test_the_first_round_is_a_search_over_all_pieces():
    ex = ask(segments=12, most=1, where="everywhere", bound=1e-6)
    image = planted_image().array
    pieces = cut(torch.from_numpy(image)[None], 12, 0.1, torch.from_numpy(inside(2, OBJECT))).numpy()
    module, here = planted_model().module, torch.from_numpy(inside(2, OBJECT))

    def left(array):
        with torch.no_grad():
            logits = module(torch.from_numpy(array)[None, None])[0]
        return float((logits[1] - logits[0])[here].clamp(min=0).mean())

    start = left(image)
    for k in np.unique(pieces):
        effect = start - left(np.where(pieces == k, image.min(), image).astype(np.float32))
        np.testing.assert_allclose(ex.map[pieces == k], effect, atol=1e-4)


def test_gradient_stays_where_it_is_allowed():
    ex = ask(search="gradient", where="outside M", iterations=80)
    assert ex.record.results["status"] == "reached"
    changed = ex.masks["changed_region"]
    assert not (changed & inside(2, OBJECT)).any()
    assert (changed & inside(2, PATCH)).sum() > 0.9 * changed.sum()  # nothing else has a gradient
    assert ex.curves["search"]["loss"][-1] < ex.curves["search"]["loss"][0]


@pytest.mark.parametrize("search", ["segments", "gradient"])
def test_an_object_appears(search):
    image = planted_image()
    image.array[OBJECT] = 0.7  # 20 x 0.7 + 12 - 26 = 0: just too dim
    image.array[OBJECT] -= 0.05
    target = sx.Target("object", region=((16, 6), (25, 15)))
    ex = sx.explain(
        planted_model(), image, target, "counterfactual", preset="appear", search=search, where="inside M"
    )
    assert ex.record.results["dice_before"] == 0
    assert ex.record.results["status"] == "reached"
    assert ex.record.results["dice_after"] > 0.5
    assert predict(2, ex.maps["edited_image"])[OBJECT].mean() > 0.3
    assert not (ex.masks["changed_region"] & ~inside(2, OBJECT)).any()


def test_what_cannot_be_done_is_told():
    ex = ask(where="outside M", most=1, segments=60, filling="the label's mean")
    assert ex.record.results["status"] == "not reached"
    assert "no change was found" in ex.record.warnings[-1]
    there = ask(target=sx.Target("object", region=AT_OBJECT), goal="appear")
    assert not there.map.any()
    assert "there already" in there.record.warnings[0]
    nothing = ask(target=sx.Target("object", region=((28, 28), (30, 30))))
    assert "predicts no pixel as 'object' in the region" in nothing.record.warnings[0]
    dark = sx.Image(np.zeros((32, 32), np.float32))
    target = sx.Target("object", region=((2, 2), (9, 9)))
    with pytest.raises(sx.UserError, match="filling"):
        sx.explain(planted_model(), dark, target, "counterfactual", preset="appear")


@pytest.mark.parametrize("ndim", [2, 3])
def test_pieces_respect_the_outline_and_are_numbered_through(ndim):
    image = torch.from_numpy(planted_image(ndim).array)[None]
    outline = torch.from_numpy(inside(ndim, OBJECT))
    pieces = cut(image, 20, 0.1, outline)
    assert sorted(pieces.unique().tolist()) == list(range(int(pieces.max()) + 1))
    for k in pieces.unique():
        assert outline[pieces == k].float().mean() in (0, 1)
    assert len(pieces.unique()) > 8


def test_runs_repeat_bit_for_bit():
    for params in ({}, {"search": "gradient", "iterations": 20}):
        first, second = ask(**params), ask(**params)
        np.testing.assert_array_equal(first.map, second.map)
        np.testing.assert_array_equal(first.maps["edited_image"], second.maps["edited_image"])


def test_a_stopped_search_shows_the_edit_so_far():
    job = sx.explain_steps(
        planted_model(), planted_image(), sx.Target("object", region=AT_OBJECT), "counterfactual", segments=30
    )
    step = next(itertools.islice(job, 1, None))
    partial = step.partial()
    job.close()
    assert partial.record.partial
    assert partial.record.results["status"] == "searching"
