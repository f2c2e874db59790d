"""One question for both sides, and pytorch-grad-cam and torchcam asked for their raw maps.

Used by benchmarks/cams.py, benchmarks/against_peers.py and tests/peers. Import this before any of the peers.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.core.progress import finish
from napari_segxai.core.target import Reduction
from napari_segxai.engine.question import Question

Target = Callable[[Tensor], Tensor]
"""(labels, *grid) -> scalar."""

_libraries: list[torch.library.Library] = []


def make_torchvision_importable() -> None:
    """Declare two operators of torchvision, where its compiled half does not fit the installed torch.

    pytorch-grad-cam imports torchvision but uses nothing compiled of it. A torchvision for a GPU cannot load that half
    beside a torch for the CPU, and then stumbles over these two names while it is imported. Nothing is computed with
    them here.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None or _libraries:
        return
    for compiled in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _libraries.append(library)


make_torchvision_importable()


def over_pixels(label: int, pixels: Tensor, reduction: str) -> Target:
    """Return what `SemanticSegmentationTarget` of pytorch-grad-cam asks: the label's logit, summed over a set of pixels.

    Theirs sums, and takes images only; this one averages as well, and takes volumes.
    """
    weights = pixels.float() / (pixels.sum() if reduction == "mean" else 1)
    return lambda logits: (logits[label] * weights.to(logits)).sum()


@dataclass
class Compared:
    """A network and an image, for both sides, and the pixels predicted as one label.

    `module` is a copy that no code of ours touches, `tensor` the image as the network gets it, `pixels` where `label` is
    predicted; -1 for the one with most pixels.
    """

    model: sx.SegmentationModel
    image: sx.Image
    label: int = -1

    def __post_init__(self) -> None:
        self.module: nn.Module = copy.deepcopy(self.model.module).eval().requires_grad_(True)
        self.tensor: Tensor = self.model.prepare(self.image).tensor
        with torch.no_grad():
            self.logits: Tensor = self.module(self.tensor)[0]
        predicted = self.logits.argmax(0)
        self.label = self.label if self.label >= 0 else int(predicted.flatten().bincount().argmax())
        self.pixels: Tensor = predicted == self.label

    def target(self, reduction: str = "mean") -> Target:
        """What the other side is asked; ours is asked `sx.Target(label, reduction=...)`."""
        return over_pixels(self.label, self.pixels, reduction)

    def ours(self, method: str, reduction: Reduction = "sum", **params: Any) -> np.ndarray:
        """Our method's map, raw and on the grid of the network layer."""
        target = sx.Target(self.label, reduction=reduction)
        job: Any = ExplanationPlan.make(self.model, self.image, target, method, device="cpu", **params)
        with self.model.in_use("cpu") as device:
            question = Question(
                self.model,
                self.image,
                self.model.prepare(self.image),
                target,
                device=device,
                seed=0,
                planned=job.passes,
            )
            return finish(job.method.run(question, job.options)).map.numpy()


def grad_cam_map(
    name: str, module: nn.Module, layer: str, tensor: Tensor, target: Target, **options: object
) -> np.ndarray:
    """Return pytorch-grad-cam's map of one network layer: (*layer grid), raw.

    What their `forward` does up to the ReLU.

    Parameters
    ----------
    name
        A class of pytorch_grad_cam, such as "GradCAM".
    module
        With parameters that take gradients.
    """
    import pytorch_grad_cam

    found = module.get_submodule(layer)
    with getattr(pytorch_grad_cam, name)(module, [found], **options) as cam, quiet():
        output = cam.activations_and_grads(tensor)[0]
        if cam.uses_gradients:
            module.zero_grad()
            target(output).backward()
        kept = cam.activations_and_grads
        activation = kept.activations[0].numpy()
        gradient = kept.gradients[0].numpy() if kept.gradients else None
        return cam.get_cam_image(tensor, found, [target], activation, gradient, False)[0]


def torchcam_map(
    name: str, module: nn.Module, layer: str, tensor: Tensor, target: Target | int, **options: object
) -> np.ndarray:
    """Return torchcam's map of one network layer: (*layer grid), raw.

    Parameters
    ----------
    name
        A class of torchcam.methods, such as "GradCAM".
    target
        A label where the method takes no other (CAM).
    """
    import torchcam.methods

    question = {"class_idx": target} if isinstance(target, int) else {"targets": target}
    with getattr(torchcam.methods, name)(module, layer, **options) as cam:
        cam._relu = False
        return cam(scores=module(tensor), normalized=False, **question)[0][0].detach().numpy()


@contextlib.contextmanager
def quiet():
    """Keep progress bars off the screen."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
