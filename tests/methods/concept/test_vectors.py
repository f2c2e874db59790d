"""Cells that are drawn while cases go by: as many as fit, and the same in whatever order the cases come."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from napari_segxai.methods.concept.parts.vectors import CellSample


def view(k: int) -> SimpleNamespace:
    inside = torch.ones(8, 8, dtype=torch.bool)
    inside[:, 6:] = False  # padding
    return SimpleNamespace(id=f"c{k}", subject=f"s{k // 2}", inside=inside)


def sample(order, **asked) -> CellSample:
    out = CellSample(0, **asked)
    for k in order:
        where = out.draw(view(k), (4, 4))
        values = torch.stack([where.float(), torch.full_like(where, k).float()])
        out.keep(view(k), values, place=where, even=torch.full_like(where, k % 2))
    return out


def test_what_is_drawn_depends_on_the_cases_and_not_on_their_order():
    one = sample(range(50), per_case=5, most=60).vectors()
    other = sample(reversed(range(50)), per_case=5, most=60).vectors()
    assert len(one) == 60
    np.testing.assert_array_equal(one.values, other.values)
    assert list(one.cases) == list(other.cases)
    assert len(set(one.cases)) > 30  # some of nearly all cases


def test_cells_keep_what_was_said_of_them_and_padding_is_left_out():
    found = sample(range(4), per_case=100).vectors()
    assert len(found) == 4 * 12  # three of four columns hold image
    np.testing.assert_array_equal(found.values[:, 0], found.facts["place"])
    assert not (found.facts["place"] % 4 == 3).any()
    assert [f"c{int(k)}" for k in found.values[:, 1]] == list(found.cases)
    np.testing.assert_array_equal(found.facts["even"], found.values[:, 1] % 2)
    part = found.only(found.subjects == "s1")
    assert set(part.cases) == {"c2", "c3"}
