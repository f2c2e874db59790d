"""The CAM family against pytorch-grad-cam on the CPU, both sides in one run: `make bench-peers`.

Medians of pairs that are run one after the other; how far raw maps correlate. Both sides do what a user of theirs would: from the image to the finished
maps. Left out of their time is what they need but do not do: preparing the image, and the prediction that tells the pixels
of the label. Their Ablation-CAM gets the batch size that is quickest for it.

    python benchmarks/cams.py [--repeats 7] [--out benchmarks/results/cams_cpu.md]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from bare import paired, seconds
from peers import Compared, grad_cam_map, quiet

import napari_segxai as sx
from napari_segxai.core.target import Reduction
from napari_segxai.datasets.resources import resource
from napari_segxai.models.zoo.resnet_unet import ResNetUNet

CPU = torch.device("cpu")
BATCHES = (1, 2, 4, 8, 16, 32)
LONG = 40
"""Seconds that a row is repeated for, at least twice."""

ONE_PASS = {
    "seg-grad-cam": "GradCAM",
    "seg-hires-grad-cam": "HiResCAM",
    "seg-xgrad-cam": "XGradCAM",
    "seg-grad-cam-plus-plus": "GradCAMPlusPlus",
    "layer-cam": "LayerCAM",
}
"""Of ours and of theirs, what needs one forward and one backward pass."""


@dataclass
class Row:
    """One comparison: seconds of ours and of theirs, the ratio, and the ratio that is wanted; how far raw maps correlate."""

    what: str
    against: str
    ours: float
    theirs: float
    ratio: float
    goal: str
    alike: float | None = None

    def __str__(self) -> str:
        numbers = f"{self.ours:.4f} | {self.theirs:.4f} | {self.ratio:.1f}"
        alike = "" if self.alike is None else f"{self.alike:.4f}"
        return f"| {self.what} | {self.against} | {numbers} | {self.goal} | {alike} |"


class Photo(Compared):
    """A ResNet-34-size U-Net at 224 x 224, with random weights, for both sides."""

    def __init__(self) -> None:
        from skimage.data import astronaut
        from skimage.transform import resize

        photo = (resize(astronaut(), (224, 224)) * 255).astype(np.uint8)
        card = {"name": "ResNet-34-size U-Net", "labels": ["background", "object"], "spatial_dims": 2,
                "channels": ["red", "green", "blue"], "intensity": [{"divide": 255}], "grid": {"size": [224, 224]}}  # fmt: skip
        model = sx.load_model(ResNetUNet(3, 2, seed=0), card=card)
        super().__init__(model, sx.Image(photo, channel_axis=2, name="astronaut"))

    def explain(self, method: str, layer: str) -> Callable[[], object]:
        return lambda: sx.explain(self.model, self.image, self.label, method, layer=layer, device="cpu")

    def grad_cam(self, name: str, layer: str, **options: object) -> Callable[[], object]:
        """As their README shows: made, called once, closed."""
        import pytorch_grad_cam

        def work() -> None:
            kind = getattr(pytorch_grad_cam, name)
            with quiet(), kind(self.module, [self.module.get_submodule(layer)], **options) as cam:
                cam(self.tensor, [self.target()])

        return work

    def alike(self, method: str, name: str, layer: str, reduction: Reduction = "sum") -> float:
        """How far our raw map and theirs correlate, on the grid of the network layer."""
        their_map = grad_cam_map(name, self.module, layer, self.tensor, self.target(reduction))
        own = self.ours(method, reduction, layer=layer)
        return float(np.corrcoef(own.ravel(), their_map.ravel())[0, 1])


def best_batch(photo: Photo, layer: str) -> int:
    """The batch size with which their Ablation-CAM is quickest."""
    return min(BATCHES, key=lambda n: seconds(photo.grad_cam("AblationCAM", layer, batch_size=n), CPU, 1))


def photo_rows(repeats: int) -> Iterator[Row]:
    photo = Photo()
    layers = [layer.name for layer in photo.model.outline if layer.stage != "head"]
    assert len(layers) == 10

    def flow() -> None:
        sx.information_flow(photo.model, photo.image, [photo.label], layers=layers, device="cpu")

    def one_by_one() -> None:
        for layer in layers:
            photo.grad_cam("GradCAM", layer)()

    against = "pytorch-grad-cam, GradCAM layer by layer"
    flow(), one_by_one()
    yield Row("10 network layers x 1 label", against, *faster(flow, one_by_one, repeats), ">= 8")

    layer = "decoder4.second"
    shape = " x ".join(map(str, photo.model.find_layer(layer).shape))
    for method, name in ONE_PASS.items():
        ours, theirs = photo.explain(method, layer), photo.grad_cam(name, layer)
        ours(), theirs()
        numbers = faster(ours, theirs, repeats)
        what = f"{method}, {layer} ({shape})"
        yield Row(what, f"pytorch-grad-cam, {name}", *numbers, ">= 1.5", photo.alike(method, name, layer))
    layer = "decoder2.second"
    shape = " x ".join(map(str, photo.model.find_layer(layer).shape))
    ours, theirs = photo.explain("seg-score-cam", layer), photo.grad_cam("ScoreCAM", layer)
    ours(), theirs()
    yield Row(
        f"Score-CAM, {layer} ({shape})",
        "pytorch-grad-cam, ScoreCAM, batches of 16",
        *faster(ours, theirs, max(2, repeats // 3)),
        ">= 1",
        photo.alike("seg-score-cam", "ScoreCAM", layer, "mean"),
    )

    batch = best_batch(photo, "decoder1.second")
    # The second half of a block: theirs cannot replace a module that is called with two arguments.
    for layer, goal in (("decoder4.second", ">= 3"), ("decoder1.second", ">= 6")):
        shape = " x ".join(map(str, photo.model.find_layer(layer).shape))
        theirs = photo.grad_cam("AblationCAM", layer, batch_size=batch)
        ours = photo.explain("seg-ablation-cam", layer)
        ours()
        numbers = faster(ours, theirs, max(2, repeats // 3))
        yield Row(
            f"Ablation-CAM, {layer} ({shape})",
            f"pytorch-grad-cam, AblationCAM, batches of {batch}",
            *numbers,
            goal,
            photo.alike("seg-ablation-cam", "AblationCAM", layer),
        )

    assert photo.model.find_layer("stem").shape == (64, 112, 112)
    ours = photo.explain("seg-eigen-cam", "stem")
    ours()
    numbers = faster(ours, photo.grad_cam("EigenCAM", "stem"), 3)
    yield Row("Eigen-CAM, stem (64 x 112 x 112)", "pytorch-grad-cam, EigenCAM", *numbers, ">= 100")


def volume_rows(repeats: int) -> Iterator[Row]:
    model = sx.load_model("brain-tissue")
    image = sx.read_image(resource("sample_data/images/mni_t1.nii.gz"))

    def flow(labels: tuple[str, ...], layers: str | None) -> Callable[[], object]:
        return lambda: sx.information_flow(model, image, labels, layers=layers, device="cpu")

    for title, layers in (("main", None), ("all", "all")):
        count = len(model.outline if layers is None else model.example_layers)
        ours, one, ratio = paired(
            flow(model.labels, layers), flow(model.labels[2:3], layers), CPU, max(3, repeats // 2)
        )
        what = f"brain-tissue, 4 labels x {title} {count} network layers"
        yield Row(what, "1 label, the same layers", ours, one, ratio, "<= 2.5 (ours / theirs)")


def faster(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """Median seconds of both sides, and how many times faster ours is; both have run before.

    Ours is the median of three after each of theirs where it is quick: a single run of a tenth of a second just after many
    seconds of theirs would measure cold caches. What takes long varies less, and is run less often.
    """
    pairs: list[tuple[float, float, float]] = []
    while len(pairs) < repeats:
        slow, quick = timed(theirs), [timed(ours)]
        quick += [timed(ours) for _ in range(2 if quick[0] < 1 else 0)]
        middle = statistics.median(quick)
        pairs.append((middle, slow, slow / middle))
        repeats = min(repeats, max(2, round(LONG / (middle + slow))))
    ours_seconds, their_seconds, ratio = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ours_seconds, their_seconds, ratio


def timed(work: Callable[[], object]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        (
            f"Device: {platform.machine()} CPU, {torch.get_num_threads()} threads. torch {torch.__version__}, "
            f"pytorch-grad-cam {version('grad-cam')}, Python {platform.python_version()}, "
            f"napari-segxai {sx.__version__}, {datetime.date.today()}."
        ),
        "",
        "2D: ResNet-34-size U-Net, 224 x 224. 3D: the built-in brain-tissue on the ICBM 152 average brain.",
        "",
        "| what | against | seconds | theirs | ratio | goal | Pearson |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for rows in (photo_rows, volume_rows):
        for row in rows(options.repeats):
            lines.append(str(row))
            print(row, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
