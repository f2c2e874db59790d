"""What a relevance pass costs beside a plain forward and backward pass, and where the score stays: part of `make bench`.

Both run on the prepared input of a sample network, in turn; seconds are those of the processor, the least of three.

    python benchmarks/relevance.py [--out results.md]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from run import cases, versions

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.core.progress import Passes
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.primitives.gradient_check import check_gradients
from napari_segxai.engine.primitives.relevance import RelevanceRecorder, Relevances
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.weighted import Rule, Rules

RULES: tuple[Rule, ...] = ("epsilon", "z-plus", "alpha-beta", "composite")


def least(work: Callable[[], object]) -> float:
    """Return the least processor time of three runs, in seconds."""
    found = []
    for _ in range(3):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def rows(name: str, model: sx.SegmentationModel, image: sx.Image, label: str) -> list[str]:
    """Return one line of the table per rule."""
    plan = ExplanationPlan.make(model, image, label, "lrp", device="cpu")
    lines = []
    with model.in_use("cpu") as device:
        prepared = model.prepare(image, plan.slices[0])
        question = Question(model, image, prepared, plan.target, device=device, seed=0, planned=Passes())
        check_gradients(model)

        def plain() -> None:
            leaf = question.input.clone().requires_grad_()
            torch.autograd.grad(question.score(model.logits(leaf)).sum(), leaf)

        def relevance(rule: Rule) -> Relevances:
            return RelevanceRecorder(question, Rules(rule, 1e-3)).propagate(keep=False)

        plain()
        seconds = least(plain)
        for rule in RULES:
            balance = relevance(rule).balance
            taken = least(lambda rule=rule: relevance(rule))
            lines.append(
                f"| {name} | {rule} | {seconds:.3f} | {taken:.3f} | {taken / seconds:.1f} | "
                f"{balance.share(balance.input):.0%} | {balance.share(balance.biases):.0%} | {balance.gap:.0e} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    tissue = sx.read_image(resource("sample_data/images") / "mni_t1_tissue.nii.gz")
    asked = [one for one in cases() if not one[0].startswith("ResNet")]
    asked.append(("brain tissue", sx.load_model("brain-tissue"), tissue, "white matter"))
    lines = [
        versions(torch.device("cpu")),
        "",
        "| network | rule | forward and backward, s | relevance, s | ratio | on the input | on biases | gap |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in asked:
        lines += rows(*one)
        print("\n".join(lines[-len(RULES) :]), flush=True)
    if out is not None:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
