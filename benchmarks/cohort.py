"""A cohort of many small cases: time per case against the bare job, memory from beginning to end, and collecting.

The bare job does for every image what the cohort does - read it, predict, measure its object, explain, save the map - by the
same public functions, in a plain loop that keeps nothing else. Both are measured in turn, in blocks of cases.

    python benchmarks/cohort.py [--cases 2000] [--block 100]

With --workers it measures instead what workers and threads give: the same cases by one worker, by two, and by one with two
threads, in turn, so that what else the machine does falls on all of them.

    python benchmarks/cohort.py --workers [--cases 40] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from skimage.io import imsave
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.core.progress import Steps, finish

CARD = {"name": "small", "labels": ["background", "object"], "spatial_dims": 2, "channels": ["intensity"], "intensity": [{"divide": 255}]}  # fmt: skip
METHOD = "misure"
PARAMETERS: dict[str, Any] = {"iterations": 20, "max_dilations": 4}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, help="2000 by default, 40 with --workers")
    parser.add_argument("--workers", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--block", type=int, default=100, help="cases between two looks at time and memory")
    asked = parser.parse_args()
    asked.cases = asked.cases or (40 if asked.workers else 2000)
    torch.set_num_threads(1)
    if asked.workers:
        compare_workers(asked.cases, asked.rounds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = network()
        images = pictures(folder / "images", asked.cases, asked.side)
        bare = compare_blocks(model, images, folder, asked)
        begin = time.perf_counter()
        found = sx.read_cohort(folder / "out")
        print(f"collecting {asked.cases} cases: {time.perf_counter() - begin:.2f} s; {found}")
        begin = time.perf_counter()
        again = run(model, images, folder)
        finish(again)
        print(f"running again what is there: {time.perf_counter() - begin:.2f} s; bare {bare:.4f} s a case")


def network() -> sx.SegmentationModel:
    """A small U-shaped network of random weights that draws what is bright."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 1, 1),
    )

    class Bright(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            score = 12 * (x - 0.5) + 0.1 * self.body(x)
            return torch.cat([-score, score], 1)

    return sx.load_model(Bright(), card=CARD)


def pictures(folder: Path, count: int, side: int) -> Path:
    """Write noise with a bright disk of its own in each."""
    folder.mkdir()
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    for k in range(count):
        centre, radius = random.uniform(0.3 * side, 0.7 * side, 2), random.uniform(0.1, 0.25) * side
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        values = random.normal(60, 15, (side, side)) + 140 * inside
        imsave(folder / f"case_{k:05}.png", values.clip(0, 255).astype(np.uint8), check_contrast=False)
    return folder


def run(model: sx.SegmentationModel, images: Path, folder: Path) -> Steps[Cohort]:
    """Return the run of the cohort, step by step."""
    return sx.run_cohort_steps(
        model, images, ["object"], [(METHOD, PARAMETERS)], out=folder / "out", device="cpu"
    )


def bare_job(model: sx.SegmentationModel, path: Path, out: Path) -> None:
    """Do for one image what a cohort does."""
    image = sx.read_image(path)
    prediction = model.predict(image, device="cpu")
    int((prediction == 1).sum())
    sx.explain(model, image, "object", METHOD, device="cpu", **PARAMETERS).save(out)


def compare_blocks(
    model: sx.SegmentationModel, images: Path, folder: Path, asked: argparse.Namespace
) -> float:
    """Run cohort and bare jobs in turn, block by block; print time and memory of each block; return seconds of a bare job."""
    paths = sorted(images.iterdir())
    bare_job(model, paths[0], folder / "warm")
    steps, done, ratios, all_bare = run(model, images, folder), 0, [], []
    print(
        "| cases | cohort, s a case | bare, s a case | ratio | memory, MiB |\n| --- | --- | --- | --- | --- |"
    )
    while done < asked.cases:
        goal, begin = min(done + asked.block, asked.cases), time.perf_counter()
        for step in steps:
            if step.total and step.done >= goal * step.total / asked.cases:
                break
        cohort = (time.perf_counter() - begin) / (goal - done)
        begin = time.perf_counter()
        for k in range(done, goal):
            bare_job(model, paths[k], folder / "bare" / str(k))
        bare = (time.perf_counter() - begin) / (goal - done)
        ratios.append(cohort / bare)
        all_bare.append(bare)
        done = goal
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {done} | {cohort:.4f} | {bare:.4f} | {cohort / bare:.3f} | {used:.0f} |", flush=True)
    for _ in steps:
        pass
    print(f"median ratio {np.median(ratios):.3f}")
    return float(np.median(all_bare))


def compare_workers(cases: int, rounds: int) -> None:
    """Run a cohort of the sample network by several numbers of workers and threads, in turn; print a table."""
    ways = {"1 worker": (1, 1), "2 workers": (2, 1), "1 worker, 2 threads": (1, 2)}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = pictures(folder / "images", cases, 112)
        print("| round | how | whole, s | cases alone, s | CPU of all processes, s | load before |")
        print("| --- | --- | --- | --- | --- | --- |")
        for number in range(rounds):
            for how, (workers, threads) in ways.items():
                load = os.getloadavg()[0]
                one = timed(images, folder / f"{number} {how}", workers, threads)
                found[how].append(one)
                told = " | ".join(f"{value:.1f}" for value in one)
                print(f"| {number + 1} | {how} | {told} | {load:.1f} |", flush=True)
    alone = np.array([[one[1] for one in some] for some in found.values()])
    for how, own in zip(ways, alone, strict=True):
        ratios = alone[0] / own
        print(
            f"{how}: {np.median(ratios):.2f} times as fast as 1 worker ({ratios.min():.2f} to {ratios.max():.2f})"
        )


def timed(images: Path, out: Path, workers: int, threads: int) -> tuple[float, float, float]:
    """Return seconds of a whole run, seconds from its first case to its end, and seconds of the CPU of all processes."""
    used: dict[int, float] = {}
    begin, first, me = time.perf_counter(), 0.0, psutil.Process()
    steps = sx.run_cohort_steps(
        "triangle", images, ["triangle"], [("misure", {"iterations": 40})], out=out, device="cpu",
        where="local", workers=workers, threads=threads,
    )  # fmt: skip
    before = sum(me.cpu_times()[:2])
    for step in steps:
        first = first or (time.perf_counter() if step.done else 0.0)
        for one in me.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                used[one.pid] = sum(one.cpu_times()[:2])
    end = time.perf_counter()
    return end - begin, end - first, sum(used.values()) + sum(me.cpu_times()[:2]) - before


if __name__ == "__main__":
    main()
