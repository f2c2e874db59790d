"""The registry of trust checks: a check is added by adding one file to this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_segxai.core.options import Parameter, parameters
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.registry import Registry

if TYPE_CHECKING:
    from napari_segxai.checks.context import CheckContext, PassCounter


WORDS = {True: "pass", False: "warn", None: "undecided"}


@dataclass(frozen=True)
class Verdict:
    """What a check says of an explanation.

    Attributes
    ----------
    passed
        False is a warning; None where it cannot be decided, and the sentence says why.
    number
        What was measured; None where it is undefined.
    threshold
        What the number was held against.
    sentence
        In words, with the number: what it means for who reads the map.
    details
        Further numbers by name, e.g. one per network layer.
    check
        Name of the check.
    parameters
        Of the check, defaults included.
    passes
        Forward and backward passes that were run.
    seconds
        Wall-clock time.
    """

    passed: bool | None
    number: float | None
    threshold: float
    sentence: str
    details: Mapping[str, float] = field(default_factory=dict)
    check: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0

    @property
    def word(self) -> str:
        """Pass, warn or undecided."""
        return WORDS[self.passed]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain dicts and numbers, for the record."""
        return {
            "check": self.check,
            "passed": self.passed,
            "number": self.number,
            "threshold": self.threshold,
            "sentence": self.sentence,
            "details": dict(self.details),
            "parameters": dict(self.parameters),
            "passes": self.passes.as_dict(),
            "seconds": self.seconds,
        }


Run = Callable[["CheckContext", Any, "PassCounter"], Steps[Verdict]]
Cost = Callable[["CheckContext", Any], Passes]


@dataclass(frozen=True)
class Check:
    """A check as the registry knows it.

    Attributes
    ----------
    name
        Lower-case with hyphens.
    title
        For people.
    question
        What it asks, in one sentence.
    source
        The paper, or where the idea comes from.
    cost
        The passes that it needs, in words, with its parameters by name.
    options
        Dataclass of its parameters.
    run
        The generator that answers the question: (context, options, counter).
    passes
        The passes that it will need: (context, options) -> `Passes`; fewer where nothing can be decided.
    """

    name: str
    title: str
    question: str
    source: str
    cost: str
    options: type
    run: Run
    passes: Cost

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters, described."""
        return parameters(self.options)

    @property
    def doc(self) -> str:
        """What its file says of it."""
        return getattr(sys.modules.get(self.run.__module__), "__doc__", None) or self.run.__doc__ or ""

    def as_json(self) -> dict[str, Any]:
        """Describe the check for a listing."""
        words = ("name", "title", "question", "source", "cost")
        own = [parameter.as_json() for parameter in self.parameters]
        return {**{word: getattr(self, word) for word in words}, "parameters": own}


_known: Registry[Check] = Registry("check", "napari_segxai.checks", "napari_segxai.checks")


def check(
    name: str, *, title: str, question: str, source: str, cost: str, options: type, passes: Cost
) -> Callable[[Run], Run]:
    """Register the decorated generator function as the check `name`; see `Check` for the arguments."""

    def register(run: Run) -> Run:
        _known.add(name, Check(name, title, question, source, cost, options, run, passes), run)
        return run

    return register


ORDER = (
    "randomized-network",
    "other-seed",
    "noised-image",
    "better-than-chance",
    "methods-agree",
    "restates-prediction",
    "masked-input",
)
"""As they are told; a check that is not named here comes last."""


def all_checks() -> tuple[Check, ...]:
    """Return all checks, in the order in which they are told."""
    places = {name: place for place, name in enumerate(ORDER)}
    return tuple(sorted(_known.all(), key=lambda c: (places.get(c.name, len(places)), c.name)))


def find_check(name: str) -> Check:
    """Return the check called `name`.

    Raises
    ------
    UserError
        If there is none, with the nearest names.
    """
    return _known.find(name)


def describe(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each of the verdicts of a record; a check that is not installed here goes by its name."""
    titles = {check.name: check.title for check in all_checks()}
    return [
        f"{WORDS[row['passed']]}: {titles.get(row['check'], row['check'])}: {row['sentence']}"
        for row in verdicts
    ]
