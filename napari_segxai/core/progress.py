"""Counting passes, and the steps that a running method reports."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from napari_segxai.core.errors import UserError, number

S = TypeVar("S")
T = TypeVar("T")

BACKWARD_COST = 2
"""A backward pass costs about two forward passes."""

SUFFIX_COST = 0.5
"""A forward pass from a network layer on costs from nothing to a whole one."""

MOST_PASSES = 10_000_000
"""What a question may cost at most, in forward passes: nothing runs for ever by a slip of the keyboard."""


@dataclass
class Passes:
    """Forward and backward passes, counted per image of a batch.

    Attributes
    ----------
    forward, backward
        How many.
    suffix
        Forward passes from a network layer on, with what comes before it taken from an earlier pass; or relevance passes from
        one back.
    """

    forward: int = 0
    backward: int = 0
    suffix: int = 0

    @property
    def cost(self) -> int:
        """The cost in forward passes: a backward pass counts as two, a pass from a layer on as half."""
        return round(self.forward + BACKWARD_COST * self.backward + SUFFIX_COST * self.suffix)

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.forward + other.forward, self.backward + other.backward, self.suffix + other.suffix
        )

    def __mul__(self, times: int) -> Passes:
        return Passes(self.forward * times, self.backward * times, self.suffix * times)

    def bounded(self, what: str) -> Passes:
        """Return these passes, if they are not more than `MOST_PASSES`.

        Raises
        ------
        UserError
            If they are; `what` is what would take them.
        """
        most = max(self.forward, self.backward, self.suffix)
        if most > MOST_PASSES or self.cost > MOST_PASSES:
            raise UserError(
                f"{what} would take {number(most)} passes of the network or more; at most {MOST_PASSES} are run: ask for less."
            )
        return self

    def __str__(self) -> str:
        parts = [f"{self.forward} forward"] if self.forward else []
        parts += [f"{self.backward} backward"] if self.backward else []
        parts += [f"{self.suffix} from the layer on"] if self.suffix else []
        return ", ".join(parts) or "no passes"

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name; `suffix` only where there are any."""
        suffix = {"suffix": self.suffix} if self.suffix else {}
        return {"forward": self.forward, "backward": self.backward, **suffix}


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

    done: float
    total: float
    note: str
    partial: Callable[[], Any] | None = None

    def within(self, done: int, of: int) -> Step:
        """Return the report from the midst of the pass that follows, of which so many windows are done."""
        share = min(1.0, done / max(1, of))
        return Step(min(self.done + share, self.total), self.total, f"{self.note}: window {done} of {of}")


Steps = Generator[Step, None, T]


class Interrupted(KeyboardInterrupt):
    """Work was stopped from the keyboard.

    Attributes
    ----------
    partial : object or None
        What there is of the result; None where that is nothing.
    """

    def __init__(self, partial: Any):
        super().__init__("stopped")
        self.partial = partial


class Stopped(KeyboardInterrupt):
    """Work was asked to stop in the midst of a pass; not an Exception, so that no guard against what networks raise takes it."""


_within: ContextVar[Callable[[int, int], None] | None] = ContextVar("within", default=None)


@contextmanager
def within_passes(tell: Callable[[int, int], None]) -> Generator[None]:
    """While open, passes that consist of many parts tell how far they are, in this thread.

    Parameters
    ----------
    tell
        (parts done, parts in all) -> nothing; it may raise `Stopped`.
    """
    token = _within.set(tell)
    try:
        yield
    finally:
        _within.reset(token)


def part_done(done: int, of: int) -> None:
    """Tell that a part of a pass is done; see `within_passes`."""
    tell = _within.get()
    if tell is not None:
        tell(done, of)


def finish(steps: Steps[T], progress: Callable[[Step], None] | bool | None = None) -> T:
    """Run steps to their end and return the result.

    Parameters
    ----------
    progress
        Called with every step; True shows a progress bar in the terminal.

    Raises
    ------
    Interrupted
        On Ctrl-C, with what there is of the result.
    """
    if progress is True:
        with _bar() as report:
            return finish(steps, report)
    step: Step | None = None

    def within(done: int, of: int) -> None:
        if progress and step is not None:
            progress(step.within(done, of))

    try:
        with within_passes(within):
            while True:
                try:
                    step = next(steps)
                except StopIteration as done:
                    return done.value
                if progress:
                    progress(step)
    except KeyboardInterrupt:
        steps.close()
        partial = step.partial() if step is not None and step.partial is not None else None
        raise Interrupted(partial) from None


def relay(steps: Generator[S, None, T], change: Callable[[S], Step]) -> Steps[T]:
    """Pass on the steps of other work, changed, and return its result; to be used with ``yield from``.

    Parameters
    ----------
    steps
        The other work; it is closed when this is.
    change
        What is yielded instead of each of its steps.
    """
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as done:
                return done.value
            yield change(step)


BAR = "{percentage:3.0f}%|{bar:16}| {elapsed}<{remaining}  {desc}"
"""The words come last, where a narrow terminal cuts them: how far it is, and how long it takes, stay in sight."""


@contextmanager
def _bar() -> Generator[Callable[[Step], None]]:
    from tqdm import tqdm

    with ExitStack() as stack:
        bars: list[tqdm] = []

        def report(step: Step) -> None:
            if not bars:  # made now: what was there before this run says nothing of how fast it is
                new = tqdm(total=step.total, initial=step.done, leave=False, bar_format=BAR, miniters=0)
                bars.append(stack.enter_context(new))
            [bar] = bars
            bar.total = step.total
            bar.set_description_str(step.note, refresh=False)
            if step.done == bar.n:  # tqdm shows nothing new until it has counted on
                bar.refresh()
            else:
                bar.update(step.done - bar.n)

        yield report
