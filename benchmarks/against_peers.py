"""Methods of the input space against captum, MONAI and plain loops on the CPU, both sides in one run: `make bench-peers`.

Medians of pairs that are run one after the other. Ours do what a user gets: from the image to the explanation on the image
grid, with its record. Theirs start with the prepared input and the pixels of the label, and end with a map. captum and
MONAI get the batch size with which a bare forward pass is quickest per image; the plain loops run one image at a time, as
RISE and MiSuRe were published. Passes are counted on the networks of both sides, in a run that is not timed, and the maps
of both sides are correlated; those of Kernel SHAP rest on other random samples. Ours may run in bfloat16 where
the device has it and the method allows it, and the table says so; `--precision float32` forbids it. Two of our passes are those
that make the fused network of the network.

    python benchmarks/against_peers.py [--only occlusion] [--repeats 5] [--out benchmarks/results/input_space_cpu.md]

`--short` asks for next to nothing, to see that every row runs; its numbers mean nothing and are not written to a file.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import platform
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bare import seconds
from cams import BATCHES, CPU, Photo, faster
from peers import Compared
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import answer, explanation_steps, question_of
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import finish
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.execution.mixed_precision import Setting
from napari_segxai.engine.masking.superpixels import honeycomb
from napari_segxai.methods.perturbation.rise import MaskSampler
from napari_segxai.models.zoo.unet import UNet

Theirs = Callable[[], Tensor]
"""Returns a map on the model grid."""


@dataclass(frozen=True)
class Amounts:
    """How much is asked of both sides."""

    steps: int = 32
    window: int = 28  # of 224 pixels; moved by half of it
    cube: int = 16  # of 80 x 96 x 80 voxels
    square: int = 32
    box: int = 16  # of 256 pixels
    cells: int = 60
    samples: int = 512
    masks: int = 500
    iterations: int = 100


SHORT = Amounts(steps=2, window=112, cube=80, square=112, box=64, cells=4, samples=16, masks=4, iterations=2)


@dataclass(frozen=True)
class Row:
    """One comparison."""

    case: Compared
    method: str
    against: str
    theirs: Theirs
    params: dict[str, Any] = field(default_factory=dict)

    def plan(self, precision: Setting) -> ExplanationPlan:
        """Raises a `UserError` where there is no such method."""
        case, target = self.case, sx.Target(self.case.label)
        return ExplanationPlan.make(
            case.model, case.image, target, self.method, device="cpu", precision=precision, **self.params
        )

    def ours(self, precision: Setting = "float32") -> tuple[np.ndarray, str]:
        """Our map on the model grid, and the kind of numbers that it was computed with."""
        plan, case = self.plan(precision), self.case
        with case.model.in_use("cpu"):
            question = question_of(plan, case.model.prepare(case.image))
            return finish(answer(plan, question)).map.numpy(), question.executor.notes["precision"]

    def measured(self, repeats: int, precision: Setting) -> str:
        """The row of the table."""
        with counted(self.case.model.module, self.case.tensor) as own:
            map, digits = self.ours(precision)
        with counted(self.case.module, self.case.tensor) as other:
            their_map = self.theirs().detach().numpy()
        alike = np.corrcoef(map.ravel(), their_map.ravel())[0, 1]
        quick, slow, ratio = faster(
            lambda: finish(explanation_steps(self.plan(precision))), self.theirs, repeats
        )
        return (
            f"| {self.method}, {self.case.model.card.name} | {self.against} | {own}, {digits} | {other}, float32 "
            f"| {quick:.3f} | {slow:.3f} | {ratio:.2f} | {alike:.4f} |"
        )


@dataclass
class Counted:
    """Whole images that went through a network, forward and backward; half an image counts as half a pass."""

    forward: float = 0
    backward: float = 0

    def __str__(self) -> str:
        return f"{self.forward:.4g} F" + (f", {self.backward:.4g} B" if self.backward else "")


@contextlib.contextmanager
def counted(module: nn.Module, image: Tensor) -> Generator[Counted]:
    """Count what goes through a network, in images of the size of `image`."""
    passes = Counted()

    def forward(_module: nn.Module, args: tuple, out: Tensor) -> None:
        images = args[0].numel() / image.numel()
        passes.forward += images
        if out.requires_grad:
            out.register_hook(lambda _: setattr(passes, "backward", passes.backward + images))

    handle = module.register_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()


def best_batch(case: Compared) -> int:
    """The batch size with which a bare forward pass is quickest per image."""

    def per_image(n: int) -> float:
        x = case.tensor.repeat(n, *(1,) * (case.tensor.ndim - 1))
        with torch.inference_mode():
            return seconds(lambda: case.module(x), CPU, 3) / n

    return min(BATCHES if case.tensor.ndim == 4 else BATCHES[:3], key=per_image)


def scores(case: Compared) -> Callable[[Tensor], Tensor]:
    """The target of a whole batch: (N, ...) -> (N,)."""
    weights = case.pixels.float() / case.pixels.sum()
    return lambda x: (case.module(x)[:, case.label] * weights).flatten(1).sum(1)


def squares(grid: tuple[int, ...], size: int) -> Tensor:
    """Numbers of the squares (cubes) of a grid, row by row: (1, 1, *grid)."""
    number = torch.zeros(grid, dtype=torch.long)
    for axis, n in enumerate(grid):
        along = torch.arange(n) // size
        number = number * (int(along[-1]) + 1) + along.view(
            [-1 if k == axis else 1 for k in range(len(grid))]
        )
    return number[None, None]


def captum_integrated_gradients(case: Compared, steps: int, batch: int) -> Theirs:
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(scores(case))
    return lambda: method.attribute(case.tensor, n_steps=steps, internal_batch_size=batch)[0].sum(0)


def captum_occlusion(case: Compared, window: int, stride: int, batch: int) -> Theirs:
    from captum.attr import Occlusion

    channels, dims = case.tensor.shape[1], case.tensor.ndim - 2
    size, strides = (channels, *(window,) * dims), (channels, *(stride,) * dims)

    @torch.no_grad()
    def work() -> Tensor:
        method = Occlusion(scores(case))
        return method.attribute(case.tensor, size, strides, perturbations_per_eval=batch)[0, 0]

    return work


def captum_feature_ablation(case: Compared, size: int, batch: int) -> Theirs:
    from captum.attr import FeatureAblation

    parts = squares(tuple(case.tensor.shape[2:]), size)

    @torch.no_grad()
    def work() -> Tensor:
        method = FeatureAblation(scores(case))
        return method.attribute(case.tensor, feature_mask=parts, perturbations_per_eval=batch)[0, 0]

    return work


def captum_kernel_shap(case: Compared, cells: int, samples: int, batch: int) -> Theirs:
    """With our cells."""
    from captum.attr import KernelShap

    parts = torch.from_numpy(honeycomb(case.tensor.shape[2:], cells))[None, None]

    @torch.no_grad()
    def work() -> Tensor:
        torch.manual_seed(0)
        method = KernelShap(scores(case))
        return method.attribute(
            case.tensor, feature_mask=parts, n_samples=samples, perturbations_per_eval=batch
        )[0, 0]

    return work


def monai_occlusion(case: Compared, window: int, overlap: float, batch: int) -> Theirs:
    """Theirs is the score that is left, ours the score that is lost."""
    from monai.visualize import OcclusionSensitivity

    class Score(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return scores(case)(x)[:, None]

    @torch.no_grad()
    def work() -> Tensor:
        method = OcclusionSensitivity(
            Score(), mask_size=window, n_batch=batch, verbose=False, mode=0.0, overlap=overlap, activate=False
        )
        left = method(case.tensor)[0][0, 0].as_tensor()
        return scores(case)(case.tensor) - left

    return work


def plain_rise(case: Compared, masks: int, keep: float) -> Theirs:
    """RISE one mask at a time. The masks are ours, and made before the clock starts."""
    draw = MaskSampler(tuple(case.tensor.shape[2:]), 7, keep, "linear", 0, CPU)
    drawn = draw(range(masks))

    @torch.no_grad()
    def work() -> Tensor:
        total = torch.zeros(drawn.shape[2:])
        for mask in drawn:
            probability = case.module(case.tensor * mask).softmax(1)[0, case.label]
            total += probability[case.pixels].mean() * mask[0]
        return total / (masks * keep)

    return work


def plain_misure(case: Compared, iterations: int) -> Theirs:
    """MiSuRe as algorithm 1 and equation 1 put it: one dilation, one pass; then AdamW on the mask.

    What the paper leaves open is as in ours: a mean total variation with gamma 0.01 and beta 2, no weight decay.
    """
    from skimage.morphology import dilation, disk

    def hard(logits: Tensor) -> Tensor:
        return logits[0].argmax(0).eq(case.label)

    def pair(logits: Tensor) -> tuple[Tensor, Tensor]:
        """The label's probability, and the background's; for the background itself that of everything else."""
        p = logits.softmax(1)[0]
        return p[case.label], p[0] if case.label else 1 - p[0]

    def soft_dice(a: Tensor, b: Tensor) -> Tensor:
        return (2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1)

    def sufficient_region() -> Tensor:
        region = case.pixels.numpy()
        while True:
            mask = torch.from_numpy(region)
            with torch.no_grad():
                seen = hard(case.module(case.tensor * mask))
            dice = 2 * (seen & case.pixels).sum() / (seen.sum() + case.pixels.sum())
            if dice > 0.9 or region.all():
                return mask.float()
            region = dilation(region, disk(3))

    def work() -> Tensor:
        with torch.no_grad():
            original = pair(case.module(case.tensor))
        region = sufficient_region()
        image = case.tensor * region
        mask = region[None, None].clone().requires_grad_()
        optimizer = torch.optim.AdamW([mask], lr=0.1, weight_decay=0)
        for _ in range(iterations):
            optimizer.zero_grad()
            seen = pair(case.module(image * mask))
            kept = 2 * soft_dice(seen[0], original[0]) + soft_dice(seen[1], original[1])
            variation = mask.diff(dim=2).square().mean() + mask.diff(dim=3).square().mean()
            (0.01 * mask.abs().mean() + 0.01 * variation + 1 - kept).backward()
            optimizer.step()
            with torch.no_grad():
                mask[mask < 0.2] = 0
                mask.clamp_(max=1)
        return mask.detach()[0, 0] * region

    return work


class TwoLabels(nn.Module):
    """A network with one output, put so that both sides see a background beside it: its logit is 0."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return torch.cat([torch.zeros_like(out), out], 1)


def portrait() -> Compared:
    """The selfie segmenter, a small network with trained weights, on the astronaut."""
    from skimage.data import astronaut

    selfie = sx.load_model("selfie")
    card = {"name": "selfie segmenter", "labels": ["background", "person"], "spatial_dims": 2, "channels": ["red", "green", "blue"],
            "intensity": selfie.card.model_dump(exclude_none=True)["intensity"], "grid": selfie.card.model_dump(exclude_none=True)["grid"]}  # fmt: skip
    model = sx.load_model(TwoLabels(selfie.module), card=card)
    return Compared(model, sx.Image(astronaut(), channel_axis=2, name="astronaut"), label=1)


def near_sighted() -> Compared:
    """A U-Net of two levels, whose receptive field is far smaller than its image of 256 x 256."""
    from skimage.data import astronaut

    torch.manual_seed(0)
    card = {"name": "U-Net of two levels, 256 x 256", "labels": ["background", "object"], "spatial_dims": 2,
            "channels": ["red", "green", "blue"], "intensity": [{"divide": 255}], "grid": {"size": [256, 256]}}  # fmt: skip
    model = sx.load_model(UNet(3, 2, (8, 16)), card=card)
    return Compared(model, sx.Image(astronaut(), channel_axis=2, name="astronaut"))


def near_rows(much: Amounts) -> Iterator[Row]:
    """Occlusion where a box reaches a part of the output only."""
    case = near_sighted()
    batch = best_batch(case)
    for tool, theirs in (
        ("captum, Occlusion", captum_occlusion(case, much.box, much.box, batch)),
        ("MONAI, OcclusionSensitivity", monai_occlusion(case, much.box, 0.0, batch)),
    ):
        params = {"patch": much.box, "stride": much.box}
        yield Row(case, "occlusion", f"{tool}, batches of {batch}", theirs, params)


def photo_rows(much: Amounts) -> Iterator[Row]:
    for case in (Photo(), portrait()):
        yield from image_rows(case, much)


def image_rows(case: Compared, much: Amounts) -> Iterator[Row]:
    batch = best_batch(case)
    of, stride = f"batches of {batch}", much.window // 2
    yield Row(
        case,
        "integrated-gradients",
        f"captum, IntegratedGradients, {of}",
        captum_integrated_gradients(case, much.steps, batch),
        {"steps": much.steps, "rule": "gauss-legendre"},
    )
    window = {"patch": much.window, "stride": stride}
    for tool, theirs in (
        ("captum, Occlusion", captum_occlusion(case, much.window, stride, batch)),
        ("MONAI, OcclusionSensitivity", monai_occlusion(case, much.window, 0.5, batch)),
    ):
        yield Row(case, "occlusion", f"{tool}, {of}", theirs, window)
    yield Row(
        case,
        "occlusion",
        f"captum, FeatureAblation, {of}",
        captum_feature_ablation(case, much.square, batch),
        {"patch": much.square, "stride": much.square},
    )
    yield Row(
        case,
        "kernel-shap",
        f"captum, KernelShap, {of}",
        captum_kernel_shap(case, much.cells, much.samples, batch),
        {"cells": much.cells, "samples": much.samples, "score": "target"},
    )
    yield Row(
        case,
        "rise",
        "a plain loop, one mask at a time",
        plain_rise(case, much.masks, 0.5),
        {"masks": much.masks},
    )
    yield Row(
        case,
        "misure",
        "a plain loop, one pass at a time",
        plain_misure(case, much.iterations),
        {"iterations": much.iterations},
    )


def volume_rows(much: Amounts) -> Iterator[Row]:
    model = sx.load_model("brain-tissue")
    case = Compared(model, sx.read_image(resource("sample_data/images/mni_t1.nii.gz")), label=2)
    batch = best_batch(case)
    cubes = {"patch": much.cube, "stride": much.cube}
    theirs = monai_occlusion(case, much.cube, 0.0, batch)
    yield Row(case, "occlusion", f"MONAI, OcclusionSensitivity, batches of {batch}", theirs, cubes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", help="one of our methods")
    parser.add_argument("--precision", choices=["auto", "float32"], default="auto")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        (
            f"Device: {platform.machine()} CPU, {torch.get_num_threads()} threads. torch {torch.__version__}, captum "
            f"{version('captum')}, MONAI {version('monai')}, Python {platform.python_version()}, napari-segxai "
            f"{sx.__version__}, {datetime.date.today()}."
        ),
        "",
        "| ours | against | passes | theirs | seconds | theirs | times faster | Pearson |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for rows in (near_rows, photo_rows, volume_rows):
        for row in rows(SHORT if options.short else Amounts()):
            if options.only not in (None, row.method):
                continue
            try:
                row.plan(options.precision)
            except UserError as error:
                print(f"skipped: {row.method} against {row.against}: {error}", file=sys.stderr)
                continue
            lines.append(row.measured(1 if options.short else options.repeats, options.precision))
            print(lines[-1], flush=True)
    if options.out and not options.short:
        options.out.write_text("\n".join(lines) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
