"""Draw the pictures of docs/concepts.md that show activation maximization, a decision tree, DeepDream and an object edit, from our own samples."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from concepts_figure import write_cases

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.figures.style import write_figure

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DPI = 110


def units() -> sx.Survey:
    """Units of an early layer of the Triangle network, whose kernels see a few pixels."""
    with tempfile.TemporaryDirectory() as folder:
        images, _ = write_cases(Path(folder), 12)
        return sx.survey(
            "triangle", images, "activation-maximization", layer="encoder2", count=5, patches=6, steps=256
        )


def tissue() -> tuple[sx.SegmentationModel, sx.Image]:
    return sx.load_model("brain-tissue"), sx.read_image(resource("sample_data") / "images" / "mni_t1.nii.gz")


def tree() -> sx.Explanation:
    """The tree of the tissues."""
    return sx.explain(*tissue(), "white matter", "decision-tree", layer="last")


def dream(steps: int = 24) -> sx.Explanation:
    """A piece of grey matter on its way to white matter."""
    model, image = tissue()
    drawn = model.predict(image)
    wanted = np.zeros(drawn.shape, bool)
    middle = tuple(n // 2 for n in drawn.shape)
    part = tuple(slice(m - n // 6, m + n // 6) for m, n in zip(middle, drawn.shape, strict=True))
    wanted[part] = drawn[part] == model.labels.index("grey matter")
    return sx.explain(
        model,
        image,
        sx.Target("white matter", region=wanted),
        "deep-dream",
        steps=steps,
        step=0.02,
        beyond=0.2,
    )


def edit() -> sx.Explanation:
    """The triangle, edited until it is none."""
    image = sx.read_image(resource("sample_data") / "images" / "triangle_1.png")
    return sx.explain("triangle", image, "triangle", "object-edit")


def main() -> None:
    """Draw all four."""
    for name, make, number in (
        ("units", units, 1),
        ("tree", tree, 0),
        ("dream", dream, 0),
        ("edit", edit, 0),
    ):
        found = make()
        write_figure(found.figure(number), IMAGES / f"{name}.png", dpi=DPI)
        told = found.sentence if isinstance(found, sx.Survey) else found.record.results
        print(IMAGES / f"{name}.png", told)


if __name__ == "__main__":
    main()
