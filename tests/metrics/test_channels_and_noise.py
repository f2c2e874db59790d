"""Which channel matters, and noise that a noise model adds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.metrics import asked, cause, values_of
from helpers.networks import card, planted_image
from torch import nn

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import finish
from napari_segxai.engine.primitives import perturb
from napari_segxai.metrics.channel_spoiling import losses
from napari_segxai.metrics.functional.shapley import shapley
from napari_segxai.metrics.table import evaluate_steps


class SecondChannel(nn.Module):
    def forward(self, x):
        return torch.cat([0.5 - x[:, 1:2], x[:, 1:2] - 0.5], 1) * 8


@pytest.mark.parametrize("how", ["permutation", "mean"])
def test_the_channel_that_matters_stands_out(how, monkeypatch):
    rng = np.random.default_rng(7)
    array = rng.random((3, 24, 24)).astype(np.float32)
    array[1] *= 0.4
    array[1, 5:12, 5:12] += 2
    model = sx.load_model(SecondChannel(), card=card(channels=["red", "green", "blue"]))
    with asked(model, sx.Image(array, channel_axis=0)) as question:
        rows = finish(losses(question, how=how, repeats=3))
        assert question.passes.forward == 1 + 3 * (3 if how == "permutation" else 1)
    assert [row["channel"] for row in rows] == ["red", "green", "blue"]
    for row, matters in zip(rows, (False, True, False), strict=True):
        for score in ("dice", "iou", "probability"):
            assert (row[f"{score}_drop"] > 0.1) == matters
            assert row[f"{score}_drop"] == pytest.approx(0, abs=1e-6) or matters
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 1)
    with asked(model, sx.Image(array, channel_axis=0)) as question:
        again = finish(losses(question, how=how, repeats=3))
        assert again[1]["dice_drop"] == pytest.approx(rows[1]["dice_drop"])
        with pytest.raises(UserError, match="permutation, mean or shapley"):
            finish(losses(question, how="zero"))
        with pytest.raises(UserError, match="from 1 to 1000000"):
            finish(losses(question, repeats=0))


def test_noise_that_a_noise_model_adds():
    map = cause()
    with asked() as question:
        rows = finish(
            evaluate_steps(
                {"cause": map, "all": map * 0 + 1},
                question,
                metrics=["ana", "srm"],
                noise_model=lambda x: 2 - x,
            )
        )
        image = planted_image().array
        low = image.min()
        noise = 2 - (low + map * (image - low))
        assert values_of(rows, "cause")["ana"] == pytest.approx(noise.mean(), rel=1e-5)
        assert values_of(rows, "cause")["srm"] == pytest.approx((noise**2).mean(), rel=1e-5)
        assert values_of(rows, "all")["ana"] == pytest.approx((2 - image).mean(), rel=1e-5)
        with pytest.raises(UserError, match="noise model returned"):
            finish(evaluate_steps({"cause": map}, question, metrics=["ana"], noise_model=lambda x: x[0]))


def test_shapley_values():
    """One left and two right gloves: a pair is worth 1, so the left one gets 2/3 and each right one 1/6."""
    values = [float(bool(k & 1) and bool(k & 6)) for k in range(8)]
    np.testing.assert_allclose(shapley(values), [2 / 3, 1 / 6, 1 / 6])
    random = np.random.default_rng(0).normal(size=32)
    assert shapley(random).sum() == pytest.approx(random[-1] - random[0])
    with pytest.raises(UserError, match="2\\^n coalitions"):
        shapley([1.0, 2.0, 3.0])


class EitherOfTwo(nn.Module):
    """Draws where the first or the second channel is bright."""

    def forward(self, x):
        bright = torch.maximum(x[:, :1], x[:, 1:2]) - 0.5
        return torch.cat([-bright, bright], 1) * 8


def test_channels_that_say_the_same_share_what_they_give():
    array = np.zeros((3, 16, 16), np.float32)
    array[:2, 4:8, 4:8] = 1
    model = sx.load_model(EitherOfTwo(), card=card(channels=["a", "b", "c"]))
    image = sx.Image(array, channel_axis=0)
    alone = sx.channel_importance(model, image, "object", "mean")
    assert [row["dice_drop"] for row in alone.rows] == [0, 0, 0]
    together = sx.channel_importance(model, image, "object", "shapley")
    assert [row["dice_drop"] for row in together.rows] == [0.5, 0.5, 0]
    assert together.passes.forward == 8
    seven = sx.load_model(EitherOfTwo(), card=card(channels=list("abcdefg")))
    with pytest.raises(UserError, match="at most 6 channels are possible"):
        sx.channel_importance(seven, sx.Image(np.zeros((7, 8, 8)), channel_axis=0), "object", "shapley")
