"""Write docs/methods.md from the registry: what the ? button and `napari-segxai methods` say, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_segxai.explainers.registry import Method, all_methods
from napari_segxai.options import Parameter

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


def section(method: Method) -> str:
    lines = [
        f"## {method.title} (`{method.name}`)",
        "",
        f"*{method.family}*. {method.summary.capitalize()}.",
        "",
    ]
    lines += [method.doc.strip(), "", *parameter_table(method.parameters, "chosen by the method")]
    for name, values in method.presets.items():
        what = ", ".join(f"`{k}={v}`" for k, v in values.items()) or "the defaults"
        lines.append(f"\nPreset `{name}`: {what}.")
    return "\n".join(lines)


def parameter_table(parameters: Sequence[Parameter], auto: str) -> list[str]:
    """Return the lines of a table; `auto` says who chooses where there is no default."""
    lines = ["| parameter | default | type | meaning |", "|---|---|---|---|"]
    for p in parameters:
        kind = " or ".join(f"`{c}`" for c in p.choices) or p.type_name
        kind += "".join(f", {fact}" for fact in (p.bounds, p.unit) if fact)
        default = auto if p.default is None else f"`{p.default}`" if p.default != "" else "none"
        lines.append(f"| `{p.name}` | {default} | {kind} | {p.help} |")
    return lines


def page() -> str:
    return HEAD + "\n" + "\n\n".join(section(method) for method in all_methods()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
