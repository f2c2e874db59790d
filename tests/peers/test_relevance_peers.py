"""Relevance beside zennit: what the rules z-plus and alpha-beta make of networks of convolutions with batch normalisation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import SUBJECTS, CheckContext, pearson

SAME = 0.9999
NETWORKS = ("trained U-Net", "random U-Net", "random 3D U-Net")
"""Of convolutions, transposed ones, max pooling and concatenation: for what zennit passes on in its own way, see docs/peers.md."""


def theirs(context: CheckContext, rule: str) -> np.ndarray:
    """The relevance of the input, summed over its channels: (*grid)."""
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite
    from zennit.rules import AlphaBeta, Pass, ZPlus
    from zennit.types import Activation, Convolution

    kinds = {"z-plus": ZPlus(stabilizer=1e-12), "alpha-beta": AlphaBeta(2.0, 1.0, stabilizer=1e-12)}
    composite = LayerMapComposite(
        [(Activation, Pass()), (Convolution, kinds[rule])], canonizers=[SequentialMergeBatchNorm()]
    )
    module = copy.deepcopy(context.module).requires_grad_(True)
    with torch.enable_grad(), Gradient(module, composite) as attributor:

        def begins(logits: torch.Tensor) -> torch.Tensor:
            leaf = logits.detach().requires_grad_()
            (g,) = torch.autograd.grad(context.target("sum")(leaf[0]), leaf)
            return leaf.detach() * g

        _, relevance = attributor(context.tensor.detach().clone(), begins)
    return relevance.sum(1)[0].detach().numpy()


@pytest.mark.parametrize("rule", ["z-plus", "alpha-beta"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_relevance_as_zennit(name, rule):
    context = SUBJECTS[name]()
    ours, expected = context.ours("lrp", rule=rule), theirs(context, rule)
    assert pearson(ours, expected) > SAME
    assert np.abs(ours - expected).max() < 1e-3 * np.abs(expected).max()
