"""Write docs/methods.md from the registry: what the ? button and `napari-segxai methods` say, as a page."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.methods.page import section
from napari_segxai.methods.registry import QUESTIONS, START_HERE, all_methods

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
HEAD = """# Methods

Written by `scripts/methods_page.py` from the methods themselves; edit their files, not this page.

Every map is raw: signed, not normalised, float32, on the grid of the image. What is called the *score* is set
by the target: the label's logit (default), probability or log-probability, averaged (default) or summed over the
region M, which is the predicted pixels of the label unless another region is chosen. A forward pass is written F,
a backward pass B.

Where pytorch-grad-cam, torchcam, captum or MONAI give other numbers for a method of the same name (the sign of Eigen-CAM,
the softmax of Score-CAM, what Ablation-CAM puts in a channel's place, 3D), [peers.md](peers.md) says how and why.
"""


def contents() -> str:
    """Return which methods answer which question."""
    lines = [f"Start here: {', '.join(f'`{name}`' for name in START_HERE)}.", ""]
    for word, question in QUESTIONS.items():
        names = ", ".join(f"`{method.name}`" for method in all_methods() if method.question == word)
        lines.append(f"- **{question}** {names}")
    return "\n".join(lines)


def page() -> str:
    return f"{HEAD}\n{contents()}\n\n" + "\n\n".join(section(method) for method in all_methods()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
