"""Histograms that grow: quantiles, areas, overlaps and AUC of many units, whatever comes later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_segxai.metrics.functional.histograms import Cells, Histograms


def filled(values: torch.Tensor, groups: torch.Tensor, parts: int) -> Histograms:
    found = Histograms(len(values), len(groups))
    for some, own in zip(values.chunk(parts, 1), groups.chunk(parts, 1), strict=True):
        found.add(some, [Cells.of(one) for one in own])
    return found


@pytest.fixture(scope="module")
def drawn():
    """Four units whose values come in an order that widens their range again and again, and a group of cells."""
    rng = np.random.default_rng(0)
    values = torch.from_numpy(
        np.stack(
            [
                rng.normal(5, 2, 4000),
                np.sort(rng.exponential(1, 4000)),
                -np.arange(4000.0),
                np.full(4000, 3.0),
            ]
        )
    )
    group = torch.from_numpy(rng.random(4000) < 0.1).double()
    return values, torch.stack([torch.ones(4000, dtype=torch.float64), group])


def test_quantiles_areas_and_overlaps_are_those_of_the_values(drawn):
    values, groups = drawn
    found = filled(values, groups, 7)
    inside = groups[1] > 0
    threshold = found.threshold(0.1)
    for unit in range(3):
        wanted = float(torch.quantile(values[unit], 0.9))
        spread = float(values[unit].max() - values[unit].min())
        assert abs(float(threshold[unit]) - wanted) < spread / 200
        above = values[unit] > threshold[unit]
        iou = float((above & inside).sum() / (above | inside).sum())
        assert abs(float(found.iou(1, threshold)[unit]) - iou) < 0.01
        pairs = (values[unit][inside][:, None] > values[unit][~inside][None]).double().mean()
        assert abs(float(found.auc(1)[unit]) - float(pairs)) < 0.005
    torch.testing.assert_close(
        found.above(threshold, 0)[:3], torch.full((3,), 400.0).double(), atol=1e-3, rtol=0
    )


def test_a_unit_that_never_changes_is_a_draw_by_chance(drawn):
    found = filled(*drawn, 7)
    share = float(drawn[1][1].mean())
    assert float(found.auc(1)[3]) == pytest.approx(0.5)
    by_chance = 0.1 * share / (0.1 + share - 0.1 * share)
    assert float(found.iou(1, found.threshold(0.1))[3]) == pytest.approx(by_chance, rel=1e-3)


def test_how_the_cells_are_cut_into_cases_changes_little(drawn):
    one, many = filled(*drawn, 1), filled(*drawn, 40)
    torch.testing.assert_close(one.auc(1), many.auc(1), atol=0.005, rtol=0)
    torch.testing.assert_close(one.total(1), many.total(1))
    assert one.counts.shape == many.counts.shape  # whatever comes, it grows no larger


def test_a_group_that_comes_later_and_an_empty_one():
    found = Histograms(1, 1)
    everywhere, high = Cells.of(torch.ones(10)), Cells.of((torch.arange(10) > 6).float())
    found.add(torch.arange(10.0)[None], [everywhere])
    found.add(torch.arange(10.0)[None], [everywhere, high, None, 0])
    torch.testing.assert_close(found.total(3), found.total(0) / 2)  # the same cells, of the second case alone
    assert float(found.total(1)[0]) == 3
    assert float(found.auc(1)[0]) > 0.8
    assert torch.isnan(found.auc(2)).all()
    assert torch.isnan(found.iou(2, found.threshold(0.1))).all()
