"""Methods of the input space against captum, MONAI and plain loops on the CPU, both sides in one run: `make bench-peers`.

Medians of pairs that are run one after the other. Ours do what a user gets: from the image to the explanation on the image
grid, with its record. Theirs start with the prepared input and the pixels of the label, and end with a map; where one pass is all
there is ("from the image"), they too prepare the image and predict the pixels. captum and
MONAI get the batch size with which a bare forward pass is quickest per image; the plain loops run one image at a time, as
RISE and MiSuRe were published. Passes are counted on the networks of both sides, in a run that is not timed, and the maps
of both sides are correlated; what is random rests on other samples. Ours may run in bfloat16 where
the device has it and the method allows it, and the table says so; `--precision float32` forbids it. Two of our passes are those
that make the fused network of the network.

Bare passes are those of theirs, as many and in batches as large as each side ran them, with nothing around: what the network
itself takes of both. A row that is less than 1.5 times faster is told below the table, with what its time goes into.

    python benchmarks/against_peers.py [--only occlusion] [--repeats 5] [--out benchmarks/results/input_space_cpu.md]

`--short` asks for next to nothing, to see that every row runs; its numbers mean nothing and are not written to a file.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bare import seconds
from cams import BATCHES, CPU, Photo, faster
from peer_cases import brain, near_sighted, portrait
from peer_methods import (
    Theirs,
    captum_feature_ablation,
    captum_gradient,
    captum_guided,
    captum_integrated_gradients,
    captum_kernel_shap,
    captum_layer_grad_cam,
    captum_lime,
    captum_occlusion,
    captum_smooth_grad,
    monai_occlusion,
    monai_smooth_grad,
    plain_misure,
    plain_rise,
    with_prediction,
)
from peers import Compared
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import answer, explanation_steps, question_of
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import finish
from napari_segxai.engine.execution.mixed_precision import FEWER_DIGITS, Setting

GOAL = 1.5
"""Times faster, below which a row is told why."""


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
    copies: int = 16
    batch: int | None = None  # of theirs; the quickest by default
    rounds: int = 5  # how often bare passes are timed


SHORT = Amounts(
    steps=2,
    window=112,
    cube=80,
    square=112,
    box=64,
    cells=4,
    samples=16,
    masks=4,
    iterations=2,
    copies=2,
    batch=2,
    rounds=1,
)


@dataclass
class Counted:
    """Whole images that went through a network, forward and backward; half an image counts as half a pass.

    `batch` is the largest number of images that went through at once, without and with a backward pass.
    """

    forward: float = 0
    backward: float = 0
    batch: dict[bool, int] = field(default_factory=lambda: {False: 1, True: 1})

    def __str__(self) -> str:
        return f"{self.forward:.4g} F" + (f", {self.backward:.4g} B" if self.backward else "")


@contextlib.contextmanager
def counted(module: nn.Module, image: Tensor) -> Generator[Counted]:
    """Count what goes through a network, and copies of it, in images of the size of `image`.

    No hook is set on the network itself, by which it would be another one for us.
    """
    passes = Counted()

    def forward(one: nn.Module, args: tuple, out: Tensor) -> None:
        if type(one) is not type(module):
            return
        images = args[0].numel() / image.numel()
        passes.forward += images
        back = out.requires_grad
        passes.batch[back] = max(passes.batch[back], round(images))
        if back:
            out.register_hook(lambda _: setattr(passes, "backward", passes.backward + images))

    handle = register_module_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()


@dataclass(frozen=True)
class Bare:
    """Seconds per image of a network alone: forward, and forward and backward."""

    forward: float
    both: float

    def seconds(self, passes: Counted) -> float:
        """Seconds of as many passes."""
        return (passes.forward - passes.backward) * self.forward + passes.backward * self.both


def bare(sides: list[tuple[Callable[[Tensor], Tensor], Tensor, Counted]], rounds: int) -> list[Bare]:
    """Time the networks of both sides in turn.

    Parameters
    ----------
    sides
        (network, image, passes that were counted): timed with batches of the size that was counted.
    """
    times: dict[tuple[int, bool], list[float]] = {}
    for _ in range(rounds):
        for k, (run, image, passes) in enumerate(sides):
            for back in (False, True) if passes.backward else (False,):
                batch = passes.batch[back]
                x = image.repeat(batch, *(1,) * (image.ndim - 1)).clone(memory_format=torch.preserve_format)
                start = time.perf_counter()
                if back:
                    x.requires_grad_(True)
                    torch.autograd.grad(run(x)[:, -1].mean(), [x])
                else:
                    with torch.inference_mode():
                        run(x)
                times.setdefault((k, back), []).append((time.perf_counter() - start) / batch)
    middle = {key: statistics.median(values) for key, values in times.items()}
    return [Bare(middle[k, False], middle.get((k, True), 0.0)) for k in range(len(sides))]


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

    def bare(
        self, precision: Setting, digits: str, sides: tuple[Counted, Counted], rounds: int
    ) -> list[Bare]:
        """What a pass of both networks takes alone: ours as the method has it, fused and in its digits."""
        plan, case = self.plan(precision), self.case
        with case.model.in_use("cpu"):
            question = question_of(plan, case.model.prepare(case.image))

            def run(x: Tensor) -> Tensor:
                with FEWER_DIGITS.get(digits, lambda _: contextlib.nullcontext())(CPU):
                    return question.executor.run(x)

            own, other = sides
            return bare([(run, question.input, own), (case.module, case.tensor, other)], rounds)

    def measured(self, repeats: int, rounds: int, precision: Setting) -> tuple[str, str]:
        """The row of the table, and why it is not faster; "" where it is."""
        case = self.case
        with counted(case.model.module, case.tensor) as own:
            map, digits = self.ours(precision)
        with counted(case.module, case.tensor) as other:
            their_map = self.theirs().detach().numpy()
        alike = np.corrcoef(map.ravel(), their_map.ravel())[0, 1]
        quick, slow, ratio = faster(
            lambda: finish(explanation_steps(self.plan(precision))), self.theirs, repeats
        )
        network, theirs = self.bare(precision, digits, (own, other), rounds)
        alone = theirs.seconds(other) / network.seconds(other)
        name = f"{self.method}, {case.model.card.name}"
        row = (
            f"| {name} | {self.against} | {own}, {digits} | {other}, float32 | {quick:.3f} | {slow:.3f} | {ratio:.2f} "
            f"| {network.seconds(other):.3f} | {theirs.seconds(other):.3f} | {alone:.2f} | {alike:.4f} |"
        )
        if ratio >= GOAL:
            return row, ""
        around = [quick - network.seconds(own), slow - theirs.seconds(other)]
        beside = [f"{one:.3f} s" if one > 0 else "less than varies" for one in around]
        return row, (
            f"- {name}, against {self.against} ({ratio:.2f}): bare passes of our network are {alone:.2f} times as fast as theirs. Ours runs "
            f"{own}, which take {network.seconds(own):.3f} s bare, and {beside[0]} around them; theirs {other}, "
            f"{theirs.seconds(other):.3f} s, and {beside[1]}."
        )


def best_batch(case: Compared) -> int:
    """The batch size with which a bare forward pass is quickest per image."""

    def per_image(n: int) -> float:
        x = case.tensor.repeat(n, *(1,) * (case.tensor.ndim - 1))
        with torch.inference_mode():
            return seconds(lambda: case.module(x), CPU, 3) / n

    return min(BATCHES if case.tensor.ndim == 4 else BATCHES[:3], key=per_image)


def near_rows(much: Amounts) -> Iterator[Row]:
    """Occlusion where a box reaches a part of the output only."""
    case = near_sighted()
    batch = much.batch or best_batch(case)
    for tool, theirs in (
        ("captum, Occlusion", captum_occlusion(case, much.box, much.box, batch)),
        ("MONAI, OcclusionSensitivity", monai_occlusion(case, much.box, 0.0, batch)),
    ):
        params = {"patch": much.box, "stride": much.box}
        yield Row(case, "occlusion", f"{tool}, batches of {batch}", theirs, params)


def photo_rows(much: Amounts) -> Iterator[Row]:
    """A large network and a small one, in 2D."""
    photo = Photo()
    yield from rows_of(photo, much)
    yield from guided_rows(photo)
    yield from rows_of(portrait(), much)


def rows_of(case: Compared, much: Amounts) -> Iterator[Row]:
    # Once for a network it is looked whether gradients arrive.
    sx.explain(case.model, case.image, case.label, "vanilla-gradient", device="cpu")
    batch = much.batch or best_batch(case)
    of, stride = f"batches of {batch}", much.window // 2
    yield Row(
        case,
        "vanilla-gradient",
        "captum, Saliency, from the image",
        with_prediction(case, captum_gradient(case, "Saliency")),
        {"signed": True},
    )
    yield Row(
        case,
        "input-x-gradient",
        "captum, InputXGradient, from the image",
        with_prediction(case, captum_gradient(case, "InputXGradient")),
    )
    noise = {"samples": much.copies, "sigma": 0.15, "signed": True}
    for tool, theirs in (
        (f"captum, NoiseTunnel of Saliency, {of}", captum_smooth_grad(case, much.copies, 0.15, batch)),
        ("MONAI, SmoothGrad", monai_smooth_grad(case, much.copies, 0.15)),
    ):
        yield Row(case, "smooth-grad", tool, theirs, noise)
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
    cells = {"cells": much.cells, "samples": much.samples, "score": "target"}
    yield Row(
        case,
        "kernel-shap",
        f"captum, KernelShap, {of}",
        captum_kernel_shap(case, much.cells, much.samples, batch),
        cells,
    )
    yield Row(
        case,
        "lime",
        f"captum, Lime, {of}",
        captum_lime(case, much.cells, much.samples // 2, batch),
        {**cells, "samples": much.samples // 2, "shape": "honeycomb", "baseline": "zero"},
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


def guided_rows(case: Compared) -> Iterator[Row]:
    """What takes one pass back, from the image to the map: of a network whose ReLUs are modules, which captum asks for."""
    layer = "decoder4"
    for method, theirs, name, params in (
        ("seg-grad-cam", captum_layer_grad_cam(case, layer), "LayerGradCam", {"layer": layer}),
        ("guided-backprop", captum_guided(case), "GuidedBackprop", {"signed": True}),
        ("guided-grad-cam", captum_guided(case, layer), "GuidedGradCam", {"layer": layer, "signed": True}),
    ):
        yield Row(case, method, f"captum, {name}, from the image", with_prediction(case, theirs), params)


def volume_rows(much: Amounts) -> Iterator[Row]:
    case = brain()
    batch = much.batch or best_batch(case)
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
        "Bare: the passes of theirs, in our network and in theirs, with nothing around them.",
        "",
        "| ours | against | passes | theirs | seconds | theirs | times faster | bare | theirs | times faster | Pearson |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    why: list[str] = []
    much = SHORT if options.short else Amounts()
    for rows in (near_rows, photo_rows, volume_rows):
        for row in rows(much):
            if options.only not in (None, row.method):
                continue
            try:
                row.plan(options.precision)
            except UserError as error:
                print(f"skipped: {row.method} against {row.against}: {error}", file=sys.stderr)
                continue
            repeats = 1 if options.short else options.repeats
            line, reason = row.measured(repeats, much.rounds, options.precision)
            lines.append(line)
            why += [reason] if reason else []
            print(line, flush=True)
    if why:
        lines += ["", f"Rows below {GOAL}, and why:", "", *why]
        print("\n".join(lines[-len(why) - 3 :]), flush=True)
    if options.out and not options.short:
        options.out.write_text("\n".join(lines) + "\n")
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
