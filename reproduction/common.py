"""What the experiments share: the cases they are run on, and mask tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from settings import Settings

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.sweep.controls import random_masks
from napari_segxai.core.progress import finish
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import load_glyphs, triangle_sample
from napari_segxai.metrics.functional.chance import DRAWS, Chance, random_field
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.functional.sufficiency import binarized

Row = dict[str, Any]

BASELINE = "background"
"""What hidden pixels become, for all methods and metrics alike: black, or air."""

PAPER: dict[str, dict[str, Any]] = {
    "misure": {"preset": "paper"},
    "rise": {"preset": "hasany"},  # the papers' variant; `misure` and `rise` have presets of that name
    "seg-grad-cam": {"layer": "bottleneck"},
    "seg-hires-grad-cam": {"layer": "bottleneck"},
    "seg-xres-cam": {"layer": "bottleneck", "window": 2, "pooling": "mean"},
    "seg-eigen-cam": {"layer": "bottleneck", "weighting": "none", "sign": "agreement"},
    "seg-ablation-cam": {"layer": "bottleneck", "replacement": "zero"},
}
"""Parameters of the papers, by method: what a method does by default may change, and the page does not."""

DEVICE = "cpu"


@dataclass(frozen=True, eq=False)
class Case:
    """One object in one image.

    Attributes
    ----------
    truth
        Positions in the model's labels, on the image grid; None where nobody knows.
    masks
        Of RISE.
    sweep
        Whether the sweeps are run on it.
    draws
        Random maps beside every number.
    """

    dataset: str
    key: str
    model: sx.SegmentationModel
    image: sx.Image
    label: str
    truth: np.ndarray | None
    masks: int
    sweep: bool
    draws: int = DRAWS

    @property
    def identity(self) -> Row:
        """What a kept result has to agree in, beside the code that ran for it."""
        asked = {"sha256": self.image.sha256, "model": self.model.sha256, "label": self.label}
        return {**asked, "baseline": BASELINE, "draws": self.draws}

    @property
    def mask_size(self) -> int:
        """Longest side of the model grid: a mask as fine as what the network sees."""
        return max(self.model.grid_for(self.image))

    def explain(self, method: str, **parameters: Any) -> sx.Explanation:
        """Explain the case's object, with the paper's parameters unless others are given."""
        asked = {**PAPER.get(method, {}), **parameters}
        return sx.explain(self.model, self.image, self.label, method, device=DEVICE, **asked)

    def predicted(self) -> np.ndarray:
        """Where the object is predicted: boolean, on the image grid."""
        return self.model.predict(self.image, device=DEVICE) == self.model.label_index(self.label)


@cache
def cases(settings: Settings) -> list[Case]:
    """Return all cases, in the order of the settings' data sets; every experiment gets the same, with their networks."""
    made = {"triangle": _triangles, "photograph": _photograph, "tissue": _tissue, "head": _head}
    return [
        replace(case, sweep=case.sweep and name in settings.sweep_datasets, draws=settings.draws)
        for name in settings.datasets
        for case in made[name](settings)
    ]


def _triangles(settings: Settings) -> Iterable[Case]:
    model = sx.load_model("triangle")
    glyphs = load_glyphs(resource("sample_data") / "glyphs.npz", "held-out")
    for k in range(settings.images):
        # A generator of its own for each, so that image 3 is image 3 however many there are.
        array, truth = triangle_sample(glyphs, np.random.default_rng([settings.seed, k]))
        image = sx.Image(array, name=f"Triangle {k}")
        yield Case("triangle", f"triangle {k}", model, image, "triangle", truth.astype(int), settings.masks,
                   k < settings.sweep_images)  # fmt: skip


def _photograph(settings: Settings) -> Iterable[Case]:
    from skimage.data import astronaut

    image = sx.Image(astronaut(), channel_axis=2, name="astronaut")
    yield Case(
        "photograph", "astronaut", sx.load_model("selfie"), image, "person", None, settings.masks, True
    )


def _tissue(settings: Settings) -> Iterable[Case]:
    """Blocks around the middles of the quarters of an axial slice; the first lies left and in front."""
    folder = resource("sample_data") / "images"
    brain, tissue = sx.read_image(folder / "mni_t1.nii.gz"), sx.read_image(folder / "mni_t1_tissue.nii.gz")
    model, side = sx.load_model("brain-tissue"), settings.block
    x, y, z = (n // 2 for n in brain.spatial_shape)
    corners = [(x - side, y), (x, y - side), (x - side, y - side), (x, y)]
    for k, (i, j) in enumerate(corners[: settings.blocks]):
        place = np.s_[i : i + side, j : j + side, z - side // 2 : z - side // 2 + side]
        affine = brain.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ (i, j, z - side // 2)
        image = sx.Image(brain.array[place], affine=affine, name=f"brain block {k}")
        truth = tissue.array[place].astype(int)
        for label in model.labels[1:][: settings.labels]:
            yield Case("tissue", f"block {k} {label}", model, image, label, truth, settings.masks_tissue,
                       k == 0 and label == "white matter")  # fmt: skip


def _head(settings: Settings) -> Iterable[Case]:
    folder = resource("sample_data") / "images"
    image, brain = sx.read_image(folder / "t1_head.nii.gz"), sx.read_image(folder / "t1_head_brain.nii.gz")
    yield Case("head", "head", sx.load_model("brain-extraction"), image, "brain", brain.array.astype(int),
               settings.masks_head, False)  # fmt: skip


def image_of(row: Row) -> str:
    """Return the image that a row is of: of a block of the brain every label is a case."""
    return " ".join(row["case"].split()[:2]) if row["dataset"] == "tissue" else row["case"]


def firsts(found: Iterable[Case]) -> list[Case]:
    """Return the first case of every data set: those that figures show."""
    seen: dict[str, Case] = {}
    for case in found:
        seen.setdefault(case.dataset, case)
    return list(seen.values())


# -- Dice explained and ratio --------------------------------------------------------------------------


def masked(case: Case, maps: Mapping[str, np.ndarray], thresholds: Iterable[float]) -> list[Row]:
    """Show the network the image behind every binarized map.

    Returns
    -------
    list of dict
        Per map and threshold: method, threshold, dice (explained; None for a map without positive values), chance and
        chance_high (what random maps of the same area explain: mean and 95th percentile), size (pixels of the prediction),
        mask (pixels that the map keeps), image (those that differ from the baseline).
    """
    size = int(case.predicted().sum())
    rows = []
    for threshold in thresholds:
        found = sx.evaluate(
            case.model, maps, case.image, case.label, device=DEVICE, controls=0, binarize=threshold,
            metrics=("dice-explained", "perturbation-ratio-image"), baseline=BASELINE, chance=case.draws,
        )  # fmt: skip
        for name, map in maps.items():
            ratio = found.value(name, "perturbation-ratio-image")
            rows.append(
                {
                    "method": name,
                    "threshold": threshold,
                    "dice": found.value(name, "dice-explained"),
                    **level(found.chance(name, "dice-explained")),
                    "size": size,
                    "mask": int(binarized(map, threshold).sum()),
                    "image": 0.0 if ratio is None else ratio * size,
                }
            )
    return rows


# -- what random maps reach ----------------------------------------------------------------------------


def level(chance: Chance | tuple[float, float] | None) -> Row:
    """Return a chance level as columns of a row."""
    mean, high = (
        (None, None)
        if chance is None
        else chance
        if isinstance(chance, tuple)
        else (chance.mean, chance.high)
    )
    return {"chance": mean, "chance_high": high}


def dice_by_chance(case: Case, masks: Mapping[str, np.ndarray]) -> dict[str, Row]:
    """Return what random masks with the values of these explain, by name; `masks` in [0, 1], on the image grid."""
    plan = ExplanationPlan.make(case.model, case.image, case.label, "misure", device=DEVICE)
    found = finish(random_masks(plan, masks, BASELINE, case.draws))
    return {name: level(found.get(name)) for name in masks}


@lru_cache(256)
def _order(shape: tuple[int, ...], seed: int, number: int) -> torch.Tensor:
    """Return the ranks of a random map's pixels: dear for a volume, and the same for all maps of a shape."""
    return ranks(random_field(shape, seed, number), seed + number)


def inside_by_chance(map: np.ndarray, region: np.ndarray, draws: int, seed: int = 0) -> Row:
    """Return which share of the positive mass of random maps with a map's values lies in a region.

    Parameters
    ----------
    region
        Of the map's shape: boolean, or the share of every cell that is inside.
    """
    positive = map.clip(min=0).astype(np.float64)
    if not positive.any():
        return level(None)
    values = torch.from_numpy(np.sort(positive, axis=None)[::-1].copy())
    maps = (values[_order(map.shape, seed, k)].numpy() for k in range(draws))
    return level(Chance.of([float((one * region).sum() / one.sum()) for one in maps]))
