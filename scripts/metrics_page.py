"""Write docs/metrics.md from the registry of metrics; which options a metric reads is found by watching it read them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_segxai import Image, load_model
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import question_of
from napari_segxai.core.options import parameters
from napari_segxai.core.progress import finish
from napari_segxai.methods.page import parameter_table
from napari_segxai.metrics.evaluation import Options
from napari_segxai.metrics.registry import Metric, all_metrics
from napari_segxai.metrics.table import evaluate_steps

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """# Metrics

Written by `scripts/metrics_page.py` from the metrics themselves; edit their files, not this page. There are {count}.

`sx.compare`, `sx.evaluate`, `napari-segxai compare` and the Compare dock measure with them; `napari-segxai metrics` lists
them. All that is measured of regions and masses is measured on the grid of the image, with its spacing; what runs the
network is brought to the model's grid.

- Maps count with their positive part: evidence against a label is no evidence for it elsewhere. Where a metric speaks
  of the map scaled to [0, 1], the positive part goes from its own lowest to its own highest value.
- A region is made of a map in three steps: the pixels at or above a threshold (by default the mean; never those of
  value 0), of them the largest connected component (pixels touch at corners too), and for the *box* form its box. Metrics
  of the form *box* compare boxes, those of the form *mask* the pixels themselves.
- Boxes hold both their ends: one from 3 to 5 is three pixels wide.
- IoU is |A n B| / |A u B|, and F1 = 2 IoU / (1 + IoU). The IoU that was published with the masked metrics divides by the
  truth alone, which is the recall; localisation errors from there are 1 - recall, and never above those here.
- A number that cannot be had, such as one that needs an object where there is none, is *undefined*, not 0. What a map
  without positive values gets, a miss or nothing, is said with each family.
- What nobody has labelled (`ignored_values` in the [card](model_card.md)) is left out by metrics that need the truth: there, map, prediction and
  truth count as empty. Mean differences still divide by all pixels.
- "Better" says which way a metric points; it does not make a map true. Random orders go through insertion and deletion as
  a control: a map that is no better than those says nothing.
- Beside every Dice explained, PPS and pointing number stands its *chance level*: what 20 random maps reach that keep as
  much of the image (coarse random grids of 7 cells per axis, enlarged and given the map's own values), their mean and 95th
  percentile. A number at or below the latter is marked with ≈. It costs 20 passes a map for Dice explained, 20 for the PPS of
  the soft map, and up to 240 for Dice explained over threshold; `chance=0` leaves it out.
- Two numbers that are read from the network's outputs and differ by less than a ten-thousandth are equal: no drop, no
  increase, both the best.

## Options

They hold for all maps and metrics of a table alike: `sx.compare(..., binarize=0.2)`, `-o binarize=0.2`. The tables below
name those that a metric reads.

{options}
"""
BETTER = {"higher": "higher", "lower": "lower", None: "neither"}
COLUMNS = ("metric", "better", "unit", "form", "needs", "options", "what it measures", "source")


class Bright(nn.Module):
    """Draws what is brighter than a half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5], 1) * 8


@contextmanager
def reading(names: set[str]) -> Iterator[None]:
    """Note which options are read."""
    known = {field.name for field in fields(Options)}

    def get(self: Options, name: str) -> object:
        if name in known:
            names.add(name)
        return object.__getattribute__(self, name)

    Options.__getattribute__ = get
    try:
        yield
    finally:
        del Options.__getattribute__


def options_read() -> dict[str, list[str]]:
    """Return the options that every metric reads for an ordinary map of a small network, in their order."""
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.3, (24, 24)).astype(np.float32)
    array[6:14, 6:14] = 1
    truth = np.zeros((24, 24), bool)
    truth[7:15, 6:14] = True
    card = {"name": "bright", "labels": ["background", "object"], "spatial_dims": 2}
    model = load_model(Bright(), card=card)
    plan = ExplanationPlan.make(model, Image(array), "object", "vanilla-gradient", device="cpu")
    maps = {"map": array - 0.1}
    out = {}
    with model.in_use(plan.device):
        question = question_of(plan, model.prepare(plan.image))
        for metric in all_metrics():
            found: set[str] = set()
            with reading(found):
                finish(
                    evaluate_steps(
                        maps, question, truth=truth, metrics=[metric.name], noise_model=lambda image: image
                    )
                )
            out[metric.name] = [field.name for field in fields(Options) if field.name in found]
    return out


def row(metric: Metric, options: list[str]) -> str:
    summary = metric.summary[0].upper() + metric.summary[1:]
    cells = (
        f"{metric.title} `{metric.name}`",
        BETTER[metric.better],
        metric.unit or "number",
        metric.form or "–",
        ", ".join(metric.needs) or "–",
        ", ".join(f"`{name}`" for name in options) or "–",
        summary,
        metric.source,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def section(family: str, metrics: list[Metric], options: dict[str, list[str]]) -> str:
    """Return what the files of a family say, and a table of its metrics."""
    files = dict.fromkeys(metric.measure.__module__ for metric in sorted(metrics, key=lambda m: m.name))
    own = f"napari_segxai.metrics.measures.{family}"
    files = sorted(files, key=lambda name: (name != own, name))
    lines = [f"## {family.capitalize()}", ""]
    for file in files:
        lines += [sys.modules[file].__doc__.strip(), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*lines, *(row(metric, options[metric.name]) for metric in metrics)])


def page() -> str:
    metrics, read = all_metrics(), options_read()
    families = dict.fromkeys(metric.family for metric in metrics)
    head = HEAD.format(
        count=len(metrics),
        options="\n".join(parameter_table(parameters(Options), "by the kind of threshold")),
    )
    parts = [section(f, [m for m in metrics if m.family == f], read) for f in families]
    return head + "\n" + "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
