"""Counting passes, and the steps that a running method reports."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

BACKWARD_COST = 2
"""A backward pass costs about two forward passes."""


@dataclass
class Passes:
    """Forward and backward passes, counted per image of a batch.

    Attributes
    ----------
    forward, backward
        How many.
    """

    forward: int = 0
    backward: int = 0

    @property
    def cost(self) -> int:
        """In forward passes; a backward pass counts as two."""
        return self.forward + BACKWARD_COST * self.backward

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: int) -> Passes:
        return Passes(self.forward * times, self.backward * times)

    def __str__(self) -> str:
        parts = [f"{self.forward} forward"] if self.forward else []
        parts += [f"{self.backward} backward"] if self.backward else []
        return ", ".join(parts) or "no passes"


@dataclass(frozen=True)
class Step:
    """A report from a running method. Between two steps it can be stopped by closing the generator.

    Attributes
    ----------
    done, total
        Cost so far and cost expected, in forward passes.
    note
        What is going on, in words.
    partial
        Makes what can be shown of the result so far; None where nothing can.
    """

    done: int
    total: int
    note: str
    partial: Callable[[], Any] | None = None


Steps = Generator[Step, None, T]
