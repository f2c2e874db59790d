"""Each method's passes, its time, and the ratio to the bare passes at the best batch: `make bench`.

Both sides are measured in one run on one device. The bare passes do nothing but run the network; the method
does everything a user gets: intensity steps, masks, maps on the image grid, the record.

    python benchmarks/run.py [--device cpu] [--masks 256] [--out results.md]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from bare import best_forward, forward_backward_to_input, forward_backward_to_layer, seconds, synchronize

import napari_segxai as sx
from napari_segxai.engine.device import choose_device
from napari_segxai.model.zoo.resnet_unet import ResNetUNet
from napari_segxai.resources import resource


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
    small = model.card.spatial_dims == 3
    masks = masks // 4 if small else masks
    target = sx.Target(label, region="image")  # a region that no network leaves empty
    rows = []
    with model.in_use(device):
        tensor = model.prepare(image).tensor.to(device)
        single, batch = best_forward(model.logits, tensor, 4 if small else 32)
        both = forward_backward_to_input(model.logits, tensor)
        layer = model.find_layer("bottleneck").name
        cam = forward_backward_to_layer(model.logits, model.module, layer, tensor)

    def ask(method: str, **params: object) -> sx.Explanation:
        return sx.explain(model, image, target, method, device=str(device), **params)

    for method in ("seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"):
        spent = seconds(lambda method=method: ask(method), device, 7)
        rows.append((method, "1 F, 1 B", spent, cam))
    spent = seconds(lambda: ask("rise", masks=masks), device, 3)
    rows.append((f"rise, {masks} masks", f"{masks + 1} F", spent, (masks + 1) * single))
    # The second stage alone: the difference of two runs that share the first stage.
    # The object is the prediction here; without one there is no MiSuRe to time.
    if (model.predict(image, device=str(device)) == model.label_index(label)).any():
        counts = (2, 6) if small else (10, 40)
        times = []
        for _ in range(3):
            pair = []
            for n in counts:
                synchronize(device)
                start = time.perf_counter()
                sx.explain(model, image, label, "misure", device=str(device), iterations=n, tau=0.5)
                synchronize(device)
                pair.append(time.perf_counter() - start)
            times.append((pair[1] - pair[0]) / (counts[1] - counts[0]))
        rows.append(("misure, an iteration of stage 2", "1 F, 1 B", statistics.median(times), both))
    rows.append((f"(bare forward at batch {batch})", "1 F", single, single))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--masks", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    versions = (
        f"Device: {name}. torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"napari-segxai {sx.__version__}, {datetime.date.today()}."
    )
    lines = [
        versions,
        "",
        "| network | method | passes | seconds | bare passes | ratio |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for title, model, image, label in cases():
        for method, passes, spent, bare in measure(model, image, label, device, options.masks):
            line = f"| {title} | {method} | {passes} | {spent:.4f} | {bare:.4f} | {spent / bare:.2f} |"
            lines.append(line)
            print(line, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
