"""Table 1 of MiSuRe (Hasany et al. 2026) on several networks: what of it hangs on the network, its training and the layer.

Every network of reproduction/weights that is there, and the sample network, which is the first small U-Net with skips;
Seg-Grad-CAM at the bottleneck and at the last layer of the encoder before pooling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hasany_2026_table1
import numpy as np
from common import BASELINE, Case, Row, masked
from designs import DESIGNS, ORDER, WEIGHTS
from hasany_2025_table1 import CAM_THRESHOLDS, RISE_THRESHOLDS
from kept import Store
from settings import Settings

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import load_glyphs, triangle_sample

NAME = "networks"
SAMPLE = "skips-1"
SGC = "Seg-Grad-CAM"
LAYERS = ("bottleneck", "before pooling")


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes
    ----------
    name
        Kind and seed.
    kind
        Of `train.DESIGNS`.
    model
        As loaded.
    """

    name: str
    kind: str
    model: sx.SegmentationModel

    @property
    def dice(self) -> str:
        """Mean Dice of the prediction on fresh images, as its card tells it."""
        return (self.model.card.validation or "").split("Mean Dice ")[-1].split(" ")[0]

    def layer(self, which: str) -> str:
        """Return the name of a layer of `LAYERS`."""
        return "bottleneck" if which == "bottleneck" else f"encoder{self.model.module.levels}"


@cache
def trained(folder: Path = WEIGHTS) -> tuple[Trained, ...]:
    """Return the networks that are there, those of a kind beside each other."""
    names = [SAMPLE, *sorted(ORDER, key=lambda name: (list(DESIGNS).index(_kind(name)), name))]
    found = {name: folder / name for name in names if (folder / name / "model.yaml").is_file()}
    return (
        Trained(SAMPLE, _kind(SAMPLE), sx.load_model("triangle")),
        *(Trained(name, _kind(name), sx.load_model(path)) for name, path in found.items()),
    )


def _kind(name: str) -> str:
    return name.rsplit("-", 1)[0]


def run(settings: Settings, store: Store) -> list[Row]:
    """Return the rows of all networks and images; a network's name stands in the place of the data set."""
    rows = []
    asked = {"masks": settings.network_masks, "iterations": settings.iterations, "seed": settings.seed}
    for one in trained()[: settings.networks]:
        for case in _cases(one, settings):
            rows += store.rows(NAME, case, asked, lambda c=case, o=one: _measure(c, o, settings))
    return rows


def _cases(one: Trained, settings: Settings) -> Iterator[Case]:
    glyphs = load_glyphs(resource("sample_data") / "glyphs.npz", "held-out")
    for k in range(settings.network_images):
        array, truth = triangle_sample(
            glyphs, np.random.default_rng([settings.seed, k]), **DESIGNS[one.kind].stage.canvas
        )
        image = sx.Image(array, name=f"Triangle {k}")
        yield Case(one.name, f"{one.name} image {k}", one.model, image, "triangle", truth.astype(int),
                   settings.network_masks, False, settings.draws)  # fmt: skip


def _measure(case: Case, one: Trained, settings: Settings) -> list[Row]:
    size = int(case.predicted().sum())
    if not size:
        return []
    cams = {f"{SGC} {which}": case.explain("seg-grad-cam", layer=one.layer(which)) for which in LAYERS}
    rise = case.explain("rise", masks=case.masks, seed=settings.seed, baseline=BASELINE)
    rows = masked(case, {name: found.map for name, found in cams.items()}, CAM_THRESHOLDS)
    rows += masked(case, {f"RISE {case.masks}": rise.map}, RISE_THRESHOLDS)
    seconds = {name: found.record.seconds for name, found in {**cams, f"RISE {case.masks}": rise}.items()}
    for row in rows:
        row["seconds"] = seconds[row["method"]]
    return [*rows, hasany_2026_table1.measure(case, settings.iterations, None)]
