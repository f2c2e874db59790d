"""What the difference of two halves of the samples says of the error that is left."""

from __future__ import annotations

import pytest
import torch

from napari_segxai.engine.masking.sampling_error import SplitHalfMean


def test_the_error_is_half_the_distance_of_the_halves_as_a_share_of_the_range():
    found = SplitHalfMean((2,), torch.device("cpu"), fewest=4)
    found.add(torch.tensor([4.0, 40.0]), 4)  # means 1 and 10
    assert found.error() is None  # the other half has no samples yet
    found.add(torch.tensor([12.0, 56.0]), 4)  # means 3 and 14
    assert (found.done, found.total.tolist()) == (8, [16.0, 96.0])
    distance = ((2**2 + 4**2) / 2) ** 0.5
    assert found.error() == pytest.approx(distance / 2 / (12 - 2))  # the mean map goes from 2 to 12
    assert found.below(found.error() * 1.01)
    assert not found.below(found.error())
    assert not found.below(None)
    assert SplitHalfMean((2,), torch.device("cpu"), several=False).error() is None


def test_it_is_the_standard_error_of_the_mean():
    torch.manual_seed(0)
    samples = torch.randn(400, 3000)
    samples[:, 0], samples[:, 1] = -5, 5  # so that the range is known
    found = SplitHalfMean((3000,), torch.device("cpu"))
    for part in samples.split(50):
        found.add(part.sum(0), len(part))
    assert found.error() == pytest.approx(400**-0.5 / 10, rel=0.05)
