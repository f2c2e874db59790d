"""Run the papers' experiments on the data that come with this project, and write docs/reproduction.md.

    make reproduce                                 # a quarter of an hour on two cores that do nothing else
    make reproduce ARGS="--images 40"              # more Triangle images
    make reproduce ARGS=--full                     # as large as the papers: many hours
    make reproduce ARGS=--quick                    # seconds; the page goes to build/, its numbers mean nothing

Results are kept in reproduction/results after every case, and used again where all that made them is the same: image, network,
settings, and every file of our code in which something ran. --fresh computes everything again, and --old uses those of an
earlier state of that code too.

With nine networks all of it took 11 minutes on two cores, 21 minutes of processor time (148 results, 2026-11-28).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import aabid_sicre_table1
import cohorts
import diagnostics
import hasany_2025_table1
import hasany_2026_sweeps
import hasany_2026_table1
import networks
import rheude_2024_figures
import torch
from kept import Store
from settings import DATASETS, Settings

ROOT = Path(__file__).resolve().parent.parent
PARTS: tuple[tuple[ModuleType, ...], ...] = (
    (cohorts,),
    (hasany_2026_table1, hasany_2025_table1, rheude_2024_figures),
    (networks,),
    (hasany_2026_sweeps,),
    (aabid_sicre_table1, diagnostics),
)
"""Experiments that write to the same files stand together; the others run side by side, those that take longest first."""


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run what is asked for, and return the page."""
    asked = _parser().parse_args(arguments)
    settings = Settings()
    settings = settings.full() if asked.full else settings.quick() if asked.quick else settings
    own = {
        name: getattr(asked, name)
        for name in (
            "note",
            "processes",
            "threads",
            "images",
            "sweep_images",
            "blocks",
            "masks",
            "masks_tissue",
            "masks_head",
            "iterations",
        )
    }
    settings = replace(settings, **{name: value for name, value in own.items() if value is not None})
    for name in ("datasets", "sweep_datasets"):
        if getattr(asked, name):
            settings = replace(settings, **{name: tuple(getattr(asked, name))})
    settings = replace(settings, sweep_images=min(settings.images, settings.sweep_images))
    out = asked.out or (ROOT / "build" / "reproduction" if asked.quick else None)
    store = Store(
        out / "results" if out else ROOT / "reproduction" / "results",
        out or ROOT / "build" / "reproduction",
        fresh=asked.fresh,
        old=asked.old,
    )
    start = time.perf_counter()
    rows = _found(settings, store)
    store.say(f"{time.perf_counter() - start:.0f} s")

    from page import write_page

    return write_page(out or ROOT / "docs", rows, settings, store, rows.pop(cohorts.NAME))


def _found(settings: Settings, store: Store) -> dict[str, Any]:
    """Return what every experiment finds, by its name; parts side by side in processes of their own."""
    if settings.processes == 1:
        parts = [_part(k, settings, store) for k in range(len(PARTS))]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(settings.processes, mp_context=context) as pool:
            started = [pool.submit(_part, k, settings, store) for k in range(len(PARTS))]
            parts = [one.result() for one in started]
    for _, used in parts:
        store.merge(used)
    return {name: found for part, _ in parts for name, found in part.items()}


def _part(which: int, settings: Settings, store: Store) -> tuple[dict[str, Any], Store]:
    """Run the experiments of a part, and return what they find and the store that counts what was used."""
    torch.set_num_threads(settings.threads)
    return {one.NAME: one.run(settings, store) for one in PARTS[which]}, store


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="as large as the papers")
    size.add_argument("--quick", action="store_true", help="a test of the scripts")
    parser.add_argument("--images", type=int, help="Triangle images")
    parser.add_argument("--sweep-images", type=int, help="Triangle images of the sweeps")
    parser.add_argument("--blocks", type=int, choices=range(1, 5), help="blocks of the brain")
    parser.add_argument("--masks", type=int, help="masks of RISE on 2D images")
    parser.add_argument("--masks-tissue", type=int, help="masks of RISE on blocks of the brain")
    parser.add_argument("--masks-head", type=int, help="masks of RISE on the head")
    parser.add_argument("--iterations", type=int, help="steps of MiSuRe's pruning")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, help="of these only")
    parser.add_argument("--sweep-datasets", nargs="+", choices=DATASETS, help="of these only, in the sweeps")
    parser.add_argument(
        "--processes",
        type=int,
        default=min(os.cpu_count() or 1, len(PARTS)),
        help="side by side; a core each",
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch, in every process")
    parser.add_argument("--note", help="what else should be known of the run, for the page")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--fresh", action="store_true", help="use no kept result")
    kept.add_argument(
        "--old",
        action="store_true",
        help="use kept results of an earlier state of the code too; the page says so",
    )
    parser.add_argument("--out", type=Path, help="folder of the page, its images and the results")
    return parser


if __name__ == "__main__":
    print(main())
