"""Draw figures of docs/concepts.md on held-out images of the Triangle set: kinds of image parts (`ace`), and which units carry which (`concept-graph`)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from concepts_figure import write_cases

import napari_segxai as sx
from napari_segxai.figures.gallery import draw_gallery
from napari_segxai.figures.style import write_figure

PICTURES = Path(__file__).parents[1] / "docs" / "images"
CASES, SHOWN = 24, 4
"""Images of the folder; concepts that are shown."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, _ = write_cases(Path(folder), CASES)
        found = sx.survey("triangle", images, "ace", layer="decoder4")
        print(found, found.sentence, sep="\n")
        used = [row for row in found.table if row["used"]][:SHOWN]
        gallery = found.galleries[0]
        pictures = [
            replace(picture, row=f"{row['concept']}: Dice lost {row['dice_lost']:.2f}")
            for row in used
            for picture in gallery.rows()[row["concept"]]
        ]
        write_figure(draw_gallery(replace(gallery, pictures=tuple(pictures))), PICTURES / "ace.png", dpi=130)
        found = sx.survey("triangle", images, "concept-graph")
        print(found, found.sentence, sep="\n")
        write_figure(found.figure(), PICTURES / "concept_graph.png", dpi=110)


if __name__ == "__main__":
    main()
