"""The ledger of a relevance pass: what starts at the logits arrives at the input or is absorbed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MOST_ON_BIASES = 0.8
"""Share of the relevance on biases above which a map is not to be believed without more ado."""

CLOSES = 1e-5
"""Gap, as a share of what started, up to which a ledger closes."""

MUCH = 0.05
"""Share of the relevance that a rule could not place from which it is told."""

FEW = 1e-6
"""Share of what started that an operation without a rule may lose before it is named."""


class Account:
    """A sum in double precision that waits for the device only when it is read."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Add the sum of `values`."""
        self._total = self._total + _rows(values).sum(dtype=torch.float64)

    def add_weighted(self, values: Tensor, weights: Tensor) -> None:
        """Add the sum of `values` times `weights`, which are broadcast to them: what many values share is multiplied once."""
        shape = (*(1,) * (values.ndim - weights.ndim), *weights.shape)
        axes = [k for k, n in enumerate(shape) if n == 1]
        if values.ndim - 1 in axes:
            values = _rows(values).unsqueeze(-1)
        values = values.detach().double()
        self.add((values.sum(axes, keepdim=True) if axes else values) * weights)

    def __float__(self) -> float:
        return float(self._total)


def _rows(values: Tensor) -> Tensor:
    """Return the sums of rows: of all values a copy in double precision would take longer than the sum."""
    return values.detach().sum(-1) if values.ndim > 1 else values.detach()


@dataclass
class Ledger:
    """Where relevance stays during one pass, in the unit of the score.

    Attributes
    ----------
    start
        At the logits.
    input
        At the input.
    biases
        On biases, on what normalisations subtract and add, and on other constants: on no pixel.
    stabilizer
        On the epsilon of a rule, and where an output has no part of the sign that its rule asks for.
    before, behind
        By name of an operation without a rule: what left it towards the input, and what reached it from the logits.
    """

    start: Account = field(default_factory=Account)
    input: Account = field(default_factory=Account)
    biases: Account = field(default_factory=Account)
    stabilizer: Account = field(default_factory=Account)
    before: dict[str, Account] = field(default_factory=dict)
    behind: dict[str, Account] = field(default_factory=dict)

    def closed(self) -> Balance:
        """Return the sums as plain numbers."""
        names = sorted(self.behind)
        none = Account()
        return Balance(
            start=float(self.start),
            input=float(self.input),
            biases=float(self.biases),
            stabilizer=float(self.stabilizer),
            unknown={name: (float(self.behind[name]), float(self.before.get(name, none))) for name in names},
        )


@dataclass(frozen=True)
class Balance:
    """A ledger after its pass: start = input + biases + stabilizer + what operations without a rule lost + gap.

    Attributes
    ----------
    start, input, biases, stabilizer
        See `Ledger`.
    unknown
        By name of an operation without a rule: what reached it, and what left it.
    """

    start: float
    input: float
    biases: float
    stabilizer: float
    unknown: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def share(self, amount: float) -> float:
        """Return an amount as a share of what started; NaN where nothing did."""
        return amount / self.start if self.start else float("nan")

    @property
    def lost(self) -> float:
        """What operations without a rule received and did not pass on."""
        return sum(reached - left for reached, left in self.unknown.values())

    @property
    def gap(self) -> float:
        """What is not accounted for, as a share of what started, without sign."""
        missing = self.start - self.input - self.biases - self.stabilizer - self.lost
        return abs(self.share(missing)) if missing else 0.0

    def numbers(self) -> dict[str, Any]:
        """Return what a finding tells of it."""
        return {
            "start": self.start,
            "input": self.input,
            "biases": self.biases,
            "stabilizer": self.stabilizer,
            "lost_in_unknown": self.lost,
            "gap": self.gap,
            "share_of_input": self.share(self.input),
            "share_of_biases": self.share(self.biases),
        }

    def warnings(self) -> list[str]:
        """Return what a user should know before believing the relevances."""
        said = []
        if not self.start:
            return ["no relevance starts: the logits are 0 or the score does not depend on them."]
        if self.share(self.biases) > MOST_ON_BIASES:
            said.append(
                f"{self.share(self.biases):.0%} of the relevance rests on biases and other constants of the network, on no "
                "pixel: the map explains the rest alone."
            )
        elif self.share(self.biases) < -MOST_ON_BIASES:
            said.append(
                f"the map adds up to {self.share(self.input):.0%} of the score, since biases and other constants of the network speak "
                f"against it with {-self.share(self.biases):.0%}: how large the score is hangs on them as well."
            )
        if abs(self.share(self.stabilizer)) > MUCH:
            said.append(
                f"{self.share(self.stabilizer):.0%} of the relevance stays where the rule finds no part of the sign that it asks for "
                "(logits below 0, say), or with its epsilon; compare with rule alpha-beta or a smaller epsilon."
            )
        named = {
            name: (self.share(reached), self.share(reached - left))
            for name, (reached, left) in self.unknown.items()
            if abs(self.share(reached)) > FEW or abs(self.share(reached - left)) > FEW
        }
        said += [
            f"{name} has no rule: its plain gradient was used; {reached:.2%} of the relevance passed through it, of which "
            f"{lost:.2%} of the whole was lost."
            for name, (reached, lost) in named.items()
        ]
        if not self.gap <= CLOSES:
            said.append(
                f"{100 * self.gap:.2g}% of the relevance is not accounted for: the network computes with something that cannot be seen, "
                "or its parts cancel beyond the digits of a float."
            )
        return said


def summed(balances: Sequence[Balance]) -> Balance:
    """Return one balance of several passes whose relevances add up."""
    unknown: dict[str, tuple[float, float]] = {}
    for one in balances:
        for name, (reached, left) in one.unknown.items():
            before = unknown.get(name, (0.0, 0.0))
            unknown[name] = before[0] + reached, before[1] + left
    return Balance(
        start=sum(one.start for one in balances),
        input=sum(one.input for one in balances),
        biases=sum(one.biases for one in balances),
        stabilizer=sum(one.stabilizer for one in balances),
        unknown=unknown,
    )
