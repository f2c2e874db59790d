"""How long a case of a cohort takes to open in the window, from the click to its layers: volumes of 256 x 256 x 256 voxels.

Three cases of int16 NIfTI with gzip, each with a truth, a prediction and one map. Prints, for each opening, seconds by the clock and of
computing until the image, and until everything, is there. Needs a display (xvfb-run will do).

    python benchmarks/cohort_case.py [--side 256] [--rounds 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

import napari_segxai as sx

CASES = 3


class Bright(nn.Module):
    """Draws what is bright."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([0.5 - x, x - 0.5], 1)


def write_cohort(folder: Path, side: int) -> Path:
    """Write cases with a bright ball each, explain them, and return the folder of the results."""
    rng = np.random.default_rng(0)
    data = folder / "data"
    data.mkdir()
    for case in range(CASES):
        axes = [np.arange(side, dtype=np.float32) - side / 2 for _ in range(3)]
        axes[0] -= 10 * case
        square = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
        ball = square < (side / 5) ** 2
        volume = rng.normal(100, 20, (side,) * 3).astype(np.int16)
        volume[ball] += 200
        for values, end in ((volume, ""), (ball.astype(np.uint8), "_seg")):
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), data / f"c{case}{end}.nii.gz")
    card = {
        "name": "bright",
        "labels": ["background", "ball"],
        "spatial_dims": 3,
        "intensity": [{"scale_shift": [0.0025, 0.0]}],
    }
    model = sx.SegmentationModel(Bright(), card)
    sx.run_cohort(model, data, methods=["vanilla-gradient"], out=folder / "out", device="cpu")
    return folder / "out"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()

    import napari
    from qtpy.QtWidgets import QApplication

    def wait(until: Callable[[], bool], limit: float = 60) -> None:
        end = time.perf_counter() + limit
        while time.perf_counter() < end and not until():
            QApplication.processEvents()
            time.sleep(0.0005)

    with tempfile.TemporaryDirectory() as folder:
        out = write_cohort(Path(folder), asked.side)
        viewer = napari.Viewer()
        viewer.window._qt_window.resize(1280, 800)
        _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Cohort")
        dock.open(str(out))
        wait(lambda: dock.results.cohort is not None)
        wait(lambda: False, 2)
        print(
            "| opening | image, s | everything, s | everything, computing, s |\n|---|---|---|---|", flush=True
        )
        for number in range(asked.rounds * CASES):
            case = f"c{number % CASES}"
            clock, computing = time.perf_counter(), time.process_time()
            dock.results.wanted.emit(case, "ball", "vanilla-gradient")
            wait(lambda: dock.case.is_busy, 5)
            wait(lambda case=case: any(layer.name == case for layer in viewer.layers))
            image = time.perf_counter() - clock
            wait(lambda: not dock.case.is_busy)
            spent = time.perf_counter() - clock, time.process_time() - computing
            print(f"| {number + 1} ({case}) | {image:.2f} | {spent[0]:.2f} | {spent[1]:.2f} |", flush=True)
        viewer.close()


if __name__ == "__main__":
    main()
