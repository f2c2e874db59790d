"""What the dearest metrics take: the warping error, and insertion and deletion of several maps in shared batches.

The warping error is that of two masks, from start to end. Insertion and deletion are timed as a comparison asks for
them, from maps on the image grid to the rows of the table, and against as many bare passes at the best batch.

    python benchmarks/metrics.py [--device cpu] [--out results.md]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bare import best_forward, forwards, seconds, synchronize
from scipy.ndimage import gaussian_filter

import napari_segxai as sx
from napari_segxai.core.progress import Passes, finish
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional.topology import warping_error
from napari_segxai.metrics.table import evaluate_steps
from napari_segxai.models.inference.device import choose_device

MAPS, STEPS = 6, 28

RUNS = 9
"""Of insertion and deletion, in turn with the bare passes; the fastest of each counts, which others disturb least."""

GOAL = 2.0
"""Seconds for the warping error of two masks of 512 x 512 pixels."""


def blobs(shape: tuple[int, ...], width: float) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of blobs `width` pixels wide, alike for the most part; some blobs and holes are in one alone."""
    rng = np.random.default_rng(0)
    common, *own = (gaussian_filter(rng.standard_normal(shape), width) for _ in range(3))
    first, second = (common + 0.5 * other > 0.5 * common.std() for other in own)
    return first, second


def noise(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of which every pixel is drawn by itself."""
    rng = np.random.default_rng(0)
    first, second = rng.random((2, *shape)) < 0.5
    return first, second


def checkers(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A checkerboard and its inverse: no pixel can be flipped, and every pixel is an error."""
    first = np.indices(shape).sum(0) % 2 == 0
    return first, ~first


def pairs() -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray], bool]]:
    yield "512 x 512, blobs 12 pixels wide", blobs((512, 512), 12), True
    yield "512 x 512, blobs 4 pixels wide", blobs((512, 512), 4), True
    yield "512 x 512, noise", noise((512, 512)), True
    yield "512 x 512, checkerboard and its inverse", checkers((512, 512)), True
    yield "96 x 96 x 96, blobs 4 voxels wide", blobs((96, 96, 96), 4), False


def warping() -> Iterator[str]:
    yield "| warping error | differing pixels | topological errors | seconds | goal |"
    yield "|---|---|---|---|---|"
    for title, (proposal, truth), has_goal in pairs():
        spent = seconds(partial(warping_error, proposal, truth), torch.device("cpu"), 3)
        differ, errors = (
            float((proposal != truth).mean()),
            sum(warping_error(proposal, truth).counts.values()),
        )
        goal = f"< {GOAL:g}" if has_goal else ""
        yield f"| {title} | {100 * differ:.1f} % | {errors} | {spent:.3f} | {goal} |"


def curves(device: torch.device) -> Iterator[str]:
    model = sx.load_model("triangle")
    image = sx.read_image(resource("sample_data/images") / "triangle_1.png")
    rng = np.random.default_rng(0)
    maps = {f"map {k}": gaussian_filter(rng.standard_normal(image.spatial_shape), 4) for k in range(MAPS)}
    names = ["insertion-dice", "deletion-dice"]
    passes = Passes()
    yield "| insertion and deletion | forward passes | seconds | bare passes | ratio |"
    yield "|---|---|---|---|---|"
    with model.in_use(device):
        prepared = model.prepare(image)
        tensor = prepared.tensor.to(device)

        def measured() -> None:
            nonlocal passes
            target = sx.Target("triangle")
            question = Question(model, image, prepared, target, device=device, seed=0, planned=Passes())
            finish(evaluate_steps(maps, question, metrics=names, steps=STEPS))
            passes = question.passes

        measured()
        _, batch = best_forward(model.logits, tensor)
        bare = forwards(model.logits, tensor, passes.forward, batch)
        times = [[once(work, device) for work in (measured, bare)] for _ in range(RUNS)]
    ours, theirs = np.min(times, 0)
    size = " x ".join(map(str, image.spatial_shape))
    yield (
        f"| triangle U-Net, {size}, {MAPS} maps, {STEPS} steps | {passes.forward} | {ours:.3f} | "
        f"{theirs:.3f} | {ours / theirs:.2f} |"
    )


def once(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    load, cores = os.getloadavg()[0], os.cpu_count()
    versions = (
        f"Device: {name}. torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"napari-segxai {sx.__version__}, {datetime.date.today()}. The warping error runs on one core of the CPU."
    )
    lines = [versions, ""]
    if load > 0.3:
        lines += [f"The machine was not idle: its load was {load:.1f} on {cores} cores before the start.", ""]
    print("\n".join(lines), flush=True)
    for table in (warping(), curves(device)):
        for line in (*table, ""):
            lines.append(line)
            print(line, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines[:-1]) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
