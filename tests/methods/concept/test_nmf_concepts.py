"""Concepts by factors: planted ones are found, the one that the prediction hangs on is named, and chance is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import nn

import napari_segxai as sx
from napari_segxai.metrics.functional.statistics.factors import amounts_of, factorise
from napari_segxai.metrics.functional.statistics.sobol import SobolDesign, total_indices

CHANNELS = 16
BRIGHT, DARK = {0: 1.0, 1: 0.5}, {2: 1.0, 3: 0.25}
"""Channels of the two planted concepts, with their weights."""

APART = 0.05
"""How far from gray a pixel has to be to count as bright or dark."""


class TwoParts(nn.Module):
    """What is brighter than gray goes into the first channels of `body`, what is darker into the next two.

    A pixel is drawn by its own brightness, and by `shared` times how dark the image is as a whole.
    """

    def __init__(self, shared: float = 0.0) -> None:
        super().__init__()
        self.shared, self.least = shared, 8.0 if shared else 2.0
        self.body = nn.Sequential(nn.Conv2d(1, CHANNELS, 1), nn.ReLU())
        self.head = nn.Conv2d(CHANNELS, 2, 1, bias=False)
        with torch.no_grad():
            for one in (self.body[0].weight, self.body[0].bias, self.head.weight):
                one.zero_()
            for channels, sign in ((BRIGHT, 1.0), (DARK, -1.0)):
                for channel, weight in channels.items():
                    self.body[0].weight[channel] = sign * weight
                    self.body[0].bias[channel] = -sign * weight * (0.5 + sign * APART)
            self.head.weight[1, 0] = 20.0

    def forward(self, x):
        found = self.body(x)
        dark = self.shared * found[:, 2:3].mean((2, 3), keepdim=True)
        return self.head(found) + torch.cat([torch.full_like(dark, self.least), dark], 1)


def network(shared: float = 0.0) -> sx.SegmentationModel:
    return sx.load_model(TwoParts(shared), card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Gray images, each with a bright square and a dark one that is twice as large."""
    out, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    for k in range(6):
        array = np.full((24, 24), 127.5)
        y, x = rng.integers(0, 6, 2)
        array[y : y + 6, x : x + 6] = rng.uniform(200, 255, (6, 6))
        array[y + 7 : y + 19, x : x + 6] = rng.uniform(0, 60, (12, 6))
        Picture.fromarray(array.round().astype(np.uint8)).save(out / f"c{k}.png")
    return out


ASKED = {"method": "nmf-concepts", "layer": "body", "factors": 2, "designs": 8, "cells": 600}


@pytest.fixture(scope="module")
def found(folder):
    return sx.survey(network(), folder, **ASKED)


def directions(survey):
    out = np.zeros((2, CHANNELS))
    for row in survey.tables["directions"]:
        out[row["concept"] - 1, row["channel"]] = row["weight"]
    return out


def test_the_planted_concepts_are_found_and_the_one_that_matters_is_told(found):
    first, second = found.table
    planted = np.zeros((2, CHANNELS))
    for row, channels in zip(planted, (BRIGHT, DARK), strict=True):
        row[list(channels)] = list(channels.values())
    planted /= np.linalg.norm(planted, axis=1, keepdims=True)
    cosines = directions(found)[[first["concept"] - 1, second["concept"] - 1]] @ planted.T
    np.testing.assert_allclose(cosines, np.eye(2), atol=0.01)
    assert (first["importance"], second["importance"]) == pytest.approx((1, 0), abs=0.35)
    assert second["importance"] == pytest.approx(0, abs=1e-6)
    assert (first["dice_lost"], second["dice_lost"]) == (1, 0)
    assert first["beyond_control"] is True
    assert second["beyond_control"] is False
    assert first["on_label"] == pytest.approx(1, abs=0.02)
    assert second["on_label"] == pytest.approx(0, abs=0.02)
    assert first["label_share"] == pytest.approx(36 / 576, abs=0.02)
    assert min(first["agreement"], second["agreement"]) > 0.98
    assert found.record["results"]["layer"] == "body"
    assert found.record["results"]["dice_rebuilt"] > 0.97
    assert found.record["results"]["explained"] > 0.99
    assert f"object hangs most on concept {first['concept']} of body" in found.sentence
    assert {one.name for one in found.maps} == {"concept 1", "concept 2"}
    one = next(one for one in found.maps if one.name == f"concept {first['concept']}")
    bright = one.image().array > 190
    assert (
        one.array()[bright].min() > 10 * one.array()[~bright].max() > 0 or one.array()[~bright].max() < 1e-4
    )


def test_crops_show_where_each_concept_is_strongest(found):
    rows = found.galleries[0].rows()
    first, second = (f"concept {row['concept']}" for row in found.table)
    assert list(rows) == [first, second]
    for name, is_bright in ((first, True), (second, False)):
        assert len({one.case for one in rows[name]}) == 6
        for one in rows[name]:
            array = np.asarray(Picture.open(found.record["cases"][int(one.case[1:])]["images"][0]))
            assert (array[one.at] > 190) == is_bright
            assert (array[one.at] < 70) != is_bright
            assert one.values.shape == (7, 7)


def test_a_linear_score_has_the_indices_of_a_sum():
    """Of a m1 + b m2 with m even in [0, 1], the total indices are the shares of a^2 and b^2."""
    design = SobolDesign(3, 512, 0)
    points = design.rows(0, design.count)
    values = (points @ torch.tensor([2.0, 1.0, 0.0])).double().view(512, design.each)
    indices, errors = total_indices(values)
    torch.testing.assert_close(indices, torch.tensor([0.8, 0.2, 0.0], dtype=torch.float64), atol=0.04, rtol=0)
    assert float(errors.max()) < 0.06


def test_what_is_shared_by_the_whole_image_has_its_part(folder):
    """The score, a mean logit, is a sum of both concepts: the indices are the shares of their squares."""
    got = sx.survey(network(150.0), folder, **{**ASKED, "designs": 64, "examples": 1, "score": "target"})
    rows = {row["concept"]: row for row in got.tables["importance"]}
    case = got.tables["importance"][0]["case"]
    array = np.asarray(Picture.open(folder / f"{case}.png")) / 255
    bright, dark = 20 * (array[array > 0.7] - 0.55).mean(), 150 * np.clip(0.45 - array, 0, None).mean()
    share = bright**2 / (bright**2 + dark**2)
    assert 0.2 < share < 0.8
    best = int(np.argmax(directions(got)[:, 0])) + 1
    assert rows[best]["importance"] == pytest.approx(share, abs=0.08)
    assert rows[3 - best]["importance"] == pytest.approx(1 - share, abs=0.08)


def test_one_seed_gives_one_result_with_the_passes_that_were_planned(found, folder):
    again = sx.survey(network(), folder, **ASKED)
    assert (again.table, dict(again.tables)) == (found.table, dict(found.tables))
    plan = sx.plan_survey(network(), folder, **ASKED)
    assert plan.passes.as_dict() == again.record["passes"]
    other = sx.plan_survey(network(), folder, **{**ASKED, "examples": 2})
    assert other.passes.cost < plan.passes.cost


def test_what_does_not_matter_is_no_finding(folder):
    """A network that draws by a bias alone hangs on no concept, and no number says so."""
    module = TwoParts()
    with torch.no_grad():
        module.head.weight.zero_()
        module.head.weight[1, 4] = 1.0  # of a channel that is always 0
    module.forward = lambda x: module.head(module.body(x)) + torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
    got = sx.survey(sx.load_model(module, card=card()), folder, **{**ASKED, "examples": 2})
    assert {row["importance"] for row in got.table} == {None}
    assert not any(row["beyond_control"] for row in got.table)
    assert "does not change with any concept of body" in got.sentence
    assert got.charts == ()


def test_a_label_that_is_drawn_nowhere_has_words_and_no_numbers(folder):
    model = network()
    with torch.no_grad():
        model.module.head.weight.zero_()
    got = sx.survey(model, folder, **ASKED)
    assert {row["importance"] for row in got.table} == {row["dice_lost"] for row in got.table} == {None}
    assert "object is drawn in no case" in " ".join(got.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"factors": 17}, "body has 16 channels, too few for 17 concepts; choose 16 or less"),
        ({"factors": 1}, "factors is 1; it has to be 2 or more"),
        ({"layer": "bdoy"}, "no network layer 'bdoy'"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_the_work(change, words, folder):
    with pytest.raises(sx.UserError, match=words):
        sx.plan_survey(network(), folder, **{**ASKED, **change})


def test_too_few_cases_are_said(folder, tmp_path):
    for k in range(3):
        (tmp_path / f"c{k}.png").write_bytes((folder / f"c{k}.png").read_bytes())
    with pytest.raises(
        sx.UserError, match=r"nmf-concepts needs 4 cases of different subjects, and .* holds 3"
    ):
        sx.survey(network(), tmp_path, **ASKED)


def test_factors_of_what_is_known():
    rng = np.random.default_rng(0)
    planted = np.array([[1.0, 0, 1, 0], [0, 1, 0, 0]], np.float32)
    amounts = rng.uniform(0, 1, (200, 2)).astype(np.float32) * [3, 1]
    values = (amounts @ planted).astype(np.float32)
    found = factorise(values, 2, 0, "a test")
    np.testing.assert_allclose(found.directions, planted / np.sqrt([[2], [1]]), atol=0.05)
    assert found.explained(values) > 0.999
    np.testing.assert_allclose(amounts_of(values, found.directions, "a test"), found.amounts, atol=0.02)
    assert len(factorise(values, 6, 0, "a test").directions) <= 4
    assert len(factorise(np.zeros((5, 3), np.float32), 2, 0, "a test").directions) == 0
