"""What the experiments share: their settings, the cases they are run on, results that are kept, and mask tests."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.sweep.controls import random_masks
from napari_segxai.core.progress import finish
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import load_glyphs, triangle_sample
from napari_segxai.io.names import file_name
from napari_segxai.metrics.functional.chance import DRAWS, Chance, random_field
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.functional.sufficiency import binarized

Row = dict[str, Any]

DATASETS = {
    "triangle": "Triangle images, our small U-Net",
    "photograph": "one photograph (astronaut), selfie network",
    "tissue": "blocks of an average brain, 3D tissue U-Net",
    "head": "one head MRI, 3D brain extraction network",
}

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


@dataclass(frozen=True)
class Settings:
    """How large the experiments are.

    Attributes
    ----------
    datasets
        Of `DATASETS`.
    images, sweep_images
        Triangle images of the tables, and of the sweeps, which need eleven runs of MiSuRe per image.
    blocks, block
        Blocks that are cut out of the brain, and their side in voxels (a multiple of 8).
    masks, masks_tissue, masks_head
        Masks of RISE: on 2D images, on blocks, on the head.
    iterations
        Steps of MiSuRe's pruning.
    seed
        Of the Triangle images and of RISE's masks.
    draws
        Random maps beside every number.
    labels
        Of the blocks, the first ones; all by default.
    cohort_images, cohort_graded, cohort_blocks
        Of the cohorts: Triangle images, such with failures of all degrees, and blocks of the brain.
    cohort_iterations
        Steps of pruning on the latter two.
    network_images, network_masks, networks
        Triangle images and masks of RISE for every network, and how many networks; all that are there by default.
    sweep_datasets
        Those whose cases are swept; of the blocks, the first one's white matter.
    note
        What else should be known of the run.
    """

    datasets: tuple[str, ...] = tuple(DATASETS)
    images: int = 8
    sweep_images: int = 8
    blocks: int = 1
    block: int = 24
    masks: int = 2000
    masks_tissue: int = 500
    masks_head: int = 100
    iterations: int = 100
    seed: int = 1
    draws: int = DRAWS
    labels: int | None = None
    network_images: int = 8
    network_masks: int = 500
    networks: int | None = None
    cohort_images: int = 150
    cohort_graded: int = 100
    cohort_blocks: int = 12
    cohort_iterations: int = 40
    sweep_datasets: tuple[str, ...] = ("triangle", "photograph", "tissue")
    note: str = ""

    def full(self) -> Settings:
        """As large as the papers, as far as the data go."""
        return replace(
            self, images=150, sweep_images=150, blocks=4, masks=2000, masks_tissue=2000, masks_head=2000
        )

    def quick(self) -> Settings:
        """Small enough for a test; its numbers mean nothing."""
        return replace(
            self,
            datasets=("triangle", "tissue"),
            images=2,
            sweep_images=1,
            block=16,
            masks=110,
            masks_tissue=20,
            iterations=2,
            draws=2,
            labels=1,
            network_images=1,
            network_masks=20,
            networks=1,
            cohort_images=2,
            cohort_graded=0,
            cohort_blocks=2,
            cohort_iterations=1,
            sweep_datasets=("triangle",),
        )


@cache
def _code() -> str:
    """Digest of the code that makes numbers: a result of other code is not used again."""
    package = Path(sx.__file__).parent
    rooms = [package / room for room in ("engine", "methods", "metrics")]
    digest = hashlib.sha256()
    for file in sorted(file for room in rooms for file in room.rglob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


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
        """What a kept result has to agree in."""
        asked = {"sha256": self.image.sha256, "model": self.model.sha256, "label": self.label}
        return {**asked, "baseline": BASELINE, "draws": self.draws, "code": _code()}

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


# -- results that are kept -----------------------------------------------------------------------------


class Store:
    """Rows of every experiment and case as JSON, used again as long as what made them is the same.

    Parameters
    ----------
    folder
        Gets one file per experiment, and the maps that figures are drawn of.
    fresh
        Whether nothing is used again.
    old
        Whether results of other code are used again as well; `other_code` counts them.
    """

    def __init__(
        self, folder: Path, *, fresh: bool = False, old: bool = False, say: Callable[[str], None] = print
    ):
        self.folder, self.fresh, self.old, self.say = folder, fresh, old, say
        self.other_code = 0
        self.maps = folder / "maps"
        self.maps.mkdir(parents=True, exist_ok=True)
        self.drawable = {path.stem for path in self.maps.glob("*.npz")}  # file names of cases
        self.done: set[tuple[str, str]] = set()
        self.computed = 0
        self.seconds = 0.0

    def rows(
        self,
        experiment: str,
        case: Case,
        settings: Mapping[str, Any],
        compute: Callable[[], list[Row]],
        *,
        shown: bool = False,
    ) -> list[Row]:
        """Return the rows of a case; computed unless they are kept, and the maps too if figures show the case."""
        path = self.folder / f"{experiment}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        wanted = json.loads(json.dumps({**case.identity, **settings}))
        old = kept.get(case.key)
        usable = (
            old is not None
            and (
                old["settings"] == wanted
                or (self.old and {**old["settings"], "code": ""} == {**wanted, "code": ""})
            )
            and (not shown or self.old or file_name(case.key) in self.drawable)
        )
        if (experiment, case.key) not in self.done and (self.fresh or not usable):
            self.say(f"{datetime.now(UTC):%H:%M:%S} {experiment}: {case.key}")
            common = {"dataset": case.dataset, "case": case.key}
            start = time.perf_counter()
            rows = [{**common, **row} for row in compute()]
            self.computed += 1
            self.seconds += time.perf_counter() - start
            kept[case.key] = {"settings": wanted, "date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": rows}
            text = json.dumps(kept, indent=1) + "\n"
            _replace(path, lambda part: part.write_text(text, encoding="utf-8"))
        if (experiment, case.key) not in self.done:
            self.other_code += kept[case.key]["settings"]["code"] != wanted["code"]
        self.done.add((experiment, case.key))
        return kept[case.key]["rows"]

    def dates(self) -> list[str]:
        """The days on which the rows that were used were computed, sorted."""
        found = set()
        for experiment, key in self.done:
            kept = json.loads((self.folder / f"{experiment}.json").read_text(encoding="utf-8"))
            found.add(kept[key]["date"])
        return sorted(found)

    def keep_maps(self, case: Case, **maps: np.ndarray) -> None:
        """Keep maps for the figures, beside those of the case that are there."""
        path = self.maps / f"{file_name(case.key)}.npz"
        known = dict(np.load(path)) if path.exists() else {}
        _replace(path, lambda part: np.savez_compressed(part, **{**known, **maps}))

    def kept_maps(self, case: Case) -> dict[str, np.ndarray]:
        """Return the maps of a case by name."""
        path = self.maps / f"{file_name(case.key)}.npz"
        return dict(np.load(path)) if path.exists() else {}


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that whoever ends the run half-way leaves the old one."""
    part = path.with_name(f"part-{path.name}")
    write(part)
    part.replace(path)


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
