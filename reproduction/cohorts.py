"""MiSuRe over many objects (Hasany et al. 2026), figures 4 to 7 and table 7: size, and whether it foretells a good segmentation.

By the cohort's own command and studies, on Triangle images, on such that fail by all degrees (graded_failures.py), and on
blocks of the average brain. A cohort lies in
build/reproduction and goes on where it was stopped; what the page shows of it is kept in reproduction/results.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import graded_failures
import numpy as np
from common import DEVICE, Row
from kept import Store, all_code, digest
from PIL import Image as Picture
from settings import Settings

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import load_glyphs, triangle_sample

NAME = "cohorts"
STUDIES = ("averages", "size", "reliability")


def run(settings: Settings, store: Store) -> dict[str, Row]:
    """Run the cohorts, or go on with them, and return what their studies say, by data set."""
    out = {}
    for name, (draw, model, count, iterations) in _asked(settings).items():
        network = sx.load_model(model)
        asked = {"cases": count, "iterations": iterations, "seed": settings.seed, "model": network.sha256}
        told = lambda n=name, d=draw, m=network, a=asked: {"asked": a, **_told(_cohort(store, n, d, m, a))}  # noqa: E731
        out[name] = store.found(NAME, name, asked, told)
    return out


def _cohort(
    store: Store,
    name: str,
    draw: Callable[[Path, int, int], None],
    network: sx.SegmentationModel,
    asked: Row,
) -> sx.Cohort:
    """Run a cohort; what a run of the same code left unfinished is gone on with."""
    folder = store.work / "cohorts"
    images = folder / f"{name}_{asked['cases']}_{asked['seed']}"
    table = images / "cases.csv"
    if not table.is_file():
        draw(images, asked["cases"], asked["seed"])
    every = json.dumps([asked, digest(all_code())], sort_keys=True)
    out = folder / f"results_{name}_{hashlib.sha256(every.encode()).hexdigest()[:8]}"
    if store.fresh and out.is_dir():
        shutil.rmtree(out)
    return sx.run_cohort(
        network, table, methods=[("misure", {"preset": "paper", "iterations": asked["iterations"]})],
        keep="tables", out=out, seed=asked["seed"], device=DEVICE, threads=1,
    )  # fmt: skip


def _asked(settings: Settings) -> dict[str, tuple[Callable[[Path, int, int], None], str, int, int]]:
    """Return how images are drawn, the network, how many images, and steps of pruning, by data set."""
    found = {
        "triangle": (triangles, "triangle", settings.cohort_images, settings.iterations),
        "graded": (graded_failures.draw, "triangle", settings.cohort_graded, settings.cohort_iterations),
        "tissue": (blocks, "brain-tissue", settings.cohort_blocks, settings.cohort_iterations),
    }
    return {name: one for name, one in found.items() if one[2]}


def _told(cohort: sx.Cohort) -> Row:
    """Return what the studies say, as JSON can hold it."""
    dice = [row["truth_dice"] for row in cohort.objects if not row["error"]]
    return {
        "objects": len(dice),
        "good": int(np.sum(np.array(dice, float) > 0.9)),
        "failed": sum(bool(row["error"]) for row in cohort.objects),
        "studies": {name: _said(cohort, name) for name in STUDIES},
    }


def _said(cohort: sx.Cohort, name: str) -> Row:
    """Return what a study says; where it refuses, why."""
    try:
        found = sx.study(cohort, name)
    except UserError as error:
        return {"sentence": str(error), "caveats": [], "rows": [], "charts": []}
    return {
        "sentence": found.sentence,
        "caveats": list(found.caveats),
        "rows": list(found.rows),
        "charts": [asdict(chart) for chart in found.charts],
    }


# -- images --------------------------------------------------------------------------------------------


def triangles(folder: Path, count: int, seed: int) -> None:
    """Write Triangle images of held-out items; image 3 is image 3 however many there are."""
    glyphs = load_glyphs(resource("sample_data") / "glyphs.npz", "held-out")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(count):
        image, truth = triangle_sample(glyphs, np.random.default_rng([seed, k]))
        names = f"{k:04d}.png", f"{k:04d}_truth.png"
        for name, array in zip(names, (image, truth.astype(np.uint8)), strict=True):
            Picture.fromarray(array).save(folder / name)
        rows.append({"id": f"{k:04d}", "image": names[0], "truth": names[1]})
    _write_table(folder, rows)


def blocks(folder: Path, count: int, seed: int, side: int = 24) -> None:
    """Write blocks of the average brain that are at least a third brain, drawn without those that overlap."""
    import nibabel

    images = resource("sample_data") / "images"
    brain, tissue = sx.read_image(images / "mni_t1.nii.gz"), sx.read_image(images / "mni_t1_tissue.nii.gz")
    random = np.random.default_rng(seed)
    steps = [np.arange(0, n - side + 1, side) for n in brain.spatial_shape]
    corners = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    corners = corners + [random.integers(0, (n - side) % side + 1) for n in brain.spatial_shape]
    places = [tuple(slice(i, i + side) for i in corner) for corner in random.permutation(corners).tolist()]
    full = [place for place in places if (tissue.array[place] > 0).mean() > 1 / 3][:count]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k, place in enumerate(full):
        affine = brain.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [one.start for one in place]
        names = f"{k:02d}.nii.gz", f"{k:02d}_truth.nii.gz"
        for name, array in zip(names, (brain.array, tissue.array), strict=True):
            nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array[place]), affine), folder / name)
        rows.append({"id": f"{k:02d}", "image": names[0], "truth": names[1]})
    _write_table(folder, rows)


def _write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
