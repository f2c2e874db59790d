"""Emergent language: of two shapes one bit is told, and of what the layer does not know nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.concepts import planted_network
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.methods.concept.emergent_language import coarse
from napari_segxai.metrics.functional.statistics.information import (
    entropy,
    mutual_information,
    shuffled_information,
)

ASKED = {"method": "emergent-language", "layer": "body", "steps": 60, "length": 2, "symbols": 4}


@pytest.fixture(scope="module")
def model():
    return planted_network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A square or a long bar of the same area in the middle, by chance, on a ground of noise."""
    out, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for k in range(24):
        array = rng.uniform(0, 60, (32, 32))
        where = (slice(10, 22), slice(10, 22)) if k % 2 else (slice(13, 18), slice(2, 31))
        array[where] = rng.uniform(200, 250)
        Picture.fromarray(array.astype(np.uint8)).save(out / f"c{k:02}.png")
    return out


@pytest.fixture(scope="module")
def found(model, folder):
    return sx.survey(model, folder, **ASKED)


def test_of_two_shapes_one_bit_is_told(found):
    rows = {(row["about"], row["place"]): row for row in found.table}
    shape = rows["elongation", "sentence"]
    assert shape["possible"] == pytest.approx(1, abs=0.1)  # not quite as many of both in the half that counts
    assert shape["bits"] == pytest.approx(shape["possible"])
    assert shape["beyond"] > 0.75
    assert shape["beyond_control"] is True
    bright = rows["brightness", "sentence"]
    assert bright["beyond_control"] is False
    told = found.record["results"]
    assert told["dice_told"] > 0.95 > told["dice_mean"]
    assert told["dice_shuffled"] < 0.8
    assert "elongation" in found.sentence
    assert "brightness" not in found.sentence
    assert found.charts[0].kind == "matrix"
    said = {row["case"]: row["sentence"] for row in found.tables["sentences"]}
    assert {said[f"c{k:02}"] for k in range(0, 24, 2)}.isdisjoint(said[f"c{k:02}"] for k in range(1, 24, 2))
    rows = found.galleries[0].rows()
    assert len(rows) == 2
    for pictures in rows.values():
        drawn, *objects = (one.values > 0.5 for one in pictures)
        assert all((drawn == one).mean() > 0.98 for one in objects)
        assert len({said[one.case] for one in pictures[1:]}) == 1
    symbols = [row for row in found.tables["symbols"] if row["place"] == 1]
    assert sum(row["n"] for row in symbols) == 24


def test_what_the_layer_does_not_know_is_not_told(folder, model):
    """A layer that is the same for every case: one sentence for all, and words instead of a claim."""
    blind = planted_network()
    with torch.no_grad():
        blind.module.body.weight[:, 0] = 0
        blind.module.head.weight.zero_()
        blind.module.head.bias.copy_(torch.tensor([0.0, 1.0]))
    got = sx.survey(blind, folder, **{**ASKED, "steps": 5})
    assert got.record["results"]["sentences"] == 1
    assert {row["bits"] for row in got.table} == {0}
    assert not any(row["beyond_control"] for row in got.table)
    assert got.sentence.startswith("Nothing is told of object")
    assert "one sentence for all cases" in " ".join(got.warnings)


def test_one_seed_gives_one_result_and_leaves_chance_as_it_was(found, model, folder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    again = sx.survey(model, folder, **ASKED)
    assert torch.equal(before, torch.get_rng_state())
    assert (again.table, dict(again.tables), again.record["results"]) == (
        found.table,
        dict(found.tables),
        found.record["results"],
    )
    assert sx.plan_survey(model, folder, **ASKED).passes.as_dict() == found.record["passes"]


def test_stopping_while_it_learns_leaves_chance_as_it_was(model, folder):
    before = torch.get_rng_state()
    steps = sx.survey_steps(model, folder, **ASKED)
    for step in steps:
        if "learning a language" in step.note:
            break
    steps.close()
    assert torch.equal(before, torch.get_rng_state())


def test_too_few_cases_have_words_and_no_numbers(model, folder, tmp_path):
    for k in range(8):
        array = np.asarray(Picture.open(folder / f"c{k:02}.png")) if k < 4 else np.full((32, 32), 9, np.uint8)
        Picture.fromarray(array).save(tmp_path / f"c{k}.png")
    got = sx.survey(model, tmp_path, **ASKED)
    assert (got.table, got.charts) == ([], ())
    assert "drawn in cases of 4 subjects, too few" in got.sentence
    assert got.sentence.endswith("it takes 8.")
    (tmp_path / "c7.png").unlink()
    with pytest.raises(
        sx.UserError, match=r"emergent-language needs 8 cases of different subjects, and .* holds 7"
    ):
        sx.survey(model, tmp_path, **ASKED)


def test_what_is_smaller_than_a_cell_is_still_something():
    mask = torch.zeros(300, 200, dtype=torch.bool)
    mask[150:152, 80:82] = True
    found = coarse(mask, (28, 28))
    assert 1 <= found.sum() <= 4
    assert found[14, 11]
    mask[:, :100] = True
    assert coarse(mask, (28, 28)).float().mean() == pytest.approx(0.5, abs=0.02)


def test_information_of_what_is_known():
    same = ["a", "b"] * 8
    assert mutual_information(same, same) == pytest.approx(1)
    assert mutual_information(same, ["a"] * 16) == 0
    assert mutual_information(["a", "a", "b", "b"], [0, 1, 0, 1]) == pytest.approx(0)
    assert entropy(np.array([1, 1, 2])) == pytest.approx(1.5)
    chance = shuffled_information(same, same, np.random.default_rng(0), 50)
    assert chance.shape == (50,)
    assert 0 < chance.mean() < 0.3
