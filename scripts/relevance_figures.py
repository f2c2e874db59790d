"""Draw the figures of docs/relevance.md: a map of `lrp` in 2D and 3D, the channels of `l-crp` with reference crops, and routes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from concepts_figure import write_cases

import napari_segxai as sx
from napari_segxai.core.chart import Chart, Series
from napari_segxai.datasets.resources import resource
from napari_segxai.figures.charts import draw_chart
from napari_segxai.figures.gallery import draw_gallery
from napari_segxai.figures.panels import Group, Outline, Panel, draw_panels
from napari_segxai.figures.style import PAGE, write_figure

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SAMPLES = resource("sample_data/images")
DPI = 110
CASES, CHANNELS = 30, 3


def plane(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return an image as it is; of a volume the slice that holds most of a mask, along its last axis."""
    if array.ndim == 2:
        return array
    return array[:, :, int(mask.sum((0, 1)).argmax())].T[::-1]


def group(title: str, found: sx.Explanation, maps: dict[str, np.ndarray]) -> Group:
    """Return the image of an explanation and maps over it, with the outline of what is drawn."""
    drawn = found.drawn(found.record.target["label"])
    own = plane(drawn, drawn)
    ground = plane(found.image.frame(0).array, drawn).astype(float)
    low, high = np.percentile(ground, (1, 99))
    panels = [Panel("image", np.clip((ground - low) / (high - low), 0, 1), outlines=(Outline(own),))]
    for name, values in maps.items():
        shown = plane(values, drawn)
        end = float(np.percentile(np.abs(shown), 99.8)) or 1.0
        panels.append(Panel(name, shown, (-end, end), "part of the score", outlines=(Outline(own),)))
    return Group(title, tuple(panels))


def relevance() -> None:
    groups = []
    for model, file, label in (
        ("triangle", "triangle_1.png", "triangle"),
        ("brain-extraction", "t1_head.nii.gz", "brain"),
    ):
        image = sx.read_image(SAMPLES / file)
        found = {rule: sx.explain(model, image, label, "lrp", rule=rule) for rule in ("composite", "epsilon")}
        print(model, {rule: one.record.results["share_of_input"] for rule, one in found.items()})
        first = found["composite"]
        groups.append(
            group(f"{label}, network {model}", first, {rule: one.map for rule, one in found.items()})
        )
    write_figure(draw_panels(groups), IMAGES / "relevance.png", dpi=DPI)


def channels() -> None:
    image = sx.read_image(SAMPLES / "triangle_1.png")
    with tempfile.TemporaryDirectory() as folder:
        images, _ = write_cases(Path(folder), CASES)
        found = sx.explain("triangle", image, "triangle", "l-crp", channels=CHANNELS, references=images)
    print(found.record.results["layer"], found.curves["strongest"])
    maps = {name.replace("_", " "): values for name, values in found.maps.items()}
    of = group(f"triangle, network triangle, channels of {found.record.results['layer']}", found, maps)
    write_figure(draw_panels([of]), IMAGES / "concept_relevance.png", dpi=DPI)
    for gallery in found.galleries:
        write_figure(draw_gallery(gallery), IMAGES / f"crops_{gallery.name}.png", dpi=DPI)


def routes() -> None:
    image = sx.read_image(SAMPLES / "mni_t1_tissue.nii.gz")
    flow = sx.information_flow("brain-tissue", image, ["white matter"], routes=True, causal=True)
    rows = flow.rows
    names = tuple(row["layer"] for row in rows)
    series = tuple(
        Series(title, names, tuple(row[key] for row in rows))
        for title, key in (
            ("share of the score", "relevance"),
            ("share across its skip", "relevance_skip"),
            ("Dice lost without it", "lost"),
        )
    )
    chart = Chart(
        "bars", "Routes of white matter through the brain-tissue network", "network layer", "", series
    )
    write_figure(draw_chart(chart, width=PAGE), IMAGES / "routes.png", dpi=DPI)


if __name__ == "__main__":
    relevance()
    channels()
    routes()
