"""A whole CT volume through the sliding window of a small nnU-Net-like network: time and memory, on this machine.

Every measurement runs in a process of its own. Memory is the most that the process held, the image among it, less the most that it held
when the network ran on an image of two windows, in float32 copies of the volume (Linux alone tells it). Writes
benchmarks/results/volumes.md; with --only, one row of it anew.

    python benchmarks/volumes.py [--shape 300 512 512] [--window 96 96 96] [--only prediction] [--light]
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import napari_segxai as sx

RESULTS = Path(__file__).parent / "results" / "volumes.md"

WHAT = {
    "prediction": "the whole volume",
    "hires": "Seg-HiRes-Grad-CAM of one organ at the bottleneck",
    "hires-last": "Seg-HiRes-Grad-CAM of one organ at the last network layer",
    "occlusion": "occlusion of one organ, boxes of 64 cells",
}

ORGAN = 0.05
"""Share of the volume that the organ fills."""


class NNUNetLike(nn.Module):
    """Three levels, instance normalisation and leaky ReLU; an organ is what is brighter than the rest, whatever the weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)

        def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(
                nn.Conv3d(inputs, outputs, 3, stride, 1),
                nn.InstanceNorm3d(outputs, affine=True),
                nn.LeakyReLU(0.01),
            )

        self.enter, self.down, self.bottleneck = block(1, 8), block(8, 16, 2), block(16, 32, 2)
        self.up1, self.decode1 = nn.ConvTranspose3d(32, 16, 2, 2), block(32, 16)
        self.up0, self.decode0 = nn.ConvTranspose3d(16, 8, 2, 2), block(16, 8)
        self.head = nn.Conv3d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enter(x)
        second = self.down(first)
        deep = self.decode1(torch.cat([self.up1(self.bottleneck(second)), second], 1))
        out = 0.1 * self.head(self.decode0(torch.cat([self.up0(deep), first], 1)))
        return torch.cat([out[:, :1], out[:, 1:2] + 20 * (x - 0.5), out[:, 2:] - 5], 1)


class Light(nn.Module):
    """The same answer from two convolutions, for memory and numbers of windows on a slow machine."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bottleneck, self.up = nn.Conv3d(1, 4, 4, 4), nn.ConvTranspose3d(4, 3, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = 0.1 * self.up(torch.relu(self.bottleneck(x)))
        return torch.cat([out[:, :1], out[:, 1:2] + 20 * (x - 0.5), out[:, 2:] - 5], 1)


def volume(shape: tuple[int, ...]) -> np.ndarray:
    """Return an int16 volume with one bright ellipsoid that fills 5 % of it."""
    rng = np.random.default_rng(0)
    out = rng.integers(-50, 50, shape, dtype=np.int16)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    radius = (ORGAN * 8 * 3 / (4 * np.pi)) ** (1 / 3)
    square = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    out[square < radius**2] += 800
    return out


def held(what: str) -> int:
    """Return what this process holds now ("VmRSS") or held at most since it was forgotten ("VmHWM"), in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def forget_peak() -> None:
    """Let "VmHWM" begin again."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(
    what: str, shape: tuple[int, ...], window: tuple[int, ...], network: nn.Module
) -> dict[str, float]:
    """Run one thing and return its seconds, its memory and how many windows it ran."""
    model = sx.SegmentationModel(
        network,
        {
            "name": "nnU-Net-like",
            "labels": ["background", "organ", "other"],
            "spatial_dims": 3,
            "intensity": [{"divide": 1000.0}],
            "windows": {"size": list(window)},
        },
    )
    gc.collect()
    forget_peak()
    two = (window[0] * 3 // 2, *window[1:])
    run(
        model, what, sx.Image(volume(two), name="two windows")
    )  # what is set up once, and the windows themselves
    gc.collect()
    before = held("VmHWM")
    image = sx.Image(volume(shape), name="volume")
    forget_peak()
    start, computing = time.perf_counter(), time.process_time()
    found = run(model, what, image)
    engine = {} if found is None else found.record.engine
    return {
        "seconds": time.perf_counter() - start,
        "computing": time.process_time() - computing,
        "volumes": (held("VmHWM") - before) / (4 * image.array.size),
        "run": engine.get("windows_run", 0),
        "in_all": engine.get("windows_in_all", 0),
    }


def run(model: sx.SegmentationModel, what: str, image: sx.Image) -> sx.Explanation | None:
    """Predict or explain an image."""
    if what == "prediction":
        model.predict(image)
        return None
    if what == "occlusion":
        return sx.explain(model, image, "organ", what, device="cpu", patch=64, stride=64)
    layer = "last" if what.endswith("last") else "bottleneck"
    return sx.explain(model, image, "organ", "seg-hires-grad-cam", device="cpu", layer=layer)


def rows_so_far() -> dict[str, str]:
    """Return the rows of the table as it stands, by what was measured."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--window", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--only", choices=WHAT)
    parser.add_argument("--light", action="store_true", help=Light.__doc__)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        network = Light() if asked.light else NNUNetLike()
        print(json.dumps(measure(asked.only, tuple(asked.shape), tuple(asked.window), network)))
        return
    sizes = [" ".join(map(str, values)) for values in (asked.shape, asked.window)]
    rows = rows_so_far() if asked.only else {}
    for what in [asked.only] if asked.only else WHAT:
        command = [sys.executable, __file__, "--alone", "--only", what]
        command += ["--light"] * asked.light
        command += ["--shape", *map(str, asked.shape), "--window", *map(str, asked.window)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        windows = f"{found['run']} of {found['in_all']}" if found["in_all"] else ""
        figures = f"{found['seconds']:.0f} | {found['computing']:.0f} | {found['volumes']:.1f}"
        rows[WHAT[what]] = f"| {WHAT[what]} | {figures} | {windows} |"
        print(rows[WHAT[what]], flush=True)
    if asked.light:
        return
    said = (
        f"int16 volume of {sizes[0]}, windows of {sizes[1]} at half their size, three labels; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}. Memory: the most that was held beyond two windows in the network, in "
        "float32 copies of the volume; the labels' logits are three of them, the image half of one. Computing: of both cores together. "
        "Windows: those that ran, of those that would if every window ran anew for each box."
    )
    RESULTS.write_text(
        "\n".join(
            [
                "# A whole volume through a sliding window",
                "",
                said,
                "",
                "| what | time, s | computing, s | memory, volumes | windows run |",
                "| --- | ---: | ---: | ---: | ---: |",
                *[rows[name] for name in WHAT.values() if name in rows],
                "",
            ]
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
