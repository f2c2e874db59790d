"""What each special path gives: a whole explanation with the path switched off, against one with it.

Both sides run in turn, in one run; the ratio is the median of those of the pairs. Above 1 the path saves time. By default
one thread is used and its processor time is taken, which does not depend on what else the machine does. A part of the fused
network is switched off alone, and switched on alone ("alone": what the fused network takes without it and without all others,
against what it takes with this part only). The table of docs/performance.md is made from this.

    python benchmarks/special_paths.py [--sample triangle] [--pairs 7] [--threads 1] [--out table.md]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from run import versions
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.execution.batch_size import batch_size

Patches = dict[str, Any]
"""What is put in place of what: dotted name -> object."""

EXECUTION = "napari_segxai.engine.execution."
PRIMITIVES = "napari_segxai.engine.primitives."
FUSED = "napari_segxai.models.inference.fused."
MANY_PASSES = "napari_segxai.analyses.explain.run.MANY_PASSES"


def one_image(executor: object, grid: object = None, *, gradients: bool = False) -> int:
    return 1


def not_halved(executor: Any, grid: Any = None, *, gradients: bool = False) -> int:
    return batch_size(executor, grid)


def batches(rule: Callable[..., int]) -> Patches:
    return {PRIMITIVES + "perturb.batch_size": rule, EXECUTION + "batched_optimization.batch_size": rule}


def unfolded(module: nn.Module, run: Callable[[nn.Module], Tensor]) -> tuple[list, Tensor]:
    return [], run(module)


def not_shared(self: object, tensor: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    return run(tensor)


def as_it_lies(tensor: Tensor) -> Tensor:
    return tensor


def hide_behind(tensor: Tensor, baseline: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda masks: torch.lerp(baseline, tensor, masks)


PARTS: dict[str, Patches] = {
    "folding": {FUSED + "_pairs": unfolded},
    "kernels channels last": {FUSED + "CHANNELS_LAST": {}},
    "3D convolutions in groups": {FUSED + "_divides": lambda one: False},
}
"""Of the fused network."""

PATHS: dict[str, Patches] = {
    "fused network": {MANY_PASSES: math.inf},
    "batches": batches(one_image),
    "half a batch for gradients": batches(not_halved),
    "gradient steps in one batch": {EXECUTION + "batched_optimization.batch_size": one_image},
    "shared forward passes": {EXECUTION + "forward_cache.ForwardCache.forward": not_shared},
    "replay from a layer": {PRIMITIVES + "layer_replay._answered": lambda calls, own, frozen: []},
    "is_label": {"napari_segxai.models.labeling.is_label": lambda logits, label: logits.argmax(1) == label},
    "inputs channels last": {
        name + ".fast_layout": as_it_lies
        for name in (
            "napari_segxai.engine.question",
            EXECUTION + "executor",
            "napari_segxai.models.segmentation",
        )
    },
    "masks on channels first": {"napari_segxai.engine.question.hide_behind": hide_behind},
}


@dataclass
class Case:
    """A method and the paths that it walks; small numbers of passes, so that many pairs can be run."""

    method: str
    paths: list[str]
    plane: dict[str, Any] = field(default_factory=dict)
    volume: dict[str, Any] = field(default_factory=dict)
    parts: bool = False
    all_labels: bool = False

    @property
    def title(self) -> str:
        return self.method + (", Dice" if "score" in self.plane else "") + ", all labels" * self.all_labels


CASES = (
    Case("rise", ["fused network", "batches", "masks on channels first"], {"masks": 64}, {"masks": 8}, parts=True),
    Case(
        "misure", ["fused network"], {"iterations": 16, "max_dilations": 2}, {"iterations": 2, "max_dilations": 0}, parts=True,
    ),
    Case("rise", ["is_label"], {"masks": 48, "score": "dice"}, {"masks": 8, "score": "dice"}),
    Case("integrated-gradients", ["batches", "half a batch for gradients"], {"steps": 16}, {"steps": 4}),
    Case("seg-ablation-cam", ["replay from a layer", "inputs channels last"]),
    Case("rise", ["shared forward passes"], {"masks": 32}, {"masks": 4}, all_labels=True),
    Case(
        "misure", ["gradient steps in one batch"], {"iterations": 10, "max_dilations": 1}, {"iterations": 2, "max_dilations": 0},
        all_labels=True,
    ),
)  # fmt: skip


def samples() -> Iterator[tuple[str, sx.SegmentationModel, sx.Image, str]]:
    from skimage.data import astronaut

    images = resource("sample_data/images")
    yield "triangle", sx.load_model("triangle"), sx.read_image(images / "triangle_1.png"), "triangle"
    yield "selfie", sx.load_model("selfie"), sx.Image(astronaut(), channel_axis=2, name="astronaut"), "person"
    yield (
        "brain-extraction",
        sx.load_model("brain-extraction"),
        sx.read_image(images / "t1_head.nii.gz"),
        "brain",
    )
    yield (
        "brain-tissue",
        sx.load_model("brain-tissue"),
        sx.read_image(images / "mni_t1.nii.gz"),
        "grey matter",
    )


def variants(case: Case, volume: bool) -> Iterator[tuple[str, Patches, Patches]]:
    """Yield name, what switches the path off, and what is switched off on both sides."""
    for name in case.paths:
        if volume and name in ("inputs channels last", "masks on channels first"):
            continue  # both are for 2D; the volumes have one channel
        yield name, PATHS[name], {}
    for name in PARTS if case.parts else ():
        if volume or "3D" not in name:
            others = {key: new for other in PARTS if other != name for key, new in PARTS[other].items()}
            yield name, PARTS[name], {}
            yield f"{name}, alone", PATHS["fused network"], others


def measure(
    model: sx.SegmentationModel, image: sx.Image, label: str, case: Case, pairs: int
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield every path, and seconds without and with it."""
    volume = model.card.spatial_dims == 3
    params = case.volume if volume else case.plane
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def run(patches: Patches, fused: list[Any]) -> float:
        model._fused = fused.pop() if fused else None
        with ExitStack() as stack:
            for name, new in (
                {MANY_PASSES: 2} | patches
            ).items():  # as for the methods' own numbers of passes
                stack.enter_context(patch(name, new))
            start = clock()
            if case.all_labels:
                sx.explain_all(model, image, list(model.labels), case.method, device="cpu", **params)
            else:
                sx.explain(model, image, label, case.method, device="cpu", **params)
            spent = clock() - start
        fused.append(model._fused)
        return spent

    for name, off, both in variants(case, volume):
        sides: list[tuple[Patches, list[Any]]] = [(both | off, []), (both, [])]
        found: list[list[float]] = [[], []]
        for k in range(-1, pairs):
            for side in (0, 1) if k % 2 else (1, 0):
                spent = run(*sides[side])
                if k >= 0:  # the first makes the fused network, which is kept
                    found[side].append(spent)
        yield name, list(zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", default="", help="part of the name of a sample")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head = "| sample | explanation | path | seconds with it | without / with | middle half of the pairs |"
    lines = [versions(torch.device("cpu")), "", head, "|---|---|---|--:|--:|--:|"]
    print("\n".join(lines), flush=True)
    for sample, model, image, label in samples():
        for case in CASES if options.sample in sample else ():
            for name, pairs in measure(model, image, label, case, options.pairs):
                ratios = sorted(without / with_it for without, with_it in pairs)
                low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
                seconds = statistics.median(with_it for _, with_it in pairs)
                numbers = f"{seconds:.3f} | {statistics.median(ratios):.2f} | {low:.2f} to {high:.2f}"
                lines.append(f"| {sample} | {case.title} | {name} | {numbers} |")
                print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
