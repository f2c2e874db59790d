"""One Dice and one rank correlation for tensors and arrays, for scores and maps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import napari_segxai
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.engine.scores import dice
from napari_segxai.metrics.functional.similarity import dice_of_arrays, partial_correlation


@pytest.mark.parametrize("levels", [3, 50])
def test_rank_correlation_is_spearmans(levels):
    random = np.random.default_rng(0)
    a, b = random.integers(0, levels, 40), random.integers(0, levels, 40) + np.arange(40) // 8
    wanted = pytest.approx(stats.spearmanr(a, b).statistic)
    assert rank_correlation(torch.tensor(a, dtype=torch.float32), torch.tensor(b), rounding=0) == wanted
    assert rank_correlation(a.reshape(5, 8), b.reshape(5, 8)) == wanted
    assert rank_correlation(torch.ones(5), torch.arange(5.0), rounding=0) is None
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None


def test_scores_are_ranked_by_all_their_digits_and_maps_by_those_that_mean_something():
    a, b = 1 + np.arange(5) * 1e-9, np.arange(5.0)
    assert rank_correlation(a, b, rounding=0) == pytest.approx(1)
    assert rank_correlation(a, b) is None


def test_a_partial_correlation_is_that_of_what_the_control_does_not_explain():
    """The ranks of both maps, each less its best linear guess from the ranks of the control."""
    random = np.random.default_rng(2)
    control = random.normal(size=(9, 11))
    one, other = control + random.normal(size=(9, 11)), random.normal(size=(9, 11)) - 0.5 * control
    c = stats.rankdata(control)
    left = [
        stats.rankdata(map) - np.polyval(np.polyfit(c, stats.rankdata(map), 1), c) for map in (one, other)
    ]
    wanted = stats.pearsonr(*left).statistic
    assert partial_correlation(one, other, control) == pytest.approx(wanted, abs=1e-3)  # maps are rounded
    assert partial_correlation(one, other, control) != pytest.approx(rank_correlation(one, other), abs=0.1)
    for none in (None, np.ones((9, 11))):
        assert partial_correlation(one, other, none) == rank_correlation(one, other)
    assert partial_correlation(control, other, control) == 0
    assert partial_correlation(np.ones((9, 11)), other, control) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_dice_of_arrays_has_all_its_digits(share):
    random = np.random.default_rng(1)
    a, b = random.random((2, 37, 41)) < share
    both, size = int((a & b).sum()), int(a.sum()) + int(b.sum())
    wanted = 2 * both / size if size else 0.0
    assert dice_of_arrays(a, b) == wanted
    assert dice_of_arrays(a[::-1].T, b[::-1].T) == wanted
    found = dice(torch.from_numpy(np.stack([a, b])), torch.from_numpy(b))
    assert found.dtype == torch.float32
    assert found.tolist() == [np.float32(wanted), np.float32(share > 0)]


def test_each_is_written_once():
    found = []
    for path in Path(napari_segxai.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if not re.search(r"\bdice\b|rank_correlation|spearman|scipy", text):
            continue
        tree = ast.parse(text)
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        found += [
            name for name in names if name == "dice" or "rank_correlation" in name or "spearman" in name
        ]
        found += [
            node.id if isinstance(node, ast.Name) else getattr(node, "attr", None) or node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute | ast.alias)
            and re.search(
                "spearman|kendall", ast.unparse(node) if not isinstance(node, ast.alias) else node.name
            )
        ]
    # The second is the same for many weightings at once.
    assert sorted(found) == ["dice", "rank_correlation", "rank_correlations"]
