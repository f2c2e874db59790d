"""Targets: which pixels, which score, and what is not a target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.prediction import label_dtype
from napari_segxai.core.target import region_words
from napari_segxai.engine.region import pixels_of
from napari_segxai.engine.scores import read_scores, reduce_scores
from napari_segxai.models.card import make_card
from napari_segxai.models.preprocessing.framed import place

SHAPE = (12, 14)
IMAGE = sx.Image(np.zeros(SHAPE), name="scan")
PLACED = place(make_card(card()), IMAGE)


def predicted() -> torch.Tensor:
    """Two objects, the first of which hangs together by a corner."""
    out = torch.zeros(SHAPE, dtype=torch.bool)
    out[1:4, 1:4] = out[4, 4] = out[8:10, 9:12] = True
    return out


def pixels(region, image=IMAGE, placed=PLACED, where=None) -> torch.Tensor:
    target = sx.Target("object", region=region)
    return pixels_of(target, image, placed, predicted() if where is None else where)


def indices(mask: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(index) for index in mask.nonzero().tolist()]


# ---------------------------------------------------------------- regions


def test_none_is_the_predicted_pixels():
    assert torch.equal(pixels(None), predicted())


def test_the_whole_image():
    assert pixels("image").all()
    assert pixels("image").shape == SHAPE


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_an_array(kind):
    array = np.zeros(SHAPE, kind)
    array[2, 3:6] = 3
    for given in (array, torch.from_numpy(array), array.tolist()):
        assert indices(pixels(given)) == [(2, 3), (2, 4), (2, 5)]


@pytest.mark.parametrize("region", [sx.Point((5, 6)), (5, 6), [5, 6], (np.int64(5), np.int32(6))])
def test_a_point(region):
    assert indices(pixels(region)) == [(5, 6)]


@pytest.mark.parametrize("region", [sx.Box((5, 6), (6, 7)), ((5, 6), (6, 7)), [[5, 6], [6, 7]]])
def test_a_box_holds_both_its_corners(region):
    assert indices(pixels(region)) == [(5, 6), (5, 7), (6, 6), (6, 7)]


def test_a_component():
    first = predicted()
    first[8:] = False
    assert torch.equal(pixels(sx.Component((2, 2))), first)
    assert first[4, 4]  # joined by its corner
    assert torch.equal(pixels(sx.Component((9, 11))), predicted() & ~first)
    assert not pixels(sx.Component((0, 13))).any()


def test_regions_in_three_dimensions():
    image = sx.Image(np.zeros((4, 5, 6)))
    placed = place(make_card(card(3)), image)
    where = torch.zeros(4, 5, 6, dtype=torch.bool)
    where[0, 0, 0] = where[1, 1, 1] = where[3, 4, 5] = True
    ask = lambda region: indices(pixels(region, image, placed, where))
    assert ask((1, 2, 3)) == [(1, 2, 3)]
    assert ask(((0, 0, 0), (0, 1, 0))) == [(0, 0, 0), (0, 1, 0)]
    assert ask(sx.Component((0, 0, 0))) == [(0, 0, 0), (1, 1, 1)]


def test_regions_are_turned_with_the_image():
    array = np.zeros((4, 5, 6), bool)
    array[3, 0, 2] = True
    image = sx.Image(array, affine=np.diag([1.0, 1, 1, 1]))
    placed = place(make_card(card(3, orientation="SPL")), image)
    nothing = torch.zeros(placed.shape, dtype=torch.bool)
    for region in (array, (3, 0, 2), ((3, 0, 2), (3, 0, 2))):
        # axis 0: up, axis 1: to posterior (reversed), axis 2: to the left (reversed)
        assert indices(pixels(region, image, placed, nothing)) == [(2, 4, 0)]


def test_a_point_beside_the_slice_asks_for_nothing_there():
    volume = sx.Image(np.zeros((3, *SHAPE)))
    ask = lambda index: pixels((1, 5, 6), volume, place(make_card(card()), volume, index))
    assert indices(ask(1)) == [(5, 6)]
    assert not ask(0).any()


def test_a_component_is_found_on_a_coarser_grid():
    image = sx.Image(np.zeros((48, 56)))
    placed = place(make_card(card(grid={"size": list(SHAPE)})), image)
    assert pixels(sx.Component((9, 9)), image, placed).sum() == 10
    assert pixels(sx.Component((39, 47)), image, placed).sum() == 6


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("whole", "region 'whole' is unknown; use 'image'"),
        (0.5, "not float64"),
        ((1.5, 2.5), "not float64"),
        (np.full(SHAPE, 0.5), "not float64"),
        ([], "not float64"),
        ([[True, False], [True]], "equally long"),
        ({"at": 3}, "not object"),
    ],
)
def test_what_is_no_region_is_told_at_once(region, words):
    with pytest.raises(sx.UserError, match=words):
        sx.Target("object", region=region)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (np.zeros((12, 13), bool), r"shape \(12, 13\), but scan has \(12, 14\)"),
        (np.zeros((1, 12, 14), bool), r"shape \(1, 12, 14\), but scan"),
        ([True, False], r"shape \(2,\), but scan"),
        ((12, 0), r"pixel \(12, 0\) is outside scan, whose shape is \(12, 14\)"),
        ((0, -1), r"pixel \(0, -1\) is outside"),
        ((1, 2, 3), r"pixel \(1, 2, 3\) needs 2 numbers"),
        (sx.Point((1.5, 2)), r"pixel \(1.5, 2\) is not an index"),
        (sx.Point(3), "pixel 3 is not an index"),
        (sx.Component((99, 0)), r"pixel \(99, 0\) is outside"),
        (((0, 0), (0, 14)), r"pixel \(0, 14\) is outside"),
        (((0, 0), (1, 1, 1)), r"pixel \(1, 1, 1\) needs 2 numbers"),
        (((3, 3), (2, 4)), r"box \(3, 3\) to \(2, 4\) is empty; its lower corner comes first"),
    ],
)
def test_regions_that_are_not_on_the_image(region, words):
    with pytest.raises(sx.UserError, match=words):
        pixels(region)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (None, "predicted pixels"),
        ("image", "whole image"),
        (np.eye(4), None),
        (np.eye(4, dtype=bool), "drawn region of 4 pixels"),
        ((1, 2), "pixel (1, 2)"),
        (((1, 2), (3, 4)), "box (1, 2) to (3, 4)"),
        (sx.Component((1, 2)), "connected component at (1, 2)"),
    ],
)
def test_regions_in_words(region, words):
    if words is None:
        with pytest.raises(sx.UserError):
            sx.Target("object", region=region)
        return
    assert region_words(sx.Target("object", region=region).as_dict()["region"]) == words


# ---------------------------------------------------------------- scores


def fixed_logits(labels: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 3, (2, labels, *SHAPE)).astype(np.float32))


def by_hand(logits: np.ndarray, label: int, score: str, activation: str) -> np.ndarray:
    if score == "logit":
        return logits[:, label]
    if activation == "softmax":
        probability = np.exp(logits)[:, label] / np.exp(logits).sum(1)
    else:
        probability = 1 / (1 + np.exp(-logits[:, label]))
    return probability if score == "probability" else np.log(probability)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("score", ["logit", "probability", "log_probability"])
@pytest.mark.parametrize("label", [0, 2])
def test_scores_and_reductions_equal_numpy(activation, score, label):
    fields = card(labels=["background", "a", "b"], activation=activation)
    model = sx.load_model(LinearHead(labels=3), card=fields)
    logits = fixed_logits()
    values = read_scores(model, logits, label, score)
    expected = by_hand(logits.numpy().astype(float), label, score, activation)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
    where = predicted()
    np.testing.assert_allclose(
        reduce_scores(values, where, "sum"), expected[:, where].sum(1), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        reduce_scores(values, where, "mean"), expected[:, where].mean(1), rtol=1e-4, atol=1e-5
    )


def test_saturated_logits_keep_a_finite_log_probability():
    model = sx.load_model(LinearHead(), card=card())
    logits = torch.tensor([762.0, -333.0]).view(1, 2, 1, 1)
    assert read_scores(model, logits, 1, "log_probability").item() == -1095
    sigmoid = sx.load_model(LinearHead(), card=card(activation="sigmoid"))
    assert read_scores(sigmoid, logits, 1, "log_probability").item() == -333


def test_the_mean_over_nothing_is_zero():
    nothing = torch.zeros(SHAPE, dtype=torch.bool)
    for reduction in ("mean", "sum"):
        assert reduce_scores(fixed_logits()[:, 0], nothing, reduction).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("score", "reduction"),
    [("logit", "mean"), ("logit", "sum"), ("probability", "mean"), ("log_probability", "sum")],
)
def test_a_map_answers_the_target_that_was_asked(score, reduction):
    """The HiRes map of a 1x1 head's input is the input's share of the score, written out with autograd."""
    torch.manual_seed(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Identity(), nn.Conv2d(1, 2, 1)

        def forward(self, x):
            return self.head(self.features(x))

    network = Net()
    model = sx.load_model(network, card=card())
    image = sx.Image(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    target = sx.Target("object", region=((2, 2), (5, 9)), score=score, reduction=reduction)
    ex = sx.explain(model, image, target, "seg-hires-grad-cam", layer="features")
    x = torch.from_numpy(image.array)[None, None].requires_grad_(True)
    out = network(x)
    values = {"logit": out, "probability": out.softmax(1), "log_probability": out.log_softmax(1)}[score]
    inside = values[0, 1, 2:6, 2:10]
    (gradient,) = torch.autograd.grad(inside.mean() if reduction == "mean" else inside.sum(), x)
    np.testing.assert_allclose(ex.map, (gradient * x)[0, 0].detach(), rtol=1e-4, atol=1e-7)
    assert ex.record.target == {
        "label": "object",
        "region": {"kind": "box", "low": [2, 2], "high": [5, 9]},
        "score": score,
        "reduction": reduction,
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"score": "odds"}, "score 'odds' is unknown; choose logit or probability or log_probability"),
        ({"reduction": "max"}, "reduction 'max' is unknown; choose mean or sum"),
        ({"score": None}, "score None is unknown"),
    ],
)
def test_unknown_words(fields, words):
    with pytest.raises(sx.UserError, match=words):
        sx.Target("object", **fields)


# ---------------------------------------------------------------- labels


def test_a_label_by_name_by_position_and_misspelt():
    model, image = planted_model(), planted_image()
    ask = lambda target: sx.explain(model, image, target, "rise", masks=5)
    by_name = ask("object")
    for target in (1, "1", sx.Target(1), sx.Target("object")):
        found = ask(target)
        np.testing.assert_array_equal(found.map, by_name.map)
        assert found.record.target["label"] == "object"
    with pytest.raises(sx.UserError, match=r"planted has no label 'objct'; did you mean 'object'\?"):
        ask("objct")
    with pytest.raises(sx.UserError, match="planted has no label 2; known are 'background', 'object'"):
        ask(2)


def test_labels_are_held_in_the_smallest_type():
    assert [label_dtype(n).name for n in (2, 256, 257)] == ["uint8", "uint8", "uint16"]


def test_the_pixels_of_a_flipped_image_have_a_positive_size():
    assert sx.Image(np.zeros((4, 4)), spacing=(-2, 3)).spacing == (2.0, 3.0)
    for spacing in ((0, 1), (1, np.inf), (1, np.nan)):
        with pytest.raises(sx.UserError, match="has to be positive numbers"):
            sx.Image(np.zeros((4, 4)), spacing=spacing)
