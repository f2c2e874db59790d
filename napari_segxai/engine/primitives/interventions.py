"""A network layer whose output is changed, many times: what follows it, in one pass or in every window.

Through windows the same change is made in each of them, and the logits are those of all windows together. One window after another
is split at the layer, and all changes are made there, so that no more than one of them is ever kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps, relay
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.pooled import Pooling, pooled_maps
from napari_segxai.engine.primitives.layer_replay import Replay
from napari_segxai.engine.primitives.perturb import stream
from napari_segxai.engine.primitives.whole_activations import whole_activations, whole_means
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Stitched, TooMuch, in_window, views_of

Change = Callable[[int, int], Tensor]
"""(start, n) -> outputs (n, channels, *layer grid)."""

MOST_BYTES = 2 * 10**9
"""What the logits of changes may take that are made in one sweep over the windows: a rule, so that a result does not hang on what else runs."""


class Interventions:
    """Changes of what one network layer returns.

    Parameters
    ----------
    question
        Its model and input; passes and warnings go there.
    name
        The network layer.
    inputs
        Whether `Replay.entered` is wanted.

    Attributes
    ----------
    exact
        Whether only what follows the layer was computed; see `Replay`.
    """

    def __init__(self, question: Question, name: str, *, inputs: bool = False):
        self.question, self.name = question, question.model.find_layer(name).name
        self._inputs = inputs
        self._one = Replay(question, name, inputs=inputs) if question.model.windows is None else None
        self.exact = self._one is None or self._one.exact

    @property
    def channels(self) -> int:
        """How many channels the layer has."""
        return self.question.model.find_layer(self.name).shape[0]

    @property
    def activation(self) -> Tensor | None:
        """What the layer returns, (1, channels, *cells); None through windows."""
        return None if self._one is None else self._one.activation

    def map(self, of: Callable[[Tensor], Tensor], finding: Callable[[Tensor], Finding]) -> Steps[Finding]:
        """Return what is found in a map that is made of what the layer returns; through windows, of those that M lies in, it is averaged.

        Parameters
        ----------
        of
            (1, channels, *cells) -> (*cells), cell by cell.
        finding
            (*cells), or (*grid) through windows -> what is found.
        """
        if self._one is not None:
            return finding(of(self._one.activation))
        made = Pooling((), lambda sums: lambda one: of(one.activation))
        return (
            yield from pooled_maps(self.question, [self.name], made, lambda found: finding(found.maps[0]))
        )

    def whole(self) -> Tensor | None:
        """Return what the layer returns, on the whole grid: (1, channels, *cells); None, and a warning, where that is too much to be held."""
        if self._one is not None:
            return self._one.activation
        try:
            [found] = whole_activations(self.question, [self.name])
        except TooMuch as reason:
            self.question.warnings.append(f"maps are left out: {reason}")
            return None
        return found

    def means(self) -> Tensor:
        """Return the mean of every channel over the whole grid: (1, channels); through windows this takes a forward pass more."""
        if self._one is not None:
            return self._one.activation.flatten(2).mean(2)
        return whole_means(self.question, [self.name])[self.name]

    def run(
        self,
        count: int,
        changes: Callable[[Replay], Change],
        consume: Callable[[int, Tensor], None],
        *,
        note: str,
        partial: Callable[[], Finding] | None = None,
        where: Tensor | None = None,
    ) -> Steps[None]:
        """Recompute the logits for `count` changed outputs of the layer.

        Parameters
        ----------
        changes
            Called once for every window, or once for the image; returns what makes the changed outputs there.
        consume
            (start, logits (n, labels, *grid)).
        note, partial
            What steps report.
        where
            Boolean (*grid): where logits are read, everywhere by default. Windows that hold no such place are not run.

        Raises
        ------
        OutOfMemory
            If not even one fits.
        """
        if self._one is not None:
            one, change = self._one, _begin(changes, self._one)
            run = lambda start, n: one.logits(change(start, n))  # noqa: E731
            yield from stream(self.question, count, run, consume, note=note, partial=partial)
            return
        many = max(1, MOST_BYTES // Stitched.bytes_of_one(self.question, where))
        for first in range(0, count, many):
            n = min(many, count - first)
            found = yield from self._sweep(first, n, changes, where, note)
            with torch.inference_mode():
                for k in range(n):
                    consume(first + k, found.logits(k))
            yield self.question.step(f"{note} {first + n} of {count}", partial)

    def _sweep(
        self, first: int, many: int, changes: Callable[[Replay], Change], where: Tensor | None, note: str
    ) -> Steps[Stitched]:
        """Make changes in one window after another."""
        question = self.question
        tiling = question.model.tiling(question.grid)
        whole = torch.ones(question.grid, dtype=torch.bool) if where is None else where
        views = views_of(tiling, whole)
        found = Stitched(question, many, where)
        for number, view in enumerate(views, start=1):
            part = in_window(question, tiling, view)
            replay = Replay(part, self.name, inputs=self._inputs)
            self.exact = self.exact and replay.exact
            change = _begin(changes, replay)
            steps = stream(
                part,
                many,
                lambda start, n, replay=replay, change=change: replay.logits(change(first + start, n)),
                lambda start, returned, view=view: found.add(view, returned, start),
                note=note,
            )
            said = f": window {number} of {len(views)}"
            yield from relay(steps, lambda step, said=said: question.step(step.note + said))
            passes = part.passes
            question.executor.note_windows(1, forwards=passes.forward, suffix=passes.suffix, more=number > 1)
        return found


def _begin(changes: Callable[[Replay], Change], replay: Replay) -> Change:
    with (
        torch.inference_mode(False),
        torch.no_grad(),
    ):  # in inference mode torch hides which operations it runs
        return changes(replay)
