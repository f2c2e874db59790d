"""Object edits on networks that hang on one property of the object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.methods.counterfactual.edits import Bounds, Edits
from napari_segxai.methods.counterfactual.latent_edits import LatentEdits

SIDE = 20
OBJECT = np.zeros((SIDE, SIDE), bool)
OBJECT[7:13, 6:12] = True


def scene() -> sx.Image:
    array = np.zeros((SIDE, SIDE), np.float32)
    array[OBJECT] = 0.7
    array[0, 0], array[0, 1] = 1, -1  # a range of 2
    return sx.Image(array)


def threshold(cut: float) -> sx.SegmentationModel:
    """Draws every pixel that is brighter."""
    network = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
        network.bias.copy_(torch.tensor([0.0, -cut]))
    return sx.load_model(network, card=card())


TARGET = sx.Target("object", region=sx.Component((9, 9)))


def edit(model, **params) -> sx.Explanation:
    return sx.explain(model, scene(), TARGET, "object-edit", baseline="zero", **params)


@pytest.fixture(scope="module")
def bright() -> sx.Explanation:
    return edit(threshold(0.34), iterations=20)


def test_a_network_of_brightness_asks_for_that_alone(bright):
    results = bright.record.results
    assert results["status"] == "reached"
    needed = (0.7 - 0.34) / 2  # a share of the range
    assert -results["brightness"] == pytest.approx(needed, abs=1 / 8 / 2**5 + 1e-6)
    assert -results["brightness"] >= needed - 1e-6
    assert (results["contrast"], results["size"], results["shift y"], results["shift x"]) == (1, 1, 0, 0)
    assert (
        results["answer"]
        == f"object is no longer drawn with brightness {results['brightness']:+.2f} of the range."
    )
    assert (results["drawn_before"], results["drawn_after"]) == (1, 0)
    rows = {(row["edit"], row["direction"]): row for row in bright.tables["alone"]}
    assert {key for key, row in rows.items() if row["strength"] is not None} == {("brightness", "less")}
    assert rows["brightness", "less"]["amount"] == pytest.approx(results["brightness"], abs=1 / 8 / 2**5)
    np.testing.assert_allclose(bright.map, np.where(OBJECT, 2 * results["brightness"], 0), atol=1e-6)
    assert not bright.masks["prediction_after"][OBJECT].any()
    np.testing.assert_array_equal(bright.masks["edited_object"], OBJECT)
    planned = ExplanationPlan.make(threshold(0.34), scene(), TARGET, "object-edit", iterations=20).passes
    assert planned.forward >= bright.record.passes["forward"]
    assert planned.backward >= bright.record.passes["backward"] == 20


class Place(nn.Module):
    """Draws bright pixels in the upper rows alone."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        rows = torch.arange(x.shape[2], device=x.device).view(1, 1, -1, 1)
        logit = self.factor * (x - 0.1) - 1e3 * (rows > 12)
        return torch.cat([torch.zeros_like(logit), logit], 1)


def test_a_network_of_place_asks_for_a_shift():
    found = edit(sx.load_model(Place(), card=card()), brightness=0.1, together=False)
    results = found.record.results
    # Half of six rows have to lie below row 12.
    assert results["shift y"] == pytest.approx(3.5, abs=1)
    assert [results[name] for name in ("brightness", "contrast", "shift x")] == [0, 1, 0]
    assert "shift y by +" in results["answer"]
    assert found.record.passes["backward"] == 0
    assert found.masks["edited_object"].sum() == OBJECT.sum()


def test_two_edits_together_can_be_less_than_one():
    """Each channel counts alike, and what is lost by brightness and contrast adds up."""

    class Loudest(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            flat = x.flatten(2)
            spread = flat[:, :, 20 * 7 : 20 * 13].std(2).view(-1, 1, 1, 1)
            logit = self.factor * (x + spread - 0.6)
            return torch.cat([torch.zeros_like(logit), logit], 1)

    found = edit(sx.load_model(Loudest(), card=card()), iterations=40)
    alone = min(abs(row["strength"]) for row in found.tables["alone"] if row["strength"] is not None)
    assert found.record.results["strength"] <= alone + 1e-6
    assert found.record.results["drawn_after"] < 0.5


def test_what_stays_drawn_is_said():
    always = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        always.weight.zero_()
        always.bias.copy_(torch.tensor([0.0, 3.0]))
    model = sx.load_model(always, card=card())
    found = sx.explain(
        model, scene(), sx.Target("object", region=OBJECT), "object-edit", together=False, steps=2
    )
    results = found.record.results
    assert results["status"] == "not reached"
    assert results["strength"] is None
    assert results["brightness"] is None
    assert not found.map.any()
    assert results["answer"].startswith("No edit of brightness, contrast, size or place")
    assert any(
        "the object stays drawn, whatever is tried (at least 100% of it)" in one
        for one in found.record.warnings
    )


def stripes() -> sx.Image:
    """Columns of one brightness each, and the object among them."""
    array = np.tile(np.random.default_rng(0).uniform(-1, 1, SIDE).astype(np.float32)[:, None], (1, SIDE))
    array[OBJECT] = 0.7
    return sx.Image(array)


def test_the_look_of_an_object_is_edited_in_the_latent_space():
    found = sx.explain(
        threshold(0.34), stripes(), TARGET, "object-edit", preset="latent", iterations=30, components=3
    )
    results = found.record.results
    assert results["status"] == "reached"
    assert results["drawn_after"] < 0.5
    assert results["answer"].startswith("object is no longer drawn with component ")
    assert not found.map[~found.masks["edited_object"]].any()
    edited = found.maps["edited_image"]
    np.testing.assert_allclose(edited - stripes().array, found.map, atol=1e-6)
    assert stripes().array.min() <= edited.min() <= edited.max() <= stripes().array.max()
    alone = [row["strength"] for row in found.tables["alone"] if row["strength"] is not None]
    assert results["strength"] <= min(map(abs, alone), default=np.inf) + 1e-6
    planned = ExplanationPlan.make(
        threshold(0.34), stripes(), TARGET, "object-edit", preset="latent", iterations=30, components=3
    ).passes
    assert planned.forward >= found.record.passes["forward"]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_latent_space_is_what_varies_between_crops(ndim):
    shape = (14,) * ndim
    image = torch.zeros(1, 1, *shape)
    image[..., ::2] = 1.0  # one stripe in two: crops differ by where they begin alone
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[(slice(4, 8),) * ndim] = True
    edits = LatentEdits(image, mask, 8, 2.0, 0)
    assert edits.names == ("component 1",)
    same, _ = edits(torch.zeros(1, 1))
    assert torch.equal(same, image)
    one, _ = edits(torch.tensor([[0.2]]))
    other, _ = edits(torch.tensor([[-0.2]]))
    change = [(found - image)[0, 0][mask].view((4,) * ndim) for found in (one, other)]
    lit = next(part for part in change if part[..., 0].sum() < 0)  # even columns give what odd ones get
    assert (lit[..., ::2] < 0).all()
    assert (lit[..., 1::2] > 0).all()
    torch.testing.assert_close(lit[..., 1::2], -lit[..., ::2])
    assert edits.amounts(torch.tensor([0.5])) == {"component 1": 1.0}


def test_an_image_that_is_the_same_everywhere_has_no_latent_space():
    even = sx.Image(np.full((SIDE, SIDE), 0.7, np.float32))
    target = sx.Target("object", region=OBJECT)
    with pytest.raises(sx.UserError, match="there is no latent space; choose space=numbers"):
        sx.explain(threshold(0.34), even, target, "object-edit", space="latent")


@pytest.mark.parametrize("ndim", [2, 3])
def test_edits_in_closed_form(ndim):
    shape = (15,) * ndim
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[(slice(4, 9),) * ndim] = True
    image = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    edits = Edits(image, torch.zeros_like(image), mask, Bounds(1.0, 4.0, 2.0, 1.0))
    assert edits.names == ("brightness", "contrast", "size", *(f"shift {axis}" for axis in "zyx"[-ndim:]))
    same, at = edits(torch.zeros(1, len(edits.names)))
    torch.testing.assert_close(same, torch.where(mask, image, 0.0))
    assert torch.equal(at[0, 0] > 0, mask)
    strengths = torch.zeros(2, len(edits.names))
    strengths[0, -1] = 3 / edits.diameter  # cells along the last axis
    strengths[1, :2] = torch.tensor([0.25, 0.5])
    moved, louder = edits(strengths)[0]
    torch.testing.assert_close(
        moved[..., 7:12], torch.where(mask, image, 0.0)[0, ..., 4:9], atol=1e-4, rtol=1e-4
    )
    dims = tuple(range(2, 2 + ndim))
    span = (image.amax(dims) - image.amin(dims))[0][(..., *(None,) * ndim)]
    mean = image[0][:, mask].mean(1)[(..., *(None,) * ndim)]
    wanted = torch.where(mask, mean + 2 * (image[0] - mean) + 0.25 * span, 0.0)
    torch.testing.assert_close(louder, wanted, atol=1e-4, rtol=1e-4)
    told = edits.amounts(strengths[0])
    assert told[edits.names[-1]] == pytest.approx(3)
    assert told["size"] == 1


def test_what_is_left_of_the_object_is_said():
    """The columns of the object go one after the other as it gets darker."""

    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            columns = torch.arange(x.shape[3], device=x.device).view(1, 1, 1, -1)
            logit = self.factor * (x - 0.3 - 0.01 * columns)
            return torch.cat([torch.zeros_like(logit), logit], 1)

    results = edit(sx.load_model(Columns(), card=card()), together=False).record.results
    assert 0 < results["drawn_after"] < 0.5
    assert results["answer"].startswith("object is no longer drawn with ")
    assert results["answer"].endswith(f"; {results['drawn_after']:.0%} of it is left.")
