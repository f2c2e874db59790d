"""Concepts that nobody named: planted kinds of image parts are grouped, and the one that counts is used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import nn

import napari_segxai as sx

ASKED = {"method": "ace", "layer": "body", "segments": "16", "clusters": 3, "removals": 2, "examples": 1}


class Rough(nn.Module):
    """`body` holds brightness, and seven kinds of roughness; `head` draws what is rough, and does not look at brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            self.body[0].weight.zero_()
            self.body[0].weight[0] = 1 / 9
            for unit in range(1, 8):
                kernel = torch.zeros(3, 3)
                kernel[:, unit % 3] = torch.tensor([1.0, 2, 1]) * (-1) ** unit
                kernel[:, (unit + 1) % 3] = torch.tensor([-1.0, -2, -1]) * (-1) ** unit
                self.body[0].weight[unit, 0] = kernel * (1 + unit / 8) / 2
            self.head.weight.zero_()
            self.head.weight[1, 1:] = 20
            self.head.bias.copy_(torch.tensor([0.0, -30.0]))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def model():
    return sx.load_model(Rough(), card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eight images of 16 tiles: dark, bright, or rough at random."""
    out, rng = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    for k in range(8):
        kinds = rng.permutation(np.arange(16) % 3)
        array = np.zeros((48, 48))
        for n, kind in enumerate(kinds):
            y, x = 12 * (n // 4), 12 * (n % 4)
            tile = np.full((12, 12), (40.0, 240.0, 110.0)[kind]) + rng.normal(0, 2, (12, 12))
            if kind == 2:
                tile[:, ::2] += 45
                tile[:, 1::2] -= 45
            array[y : y + 12, x : x + 12] = tile
        Picture.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(out / f"c{k}.png")
    return out


@pytest.fixture(scope="module")
def found(model, images):
    return sx.survey(model, images, **ASKED)


def test_the_kind_that_counts_is_a_concept_and_is_used(found):
    first = found.table[0]
    assert first["concept"] == "concept 1"
    assert first["on_label"] > 0.6 > 0.2 > max(row["on_label"] for row in found.table[1:])
    assert sum(row["share"] for row in found.table) == pytest.approx(1)
    assert first["spread"] == 8
    assert first["used"] is True
    assert first["dice_lost"] > 0.2 > first["dice_lost_shuffled"]
    assert {row["used"] for row in found.table[1:]} == {False}
    assert found.record["results"]["groups"] == 3
    assert "object uses concept 1" in found.sentence


def test_pieces_and_maps_show_where_it_is(found, model):
    pieces = [one for one in found.tables["pieces"] if one["concept"] == "concept 1"]
    assert len({one["case"] for one in pieces}) == 8
    rows = found.galleries[0].rows()
    assert list(rows) == ["concept 1", "concept 2", "concept 3"]
    assert [picture.case for picture in rows["concept 1"]] == list(
        dict.fromkeys(one["case"] for one in pieces)
    )[:8]
    far = [one["far"] for one in pieces]
    assert far == sorted(far)
    assert {0 <= one[axis] < 48 for one in pieces for axis in ("axis_0", "axis_1")} == {True}
    (shown,) = found.maps
    numbers, drawn = shown.array(), model.predict(shown.image()) == 1
    assert (numbers[drawn] == 1).mean() > 0.8
    assert (numbers[~drawn] == 1).mean() < 0.5


def test_a_seed_repeats_and_another_number_of_groups_is_what_is_asked(found, model, images):
    again = sx.survey(model, images, **ASKED)
    assert (again.table, again.tables) == (found.table, found.tables)
    passes = sx.plan_survey(model, images, **ASKED).passes
    assert found.record["passes"]["forward"] <= passes.forward
    assert found.record["passes"]["suffix"] <= passes.suffix
    assert found.record["passes"]["backward"] == passes.backward == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"segments": "many"}, "ace: segments is 'many'; give numbers from 2 to 1000 with commas"),
        ({"segments": "1,20"}, "give numbers from 2 to 1000"),
        ({"layer": "bdoy"}, "no network layer 'bdoy'"),
        ({"concepts": "predicted"}, "ace is not asked about concepts"),
    ],
)
def test_what_is_asked_wrongly_is_said(change, words, model, images):
    with pytest.raises(sx.UserError, match=words):
        sx.plan_survey(model, images, **{**ASKED, **change})


def test_a_label_that_is_drawn_nowhere_has_words_and_no_number(images):
    network = Rough()
    with torch.no_grad():
        network.head.bias[1] = -1e4
    model = sx.load_model(network, card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))
    got = sx.survey(model, images, **{**ASKED, "shuffles": 20})
    assert "object is drawn in no case that was looked at, so that nothing can be said of it" in " ".join(
        got.warnings
    )
    assert len(got.table) == 3
    for row in got.table:
        assert {
            row[name] for name in ("tcav", "derivative", "derivative_p", "dice_lost", "used", "on_label")
        } == {None}
