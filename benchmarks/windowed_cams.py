"""Grad-CAM through the windows of an nnU-Net: ours beside nnunetv2-cam, on the folder that the tests have.

nnunetv2-cam 0.1.6.1 itself is asked where it is installed; else, and for our target, its rule as its code has it is written out here: the
target is the sum of all logits over the label's pixels in the window's own prediction, without mirroring; weights are those of one window;
each window's map is cut off at zero and scaled to [0, 1]; what overlaps is averaged evenly, and multiplied by 1.3. It says how far
both agree, with its target and with ours (the mean logit of the label over one organ), and how long each takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import napari_segxai as sx

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
    weights = [model.module.state_dict()]
    found = core.compute_cam_with_sliding_window(
        model.module, tensor[0], layer, label, "gradcam", torch.device("cpu"), configuration, labels, weights,
        1 - windows.overlap, False, None, cam_type="3d",
    )  # fmt: skip
    return found[0].float()


def timed(run: Callable[[], object]) -> tuple[np.ndarray, float]:
    """Return what a function returns, and the seconds that it took."""
    start = time.perf_counter()
    found = run()
    return np.asarray(found, dtype=float), time.perf_counter() - start


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation, of what is above 0."""
    return float(np.corrcoef(one.clip(0).ravel(), other.clip(0).ravel())[0, 1])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="encoder.stages.2,decoder.stages.1")
    parser.add_argument("--label", default="organ")
    args = parser.parse_args()
    image = sx.read_image(DATA / "frozen" / "case_0000.nii.gz")
    folder = sx.load_model(DATA, card={"windows": {"mirror": []}})  # their map has no mirroring
    tensor = folder.prepare(image).tensor
    card = {
        "name": "organ",
        "labels": folder.labels,
        "spatial_dims": 3,
        "orientation": None,
        "windows": folder.windows,
    }
    model = sx.SegmentationModel(folder.module, card)  # both sides get what the network gets
    label = model.labels.index(args.label)
    with torch.inference_mode(False), torch.no_grad():
        pixels = model.logits(tensor)[0].argmax(0) == label
    has_theirs = find_spec("nnunetv2_cam") is not None
    print(f"{len(model.tiling(tensor.shape[2:]).corners)} windows; a grid of {tuple(tensor.shape[2:])}")
    print("| layer | ours with | nnunetv2-cam's rule: r, its target | r, our target | s, ours | s, theirs |")
    print("|---|---|---|---|---|---|")
    for layer in args.layers.split(","):
        written, seconds = timed(lambda layer=layer: their_rule(model, tensor, layer, label, None))
        with_ours, _ = timed(lambda layer=layer: their_rule(model, tensor, layer, label, pixels))
        if has_theirs:
            import nnunetv2_cam.cam_core  # noqa: F401  (not timed)

            found, seconds = timed(lambda layer=layer: theirs(model, tensor, layer, label))
            print(
                f"nnunetv2-cam itself, {layer}: r with its rule as written here {correlation(found, written):.4f}"
            )
        for method in ("seg-grad-cam", "seg-hires-grad-cam"):
            start = time.perf_counter()
            seen = sx.Image(tensor[0, 0].numpy())
            ours = sx.explain(model, seen, args.label, method, layer=layer, device="cpu").map
            took = time.perf_counter() - start
            r = [correlation(ours, other) for other in (written, with_ours)]
            print(f"| {layer} | {method} | {r[0]:.3f} | {r[1]:.3f} | {took:.2f} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
