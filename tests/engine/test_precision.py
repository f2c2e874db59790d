"""Half the digits where that changes no ranking, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import Delicate, card, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.engine.execution import mixed_precision
from napari_segxai.models.inference.device import exact, reads_tensor_float32

ENOUGH = mixed_precision.MIN_SAMPLES_FACTOR * mixed_precision.SAMPLES


@pytest.fixture(autouse=True)
def _the_device_computes_in_bfloat16(monkeypatch):
    """Every CPU can, if slowly."""
    monkeypatch.setattr(mixed_precision, "computes_bfloat16", lambda device: True)


def explained(model, **params):
    return sx.explain(model, planted_image(), "object", "rise", **params)


def test_half_the_digits_where_the_ranking_stays():
    rough = explained(planted_model(), masks=ENOUGH)
    exact = explained(planted_model(), masks=ENOUGH, precision="float32")
    assert rough.record.engine["precision"] == "bfloat16"
    assert rough.record.engine["rank_correlation_bfloat16"] >= mixed_precision.RANKING
    assert exact.record.engine["precision"] == "float32"
    assert "rank_correlation_bfloat16" not in exact.record.engine
    assert not np.array_equal(rough.map, exact.map)
    assert np.corrcoef(rough.map.ravel(), exact.map.ravel())[0, 1] > 0.999
    assert rough.map.dtype == exact.map.dtype == np.float32


def test_all_digits_where_the_ranking_would_change():
    model = sx.load_model(
        Delicate(), card=card(labels=["background", "object"], activation="sigmoid", grid={"size": [32, 32]})
    )
    careful = explained(model, masks=ENOUGH)
    assert careful.record.engine["precision"] == "float32"
    assert careful.record.engine["rank_correlation_bfloat16"] < mixed_precision.RANKING
    np.testing.assert_array_equal(careful.map, explained(model, masks=ENOUGH, precision="float32").map)


def test_too_few_passes_to_be_worth_the_check():
    few = explained(planted_model(), masks=ENOUGH - 1)
    assert few.record.engine["precision"] == "float32"
    assert "rank_correlation_bfloat16" not in few.record.engine


def test_a_precision_that_is_unknown():
    with pytest.raises(sx.UserError, match="precision 'half' is unknown; choose auto or float32"):
        explained(planted_model(), masks=4, precision="half")


def test_more_digits_where_those_of_bfloat16_are_too_few(monkeypatch):
    """On a CPU TensorFloat-32 is float32, and so ranks alike."""
    monkeypatch.setattr(mixed_precision, "number_formats", lambda device: ["bfloat16", "TensorFloat-32"])
    model = sx.load_model(
        Delicate(), card=card(labels=["background", "object"], activation="sigmoid", grid={"size": [32, 32]})
    )
    found = explained(model, masks=ENOUGH)
    assert found.record.engine["precision"] == "TensorFloat-32"
    assert found.record.engine["rank_correlation_bfloat16"] < mixed_precision.RANKING
    assert found.record.engine["rank_correlation_tensorfloat32"] == 1
    exact = explained(model, masks=ENOUGH, precision="float32")
    np.testing.assert_array_equal(found.map, exact.map)
    assert exact.record.engine["precision"] == "float32"


def test_gradient_descent_finds_its_way_in_fewer_digits(monkeypatch):
    seen = []
    original = mixed_precision.tensor_float32
    monkeypatch.setattr(mixed_precision, "number_formats", lambda device: ["TensorFloat-32"])
    monkeypatch.setattr(mixed_precision, "tensor_float32", lambda: seen.append(1) or original())
    asked = (planted_model(), planted_image(), "object", "misure")
    found = sx.explain(*asked, iterations=3)
    assert len(seen) == 3
    assert found.record.engine["precision"] == "TensorFloat-32"
    assert sx.explain(*asked, iterations=3, precision="float32").record.engine["precision"] == "float32"
    assert len(seen) == 3


def test_settings_of_torch_are_as_they_were_between_and_after_the_steps():
    def settings():
        return (
            torch.backends.cudnn.deterministic,
            reads_tensor_float32(),
            torch.backends.cuda.matmul.fp32_precision,
        )

    before = settings()
    assert not torch.backends.cudnn.deterministic
    for _ in sx.explain_steps(planted_model(), planted_image(), "object", "misure", iterations=3):
        assert settings() == before
    with exact():
        assert (torch.backends.cudnn.deterministic, reads_tensor_float32()) == (True, False)
    assert settings() == before
