"""Values of a truth that mark what nobody has labelled: named by the card, and left out of everything that is compared with the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, planted_image, planted_model
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort.jobs.objects import Seen, object_rows
from napari_segxai.cli.app import app
from napari_segxai.models.ground_truth import ignored_by, truth_labels, truth_of

IMAGE = planted_image()
UNKNOWN = (slice(2, 12), slice(18, 28))
"""Holds the patch, which the network draws beside the object."""


def model(**fields) -> sx.SegmentationModel:
    return sx.load_model(planted_model(), card={"ignored_values": [255], **fields})


def truth() -> np.ndarray:
    """The object is true; nobody has looked at the patch."""
    values = np.zeros((32, 32), np.uint8)
    values[OBJECT] = 1
    values[UNKNOWN] = 255
    return values


def test_it_is_no_label_and_said():
    known = model()
    mask, notes = truth_of(truth(), IMAGE, known, 1)
    np.testing.assert_array_equal(mask, truth() == 1)
    assert notes == [
        "10% of planted has the value 255 in the truth, which is no label: it is left out of what is compared with the truth."
    ]
    np.testing.assert_array_equal(truth_labels(truth(), IMAGE, known)[0], truth() == 1)
    np.testing.assert_array_equal(ignored_by(truth(), IMAGE, known), truth() == 255)
    np.testing.assert_array_equal(ignored_by({"object": truth()}, IMAGE, known), truth() == 255)
    np.testing.assert_array_equal(truth_labels({"object": truth()}, IMAGE, known)[0], truth() == 1)
    assert ignored_by(truth() == 1, IMAGE, known) is None
    assert ignored_by(np.zeros((32, 32), np.uint8), IMAGE, known) is None


def test_a_black_and_white_mask_stays_one():
    """Where there is nothing but 0 and 255, all of the truth would be unknown."""
    white = np.where(truth() == 1, 255, 0)
    np.testing.assert_array_equal(truth_of(white, IMAGE, model(), 1)[0], truth() == 1)
    assert ignored_by(white, IMAGE, model()) is None


def test_without_the_key_the_sentence_says_how_to_name_it():
    with pytest.raises(
        sx.UserError, match=r"if 255 marks what nobody has labelled.*--card '\{ignored_values: \[255\]\}'"
    ):
        truth_of(truth(), IMAGE, planted_model(), 1)
    with pytest.raises(sx.UserError, match="ignored_values names 1, which is 'object'"):
        model(ignored_values=[1])


def test_card_in_braces_is_one_on_the_command_line_and_in_python():
    assert sx.load_model("triangle", card="{ignored_values: [255]}").card.ignored_values == (255,)
    said = CliRunner().invoke(app, ["layers", "--model", "triangle", "--card", "{ignored_values: [0]}"])
    assert said.exit_code
    with pytest.raises(sx.UserError, match="is no value"):
        sx.load_model("triangle", card="{ignored_values: [")


def test_errors_leave_it_out():
    everything = sx.load_model(LinearHead(), card=card(ignored_values=[255]))
    with torch.no_grad():  # the object everywhere
        everything.module.head.weight.zero_()
        everything.module.head.bias.copy_(torch.tensor([0.0, 1.0]))
    values = truth()
    found = sx.error_components(everything, IMAGE, "object", values, error="false-positive")
    wrong = sum(one.mask for one in found)
    np.testing.assert_array_equal(wrong > 0, values == 0)
    assert "left out" in " ".join(found.notes)
    missed = values.copy()
    missed[0:2, 0:2] = 1
    for one in sx.error_components(everything, IMAGE, "object", missed):
        assert not (one.mask & (missed == 255)).any()


def test_numbers_of_a_case_leave_it_out():
    known = model()
    drawn = np.zeros((32, 32), np.uint8)
    drawn[OBJECT] = drawn[PATCH] = 1
    seen = Seen(drawn, {}, {}, {})
    [row], _ = object_rows(known, IMAGE, ["object"], sx.Image(truth()), seen)
    assert row["truth_dice"] == 1
    assert row["truth_false_positives"] == 0
    assert row["size_px"] == 100 + 36  # which is not about the truth
    plain = np.where(truth() == 255, 0, truth())
    [row], _ = object_rows(known, IMAGE, ["object"], sx.Image(plain), seen)
    assert row["truth_false_positives"] == 1


def test_metrics_that_need_the_truth_leave_it_out_and_files_keep_it(tmp_path):
    """As if map, prediction and truth were empty there; other metrics see the whole map."""
    map = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    map[UNKNOWN] += 4  # what is left out would count for most
    names = [
        one["name"] for one in sx.list_metrics() if "truth" in one["needs"] and "network" not in one["needs"]
    ]
    assert len(names) > 3
    found = sx.compare(
        model(), IMAGE, "object", maps={"map": map}, truth=truth(), metrics=[*names, "dice-explained"]
    )
    empty = np.where(truth() == 255, 0, map)
    plain = np.where(truth() == 255, 0, truth())
    wanted = sx.compare(planted_model(), IMAGE, "object", maps={"map": empty}, truth=plain, metrics=names)
    whole = sx.compare(
        planted_model(), IMAGE, "object", maps={"map": map}, truth=plain, metrics=[*names, "dice-explained"]
    )

    def values(comparison: sx.Comparison) -> dict[str, float]:
        return {row["metric"]: row["value"] for row in comparison.rows}

    assert {name: values(found)[name] for name in names} == values(wanted)
    assert any(values(whole)[name] != values(found)[name] for name in names)
    assert values(whole)["dice-explained"] == values(found)["dice-explained"]
    found.save(tmp_path / "out")
    again = sx.load_comparison(tmp_path / "out")
    np.testing.assert_array_equal(again.ignored, truth() == 255)
    np.testing.assert_array_equal(again.truth, truth() == 1)


def test_a_flow_leaves_it_out():
    network = sx.load_model(LinearHead(), card=card(ignored_values=[255], grid={"size": [32, 32]}))
    half = np.zeros((32, 32), np.uint8)
    half[:, :16] = 1
    half[16:] = 255
    flow = sx.information_flow(network, IMAGE, ["object"], layers=["features.0"], truth=half, region="image")
    tile = flow.tiles["object", "features.0"]
    drawn = (tile.map >= tile.map.max() / 2) & (tile.map > 0)
    inside = drawn[:16], half[:16] == 1
    assert tile.dice_truth == pytest.approx(
        2 * (inside[0] & inside[1]).sum() / (inside[0].sum() + inside[1].sum()), abs=1e-5
    )
