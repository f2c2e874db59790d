"""Metrics with parameters of their own, and what stands beside them in the table of maps."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import card, planted_image, planted_model
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.analyses.cohort.jobs.measured import by_options, read_metrics


def test_metrics_are_read():
    found = read_metrics(
        ["dice-explained", "dice-explained:binarize=.05", "dice-explained:binarize=0.050", "ips:binarize=0.1"]
    )
    assert [one.name for one in found] == ["dice-explained", "dice-explained:binarize=0.05", "ips"]
    assert [(options, len(some)) for options, some in by_options(found)] == [({}, 2), ({"binarize": 0.05}, 1)]
    for spec, words in (
        ("dice-explained:binarize", "write its parameters as in"),
        ("dice-explained:binarise=1", "did you mean 'binarize'"),
        ("dice-explained:binarize=2", "0 or more and 1 or less"),
        ("nothing", "metric 'nothing'"),
    ):
        with pytest.raises(sx.UserError, match=words):
            read_metrics([spec])


def test_thresholds_stand_beside_each_other(tmp_path):
    values = (planted_image().array * 255).astype(np.uint8)
    (tmp_path / "data").mkdir()
    Picture.fromarray(values).save(tmp_path / "data" / "a.png")
    model = sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))
    metrics = ["dice-explained:binarize=0.5", "saliency-ratio", "saliency-ratio:binarize=0.5"]
    found = sx.run_cohort(
        model, tmp_path / "data", ["object"], ["vanilla-gradient"], out=tmp_path / "out", metrics=metrics
    )
    (row,) = found.maps
    assert found.record["metrics"] == metrics
    image = sx.read_image(tmp_path / "data" / "a.png")
    for level in (0.1, 0.5):
        names = ["dice-explained", "saliency-ratio"]
        alone = sx.compare(
            model, image, "object", ["vanilla-gradient"], metrics=names, controls=0, binarize=level
        )
        dice, ratio = alone.rows
        assert row["saliency-ratio" + ":binarize=0.5" * (level == 0.5)] == ratio["value"]
    assert row["dice-explained:binarize=0.5"] == dice["value"]
    assert row["dice-explained:binarize=0.5 chance"] == dice["chance"]
    assert row["dice-explained:binarize=0.5 above chance"] == dice["above_chance"]
    assert row["empty"] is False
    assert (
        row["forward_passes"] == alone.explanations["vanilla-gradient"].record.passes["forward"]
    )  # explained once
