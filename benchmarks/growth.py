"""How time and memory grow with image size, masks and labels, in 2D and 3D: writes docs/performance.md.

Every measurement runs in a process of its own, so that its peak memory is its own. Time is that of the explanation after
a first one that does not count. Memory is what the explanation needs beyond what one bare pass needs. Fails where a large
volume takes more than `BOUND` copies of itself.

    python benchmarks/growth.py [--repeats 3] [--only rise]
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import napari_segxai as sx

DOCS = Path(__file__).parents[1] / "docs"

Case = dict[str, Any]

BOUND = 8
"""Float32 copies of a 256 x 256 x 256 image that an explanation may need at its peak beyond a bare pass."""


class SmallUNet(nn.Module):
    """Two levels, 8 and 16 channels, batch normalisation: its receptive field is about 20 cells."""

    def __init__(self, ndim: int, labels: int):
        super().__init__()
        torch.manual_seed(0)
        conv, norm, pool, up = (
            (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ConvTranspose2d)
            if ndim == 2
            else (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.ConvTranspose3d)
        )

        def block(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(conv(inputs, outputs, 3, padding=1), norm(outputs), nn.ReLU())

        self.encoder, self.pool, self.bottleneck = block(1, 8), pool(2), block(8, 16)
        self.up, self.decoder, self.head = up(16, 8, 2, stride=2), block(16, 8), conv(8, labels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.encoder(x)
        deep = self.up(self.bottleneck(self.pool(skip)))
        return self.head(self.decoder(torch.cat([skip, deep], 1)))


def cases() -> Iterator[Case]:
    few = {"masks": 64}
    for side in (64, 128, 256, 512):
        for method, options in (("seg-grad-cam", {}), ("rise", few), ("occlusion", {"patch": 16, "stride": 16}), ("misure", {"iterations": 20, "max_dilations": 4})):  # fmt: skip
            yield {
                "series": "image size, 2D",
                "x": side,
                "ndim": 2,
                "side": side,
                "method": method,
                "options": options,
            }
    for side in (32, 64, 96, 128):
        for method, options in (("seg-grad-cam", {}), ("rise", {"masks": 16}), ("occlusion", {"patch": side // 4, "stride": side // 4})):  # fmt: skip
            yield {
                "series": "image size, 3D",
                "x": side,
                "ndim": 3,
                "side": side,
                "method": method,
                "options": options,
            }
    for masks in (64, 128, 256, 512, 1024):
        yield {
            "series": "masks",
            "x": masks,
            "ndim": 2,
            "side": 128,
            "method": "rise",
            "options": {"masks": masks},
        }
    for labels in (1, 2, 4, 8):
        for method, options in (
            ("rise", {"masks": 128}),
            ("kernel-shap", {"samples": 128}),
            ("occlusion", {}),
        ):
            yield {"series": "labels", "x": labels, "ndim": 2, "side": 128, "method": method, "options": options, "labels": labels}  # fmt: skip
    for method, options in (("rise", {"masks": 4}), ("occlusion", {"patch": 128, "stride": 128})):
        yield {
            "series": "large volume",
            "x": 256,
            "ndim": 3,
            "side": 256,
            "method": method,
            "options": options,
        }


def one(case: Case, repeats: int) -> dict[str, float]:
    """Measure one case, in this process."""
    grid = (case["side"],) * case["ndim"]
    labels = ["background", *(f"label {k}" for k in range(case.get("labels", 1)))]
    card = {"name": "small U-Net", "labels": labels, "spatial_dims": case["ndim"]}
    model = sx.load_model(SmallUNet(case["ndim"], len(labels)), card=card)
    image = sx.Image(np.random.default_rng(0).random(grid, np.float32))
    targets = [sx.Target(label, region="image") for label in labels[1:]]
    tensor = torch.from_numpy(image.array)[None, None]
    with model.in_use("cpu"), torch.inference_mode():
        model.logits(tensor)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def explain() -> list[sx.Explanation]:
        return sx.explain_all(model, image, targets, case["method"], device="cpu", **case["options"])

    found = explain()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(repeats if case["side"] < 200 or case["ndim"] == 2 else 1):
        start = time.perf_counter()
        explain()
        times.append(time.perf_counter() - start)
    passes = sum(ex.record.passes["forward"] for ex in found)
    return {
        "seconds": statistics.median(times),
        "passes": passes,
        "mebibytes": (after - before) / 1024,
        "volumes": 1024 * (after - before) / (4 * float(np.prod(grid))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only")
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one), options.repeats)))
        return
    rows = []
    for case in cases():
        if options.only in (None, case["method"], case["series"]):
            call = [sys.executable, __file__, "--one", json.dumps(case), "--repeats", str(options.repeats)]
            out = subprocess.run(call, check=True, capture_output=True, text=True).stdout
            rows.append({**case, **json.loads(out.splitlines()[-1])})
            print(
                {
                    key: rows[-1][key]
                    for key in ("series", "x", "method", "seconds", "passes", "mebibytes", "volumes")
                },
                flush=True,
            )
    if options.only is None:
        write(rows)
    large = [row for row in rows if row["series"] == "large volume" and row["volumes"] > BOUND]
    if large:
        sys.exit(
            f"more than {BOUND} images: " + ", ".join(f"{r['method']} {r['volumes']:.1f}" for r in large)
        )


SPECIAL_PATHS = "## What each special path gives\n"
"""Where the part of the page begins that is not made here."""


def write(rows: list[Case]) -> None:
    """Write the page and the plot."""
    from matplotlib.figure import Figure

    series = list(dict.fromkeys(row["series"] for row in rows))
    lines = [
        "# How time and memory grow",
        "",
        "Made by `python benchmarks/growth.py`. A small U-Net (8 and 16 channels, two levels) on random images, so that what the",
        "explaining adds to the network shows. Seconds are those of the whole explanation. Memory is what the explanation",
        "needs at its peak beyond one bare pass of the network, libraries that are loaded on the way included (up to 100 MiB,",
        "mostly code for bfloat16); for a large volume also in float32 copies of the image.",
        "",
        (
            f"{platform.machine()} CPU, {torch.get_num_threads()} threads. torch {torch.__version__}, Python "
            f"{platform.python_version()}, napari-segxai {sx.__version__}, {datetime.date.today()}."
        ),
        "",
        "![Time and memory against image size, masks and labels](images/growth.png)",
        "",
    ]
    for name in series:
        lines += [f"## {name[0].upper()}{name[1:]}", "", "| | method | forward passes | seconds | memory |", "|--:|---|--:|--:|--:|"]  # fmt: skip
        for row in rows:
            if row["series"] == name:
                memory = f"{row['mebibytes']:.0f} MiB"
                if name == "large volume":
                    memory += f" ({row['volumes']:.1f} images)"
                lines.append(f"| {row['x']} | {row['method']} | {row['passes']:.0f} | {row['seconds']:.3f} | {memory} |")  # fmt: skip
        lines.append("")
    page = DOCS / "performance.md"
    _, _, rest = page.read_text(encoding="utf-8").partition(SPECIAL_PATHS)  # of benchmarks/special_paths.py
    page.write_text("\n".join(lines) + "\n" + SPECIAL_PATHS + rest, encoding="utf-8")
    drawn = [name for name in series if name != "large volume"]
    figure = Figure(figsize=(3.2 * len(drawn), 4.6), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(drawn), squeeze=False)
    for column, name in enumerate(drawn):
        for method in dict.fromkeys(row["method"] for row in rows if row["series"] == name):
            some = [row for row in rows if row["series"] == name and row["method"] == method]
            axes[0, column].plot(
                [r["x"] for r in some], [r["seconds"] for r in some], marker="o", label=method
            )
            axes[1, column].plot([r["x"] for r in some], [r["mebibytes"] for r in some], marker="o")
        axes[0, column].set(title=name, xscale="log", yscale="log", ylabel="seconds" if not column else "")
        axes[1, column].set(
            xscale="log", xlabel=name.split(",")[0], ylabel="memory, MiB" if not column else ""
        )
        axes[1, column].set_ylim(bottom=0)
        for axis in axes[:, column]:
            ticks = sorted({row["x"] for row in rows if row["series"] == name})
            axis.set_xticks(ticks, [str(x) for x in ticks])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        axes[0, column].legend(fontsize=6)
    figure.savefig(DOCS / "images" / "growth.png")


if __name__ == "__main__":
    main()
