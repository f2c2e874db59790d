"""Maps through the windows of an nnU-Net: ours beside nnunetv2-cam and a plain MONAI loop, on the folder that the tests have.

nnunetv2-cam 0.1.6.1 itself is asked where it is installed; else, and for our target, its rule as its code has it is written out here: the
target is the sum of all logits over the label's pixels in the window's own prediction, without mirroring; weights are those of one window;
each window's map is cut off at zero and scaled to [0, 1]; what overlaps is averaged evenly, and multiplied by 1.3. It says how far
both agree, with its target and with ours (the mean logit of the label over one organ), and how long each takes.
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import answer, question_of
from napari_segxai.core.progress import finish
from napari_segxai.models.windows.rule import Windows

RESULTS = Path(__file__).parent / "results" / "windowed_cams.md"

DATA = Path(__file__).parents[1] / "tests" / "data" / "nnunet" / "Dataset901_Ct"


def their_rule(
    model: sx.SegmentationModel, tensor: Tensor, layer: str, label: int, pixels: Tensor | None
) -> Tensor:
    """Return the map that nnunetv2-cam's rule gives: (*grid).

    Parameters
    ----------
    pixels
        Boolean (*grid): our target, the label's logit there; None for theirs.
    """
    tiling, module = model.tiling(tensor.shape[2:]), model.module.get_submodule(layer)
    padded = tiling.pad(tensor)
    total, count = torch.zeros(tiling.padded), torch.zeros(tiling.padded)
    seen: list[Tensor] = []

    def hook(_module: object, _args: object, out: Tensor) -> None:
        out.requires_grad_()
        seen.append(out)

    handle = module.register_forward_hook(hook)
    try:
        for corner in tiling.corners:
            place = tiling.place(corner)
            window = padded[(..., *place)]
            with torch.no_grad():
                own = model.module(window).softmax(1).argmax(1) == label
            seen.clear()
            with torch.enable_grad():
                out = model.module(window)
                if pixels is None:
                    score = (out * own).sum()
                else:
                    score = out[:, label][:, tiling.pad_zeros(pixels[None, None])[(0, 0, *place)]].sum()
                (gradient,) = torch.autograd.grad(score, [seen[-1]])
            weights = gradient.flatten(2).mean(2)[(..., *(None,) * len(place))]
            map = (weights * seen[-1].detach()).sum(1, keepdim=True).clamp(min=0)
            map = F.interpolate(map, tiling.rule.size, mode="trilinear", align_corners=False)[0, 0]
            map = map - map.min()
            total[place] += map / (map.max() + 1e-7)
            count[place] += 1
    finally:
        handle.remove()
    return (1.3 * total / count)[tiling.inner]


def theirs(model: sx.SegmentationModel, tensor: Tensor, layer: str, label: int) -> Tensor:
    """Return nnunetv2-cam's own map: (*grid)."""
    import nnunetv2_cam.cam_core as core

    windows = model.windows
    assert windows is not None
    labels = SimpleNamespace(
        apply_inference_nonlin=lambda logits: logits.float().softmax(0),
        convert_probabilities_to_segmentation=lambda probabilities: probabilities.argmax(0),
    )
    configuration = SimpleNamespace(patch_size=windows.size)
    network = copy.deepcopy(model.module).requires_grad_(True)  # without which it finds no gradient
    weights = [network.state_dict()]
    found = core.compute_cam_with_sliding_window(
        network, tensor[0], layer, label, "gradcam", torch.device("cpu"), configuration, labels, weights,
        1 - windows.overlap, False, None, cam_type="3d",
    )  # fmt: skip
    return found[0].float()


def monai_loop(
    model: sx.SegmentationModel, tensor: Tensor, label: int, pixels: Tensor, layer: str | None = None
) -> Tensor:
    """Return the gradient of the input, or the sum of activation times gradient at a layer, brought to the windows: (*grid).

    The windows are those of `sliding_window_inference`; nothing of ours is run.
    """
    from monai.data.utils import dense_patch_slices
    from monai.inferers import sliding_window_inference
    from monai.inferers.utils import _get_scan_interval

    windows = model.windows
    assert windows is not None
    size, grid = windows.size, tuple(tensor.shape[2:])
    seen: list[Tensor] = []
    handle = None
    if layer is not None:

        def hook(_module: object, _args: object, out: Tensor) -> Tensor:
            seen.append(out.detach().requires_grad_(True))
            return seen[-1].clone()

        handle = model.module.get_submodule(layer).register_forward_hook(hook)
    leaf = tensor.clone().requires_grad_(layer is None)
    try:
        with torch.enable_grad():
            out = sliding_window_inference(
                leaf, size, 1, model.module, overlap=windows.overlap, mode=windows.weighting
            )
            score = out[0, label][pixels].mean()
            found = torch.autograd.grad(score, [leaf] if layer is None else seen)
    finally:
        if handle is not None:
            handle.remove()
    if layer is None:
        return found[0][0, 0]
    padded = tuple(
        max(pair) for pair in zip(grid, size, strict=True)
    )  # what is smaller than a window is put into its middle
    total = torch.zeros(padded)
    interval = _get_scan_interval(padded, size, 3, [windows.overlap] * 3)
    for place, activation, gradient in zip(
        dense_patch_slices(padded, size, interval), seen, found, strict=True
    ):
        map = (activation.detach() * gradient).sum(1, keepdim=True)
        total[place] += F.interpolate(map, size, mode="trilinear", align_corners=False)[0, 0]
    return total[tuple(slice((m - n) // 2, (m - n) // 2 + n) for m, n in zip(padded, grid, strict=True))]


def timed(runs: Sequence[Callable[[], Any]], repeats: int) -> tuple[list[np.ndarray], list[float]]:
    """Return what each run gives, and the median of the seconds of processor time that it took; in turn."""
    maps: list[np.ndarray] = []
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):  # the first run of each is not timed
        for taken, run in zip(seconds, runs, strict=True):
            start = time.process_time()
            maps.append(np.asarray(run(), dtype=float))
            taken.append(time.process_time() - start)
    return maps[-len(runs) :], [float(np.median(taken[1:])) for taken in seconds]


COLUMNS = "s, ours | its map alone | s, theirs | times faster |"


def row_of(seconds: Sequence[float]) -> str:
    """Return the end of a row: ours, its map alone, theirs."""
    whole, alone, other = seconds
    return f"{whole:.3f} | {alone:.3f} | {other:.3f} | {other / alone:.2f} |"


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation, of what is above 0."""
    return float(np.corrcoef(one.clip(0).ravel(), other.clip(0).ravel())[0, 1])


def main() -> None:
    """Print and write two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="encoder.stages.2,decoder.stages.1")
    parser.add_argument("--label", default="organ")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    image = sx.read_image(DATA / "frozen" / "case_0000.nii.gz")
    folder = sx.load_model(DATA, card={"windows": {"mirror": []}})  # their map has no mirroring
    assert folder.windows is not None
    tensor = folder.prepare(image).tensor
    seen = sx.Image(tensor[0, 0].numpy())  # both sides get what the network gets

    def model_of(windows: Windows) -> sx.SegmentationModel:
        labels = folder.labels
        card = {"name": "organ", "labels": labels, "spatial_dims": 3, "orientation": None, "windows": windows}
        return sx.SegmentationModel(folder.module, card)

    def drawn(model: sx.SegmentationModel) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return model.logits(tensor)[0].argmax(0) == label

    def ours(model: sx.SegmentationModel, method: str, options: dict[str, Any]) -> list[Callable[[], Any]]:
        """From the image to the explanation with its record; and from the prepared input to the map alone, as theirs."""
        plan = ExplanationPlan.make(model, seen, sx.Target(args.label), method, device="cpu", **options)
        prepared = model.prepare(seen)

        def alone() -> Tensor:
            with model.in_use("cpu"):
                return finish(answer(plan, question_of(plan, prepared))).map

        return [lambda: sx.explain(model, seen, args.label, method, device="cpu", **options).map, alone]

    model = model_of(folder.windows)
    like_monai = model_of(replace(folder.windows, rule="monai"))
    label = model.labels.index(args.label)
    out = [
        "# Maps through windows beside nnunetv2-cam and a plain MONAI loop",
        "",
        (
            f"{len(model.tiling(tensor.shape[2:]).corners)} windows of {' x '.join(map(str, folder.windows.size))} on a grid of "
            f"{' x '.join(map(str, tensor.shape[2:]))}, no mirroring, the label {args.label!r}; torch {torch.__version__}, {torch.get_num_threads()} "
            f"thread(s), {platform.machine()}. Seconds of processor time, the median of {args.repeats}, in turn; ours from the image to the explanation "
            "with its record, and the map alone, from the prepared input on, as theirs; times faster is that of the map alone. The prediction is kept on our side and given on "
            "theirs."
        ),
        "",
        "## nnunetv2-cam's rule",
        "",
        f"| layer | ours with | r, its target | r, our target | {COLUMNS}",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    pixels, itself = drawn(model), []
    for layer in args.layers.split(","):
        with_ours = their_rule(model, tensor, layer, label, pixels).numpy()
        if find_spec("nnunetv2_cam") is not None:
            found = theirs(model, tensor, layer, label).numpy()
            r = correlation(found, their_rule(model, tensor, layer, label, None).numpy())
            itself.append(f"{r:.4f} at {layer}")
        for method in ("seg-grad-cam", "seg-hires-grad-cam"):
            runs = [
                *ours(model, method, {"layer": layer}),
                lambda layer=layer: their_rule(model, tensor, layer, label, None),
            ]
            (own, _, other), seconds = timed(runs, args.repeats)
            r = [correlation(own, each) for each in (other, with_ours)]
            out.append(f"| {layer} | {method} | {r[0]:.3f} | {r[1]:.3f} | {row_of(seconds)}")
    if itself:
        out += ["", f"nnunetv2-cam itself gives the map of its rule as written here: r {', '.join(itself)}."]
    out += [
        "",
        "## A plain MONAI loop",
        "",
        f"| layer | ours with | r | largest difference, share of the largest value | {COLUMNS}",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    pixels = drawn(like_monai)
    for layer in (None, *args.layers.split(",")):
        method, options = (
            ("vanilla-gradient", {"signed": True})
            if layer is None
            else ("seg-hires-grad-cam", {"layer": layer})
        )
        runs = [
            *ours(like_monai, method, options),
            lambda layer=layer: monai_loop(like_monai, tensor, label, pixels, layer),
        ]
        (own, _, other), seconds = timed(runs, args.repeats)
        r = float(np.corrcoef(own.ravel(), other.ravel())[0, 1])
        apart = np.abs(own - other).max() / np.abs(other).max()
        out.append(f"| {layer or 'input'} | {method} | {r:.6f} | {apart:.1e} | {row_of(seconds)}")
    print("\n".join(out))
    args.out.write_text("\n".join([*out, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
