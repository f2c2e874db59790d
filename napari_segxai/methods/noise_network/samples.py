"""What the noise network is trained on: images of a folder, or the current one, changed at random."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Steps
from napari_segxai.engine.question import Question
from napari_segxai.methods.noise_network.file import NAME
from napari_segxai.methods.noise_network.net import deviation
from napari_segxai.methods.noise_network.options import Options

SLICES = 8
"""Slices of a volume that a 2D model is trained on, evenly spread."""


class Samples:
    """Images with the reference that has to stay; without images, the question's own, changed at random."""

    def __init__(self, question: Question, pairs: Sequence[tuple[Tensor, Tensor]] = ()):
        self.question = question
        self.groups: list[list[tuple[Tensor, Tensor]]] = [
            list(group)
            for _, group in itertools.groupby(
                sorted(pairs, key=lambda pair: tuple(pair[0].shape)), key=lambda pair: tuple(pair[0].shape)
            )
        ]

    def draw(self, random: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Return (n, channels, *grid) and the reference (n, *grid), 0 or 1: images of one shape."""
        device = self.question.device
        if not self.groups:
            return self._changed(random, count)
        sizes = np.array([len(group) for group in self.groups])
        group = self.groups[int(random.choice(len(sizes), p=sizes / sizes.sum()))]
        chosen = [group[int(k)] for k in random.choice(len(group), min(count, len(group)), replace=False)]
        inputs, references = (torch.cat(parts).to(device) for parts in zip(*chosen, strict=True))
        return inputs, references

    def _changed(self, random: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        x, out = self.question.input, []
        for _ in range(count):
            axes = [axis for axis in range(2, x.ndim) if random.random() < 0.5]
            gain, shift = random.uniform(0.9, 1.1), random.uniform(-0.1, 0.1)
            mean = x.mean(tuple(range(2, x.ndim)), keepdim=True)
            out.append((mean + gain * (x - mean) + shift * deviation(x)).flip(axes))
        changed = torch.cat(out)
        with torch.no_grad():
            return changed, self.question.drawn(self.question.forward(changed)).float()


def read_samples(question: Question, options: Options) -> Steps[Samples]:
    """Read the folder; the references are the network's own predictions, or the truth."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for file in options.files:
        for tensor, truth in _read(question, options, file):
            if truth is None:
                with torch.no_grad():
                    truth = question.drawn(question.forward(tensor.to(question.device)))[0]
                yield question.step(f"prediction of {file.name}")
            pairs.append((tensor, truth[None].float().cpu()))
    return Samples(question, pairs)


def _read(question: Question, options: Options, file: Path) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the network's input (1, channels, *grid) and the truth (*grid) for every slice that is used."""
    # Reading files is the business of io/, which is imported only when there is a folder.
    from napari_segxai.io import ending, read_image
    from napari_segxai.models.ground_truth import truth_of

    image = read_image(file)
    model = question.model
    try:
        count = model.slices(image)
        slices = [None]
        if count is not None:
            slices = sorted({int(k) for k in np.linspace(0, count - 1, min(SLICES, count)).round()})
        prepared = [model.prepare(image, k) for k in slices]
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    labels = None
    if options.truth:
        stem = lambda path: path.name.lower().removesuffix(ending(path))  # noqa: E731
        folder = user_path(options.truth)
        found = [p for p in sorted(folder.iterdir()) if ending(p) and stem(p) == stem(file)]
        if not found:
            raise UserError(f"{NAME}: {folder} holds no truth for {file.name}; it has to have the same name.")
        labels, _ = truth_of(read_image(found[0]), image, model, question.label)
    for each in prepared:
        yield each.tensor, None if labels is None else each.placement.mask_to_grid(labels)
