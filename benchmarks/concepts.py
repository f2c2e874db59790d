"""What a pass over a folder costs beside the plain passes, and that memory does not grow with the cases: prints a table for docs/performance.md.

Every measurement runs in a process of its own, so that its peak memory is its own. Time is that of the processor, on one thread.

    python benchmarks/concepts.py           # Triangle images
    python benchmarks/concepts.py memory    # every method over 50 and 500 tiny images: what memory grows by
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

COUNTS = (10, 40, 160)
METHODS = (
    "plain passes",
    "network-dissection",
    "cav",
    "segmentation-ability",
    "bottleneck-map",
    "nmf-concepts",
)


def measure(method: str, count: int) -> dict[str, float]:
    """Ask one method about so many cases."""
    from concepts_figure import write_cases

    import napari_segxai as sx

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images, concepts = write_cases(Path(folder), count)
        model, cases = sx.load_model("triangle"), sx.find_cases(images)
        model.predict(cases[0].read())
        start = time.process_time()
        if method == "plain passes":
            for case in cases:
                model.predict(case.read())
        else:
            asked = concepts if method in ("network-dissection", "cav") else None
            sx.survey(model, cases, method, concepts=asked)
        seconds = time.process_time() - start
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


TINY = (50, 500)
"""Cases of the folders of tiny images."""

FEW: dict[str, dict[str, Any]] = {
    "ace": {"segments": "8", "clusters": 4, "shuffles": 20, "removals": 1},
    "activation-maximization": {"count": 2, "patches": 4, "steps": 4, "side": 32},
    "cav": {"shuffles": 20, "removals": 1},
    "channel-importance": {"repeats": 1},
    "concept-graph": {"nodes": 3, "images": 2, "draws": 1},
    "emergent-language": {"steps": 20},
    "network-dissection": {"controls": 2},
    "nmf-concepts": {"factors": 3, "designs": 2, "examples": 2},
}
"""Parameters that keep everything short that does not grow with the folder."""


def tiny_network():
    """Return a small U-Net-like network that draws what is bright."""
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU())
            self.bottleneck = nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(16, 64, 3, padding=1), nn.ReLU())
            self.decoder = nn.Sequential(
                nn.Upsample(scale_factor=4), nn.Conv2d(64, 16, 3, padding=1), nn.ReLU()
            )
            self.head = nn.Conv2d(17, 2, 1)
            with torch.no_grad():
                self.head.weight.mul_(0.1)
                self.head.weight[1, 16] = 20
                self.head.bias = nn.Parameter(torch.tensor([0.0, -12.0]))

        def forward(self, x):
            return self.head(torch.cat([self.decoder(self.bottleneck(self.encoder(x))), x], 1))

    return Tiny()


def write_tiny(folder: Path, count: int) -> tuple[Path, Path]:
    """Write images of 32 x 32 pixels with a bright square each, and masks of it."""
    import numpy as np
    from PIL import Image as Picture

    rng, side = np.random.default_rng(0), 32
    images, masks = folder / "images", folder / "square"
    for one in (images, masks):
        one.mkdir()
    for k in range(count):
        array, mask = rng.uniform(0, 100, (side, side)), np.zeros((side, side), np.uint8)
        y, x, height, width = *rng.integers(0, side - 10, 2), *rng.integers(5, 10, 2)
        mask[y : y + height, x : x + width] = 1
        array[mask > 0] = rng.uniform(180, 255)
        Picture.fromarray(array.astype(np.uint8)).save(images / f"c{k}.png")
        Picture.fromarray(mask).save(masks / f"c{k}.png")
    return images, masks


def measure_tiny(method: str, count: int) -> dict[str, float]:
    """Ask one method about so many tiny cases, and see by how much the peak of memory rises."""
    import napari_segxai as sx
    from napari_segxai.methods.registry import find_method

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images, masks = write_tiny(Path(folder), count)
        intensity = [{"scale_shift": [1 / 255, 0.0]}]
        card = {"name": "tiny", "labels": ["background", "square"], "spatial_dims": 2, "intensity": intensity}
        model, cases = sx.load_model(tiny_network(), card=card), sx.find_cases(images)
        on_cases = find_method(method, "dataset").on_cases
        concepts = masks if on_cases is not None and on_cases.concepts else None
        start = time.process_time()
        sx.survey(model, cases, method, concepts=concepts, **FEW.get(method, {}))
        seconds = time.process_time() - start
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def memory() -> None:
    """Print what the peak of memory grows by from the smaller folder to the larger one."""
    from napari_segxai.methods.registry import all_methods

    print("| method | peak, 50 cases, MB | peak, 500 cases, MB | CPU ms per case |\n|---|---|---|---|")
    for method in sorted(one.name for one in all_methods("dataset")):
        found = [run("tiny", method, str(count)) for count in TINY]
        each = 1000 * (found[1]["seconds"] - found[0]["seconds"]) / (TINY[1] - TINY[0])
        print(f"| {method} | {found[0]['mb']:.0f} | {found[1]['mb']:.0f} | {each:.0f} |", flush=True)


def run(*asked: str) -> dict[str, float]:
    """Measure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *asked], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    print("| method | cases | CPU s | CPU ms per case | peak memory, MB |\n|---|---|---|---|---|")
    for method in METHODS:
        for count in COUNTS:
            found = run("triangle", method, str(count))
            each = 1000 * found["seconds"] / count
            print(
                f"| {method} | {count} | {found['seconds']:.1f} | {each:.0f} | {found['mb']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        memory()
    elif len(sys.argv) == 4:
        which = {"triangle": measure, "tiny": measure_tiny}[sys.argv[1]]
        print(json.dumps(which(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
