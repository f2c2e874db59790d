"""Units of a network layer: what they answer to images on any grid, with and without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.engine.primitives.perturb import stream
from napari_segxai.engine.question import Question
from napari_segxai.models.introspection.layers import not_run, token_stride
from napari_segxai.models.introspection.layout import infer_layout
from napari_segxai.models.introspection.observed import layer_outputs


@dataclass(frozen=True, eq=False)
class Search:
    """A search for images that units answer to most.

    Attributes
    ----------
    question
        Runs the network.
    layer
        Name of the network layer.
    units
        Channels of it.
    mean, deviation, low, high
        Of real images: (1, channels, 1, ...).
    grid
        Shape of the images.
    contrast
        Root mean square of the deviations of an image from the mean, by unit: in units of the deviation of real images.
    """

    question: Question
    layer: str
    units: Sequence[int]
    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor
    grid: tuple[int, ...]
    contrast: Tensor

    def responses(self, images: Tensor, units: Sequence[int] | None = None) -> Tensor:
        """Return what units answer in the middle: (n, channels, *grid) -> (n, units of the layer), or (n,) of one unit for each image."""
        question = self.question
        with layer_outputs(question.model.module, self.layer) as seen:
            question.forward(images)
        if not seen:
            raise not_run(question.model.name, self.layer)
        shape = tuple(seen[0].shape)
        stride = token_stride(self.layer, question.model.card.tokens)
        layout = infer_layout((shape[0] // len(images), *shape[1:]), self.grid, stride)
        if layout is None:
            raise UserError(
                f"{question.model.name}: network layer {self.layer!r} returns shape {shape}, in which the place of a value cannot be "
                "told; choose another."
            )
        maps = layout.to_maps(seen[0])
        middle = maps[(slice(None), slice(None), *(n // 2 for n in maps.shape[2:]))]
        return middle if units is None else middle[range(len(images)), list(units)]

    def gradients(self, images: Tensor, units: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return what one unit for each image answers, (n,), and its gradient by the image, (n, channels, *grid)."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = images.detach().clone().requires_grad_(True)
            found = self.responses(leaf, units)
            (gradient,) = torch.autograd.grad(found.sum(), [leaf])
        self.question.passes.backward += len(images)
        return found.detach(), gradient.float()

    def noise(self, count: int, seed: int | tuple[int, ...]) -> Tensor:
        """Return deviations from the mean with a spectrum that falls as 1 / f, as that of images does: (count, channels, *grid)."""
        shape = (count, self.mean.shape[1], *self.grid)
        drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))
        return self._smoothed(drawn.to(self.mean.device), 1.0)

    def _smoothed(self, values: Tensor, power: float) -> Tensor:
        """Divide the spectrum by the frequency to a power."""
        dims = tuple(range(2, values.ndim))
        parts = [torch.fft.fftfreq(n, device=values.device) for n in self.grid[:-1]]
        parts.append(torch.fft.rfftfreq(self.grid[-1], device=values.device))
        squares = sum(one**2 for one in torch.meshgrid(*parts, indexing="ij"))
        frequency = torch.as_tensor(squares).sqrt().clamp(min=1 / max(self.grid))
        spectrum = torch.fft.rfftn(values, dim=dims) / (frequency * max(self.grid)) ** power
        return torch.fft.irfftn(spectrum, s=self.grid, dim=dims)

    def answers(self, change: Tensor, note: str) -> Steps[Tensor]:
        """Show the images of deviations, one for each unit, and return what the units answer: (units,)."""
        found: list[Tensor] = []

        def run(start: int, n: int) -> Tensor:
            return self.responses(self.images(change[start : start + n]), self.units[start : start + n])

        yield from stream(
            self.question, len(self.units), run, lambda _, values: found.append(values), note=note
        )
        return torch.cat(found)

    def scaled(self, change: Tensor, window: Tensor) -> Tensor:
        """Bring deviations from the mean, one for each unit or one for all, to their contrast inside of a window, within the range; outside they are 0.

        Parameters
        ----------
        change
            (units or 1, channels, *grid), in units of the deviation of real images.
        window
            (*grid), 0 or 1.

        Returns
        -------
        Tensor
            (units, channels, *grid).
        """
        wide = (slice(None), *(None,) * (change.ndim - 1))
        wanted = (window.sum() * change.shape[1]).sqrt() * self.contrast
        low, high = ((end - self.mean) / self.deviation for end in (self.low, self.high))
        found = (change * window).expand(len(self.contrast), *change.shape[1:])
        for _ in range(FITTED):  # what the range cuts off, the rest has to make up for
            size = found.flatten(1).square().sum(1).sqrt().clamp(min=1e-12)
            found = torch.minimum(torch.maximum(found * (wanted / size)[wide], low), high)
        return found * window

    def images(self, change: Tensor) -> Tensor:
        """Return the images of deviations, within the range of real ones."""
        found = self.mean + change * self.deviation
        return torch.minimum(torch.maximum(found, self.low), self.high)

    def reach(self, seed: int) -> Tensor:
        """Return where the images move the units: a box around the middle, (*grid), 0 or 1. Costs a pass back for every unit."""
        everywhere = torch.ones(self.grid, device=self.mean.device)
        start = self.images(self.scaled(self.noise(1, seed), everywhere)[:1])
        largest = torch.zeros(self.grid, device=self.mean.device)
        for unit in self.units:
            _, gradient = self.gradients(start, [unit])
            size = gradient.abs().amax((0, 1))
            largest = torch.maximum(largest, size / size.max().clamp(min=1e-30))
        cells = (largest > REACHED).nonzero()
        if not len(cells):
            return everywhere
        out = torch.zeros_like(everywhere)
        low, high = cells.amin(0).tolist(), cells.amax(0).tolist()
        out[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = 1
        return out

    def best_noise(self, window: Tensor, draws: int, seed: int) -> Steps[tuple[Tensor, Tensor]]:
        """Show all units the same draws of noise; return of each unit the one that it answers to most, and its answer.

        Returns
        -------
        change
            (units, channels, *grid): deviations from the mean.
        answers
            (units,).
        """
        best: Tensor | None = None
        change = torch.empty(0)
        for k in range(draws):
            drawn = self.scaled(self.noise(1, (seed, k)), window)
            found = yield from self.answers(drawn, f"noise {k + 1} of {draws}, unit")
            if best is None:
                best, change = found, drawn
            better = found > best
            best = torch.where(better, found, best)
            change[better] = drawn[better]
        assert best is not None
        return change, best

    def climb(self, change: Tensor, window: Tensor, steps: int, jitter: int, seed: int) -> Steps[Tensor]:
        """Change images until the units answer most: one for each unit, of its contrast; see the page of activation-maximization.

        Parameters
        ----------
        change
            Where the search begins: (units, channels, *grid), deviations from the mean.
        window
            What may be changed: (*grid), 0 or 1.
        jitter
            Cells by which an image is shifted at random before each step.

        Returns
        -------
        Tensor
            (units, channels, *grid): deviations from the mean.
        """
        random = np.random.default_rng(seed + 1)
        dims = tuple(range(2, change.ndim))
        for step in range(steps):
            shift = (
                tuple(random.integers(-jitter, jitter + 1, len(dims)).tolist())
                if jitter and step < STILL * steps
                else (0,) * len(dims)
            )
            slopes: list[Tensor] = []

            def run(start: int, n: int, shift: tuple[int, ...] = shift, change: Tensor = change) -> Tensor:
                moved = torch.roll(self.images(change[start : start + n]), shift, dims)
                _, gradient = self.gradients(moved, self.units[start : start + n])
                return torch.roll(gradient, [-k for k in shift], dims)

            yield from stream(
                self.question,
                len(self.units),
                run,
                lambda _, gradient, slopes=slopes: slopes.append(gradient),
                note=f"step {step + 1} of {steps}, unit",
                gradients=True,
            )
            slope = torch.cat(slopes) * self.deviation * window
            wide = (slice(None), *(None,) * (change.ndim - 1))
            # Only what turns the change counts, since its size is given; smoothed, so that what is coarse comes first.
            along = (slope * change).flatten(1).sum(1) / change.square().flatten(1).sum(1).clamp(min=1e-30)
            turn = self._smoothed(slope - along[wide] * change, SMOOTH * (1 - step / steps)) * window
            size = turn.flatten(1).square().sum(1).sqrt().clamp(min=1e-30)[wide]
            radius = change.flatten(1).square().sum(1).sqrt()[wide]
            rate = FIRST + (LAST - FIRST) * step / max(1, steps - 1)
            change = self.scaled(change + rate * radius * turn / size, window)
        return change


STILL = 0.75
"""Share of the steps after which the image is not shifted any more."""
FITTED = 4
"""How often an image is scaled and cut to the range."""
REACHED = 0.02
"""Share of the largest gradient from which a pixel counts as seen."""
FIRST, LAST = 0.2, 0.01
"""Step of the search, as a share of the contrast: at its beginning and at its end."""
SMOOTH = 1.0
"""Power of the frequency by which steps are smoothed at the beginning; at the end they are not."""
