"""Failures of all degrees on Triangle images: does an explanation tell them, beside size and confidence?

    python reproduction/graded_failures.py                       # 100 images, some 10 minutes on two cores
    python reproduction/graded_failures.py --images 400 --iterations 100

A quarter of the images is like those of the training. The others have one item more near the fourth corner of the square (the
nearer, the more it looks like a part of the object), a brightness outside the training range, or blur, each of a random
degree. The cohort lies in build/graded_failures and goes on where it was stopped; the studies' tables are written beside it, and
what they say is printed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from skimage.filters import gaussian

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import load_glyphs, triangle_layout
from napari_segxai.io.tables import write_csv

ROOT = Path(__file__).resolve().parent.parent
SIZE, ITEM = 112, 14
KINDS = ("as trained", "fourth corner", "brightness", "blur")

STUDIES = (
    ("averages", {}),
    ("size", {}),
    ("benchmark", {}),
    ("reliability", {}),
    ("reliability", {"features": "dice-explained,saliency-ratio", "map": "seg-grad-cam"}),
    ("out-of-the-ordinary", {}),
)
METRICS = (
    "dice-explained:binarize=0.05",
    "dice-explained",
    "saliency-ratio:binarize=0.05",
    "saliency-ratio",
)


def picture(
    glyphs: np.ndarray, random: np.random.Generator, kind: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw an image.

    Returns
    -------
    ndarray of uint8, ndarray of bool, float
        Image, truth, and the degree of what is wrong.
    """
    corners, others = triangle_layout(random, SIZE, ITEM)
    places = [*corners, *others]
    degree = 0.0
    if kind == "fourth corner":
        degree = random.uniform(0, 12)  # pixels between the item and the corner
        angle = random.uniform(0, 2 * np.pi)
        away = np.rint(degree * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        places.append(np.clip(corners[1] + corners[2] - corners[0] + away, 0, SIZE - ITEM))
    image, truth = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE), bool)
    for k, (row, column) in reversed(list(enumerate(places))):  # the object lies above what overlaps it
        glyph = glyphs[random.integers(len(glyphs))].astype(float).reshape(ITEM, 2, ITEM, 2).mean((1, 3))
        box = np.s_[row : row + ITEM, column : column + ITEM]
        image[box] = glyph
        truth[box] = (np.rint(glyph) > 0) & (k < len(corners))
    if kind == "brightness":
        degree = random.uniform(0.08, 0.6)
        image *= degree  # share of the brightness of the training
    if kind == "blur":
        degree = random.uniform(0, 1)  # sigma in pixels
        image = gaussian(image, degree, preserve_range=True)
    return np.rint(image).astype(np.uint8), truth, float(degree)


def draw(folder: Path, images: int, seed: int) -> Path:
    """Write images, truths and the table of cases; return the table."""
    random = np.random.default_rng(seed)
    glyphs = load_glyphs(resource("sample_data") / "glyphs.npz", "held-out")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(images):
        kind = KINDS[k % 4]
        image, truth, degree = picture(glyphs, random, kind)
        names = f"{k:04d}.png", f"{k:04d}_truth.png"
        for name, array in zip(names, (image, truth.astype(np.uint8)), strict=True):
            Picture.fromarray(array).save(folder / name)
        rows.append(
            {"id": f"{k:04d}", "image": names[0], "truth": names[1], "group": kind, "degree": f"{degree:.3f}"}
        )
    table = folder / "cases.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the images, explain them, and print what the studies say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=40, help="of MiSuRe's pruning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "graded_failures")
    asked = parser.parse_args(arguments)
    data = asked.out / f"images_{asked.images}_{asked.seed}"
    table = data / "cases.csv" if (data / "cases.csv").is_file() else draw(data, asked.images, asked.seed)
    cohort = sx.run_cohort(
        "triangle",
        table,
        methods=[f"misure:iterations={asked.iterations}", "seg-grad-cam"],
        metrics=METRICS,
        channels={"how": ["relevance"]},
        keep="tables",
        out=asked.out / f"results_{asked.images}_{asked.iterations}_{asked.seed}",
        progress=True,
    )
    dice = np.array([row["truth_dice"] for row in cohort.objects], float)
    print(f"{cohort}; {np.mean(dice > 0.9):.0%} have a Dice above 0.9")
    for kind in KINDS:
        own = dice[[row["group"] == kind for row in cohort.objects]]
        print(
            f"  {kind}: {len(own)} images, Dice {np.percentile(own, 5):.2f} to {np.percentile(own, 95):.2f}"
        )
    known = {one["name"] for one in sx.list_studies()}
    for name, parameters in STUDIES:
        if name not in known:
            continue
        found = sx.study(cohort, name, seed=asked.seed, **parameters)
        words = "_".join([name, *parameters.values()]).replace(",", "_")
        for part, rows in {"": found.rows, **found.tables}.items():
            write_csv(asked.out / f"{words}{'_' * bool(part)}{part}.csv", rows)
        print(f"\n{name} {parameters or ''}\n{found.sentence}")
        print("\n".join(f"  - {caveat}" for caveat in found.caveats))


if __name__ == "__main__":
    main()
