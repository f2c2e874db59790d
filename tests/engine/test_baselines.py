"""What hidden pixels become."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
from helpers.networks import PATCH, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.engine.masking.baselines import Baseline, blurred, inpainted
from napari_segxai.engine.question import Question

NAMES = ("background", "zero", "minimum", "mean", "blur", "noise", "inpaint", 0.25)


def ask(model, image, **changes) -> Question:
    target = sx.Target(changes.pop("label", "object"))
    device = torch.device("cpu")
    return Question(model, image, model.prepare(image), target, device=device, seed=0, planned=Passes())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", NAMES)
def test_what_is_kept_stays_and_what_is_hidden_is_the_baseline(kind: Baseline, ndim):
    model = planted_model(ndim)
    with model.in_use(torch.device("cpu")):
        question = ask(model, planted_image(ndim))
        hide = question.hide(kind)
        half = torch.rand(3, 1, *question.grid)
        masks = (half > 0.5).float()
        shown = hide(masks)
        assert shown.shape == (3, 1, *question.grid)
        kept = masks.bool().expand_as(shown)
        torch.testing.assert_close(shown[kept], question.input.expand_as(shown)[kept])
        if kind != "inpaint":
            baseline = question.baseline(kind).expand_as(question.input)
            torch.testing.assert_close(shown[~kept], baseline.expand_as(shown)[~kept])
            middle = hide(torch.full_like(masks, 0.5))[0]
            torch.testing.assert_close(middle, (question.input[0] + baseline[0]) / 2)
        low, high = question.input.min(), question.input.max()
        if kind not in ("noise", "zero", "background"):
            assert shown.min() >= low - 1e-6
            assert shown.max() <= high + 1e-6


def test_values_of_the_plain_baselines():
    array = np.linspace(10, 20, 32 * 32, dtype=np.float32).reshape(32, 32)
    fields = card(intensity=[{"scale_shift": [0.2, -2]}], grid={"size": [32, 32]})
    model = sx.load_model(nn.Conv2d(1, 2, 1), card=fields)
    with model.in_use(torch.device("cpu")):
        question = ask(model, sx.Image(array))
        values = {kind: question.baseline(kind).mean().item() for kind in ("zero", "minimum", "mean", 15)}
        noise = question.baseline("noise")
    assert values["zero"] == 0
    assert values["minimum"] == pytest.approx(0, abs=1e-6)
    assert values["mean"] == pytest.approx(1, abs=1e-5)
    assert values[15] == pytest.approx(1)
    assert noise.mean() == pytest.approx(1, abs=0.1)
    assert noise.std() == pytest.approx(question.input.std().item(), rel=0.1)


@pytest.mark.parametrize("shape", [(50, 61), (12, 20, 17)])
def test_blur_is_the_gaussian_blur_of_scipy(shape):
    values = torch.rand(1, 2, *shape, dtype=torch.float64)
    want = ndi.gaussian_filter(values[0, 1].numpy(), 3, mode="nearest", truncate=6)
    np.testing.assert_allclose(blurred(values, 3)[0, 1].numpy(), want, atol=1e-7)


def test_inpainting_draws_in_what_is_around():
    ramp = torch.linspace(0, 1, 64)[None, None, None, :].expand(1, 1, 64, 64)
    mask = torch.ones(1, 1, 64, 64)
    mask[..., 20:40, 20:40] = 0
    assert (inpainted(ramp, mask) - ramp).abs().max() < 0.05
    flat = torch.full((1, 2, 33, 20, 17), 0.7)
    few = (torch.rand(3, 1, 33, 20, 17) < 0.2).float()
    torch.testing.assert_close(inpainted(flat, few), flat.expand(3, -1, -1, -1, -1))
    torch.testing.assert_close(inpainted(ramp, 0 * mask), torch.full_like(ramp, ramp.mean()))


def test_inpainting_is_differentiable_in_the_mask():
    image = torch.rand(1, 1, 6, 5, dtype=torch.float64)
    mask = torch.rand(1, 1, 6, 5, dtype=torch.float64) * 0.4 + 0.1
    assert torch.autograd.gradcheck(lambda m: inpainted(image, m), mask.requires_grad_())


def test_a_number_is_an_intensity_of_the_image():
    image = planted_image()
    model = planted_model()
    for method in ("rise", "misure"):
        with pytest.raises(sx.UserError, match=r"baseline 7 is outside the intensities of planted.*to 1\."):
            sx.explain(model, image, "object", method, baseline=7)
    found = sx.explain(model, image, "object", "rise", masks=4, baseline="0.25")
    assert found.record.parameters["baseline"] == 0.25
    with pytest.raises(sx.UserError, match=r"choose one of background, zero.* or a number"):
        sx.explain(model, image, "object", "rise", baseline="white")


def test_a_network_with_random_output_is_refused():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x):
            return nn.functional.dropout(self.conv(x), 0.5, training=True)

    with pytest.raises(sx.UserError, match="something else every time"):
        sx.load_model(Dropping(), card=card())


@pytest.mark.parametrize("kind", NAMES)
def test_misure_finds_the_planted_cause_with_every_baseline(kind):
    if kind in ("background", "minimum", "zero", "inpaint"):
        found = sx.explain(planted_model(), planted_image(), "object", "misure", baseline=kind)
        region = found.masks["minimally_sufficient_region"]
        assert region[PATCH].any()  # the patch is needed
        assert not region[2:4, 2:4].any()  # the decoy is not
    else:
        found = sx.explain(planted_model(), planted_image(), "object", "misure", baseline=kind, iterations=2)
        assert np.isfinite(found.map).all()
