"""Rank correlation, with ties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from napari_segxai.core.correlation import rank_correlation


@pytest.mark.parametrize("seed", [0, 1])
def test_rank_correlation_is_spearmans(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, (9, 8, 7)).astype(float)  # with ties
    b = a + rng.normal(0, 2, a.shape)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b, axis=None)[0], abs=1e-4)
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert rank_correlation(a, np.full(a.shape, 0.1) + rng.normal(0, 1e-9, a.shape)) is None
