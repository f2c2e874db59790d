"""Every method that needs 50 passes or more, against the bare passes at the best batch: part of `make bench`.

A method is asked for about 64 passes (128 where its presets allow no fewer). It runs from the prepared input to its
finding; the bare passes, as many as it counted, do nothing but run the network as the user gave it, forward passes and
pairs of a forward and a backward pass each at the batch size that is quickest for them (one image where a method has to
wait for every gradient). Both sides run in turn, in one
run on one device. A ratio below 1 comes from a network made quicker (see `models/inference/fused.py`) or from bfloat16.

Not here: methods that run from a network layer on (benchmarks/cams.py), and U-Noise, whose time is that of training its
own network.

    python benchmarks/methods.py [--device cpu] [--only rise] [--network triangle] [--out results.md]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bare import best_forward, best_layout, paired, seconds
from run import cases, versions
from torch import Tensor

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import answer, question_of
from napari_segxai.core.progress import Passes, finish
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.device import choose_device

METHODS: dict[str, dict[str, Any]] = {
    "rise": {"masks": 64},
    "lime": {"cells": 20, "samples": 64},
    "kernel-shap": {"cells": 20, "samples": 64},
    "seg-sobol": {"cells": 4, "designs": 4},
    "occlusion": {},
    "counterfactual": {},
    "smooth-grad": {"samples": 64},
    "integrated-gradients": {"steps": 64},
    "guided-integrated-gradients": {"steps": 64},
    "stable-explanation": {"wraps": "vanilla-gradient", "copies": 64},
    "adversarial-attack": {"attack": "segmentation", "steps": 64},
    "grid-saliency": {"iterations": 64},
    "extremal-perturbation": {"iterations": 16},
    "misure": {"iterations": 64},
    "x-ray": {"steps": 8},
}

IN_VOLUMES: dict[str, dict[str, Any]] = {
    "occlusion": {"patch": 24, "stride": 24},
    "seg-sobol": {"cells": 2, "designs": 6},
    "counterfactual": {"segments": 12},
}
"""What keeps methods near 64 passes in 3D."""

ONE_BY_ONE = {
    "guided-integrated-gradients",
    "stable-explanation",
    "adversarial-attack",
    "grid-saliency",
    "misure",
}
"""Methods whose every backward pass waits for the one before, and stable-explanation, which lets any method explain one copy
after the other: their bare pairs run one image at a time, too."""

PAIR_SECONDS = 60.0
"""A pair of runs that takes longer is run once, one that takes a fifth of it five times."""


def best_pair(run: Callable[[Tensor], Tensor], tensor: Tensor, largest: int) -> int:
    """Return the batch size with which a forward and a backward pass are quickest per image."""

    def per_image(batch: int) -> float:
        return seconds(pairs(run, tensor, Passes(batch, batch), 1, batch), tensor.device, 3) / batch

    sizes = [2**k for k in range(largest.bit_length())]
    return min(sizes, key=per_image)


def pairs(
    run: Callable[[Tensor], Tensor], tensor: Tensor, passes: Passes, forward: int, backward: int
) -> Callable[[], None]:
    """Return what runs so many bare passes, those that go backward in batches of their own."""
    inputs = best_layout(tensor.repeat(max(forward, backward), *(1,) * (tensor.ndim - 1)))
    both = min(passes.forward, passes.backward)

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, passes.forward - both, forward):
                run(inputs[: min(forward, passes.forward - both - start)])
        more = passes.backward - both  # second backward passes through one graph
        for start in range(0, both, backward):
            n = min(backward, both - start)
            leaf = inputs[:n].clone().requires_grad_(True)
            score = run(leaf)[:, -1].mean()
            torch.autograd.grad(score, [leaf], retain_graph=more > 0)
            if more > 0:
                more -= n
                torch.autograd.grad(score, [leaf])

    return work


def measure(
    model: sx.SegmentationModel, image: sx.Image, label: str, device: torch.device, only: str | None
) -> Iterator[tuple]:
    largest = 8 if model.card.spatial_dims == 2 else 2
    inside = model.predict(image, device=str(device)) == model.label_index(label)
    target = sx.Target(label if inside.any() else "background")  # random weights may draw nothing of it
    with model.in_use(device):
        prepared = model.prepare(image)
        tensor = prepared.tensor.to(device)
        forward = best_forward(model.logits, tensor, largest)[1]
        backward = best_pair(model.logits, tensor, largest)
        for method, params in METHODS.items():
            if only not in (None, method):
                continue
            if model.card.spatial_dims == 3:
                params = IN_VOLUMES.get(method, params)
            plan = ExplanationPlan.make(model, image, target, method, device=str(device), **params)
            asked: list[Question] = []

            def ours(plan: ExplanationPlan = plan, asked: list[Question] = asked) -> None:
                asked.append(question_of(plan, prepared))
                finish(answer(plan, asked[-1]))

            start = time.perf_counter()
            ours()
            once = time.perf_counter() - start
            passes = asked[-1].passes
            if passes.forward + passes.backward < 50:
                print(f"{method}: {passes} only", file=sys.stderr)
            together = 1 if method in ONE_BY_ONE else backward
            bare = pairs(model.logits, tensor, passes, forward, together)
            repeats = max(1, min(5, int(PAIR_SECONDS / (4 * once))))
            spent, lowest, ratio = paired(ours, bare, device, repeats)
            digits = asked[-1].executor.notes["precision"]
            yield method, f"{passes.forward} F, {passes.backward} B, {digits}", spent, lowest, ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=METHODS)
    parser.add_argument("--network", default="", help="part of the name of a network")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    head = "| network | method | passes | seconds | bare passes | ratio |"
    lines = [versions(device), "", head, "|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for title, model, image, label in cases():
        if options.network not in title:
            continue
        for method, passes, spent, bare, ratio in measure(model, image, label, device, options.only):
            lines.append(f"| {title} | {method} | {passes} | {spent:.4f} | {bare:.4f} | {ratio:.2f} |")
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
