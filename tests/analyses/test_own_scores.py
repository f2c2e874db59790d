"""A score of the user's: what it equals, that it is exact through windows, and who refuses it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.networks import card, planted_image
from helpers.states import SMALL, Mixed

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.methods.registry import all_methods

ROOT = Path(__file__).parents[2]


def mean_logit(logits, region):
    return logits[0, 1][region].mean()


def softest(logits, region):
    """Read all of the image, and not linearly."""
    return torch.logsumexp(logits[0, 1].flatten(), 0) + logits[0, 1][region].square().mean()


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    return sx.load_model(Mixed(), card=card())


SAME = {
    "vanilla-gradient": {},
    "integrated-gradients": {"steps": 4},
    "seg-hires-grad-cam": {"layer": "bottleneck"},
    "seg-ablation-cam": {"layer": "bottleneck"},
    "seg-score-cam": {"layer": "bottleneck"},
    "lrp": {},
    "occlusion": {"patch": 4, "stride": 4},
    "rise": {"masks": 20, "score": "target"},
}


@pytest.mark.parametrize("method", SAME)
def test_the_mean_logit_by_hand_is_the_mean_logit(method, model):
    own, usual = (
        sx.explain(
            model, planted_image(), sx.Target("object", score=score), method, device="cpu", **SAME[method]
        )
        for score in (mean_logit, "logit")
    )
    assert own.map.any()
    np.testing.assert_allclose(own.map, usual.map, rtol=1e-4, atol=5e-3 * np.abs(usual.map).max())
    assert own.record.target["score"] == "own"
    assert own.record.target["function"]["name"] == "mean_logit"
    assert len(own.record.target["function"]["sha256"]) == 64


@pytest.mark.parametrize("windows", [None, {"size": [16, 16], "overlap": 0.5}])
def test_its_gradient_is_torch_s_of_the_whole_also_through_windows(windows):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(4, 2, 1))
    model = sx.load_model(net, card=card(**({} if windows is None else {"windows": windows})))
    array = np.random.default_rng(0).normal(size=(28, 36)).astype(np.float32)
    region = np.zeros(array.shape, bool)
    region[10:14, 12:20] = True
    target = sx.Target("object", region=region, score=softest)
    found = sx.explain(model, sx.Image(array), target, "input-x-gradient", device="cpu")
    x = model.prepare(sx.Image(array)).tensor.requires_grad_(True)
    y = softest(model.logits(x), torch.from_numpy(region))
    (gradient,) = torch.autograd.grad(y, x)
    expected = (x * gradient)[0, 0].detach().numpy()
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    hidden = sx.explain(
        model, sx.Image(array), target, "occlusion", device="cpu", patch=7, stride=7, baseline="zero"
    )
    copy = x.detach().clone()
    copy[..., :7, :7] = 0
    with torch.no_grad():
        lost = float(y - softest(model.logits(copy), torch.from_numpy(region)))
    assert hidden.map[3, 3] == pytest.approx(lost, rel=1e-3)


def test_what_it_returns_is_looked_at(model):
    for score, sentence in (
        (lambda logits, region: logits[0, 1], r"returned a tensor of shape"),
        (lambda logits, region: 3.0, r"returned a float; it has to return a tensor"),
        (lambda logits, region: logits[0, 9].mean(), r"failed: "),
        (lambda logits, region: logits[0, 1].detach().mean(), r"passes no gradient on"),
    ):
        with pytest.raises(sx.UserError, match=sentence):
            sx.explain(
                model, planted_image(), sx.Target("object", score=score), "vanilla-gradient", device="cpu"
            )
    rounded = sx.Target("object", score=lambda logits, region: logits[0, 1].mean().detach())
    assert sx.explain(model, planted_image(), rounded, "occlusion", device="cpu", patch=4, stride=4).map.any()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"score": lambda logits: 0}, "has to take two arguments"),
        ({"score": mean_logit, "reduction": "sum"}, "reduction is for scores that are read at every pixel"),
        ({"score": mean_logit, "against": "background"}, "against is for scores"),
        ({"score": 3}, "score 3 is unknown"),
    ],
)
def test_a_target_with_it_is_checked(asked, sentence):
    with pytest.raises(sx.UserError, match=sentence):
        sx.Target("object", **asked)


def test_the_record_holds_its_name_and_not_the_function(model, tmp_path):
    target = sx.Target("object", score=mean_logit)
    found = sx.explain(model, planted_image(), target, "vanilla-gradient", device="cpu")
    found.save(tmp_path / "out")
    again = sx.load_explanation(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "record.json").read_text())["target"]
    assert told == again.record.target == found.record.target
    with pytest.raises(sx.UserError, match="the score was a function of a script, 'mean_logit'"):
        ExplanationPlan.make(model, planted_image(), again.target, "vanilla-gradient", device="cpu")
    plan = ExplanationPlan.make(model, planted_image(), target, "vanilla-gradient", device="cpu")
    assert plan.unit == "change of the mean_logit per unit of input"


def test_the_page_of_questions_is_what_plans_do():
    """Of every method and every kind of question."""
    script = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "targets_page.py")))
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page(text) == text
    model, image = (
        sx.load_model("triangle"),
        sx.read_image(ROOT / "sample_data" / "images" / "triangle_1.png"),
    )
    drawn = model.predict(image) == 1
    truth = np.roll(drawn, 9, 0)  # some of both errors
    at = tuple(map(int, np.argwhere(drawn)[0]))
    real = {"component": {"region": sx.Component(at)}, "absent label": {"region": ~drawn}}
    for method in all_methods():
        if "image" not in method.scope or method.name == "u-noise":  # which is trained for it
            continue
        for kind, said in script.KINDS.items():
            asked = real.get(kind, said | ({"truth": truth} if "truth" in said else {}))
            answer = script.cell(method, kind)
            try:
                ExplanationPlan.make(
                    model,
                    image,
                    sx.Target("triangle", **asked),
                    method.name,
                    device="cpu",
                    **SMALL.get(method.name, {}),
                )
                taken = True
            except sx.UserError as error:
                if "score" not in str(error) and "false negative" not in str(error):
                    raise
                taken = False
            refused = (
                answer in ("no (a)", "no (b)")
                or (answer == "score=target" and "score" not in SMALL.get(method.name, {}))
                or (answer == "no (c)" and kind == "false negative")  # of others it is seen in the prediction
            )
            assert taken is not refused, (method.name, kind, answer)
