"""Several targets answered from the same forward passes."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LinearHead, card, planted_image

import napari_segxai as sx

LABELS = ["background", "a", "b", "c"]


@pytest.fixture
def model() -> sx.SegmentationModel:
    return sx.load_model(LinearHead(labels=4), card=card(labels=LABELS, grid={"size": [32, 32]}))


def targets() -> list[sx.Target]:
    return [sx.Target(label, region="image") for label in LABELS[1:]] + [sx.Target("a", region=(5, 6))]


@pytest.mark.parametrize("method", ["rise", "seg-score-cam", "seg-grad-cam", "misure"])
def test_together_gives_what_one_after_the_other_gives(model, method):
    params = {"rise": {"masks": 40}, "misure": {"iterations": 3}}.get(method, {"layer": "features.0"})
    image = planted_image()
    together = sx.explain_all(model, image, targets(), method, seed=3, **params)
    assert len(together) == 4
    for found, target in zip(together, targets(), strict=True):
        alone = sx.explain(model, image, target, method, seed=3, **params)
        np.testing.assert_array_equal(found.map, alone.map)
        assert found.record.target == alone.record.target
        assert found.record.results == alone.record.results


def test_masks_that_do_not_depend_on_the_target_are_run_once(model):
    counted = 0

    def count(module, args, out):
        nonlocal counted
        counted += len(args[0])

    sx.explain(
        model, planted_image(), targets()[0], "rise", masks=1
    )  # what is found out once about a network
    handle = model.module.register_forward_hook(count)
    found = sx.explain_all(model, planted_image(), targets(), "rise", masks=40)
    handle.remove()
    assert sum(ex.record.passes["forward"] for ex in found) == counted == 41
    # a map of another target is another map
    assert not np.allclose(found[0].map, found[1].map)


def test_what_depends_on_the_target_is_not_shared(model):
    found = sx.explain_all(model, planted_image(), targets()[:2], "seg-score-cam", layer="features.0")
    assert found[0].record.passes["forward"] >= 6


def test_partial_results_of_all(model):
    steps = sx.explain_all_steps(model, planted_image(), targets()[:2], "rise", masks=400)
    partial = None
    for step in steps:
        partial = step.partial
        if step.done > 20 and partial is not None:
            break
    steps.close()
    first, second = partial()
    assert first.record.partial
    assert second.record.partial
    assert first.map.any()
    assert second.map.any()


def test_one_empty_target_does_not_spoil_the_others(model):
    corner = np.zeros((32, 32), bool)
    corner[0, 0] = True
    alone = sx.explain(model, planted_image(), "a", "rise", masks=20)
    found = sx.explain_all(model, planted_image(), ["a", "background", "b", "c"], "rise", masks=20)
    np.testing.assert_array_equal(found[0].map, alone.map)
    empty = [ex for ex in found if ex.record.results.get("status") == "empty"]
    assert all(not ex.map.any() for ex in empty)


def test_wrong_targets():
    with pytest.raises(sx.UserError, match="give a list"):
        sx.explain_all("triangle", np.zeros((8, 8)), "triangle", "rise")
    with pytest.raises(sx.UserError, match="give a list"):
        sx.explain_all("triangle", np.zeros((8, 8)), [], "rise")
