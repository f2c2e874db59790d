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


TINY = 1e-12


def all_to_what_is_there(relevance: torch.Tensor, parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Give all relevance of an output to its parts of one sign where it has none of the other; alpha is 2, beta 1."""
    positive, negative = sum(parts[:2]), sum(parts[2:])
    of_positive = torch.where(negative == 0, 0.5, 1.0) * relevance / (positive + TINY)
    of_negative = torch.where(positive == 0, -1.0, 1.0) * relevance / (negative - TINY)
    return [of_positive] * 2 + [of_negative] * 2


def theirs(context: CheckContext, rule: str, conserving: bool = False) -> np.ndarray:
    """The relevance of the input, summed over its channels: (*grid)."""
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite
    from zennit.rules import AlphaBeta, Pass, ZPlus
    from zennit.types import Activation, Convolution

    kinds = {"z-plus": ZPlus(stabilizer=TINY), "alpha-beta": AlphaBeta(2.0, 1.0, stabilizer=TINY)}
    own = kinds[rule]
    if conserving:
        own.gradient_mapper = all_to_what_is_there
    composite = LayerMapComposite(
        [(Activation, Pass()), (Convolution, own)], canonizers=[SequentialMergeBatchNorm()]
    )
    module = copy.deepcopy(context.module).requires_grad_(True)
    with torch.enable_grad(), Gradient(module, composite) as attributor:

        def begins(logits: torch.Tensor) -> torch.Tensor:
            leaf = logits.detach().requires_grad_()
            (g,) = torch.autograd.grad(context.target("sum")(leaf[0]), leaf)
            return leaf.detach() * g

        _, relevance = attributor(context.tensor.detach().clone(), begins)
    return relevance.sum(1)[0].detach().numpy()


def same(ours: np.ndarray, expected: np.ndarray) -> bool:
    return pearson(ours, expected) > SAME and np.abs(ours - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_z_plus_is_that_of_zennit(name):
    context = SUBJECTS[name]()
    assert same(context.ours("lrp", rule="z-plus"), theirs(context, "z-plus"))


@pytest.mark.parametrize("name", NETWORKS)
def test_alpha_beta_is_that_of_zennit_once_nothing_is_lost(name):
    """Where an output has parts of one sign alone, theirs gives these alpha or -beta times its relevance."""
    context = SUBJECTS[name]()
    ours = context.ours("lrp", rule="alpha-beta")
    assert not same(ours, theirs(context, "alpha-beta"))
    assert same(ours, theirs(context, "alpha-beta", conserving=True))
