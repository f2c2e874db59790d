"""Every analysis on the GPU finds what it finds on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.gpu import CUDA, correlation, needs_gpu, trained

import napari_segxai as sx

pytestmark = needs_gpu


def numbers(rows: list[dict]) -> np.ndarray:
    return np.array([[v for v in row.values() if isinstance(v, float)] for row in rows])


@pytest.mark.parametrize("name", ["triangle", "brain-extraction"])
def test_prediction(name):
    model, image, _ = trained(name)
    assert (model.predict(image, device="cpu") == model.predict(image, device=CUDA)).mean() > 0.999


def test_information_flow():
    model, image, label = trained("triangle")
    cpu, gpu = (sx.information_flow(model, image, [label], device=device) for device in ("cpu", CUDA))
    assert [row["layer"] for row in cpu.rows] == [row["layer"] for row in gpu.rows]
    np.testing.assert_allclose(numbers(gpu.rows), numbers(cpu.rows), rtol=2e-2, atol=2e-2)


def test_comparison():
    model, image, label = trained("triangle")
    asked = (model, image, label, ["seg-grad-cam", "vanilla-gradient"])
    metrics = ["deletion-probability", "insertion-probability"]
    cpu, gpu = (sx.compare(*asked, metrics=metrics, device=device) for device in ("cpu", CUDA))
    np.testing.assert_allclose(numbers(gpu.rows), numbers(cpu.rows), rtol=1e-2, atol=1e-2)


def test_every_metric_runs():
    model, image, label = trained("triangle")
    names = [metric["name"] for metric in sx.list_metrics()]
    truth = model.predict(image, device=CUDA) == model.label_index(label)
    found = sx.compare(model, image, label, ["seg-grad-cam"], metrics=names, truth=truth, device=CUDA)
    assert found.rows


def test_sweep():
    model, image, label = trained("triangle")
    cpu, gpu = (
        sx.sweep(model, image, label, "misure", {"iterations": [5, 10]}, device=device)
        for device in ("cpu", CUDA)
    )
    pairs = zip(cpu.comparison.explanations.values(), gpu.comparison.explanations.values(), strict=True)
    for one, other in pairs:
        assert correlation(one.map, other.map) > 0.95


def test_channel_importance():
    model, image, label = trained("triangle")
    cpu, gpu = (sx.channel_importance(model, image, label, device=device) for device in ("cpu", CUDA))
    np.testing.assert_allclose(numbers(gpu.rows), numbers(cpu.rows), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", [check["name"] for check in sx.list_checks()])
def test_checks(name):
    model, image, label = trained("triangle")
    explanation = sx.explain(model, image, label, "seg-grad-cam", device=CUDA)
    assert sx.check(explanation, model, checks=[name], device=CUDA)


def test_all_labels_at_once():
    model, image, _ = trained("brain-tissue")
    for method, params in (("rise", {"masks": 4}), ("misure", {"iterations": 2, "max_dilations": 1})):
        cpu, gpu = (
            sx.explain_all(
                model, image, list(model.labels[2:]), method, device=device, precision="float32", **params
            )
            for device in ("cpu", CUDA)
        )
        for one, other in zip(cpu, gpu, strict=True):
            assert correlation(one.map, other.map) > 0.95
