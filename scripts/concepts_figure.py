"""Draw docs/images/dissection.png: at which network layers of the Triangle network what an item is, and which role it plays, can be told by one unit, by a direction, and by
where in an item's box something is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Picture
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import napari_segxai as sx
from napari_segxai.core.chart import Chart, Series
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import CLASSES, triangle_concepts
from napari_segxai.figures.charts import draw_chart
from napari_segxai.figures.style import write_figure

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "dissection.png"
CASES = 40
ASKED = ("object", "trouser")
"""Which role an item plays, and what it is."""


def write_cases(folder: Path, cases: int = CASES, seed: int = 0) -> tuple[Path, Path]:
    """Write images of held-out items, and a folder of masks per concept; returns both folders."""
    with np.load(resource("sample_data") / "glyphs.npz", allow_pickle=False) as sheet:
        held_out = sheet["held_out"] & np.isin(sheet["labels"], list(CLASSES))
        glyphs, classes = sheet["images"][held_out], sheet["labels"][held_out]
    rng = np.random.default_rng(seed)
    images, concepts = folder / "images", folder / "concepts"
    for number in range(cases):
        image, masks = triangle_concepts(glyphs, classes, rng)
        files = {
            images: image,
            **{concepts / name: masks[name].astype(np.uint8) for name in ("item", *ASKED)},
        }
        for where, array in files.items():
            where.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(array).save(where / f"triangle_{number}.png")
    return images, concepts


PLACES, LEAST = 4, 8
"""Places of an item's box along each axis; pixels of an item at least."""


def placed(images: Path, concepts: Path, layers: Sequence[str]) -> dict[str, list[float]]:
    """Return by concept the balanced accuracy, at every layer, of a probe that sees the box of an item as 4 x 4 means.

    What `cav` sees is one mean over the item: only that is a direction of the layer.
    """
    model, found = sx.load_model("triangle"), {name: [] for name in layers}
    shown: dict[str, list[bool]] = {name: [] for name in ASKED}
    groups: list[int] = []
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        model.module.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out.detach())
        )
        for name in layers
    ]
    for number, path in enumerate(sorted(images.iterdir())):
        tensor = model.prepare(sx.read_image(path)).tensor
        with torch.inference_mode():
            model.module.eval()(tensor)
        masks = {name: np.asarray(Picture.open(concepts / name / path.name)) > 0 for name in ("item", *ASKED)}
        parts, _ = ndimage.label(masks["item"])
        for k, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
            own = parts == k
            if own.sum() < LEAST:
                continue
            groups.append(number)
            for name in ASKED:
                shown[name].append(bool(masks[name][own].mean() > 0.5))
            for name in layers:
                whole = F.interpolate(seen[name], size=own.shape, mode="bilinear")
                found[name].append(
                    F.adaptive_avg_pool2d(whole[:, :, rows, columns], PLACES).flatten().numpy()
                )
    for hook in hooks:
        hook.remove()
    out: dict[str, list[float]] = {}
    for concept in ASKED:
        for name in layers:
            probe = make_pipeline(
                StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced")
            )
            told = cross_val_predict(
                probe, np.stack(found[name]), shown[concept], groups=groups, cv=GroupKFold(5)
            )
            out.setdefault(concept, []).append(float(balanced_accuracy_score(shown[concept], told)))
    return out


def chart(dissected: sx.Survey, probed: sx.Survey, by_place: dict[str, list[float]]) -> Chart:
    """Return the best unit and the linear probe of every layer, for each concept, beside what shuffled concepts reach at most."""
    series = []
    for found, number, control, name in (
        (dissected, "auc", "control_auc", "best unit"),
        (probed, "accuracy", "accuracy_shuffled", "linear probe"),
    ):
        for concept in ASKED:
            rows = [row for row in found.table if row["concept"] == concept]
            layers = tuple(row["layer"] for row in rows)
            series.append(Series(f"{concept}, {name}", layers, tuple(row[number] for row in rows)))
            against = tuple(row[control] for row in rows)
            several = any(one.kind == "lines" for one in series)
            series.append(Series("" if several else "controls", layers, against, kind="lines"))
    layers = tuple(dict.fromkeys(row["layer"] for row in probed.table))
    what = ASKED[1]  # which role an item plays is told by a direction already
    series.append(Series(f"{what}, 4 x 4 places", layers, tuple(by_place[what])))
    title = "What an item is (trouser), and which role it plays (object)"
    return Chart("lines", title, "network layer", "AUC of a unit, accuracy of a probe", tuple(series))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, concepts = write_cases(Path(folder))
        asked = {"concepts": concepts, "within": "item", "examples": 0}
        dissected = sx.survey("triangle", images, "network-dissection", choose="auc", **asked)
        probed = sx.survey("triangle", images, "cav", removals=5, label="triangle", **asked)
        layers = list(dict.fromkeys(row["layer"] for row in probed.table))
        by_place = placed(images, concepts, layers)
    print(layers, {name: [round(one, 3) for one in values] for name, values in by_place.items()})
    for found in (dissected, probed):
        print(found)
    write_figure(draw_chart(chart(dissected, probed, by_place), width=140), PICTURE, dpi=110)


if __name__ == "__main__":
    main()
