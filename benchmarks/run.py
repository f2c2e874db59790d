"""Each method's passes, its time, and the ratio to the bare passes at the best batch: `make bench`.

Both sides are measured in one run on one device. The bare passes do nothing but run the network. The method runs
from the prepared input to its finding on the model grid, which is what it adds to the passes. What `explain` costs
around any method - intensity steps, resampling, maps on the image grid, the record - is a line of its own.

    python benchmarks/run.py [--device cpu] [--masks 500] [--out results.md]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bare import best_forward, forwards, often, paired, to_input, to_layer

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import answer, question_of
from napari_segxai.core.progress import finish
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.finding import Finding
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.zoo.resnet_unet import ResNetUNet


def cases() -> list[tuple[str, sx.SegmentationModel, sx.Image, str]]:
    from skimage.data import astronaut

    images = resource("sample_data/images")
    torch.manual_seed(0)
    card = {"name": "ResNet-34-size U-Net", "labels": ["background", "object"], "spatial_dims": 2,
            "channels": ["red", "green", "blue"], "intensity": [{"divide": 255}], "grid": {"size": [224, 224]}}  # fmt: skip
    resnet = sx.load_model(ResNetUNet(in_channels=3, out_channels=2), card=card)
    photo = sx.Image(astronaut(), channel_axis=2, name="astronaut")
    return [
        (
            "triangle U-Net, 112 x 112",
            sx.load_model("triangle"),
            sx.read_image(images / "triangle_1.png"),
            "triangle",
        ),
        ("selfie, 256 x 256", sx.load_model("selfie"), photo, "person"),
        ("ResNet-34-size U-Net, 224 x 224", resnet, photo, "object"),
        (
            "brain extraction, 96 x 96 x 96",
            sx.load_model("brain-extraction"),
            sx.read_image(images / "t1_head.nii.gz"),
            "brain",
        ),
    ]


def measure(
    model: sx.SegmentationModel, image: sx.Image, label: str, device: torch.device, masks: int
) -> list[tuple]:
    volume = model.card.spatial_dims == 3
    masks = masks // 4 if volume else masks
    target = sx.Target(label, region="image")  # a region that no network leaves empty

    rows = []
    with model.in_use(device):
        prepared = model.prepare(image)
        tensor = prepared.tensor.to(device)

        def ask(method: str, **params: Any) -> Callable[[], Finding]:
            plan = ExplanationPlan.make(model, image, target, method, device=str(device), **params)
            return lambda: finish(answer(plan, question_of(plan, prepared)))

        def explain() -> sx.Explanation:
            return sx.explain(model, image, target, "seg-grad-cam", device=str(device))

        single, batch = best_forward(model.logits, tensor, 4 if volume else 32)
        rows.append((f"(a bare forward pass, best batch: {batch})", "1 F", single, single, 1.0))
        bare = to_layer(model.logits, model.module, model.find_layer("bottleneck").name, tensor)
        for method in ("seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"):
            rows.append((method, "1 F, 1 B", *paired(ask(method), bare, device, often(6 * single))))
        whole, method, _ = paired(explain, ask("seg-grad-cam"), device, often(6 * single))
        rows.append(
            ("(around any method: image and map to and from the grid)", "", whole - method, 0.0, float("nan"))
        )
        bare = forwards(model.logits, tensor, masks + 1, batch)
        rows.append(
            (
                f"rise, {masks} masks",
                f"{masks + 1} F",
                *paired(ask("rise", masks=masks), bare, device, often(2 * masks * single)),
            )
        )
        rows.append(
            ("misure, an iteration of stage 2", "1 F, 1 B", *stage_two(model, image, target, tensor, device))
        )
    return rows


def stage_two(
    model: sx.SegmentationModel,
    image: sx.Image,
    target: sx.Target,
    tensor: torch.Tensor,
    device: torch.device,
) -> tuple:
    """Iterations of MiSuRe's second stage against bare passes, in turn, without the first stage."""
    inside = model.predict(image, device=str(device)) == model.label_index(target.label)
    # MiSuRe needs a predicted object; a network with random weights may draw none.
    label = target.label if inside.any() else "background"
    steps = sx.explain_steps(model, image, label, "misure", device=str(device), iterations=100, tau=0.01)
    step = next(steps)
    while "stage 2" not in step.note:
        step = next(steps)
    result = paired(lambda: next(steps), to_input(model.logits, tensor), device, 75)
    steps.close()
    return result


def versions(device: torch.device) -> str:
    """Return on what was measured, in words."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    return (
        f"Device: {name}. torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"napari-segxai {sx.__version__}, {datetime.date.today()}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--masks", type=int, default=500, help="of RISE, in 3D a quarter; 500 is its own default"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    lines = [
        versions(device),
        "",
        "| network | method | passes | seconds | bare passes | ratio |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for title, model, image, label in cases():
        for method, passes, spent, bare, ratio in measure(model, image, label, device, options.masks):
            against = f"{bare:.4f} | {ratio:.2f}" if bare else "|"
            line = f"| {title} | {method} | {passes} | {spent:.4f} | {against} |"
            lines.append(line)
            print(line, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
