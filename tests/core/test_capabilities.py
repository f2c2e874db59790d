"""What a method needs is held against what the network can do, once, before anything runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import PatchSwitch, card, patch_of, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.core.capabilities import CAPABILITIES
from napari_segxai.gui.widgets.method_box import why_not
from napari_segxai.methods.registry import all_methods, find_method, for_misses


class Elsewhere(PatchSwitch):
    """Computed where torch cannot follow, as a model of another library is."""

    passes = 0

    def forward(self, x):
        Elsewhere.passes += 1
        with torch.no_grad():
            return super().forward(x.detach())


def model_of(*capabilities: str) -> sx.SegmentationModel:
    return sx.SegmentationModel(
        Elsewhere(patch_of(2)), card(grid={"size": [32, 32]}), capabilities=capabilities
    )


@pytest.mark.parametrize("capabilities", [(), ("gradients",), ("network layers",), CAPABILITIES])
def test_every_method_is_held_against_what_the_network_can_do(capabilities):
    model = model_of(*capabilities)
    _ = "network layers" in capabilities and model.example_layers  # which costs a pass, once
    before = Elsewhere.passes
    for method in all_methods("image"):
        absent = [need for need in CAPABILITIES if need not in capabilities]
        lacking = [need for need in absent if need in method.needs_of(method.options())]
        try:
            ExplanationPlan.make(model, planted_image(), "object", method.name, seed=0)
            reason = ""
        except sx.UserError as error:
            reason = str(error)
        if lacking:
            assert f"gives no {lacking[0]}; use a method that needs none, such as " in reason
            named = reason.partition("such as ")[2].partition(",")[0].split(" or ")
            for name in named:  # what is named does
                assert not {*find_method(name).needs} & {*CAPABILITIES} - {*capabilities}
        else:
            assert "gives no" not in reason
        assert (why_not(method, model.card, model) != "") == any(need in method.needs for need in absent)
    assert Elsewhere.passes == before


def test_a_wrapper_needs_what_it_wraps():
    for wraps, need in (("seg-grad-cam", "network layers"), ("vanilla-gradient", "gradients")):
        with pytest.raises(sx.UserError, match=f"gives no {need}; use a method"):
            sx.explain(model_of(), planted_image(), "object", "stable-explanation", wraps=wraps)


def test_a_network_without_capabilities_is_explained_as_any_other():
    found = sx.explain(model_of(), planted_image(), "object", "rise", masks=20)
    wanted = sx.explain(planted_model(), planted_image(), "object", "rise", masks=20)
    np.testing.assert_allclose(found.map, wanted.map, atol=1e-5)
    assert sx.load_model(model_of(), card=card(name="other", grid={"size": [32, 32]})).capabilities == set()
    assert for_misses(()) == for_misses({"gradients"}) == ["counterfactual with preset appear", "occlusion"]


def test_a_word_that_is_none_is_refused():
    with pytest.raises(sx.UserError, match="cannot be capable of 'gradient'; did you mean 'gradients'"):
        model_of("gradient")
