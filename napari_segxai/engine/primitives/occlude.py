"""The network on copies of the input, in each of which one box is hidden."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.execution.footprint import Window, window_for
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.engine.primitives.perturb import perturb, stream
from napari_segxai.engine.primitives.receptive_field import find_receptive_field
from napari_segxai.engine.question import Question

EXACT = 1e-4
"""Share of the largest logit by which a window may differ from a whole pass: rounding, in another order."""

Corner = tuple[int, ...]


def occlude(
    question: Question,
    corners: Sequence[Corner],
    size: tuple[int, ...],
    consume: Callable[[int, Tensor], None],
    *,
    baseline: Baseline,
    note: str,
    partial: Callable[[], Finding] | None = None,
    where: Tensor | None = None,
) -> Steps[None]:
    """Hide one box after the other.

    Where a box can change only a part of the output, only what the network needs for that part is run, and the rest
    is taken from the unchanged image; that the result is the same is checked on some of the boxes.

    Parameters
    ----------
    corners
        The lowest corner of every box.
    size
        Of all boxes.
    consume
        (number of the first box, logits (n, labels, *grid)); it must not keep the logits.
    baseline, note, partial, where
        See `perturb`.
    """
    windows = None if baseline == "inpaint" else _windows(question, corners, size)
    if question.model.windows is not None:
        _look_within_windows(question)
    if windows is not None:
        hidden = question.baseline(baseline).expand_as(question.input)
        local = _Local(question, corners, size, windows, hidden)
        if local.is_exact():
            question.executor.notes["window"] = list(local.shape)

            def consume_each(start: int, outputs: Tensor) -> None:
                for k, output in enumerate(outputs):
                    consume(start + k, local.logits(start + k, output))

            yield from stream(
                question,
                len(corners),
                local.run,
                consume_each,
                note=note,
                partial=partial,
                grid=local.shape,
            )
            return

    if baseline == "inpaint":  # what hides a box depends on what lies around it

        def masks(start: int, n: int) -> Tensor:
            out = torch.ones(n, 1, *question.grid, device=question.device)
            for row, corner in zip(out, corners[start : start + n], strict=True):
                row[(..., *_box(corner, size))] = 0
            return out

        yield from perturb(
            question,
            len(corners),
            masks,
            lambda start, _, logits: consume(start, logits),
            hide=question.hide(baseline),
            note=note,
            partial=partial,
            where=where,
        )
        return
    behind = question.baseline(baseline).expand_as(question.input)

    def run(start: int, n: int) -> Tensor:
        shown = question.input.repeat(n, *(1,) * (question.input.ndim - 1))
        for row, corner in zip(shown, corners[start : start + n], strict=True):
            box = (slice(None), *_box(corner, size))
            row[box] = behind[0][box]
        with question.executor.reading(where):
            return question.look(shown)

    yield from stream(question, len(corners), run, consume, note=note, partial=partial)


def _box(corner: Corner, size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))


def _windows(question: Question, corners: Sequence[Corner], size: tuple[int, ...]) -> list[Window] | None:
    """Return the window of every box; None where whole passes are as good."""
    if not question.model.has_layers or question.model.windows is not None:
        return None  # through windows the executor does so, in each of them
    field = find_receptive_field(question)
    if field is None:
        return None
    windows = [window_for(corner, size, question.grid, field) for corner in corners]
    whole = [window for window in windows if window is not None]
    return whole if len(whole) == len(windows) else None


def _look_within_windows(question: Question) -> None:
    """Let the executor run parts of windows, where a change does not reach all of a window, as it does behind an instance norm."""
    model, executor = question.model, question.executor
    if model.has_layers and executor.field is None:
        window = question.on_part(model.tiling(question.grid).middle)
        executor.field = find_receptive_field(window)
        executor.note_windows(window.passes.forward * model.tiling(question.grid).rule.views, more=True)


class _Local:
    """Runs the windows of boxes, and puts what they change into the logits of the unchanged input.

    Attributes
    ----------
    shape
        Of all windows.
    """

    def __init__(
        self,
        question: Question,
        corners: Sequence[Corner],
        size: tuple[int, ...],
        windows: Sequence[Window],
        hidden: Tensor,
    ):
        self.question, self.corners, self.size, self.windows = question, corners, size, windows
        self.shape = tuple(part.stop - part.start for part in windows[0].window)
        self.share = question.input[0, 0][windows[0].window].numel() / question.input[0, 0].numel()
        self._hidden = hidden
        self._passes = 0.0
        self._sheet: Tensor | None = None
        self._drawn: Window | None = None

    def run(self, start: int, n: int) -> Tensor:
        """Return the logits in the windows of `n` boxes: (n, labels, *window)."""
        question = self.question
        parts = []
        for corner, window in zip(self.corners[start : start + n], self.windows[start:], strict=False):
            part = question.input[(0, slice(None), *window.window)].clone()
            box = _box(corner, self.size)
            inner = tuple(
                slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, window.window, strict=True)
            )
            part[(slice(None), *inner)] = self._hidden[(0, slice(None), *box)]
            parts.append(part)
        before = question.passes.forward
        outputs = question.look(torch.stack(parts))
        # A window counts as the part of a pass that it is.
        self._passes += (question.passes.forward - before) * self.share
        question.passes.forward = before + int(self._passes)
        self._passes -= int(self._passes)
        return outputs

    def logits(self, number: int, output: Tensor) -> Tensor:
        """Return the logits of the whole grid for a box: (1, labels, *grid), from those in its window.

        They live on one sheet, of which only what the last box changed is drawn again.
        """
        base = self.question.logits
        if self._sheet is None:
            self._sheet = base.clone()
        if self._drawn is not None:
            place = (0, slice(None), *self._drawn.changed)
            self._sheet[place] = base[place]
        window = self._drawn = self.windows[number]
        self._sheet[(0, slice(None), *window.changed)] = output[(slice(None), *self._inner(window))]
        return self._sheet

    def is_exact(self) -> bool:
        """Tell whether windows give what whole passes give: looked at for the first, a middle and the last box."""
        question = self.question
        tolerance = EXACT * float(question.logits.abs().max())
        with torch.inference_mode():
            for number in {0, len(self.corners) // 2, len(self.corners) - 1}:
                try:
                    [output] = self.run(number, 1)
                except RuntimeError:  # a network that insists on one size
                    return False
                if not self._is_part_of_whole(number, output, tolerance):
                    return False
        return True

    def _is_part_of_whole(self, number: int, output: Tensor, tolerance: float) -> bool:
        """Tell whether the logits in a window, and unchanged ones around it, are those of a whole pass."""
        question, window = self.question, self.windows[number]
        box = _box(self.corners[number], self.size)
        whole = question.input.clone()
        whole[(..., *box)] = self._hidden[(..., *box)]
        expected = question.look(whole)[0]
        del whole
        for k, label in enumerate(
            expected
        ):  # one by one: in a large volume, every copy of all logits is dear
            apart = label - question.logits[0, k]
            apart[window.changed] = label[window.changed] - output[(k, *self._inner(window))]
            if not float(apart.abs_().max()) <= tolerance:  # nor where it is not a number
                return False
        return True

    def _inner(self, window: Window) -> tuple[slice, ...]:
        """Return where in a window the part lies that may change."""
        pairs = zip(window.changed, window.window, strict=True)
        return tuple(slice(c.start - w.start, c.stop - w.start) for c, w in pairs)
