"""Rules for what multiplies with weights and adds a bias: convolutions, linear layers, normalisations with fixed statistics.

With G = R / x, relevance per unit of activation, a layer y = W x + b passes on

    epsilon      G_in = W' q,                              q = y G / (y + e sign y)
    z-plus       G_in = W+' q where x >= 0, W-' q elsewhere,   q = y G / z,  z = W+ x+ + W- x- + b+
    alpha-beta   alpha times z-plus of the positive parts minus beta times the same of the negative ones
    flat         R_in: every value that an output sees gets the same share, whatever its weight

(Bach et al. 2015; Montavon et al. 2017 and 2019). What b, or its part in z, takes is booked as absorbed by biases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from napari_segxai.engine.relevance.functions import Books, overwritable
from napari_segxai.engine.relevance.ledger import Account

Rule = Literal["epsilon", "z-plus", "alpha-beta", "composite"]
"""`composite`: flat in the first layer, z-plus in convolutions and their normalisations, epsilon in linear layers."""

TINY = 1e-30


@dataclass(frozen=True)
class Rules:
    """Which rules hold in a pass.

    Attributes
    ----------
    rule
        Of layers with weights.
    epsilon
        Of the rule epsilon, as a share of the mean absolute output of each layer.
    alpha
        Of alpha-beta; beta is alpha - 1.
    """

    rule: Rule = "composite"
    epsilon: float = 1e-6
    alpha: float = 2.0

    @property
    def flat(self) -> bool:
        """Whether the first layer spreads relevance evenly over what it sees."""
        return self.rule == "composite"

    def of(self, kind: str) -> str:
        """Return the rule of a layer of kind "kernel" or "plain"."""
        if self.rule == "composite":
            return "z-plus" if kind == "kernel" else "epsilon"
        return self.rule


@dataclass(frozen=True)
class Weighted:
    """y = product(x, weight) + bias, where product is linear in both.

    Attributes
    ----------
    product
        (x, weight) -> y without bias.
    weight
        Its weights.
    bias
        Broadcast to y; None for none.
    kind
        "kernel" or "plain"; see `Rules.of`.
    per_output
        One factor per output channel -> the same, shaped to scale `weight`; None where that cannot be.
    """

    product: Callable[[Tensor, Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None
    kind: str
    per_output: Callable[[Tensor], Tensor] | None = None

    def scaled(self, scale: Tensor, shift: Tensor) -> Weighted:
        """Return this layer with a normalisation behind it: (channels,) each, for outputs (N, channels, *grid)."""
        assert self.per_output is not None
        channels = (1, -1, *(1,) * (self.weight.ndim - 2))
        bias = shift.view(channels)
        if self.bias is not None:
            bias = bias + self.bias * scale.view(channels)
        return replace(self, weight=self.weight * self.per_output(scale), bias=bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        y = self.product(x, self.weight)
        return y if self.bias is None else y + self.bias


def propagate_epsilon(y: Tensor, layer: Weighted, rules: Rules, books: Books) -> Tensor:
    """Return y, computed by the layer itself, behind which q takes the place of G."""
    return _Epsilon.apply(y, layer.bias, rules.epsilon, books)


class _Epsilon(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor | None, epsilon: float, books: Books) -> Tensor:
        ctx.value = y.detach() if epsilon else None
        ctx.bias, ctx.epsilon, ctx.books = bias, epsilon, books
        return y.clone()  # which a network may go on to overwrite

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (g,) = gradients
        ledger, q = ctx.books(), g
        if ctx.epsilon:
            size = ctx.value.abs()
            e = ctx.epsilon * size.mean()
            q = g * (size / (size + e).clamp(min=TINY))
            ledger.stabilizer.add(e * ctx.value.sign() * q)
        if ctx.bias is not None:
            ledger.biases.add_weighted(q, ctx.bias)
        return q, None, None, None


class _Kept:
    """What a rule that needs the layer again keeps of its call."""

    def __init__(self, value: Tensor, layer: Weighted, books: Books):
        self.value, self.version = value.detach(), value._version
        self.layer, self.books = layer, books

    def output(self, x: Tensor) -> Tensor:
        """Return what the layer made of x; again where the network has overwritten it, as ReLUs in place do."""
        return self.value if self.value._version == self.version else self.layer(x)


def propagate_parts(x: Tensor, value: Tensor, layer: Weighted, rules: Rules, books: Books) -> Tensor:
    """Return y = `value` with the rule z-plus or alpha-beta behind it."""
    return _Parts.apply(x, [value], layer, rules, books)


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, value: list[Tensor], layer: Weighted, rules: Rules, books: Books
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kept, ctx.rules = _Kept(value[0], layer, books), rules
        return overwritable(value[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (g,) = gradients
        (x,) = ctx.saved_tensors
        layer, ledger = ctx.kept.layer, ctx.kept.books()
        relevance = ctx.kept.output(x) * g
        signs = _Signs(x)
        plus = _Share(layer, signs, 1)
        if ctx.rules.of(layer.kind) == "z-plus":
            if plus.none is not None:
                ledger.stabilizer.add(relevance * plus.none)
            return plus.back(relevance, ledger.biases), None, None, None, None
        minus = _Share(layer, signs, -1)
        alpha = ctx.rules.alpha
        of_plus, of_minus = relevance * alpha, relevance * (1 - alpha)
        if minus.none is not None:  # where all parts have one sign, they get all
            of_plus = torch.where(minus.none, relevance, of_plus)
        if plus.none is not None:
            of_minus = torch.where(plus.none, relevance, of_minus)
        if plus.none is not None and minus.none is not None:
            ledger.stabilizer.add(relevance * (plus.none & minus.none))
        g_in = plus.back(of_plus, ledger.biases)
        return g_in.add_(minus.back(of_minus, ledger.biases)), None, None, None, None


class _Signs:
    """The parts of an input above and below 0; the latter None where there are none."""

    def __init__(self, x: Tensor):
        self.x = x
        self.negative = bool(x.amin() < 0)
        self.high = x.clamp(min=0) if self.negative else x
        self.low = x.clamp(max=0) if self.negative else None


class _Share:
    """The parts of a layer's outputs of one sign: z = W+ x+ + W- x- + b+, or z = W- x+ + W+ x- + b-.

    Attributes
    ----------
    none
        Where an output has no such part; None where all have one.
    """

    def __init__(self, layer: Weighted, signs: _Signs, sign: int):
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        up, down = (up, down) if sign > 0 else (down, up)
        self.signs = signs
        with torch.enable_grad():
            self.high = signs.high.detach().requires_grad_()
            self.of_high = layer.product(self.high, up)
            if signs.low is not None:
                self.low = signs.low.detach().requires_grad_()
                self.of_low = layer.product(self.low, down)
        self.z = self.of_high.detach()
        if signs.low is not None:
            self.z = self.z + self.of_low.detach()
        self.bias = None
        if layer.bias is not None:
            self.bias = layer.bias.clamp(min=0) if sign > 0 else layer.bias.clamp(max=0)
            self.z = self.z + self.bias
        all_have = bool(self.z.amin() > TINY if sign > 0 else self.z.amax() < -TINY)
        self.none = None if all_have else (self.z <= TINY if sign > 0 else self.z >= -TINY)

    def back(self, relevance: Tensor, biases: Account) -> Tensor:
        """Return G at the layer's input from R at its output."""
        z = self.z if self.none is None else self.z.masked_fill(self.none, torch.inf)
        q = relevance / z
        if self.bias is not None:
            biases.add_weighted(q, self.bias)
        (g,) = torch.autograd.grad(self.of_high, self.high, q)
        if self.signs.low is not None:
            (low,) = torch.autograd.grad(self.of_low, self.low, q)
            g = torch.where(self.signs.x >= 0, g, low)
        return g


def propagate_flat(x: Tensor, value: Tensor, layer: Weighted, inside: Tensor, books: Books) -> Tensor:
    """Return y = `value`, behind which R itself, not G, is spread evenly over what each output sees.

    Parameters
    ----------
    inside
        Of the shape of x: 1 where x holds a value of the image, 0 in what was padded.
    """
    return _Flat.apply(x, [value], layer, inside, books)


class _Flat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, value: list[Tensor], layer: Weighted, inside: Tensor, books: Books
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kept, ctx.inside = _Kept(value[0], layer, books), inside
        return overwritable(value[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (g,) = gradients
        (x,) = ctx.saved_tensors
        relevance = ctx.kept.output(x) * g
        layer = ctx.kept.layer
        with torch.enable_grad():
            seen = ctx.inside.detach().clone().requires_grad_()
            count = layer.product(seen, torch.ones_like(layer.weight))
        z = count.detach()
        none = z < 0.5
        if bool(none.any()):
            ctx.kept.books().stabilizer.add(relevance * none)
            z = z.masked_fill(none, torch.inf)
        (spread,) = torch.autograd.grad(count, seen, relevance / z)
        return spread * ctx.inside, None, None, None, None
