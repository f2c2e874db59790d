"""Gradients that are written out are those of autograd."""

from __future__ import annotations

import pytest
import torch

from napari_segxai.engine.primitives.regularizers import SizeAndVariation, mix, sorted_distance, sum_of_ratios


def plain(mask, size, variation, beta):
    total = size * mask.abs().mean()
    for axis in range(2, mask.ndim):
        if mask.shape[axis] > 1:
            total = total + variation * mask.diff(dim=axis).abs().pow(beta).mean()
    return total


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (4, 3, 5)])
@pytest.mark.parametrize(("size", "variation", "beta"), [(0.3, 0.7, 2.0), (0.01, 0.5, 3.0), (1.0, 0.0, 2.0)])
def test_size_and_variation(shape, size, variation, beta):
    torch.manual_seed(0)
    mask = torch.rand(1, 1, *shape, dtype=torch.float64)
    penalty = SizeAndVariation(mask, size, variation, beta)
    mask.sub_(0.3)
    value, own = penalty()
    mask.requires_grad_()
    want = plain(mask, size, variation, beta)
    torch.testing.assert_close(value, want.detach())
    [other] = torch.autograd.grad(want, [mask])
    torch.testing.assert_close(own, other)
    _, gradient = SizeAndVariation(torch.zeros(1, 1, *shape), size, variation, beta)()
    assert not gradient.any()  # nothing pulls a removed pixel below zero


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("grid", [(5, 6), (3, 4, 5)])
def test_mix(channels, wide, grid):
    torch.manual_seed(0)
    image = torch.rand(1, channels, *grid, dtype=torch.float64)
    baseline = torch.rand(1, channels, *(grid if wide else (1,) * len(grid)), dtype=torch.float64)
    mask = torch.rand(2, 1, *grid, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(
        mix(baseline, image, mask, lambda: image - baseline), torch.lerp(baseline, image, mask)
    )
    assert torch.autograd.gradcheck(lambda m: mix(baseline, image, m, lambda: image - baseline), mask)
    torch.testing.assert_close(
        mix(baseline, image, torch.ones_like(mask), lambda: image - baseline), image.expand(2, -1, *grid)
    )


def test_sum_of_ratios():
    torch.manual_seed(0)
    values = torch.rand(3, 7, dtype=torch.float64).requires_grad_()
    rows, parts = torch.rand(3, 7, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    offsets = torch.rand(4, dtype=torch.float64) + 1
    weights = torch.tensor([2.0, 0.5], dtype=torch.float64)
    sums = values @ rows.T @ parts + offsets
    want = (weights * sums[:, :2] / sums[:, 2:]).sum()
    torch.testing.assert_close(sum_of_ratios(values, rows, parts, offsets, weights), want)
    assert torch.autograd.gradcheck(lambda v: sum_of_ratios(v, rows, parts, offsets, weights), values)


def test_sorted_distance():
    mask = torch.rand(
        1, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True
    )
    wanted = torch.zeros(12, dtype=torch.float64)
    wanted[8:] = 1
    want = 0.7 * (mask.flatten().sort()[0] - wanted).square().mean()
    value, gradient = sorted_distance(mask.detach(), wanted, 0.7)
    torch.testing.assert_close(value, want.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(want, mask)[0])
