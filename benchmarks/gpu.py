"""What explanations cost on a GPU, against the bare passes at the best batch: part of scripts/gpu_check.sh.

Four questions on a ResNet-34-size U-Net at 224 x 224 and on a 3D U-Net at 128 x 128 x 128 (random weights): RISE with 2000
masks, MiSuRe as it is by default, the ablation of 128 channels, and a CAM of every network layer. Then every method of 50
passes and more. Both sides run in turn, in one run; whenever the host waits for the device inside a method is counted.
Last, what the memory layout, the number format and captured graphs give to bare passes.

    python benchmarks/gpu.py [--device cuda:0] [--only questions] [--out table.md]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import methods
import numpy as np
import torch
from bare import best_forward, best_layout, forwards, paired, seconds, synchronize, to_input
from run import cases, versions
from torch import Tensor

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import answer, question_of
from napari_segxai.core.progress import finish
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.device import choose_device, exact
from napari_segxai.models.zoo.unet import UNet

HEAD = (
    "| network | question | passes | seconds | bare passes | ratio | waits |",
    "|---|---|---|---|---|---|---|",
)
LARGEST = 128

MORE: dict[str, dict[str, Any]] = {
    "rise": {"masks": 512},
    "lime": {"samples": 512},
    "kernel-shap": {"samples": 512},
    "seg-sobol": {"designs": 16},
    "occlusion": {},
    "counterfactual": {},
    "smooth-grad": {"samples": 256},
    "integrated-gradients": {"steps": 256},
    "guided-integrated-gradients": {"steps": 64},
    "stable-explanation": {"wraps": "vanilla-gradient", "copies": 64},
    "adversarial-attack": {"attack": "segmentation", "steps": 64},
    "grid-saliency": {"iterations": 128},
    "extremal-perturbation": {"iterations": 64},
    "misure": {"iterations": 128},
    "x-ray": {},
}
"""So many passes that a GPU takes about as long as a user's question does."""


def volume() -> tuple[str, sx.SegmentationModel, sx.Image, str]:
    torch.manual_seed(0)
    card = {
        "name": "3D U-Net",
        "labels": ["background", "object"],
        "spatial_dims": 3,
        "grid": {"size": [128] * 3},
    }
    net = UNet(1, 2, (16, 32, 64, 128), spatial_dims=3)
    image = sx.Image(np.random.default_rng(0).random((128, 128, 128), np.float32), name="noise")
    return "3D U-Net, 128 x 128 x 128", sx.load_model(net, card=card), image, "object"


def waits(work: Callable[[], object], device: torch.device) -> int:
    """How often the host waits for the device in `work`."""
    if device.type != "cuda":
        return 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def questions(device: torch.device) -> Iterator[str]:
    for title, model, image, label in (cases()[2], volume()):
        plane = model.card.spatial_dims == 2
        inside = model.predict(image, device=str(device)) == model.label_index(label)
        label = label if inside.any() else "background"
        wide = next(one.name for one in model.outline if one.shape[0] == 128 and one.stage != "encoder")
        with model.in_use(device):
            prepared = model.prepare(image)
            tensor = prepared.tensor.to(device)
            single, batch = best_forward(model.logits, tensor, LARGEST if plane else 4)
            yield f"| {title} | (a bare forward pass, best batch: {batch}) | 1 F | {single:.5f} | | | |"
            asked: dict[str, dict[str, Any]] = {
                "rise": {"masks": 2000 if plane else 250},
                "rise, float32": {"masks": 2000 if plane else 250, "precision": "float32"},
                "misure": {} if plane else {"iterations": 20},
                "seg-ablation-cam": {"layer": wide},
            }
            for name, params in asked.items():
                method = name.partition(",")[0]
                plan = ExplanationPlan.make(model, image, label, method, device=str(device), **params)
                last: list[Question] = []

                def ours(plan: Any = plan, last: list = last, prepared: Any = prepared) -> None:
                    last[:] = [question_of(plan, prepared)]
                    finish(answer(plan, last[0]))

                ours()
                passes = last[0].passes
                if passes.backward:
                    bare = methods.pairs(model.logits, tensor, passes, batch, 1)
                else:
                    bare = forwards(model.logits, tensor, passes.forward + passes.suffix, batch)
                once = seconds(ours, device, 1)
                spent, lowest, ratio = paired(ours, bare, device, 5 if once < 2 else 2)
                yield row(title, name, last[0], spent, lowest, ratio, waits(ours, device))
            layers = [one.name for one in model.outline]

        together = (model, image, label, layers, str(device))
        flow, every = partial(all_at_once, *together), partial(one_by_one, *together)
        spent, lowest, ratio = paired(flow, every, device, 3)
        yield (
            f"| {title} | CAM of {len(layers)} network layers (beside: one explanation each) | 1 F, 1 B | {spent:.4f} "
            f"| {lowest:.4f} | {ratio:.2f} | {waits(flow, device)} |"
        )


def all_at_once(model: Any, image: Any, label: str, layers: list[str], device: str) -> None:
    sx.information_flow(model, image, [label], layers=layers, device=device)


def one_by_one(model: Any, image: Any, label: str, layers: list[str], device: str) -> None:
    for layer in layers:
        sx.explain(model, image, label, "seg-grad-cam", layer=layer, device=device)


def row(title: str, name: str, question: Question, *numbers: float) -> str:
    spent, bare, ratio, count = numbers
    passes = question.passes
    suffix = f", {passes.suffix} from a layer on" if passes.suffix else ""
    said = f"{passes.forward} F, {passes.backward} B{suffix}, {question.executor.notes['precision']}"
    return f"| {title} | {name} | {said} | {spent:.4f} | {bare:.4f} | {ratio:.2f} | {count:.0f} |"


def every_method(device: torch.device, network: str) -> Iterator[str]:
    for title, model, image, label in cases():
        if network not in title:
            continue
        methods.METHODS = MORE
        for method, passes, spent, bare, ratio in methods.measure(model, image, label, device, None):
            yield f"| {title} | {method} | {passes} | {spent:.4f} | {bare:.4f} | {ratio:.2f} | |"


def paths(device: torch.device) -> Iterator[str]:
    """Bare passes in other layouts and number formats, captured as a graph, and compiled."""
    for title, model, image, _ in (cases()[2], volume()):
        plane = model.card.spatial_dims == 2
        last = torch.channels_last if plane else torch.channels_last_3d
        many = 32 if plane else 2
        with model.in_use(device):
            tensor = model.prepare(image).tensor.to(device)
            for network, kind in ((model, "as it is"), (model.fused(tensor), "fused")):
                for layout in (torch.contiguous_format, last):
                    for digits in ("float32", "TensorFloat-32", "bfloat16"):
                        x = tensor.repeat(many, *(1,) * (tensor.ndim - 1)).contiguous(memory_format=layout)

                        def run(
                            x: Tensor = x, half: bool = digits == "bfloat16", network: Any = network
                        ) -> None:
                            with (
                                torch.inference_mode(),
                                torch.autocast(device.type, torch.bfloat16, enabled=half),
                            ):
                                network.logits(x)

                        with nullcontext() if digits == "TensorFloat-32" else exact():
                            spent = seconds(run, device, 5) / many
                        words = f"{kind}, {str(layout).removeprefix('torch.')}, {digits}"
                        yield f"| {title} | forward, batch {many}: {words} | 1 F | {spent:.6f} | | | |"
            if device.type != "cuda":
                continue
            network = model.fused(tensor)
            for digits in ("float32", "TensorFloat-32"):
                with nullcontext() if digits == "TensorFloat-32" else exact():
                    eager = seconds(to_input(network.logits, tensor), device, 10)
                    replayed = seconds(captured(network.logits, tensor), device, 10)
                yield f"| {title} | both ways, one image, {digits}: eager | 1 F, 1 B | {eager:.6f} | | | |"
                yield f"| {title} | both ways, one image, {digits}: captured | 1 F, 1 B | {replayed:.6f} | | | |"
            yield f"| {title} | moving the weights there | | {moving(model, device):.4f} | | | |"
            if plane:
                x = tensor.repeat(many, *(1,) * (tensor.ndim - 1))
                compiled = torch.compile(network.logits)
                start = time.perf_counter()
                with torch.inference_mode(), exact():
                    compiled(x)
                    synchronize(device)
                    first = time.perf_counter() - start
                    spent = seconds(lambda x=x, compiled=compiled: compiled(x), device, 5) / many
                yield f"| {title} | forward, batch {many}: compiled, which took {first:.0f} s | 1 F | {spent:.6f} | | | |"


def captured(run: Callable[[Tensor], Tensor], tensor: Tensor) -> Callable[[], None]:
    """A forward and a backward pass as a graph that is captured once."""
    x = best_layout(tensor).clone().requires_grad_(True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            torch.autograd.grad(run(x)[:, -1].mean(), [x])
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = torch.autograd.grad(run(x)[:, -1].mean(), [x])
    return lambda: (graph.replay(), kept)[0]


def moving(model: sx.SegmentationModel, device: torch.device) -> float:
    def work() -> None:
        model.module.to("cpu")
        model.module.to(device)

    return seconds(work, device, 3) / 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=("", "questions", "methods", "paths"), default="")
    parser.add_argument(
        "--network", default="U-Net, 224", help="part of the name of a network, for every method"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    lines = [versions(device), "", *HEAD]
    print("\n".join(lines), flush=True)
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "questions": lambda: questions(device),
        "methods": lambda: every_method(device, options.network),
        "paths": lambda: paths(device),
    }
    for name, part in parts.items():
        if options.only not in ("", name):
            continue
        with exact() if name != "paths" else nullcontext():
            for line in part():
                lines.append(line)
                print(line, flush=True)
                if options.out:
                    options.out.write_text("\n".join(lines) + "\n")
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
