"""Draw the pictures of docs/concepts.md that come from held-out images of the Triangle set: concepts by factors, and examples."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from concepts_figure import write_cases

import napari_segxai as sx
from napari_segxai.figures.gallery import draw_gallery
from napari_segxai.figures.panels import Group, Outline, Panel, draw_panels
from napari_segxai.figures.style import write_figure

PICTURES = Path(__file__).parents[1] / "docs" / "images"
CASES, SHOWN = 40, 3
"""Images of the folder; concepts that are shown."""


def panels_of(found: sx.Survey, model: sx.SegmentationModel) -> list[Group]:
    """Return the first cases of which maps were kept: the image with its prediction, and the most important concepts."""
    groups = []
    for case in dict.fromkeys(one.case for one in found.maps):
        image = next(one for one in found.maps if one.case == case).image()
        shown = [
            Panel(
                "image, and the object as predicted",
                image.array / 255,
                outlines=(Outline(model.predict(image) == 1),),
            )
        ]
        for row in found.table[:SHOWN]:
            values = next(
                one for one in found.maps if (one.case, one.name) == (case, f"concept {row['concept']}")
            ).array()
            title = f"concept {row['concept']}, importance {row['importance']:.2f}"
            shown.append(
                Panel(title, values, scale=(0.0, float(np.abs(values).max())), unit="how much of it")
            )
        groups.append(Group("", tuple(shown)))
    return groups


def main() -> None:
    model = sx.load_model("triangle")
    with tempfile.TemporaryDirectory() as folder:
        images, _ = write_cases(Path(folder), CASES)
        found = sx.survey(model, images, "nmf-concepts")
        print(found, found.record["results"], found.warnings, sep="\n")
        write_figure(draw_panels(panels_of(found, model)), PICTURES / "nmf_concepts.png", dpi=150)
        found = sx.survey(model, images, "nearest-examples", of="triangle_3")
        print(found.sentence, found.record["results"], found.warnings, sep="\n")
        write_figure(draw_gallery(found.galleries[0]), PICTURES / "examples.png", dpi=150)


if __name__ == "__main__":
    main()
