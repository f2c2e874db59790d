"""How far a label is drawn, and the gradient of that."""

from __future__ import annotations

import pytest
import torch

from napari_segxai.models.labeling import Labeling


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("label", [0, 1])
def test_a_margin_is_the_logit_minus_the_largest_other_and_so_is_its_gradient(labels, label):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, labels, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    others = logits[:, [k for k in range(labels) if k != label]].amax(1)
    margin = lambda values: Labeling().margin(values, label)
    torch.testing.assert_close(margin(logits), logits[:, label] - others)
    assert torch.autograd.gradcheck(margin, logits)
    assert torch.autograd.gradgradcheck(lambda values: margin(values).square(), logits)
