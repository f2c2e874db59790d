"""What captum, MONAI and plain loops compute of the input space, asked as their own pages show.

Used by benchmarks/against_peers.py and tests/peers. Each returns a function that makes a map on the model grid, or on that of a network layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from cams import CPU
from peers import Compared
from torch import Tensor, nn

from napari_segxai.engine.masking.superpixels import honeycomb
from napari_segxai.methods.perturbation.rise import MaskSampler

Theirs = Callable[[], Tensor]
"""Returns a map."""


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

    @torch.no_grad()
    def work() -> Tensor:
        method = OcclusionSensitivity(
            Score(case),
            mask_size=window,
            n_batch=batch,
            verbose=False,
            mode=0.0,
            overlap=overlap,
            activate=False,
        )
        left = method(case.tensor)[0][0, 0].as_tensor()
        return scores(case)(case.tensor) - left

    return work


class Score(nn.Module):
    """The target of a whole batch as a network of one label: (N, ...) -> (N, 1)."""

    def __init__(self, case: Compared):
        super().__init__()
        self.network, self.case = case.module, case
        self.eval()  # MONAI puts what it was given back into the mode in which it was

    def forward(self, x: Tensor) -> Tensor:
        return scores(self.case)(x)[:, None]


def with_prediction(case: Compared, theirs: Theirs) -> Theirs:
    """What a user of theirs does from the image on: prepare it, predict the pixels of the label, and ask."""

    def work() -> Tensor:
        with torch.no_grad():
            predicted = case.module(case.model.prepare(case.image).tensor)[0].argmax(0) == case.label
        assert torch.equal(predicted, case.pixels)
        return theirs()

    return work


def captum_gradient(case: Compared, name: str) -> Theirs:
    """`Saliency`, with its sign, or `InputXGradient`; summed over the channels."""
    import captum.attr

    method, signed = getattr(captum.attr, name)(scores(case)), {"abs": False} if name == "Saliency" else {}
    return lambda: method.attribute(leaf(case), **signed)[0].sum(0)


def leaf(case: Compared) -> Tensor:
    """The input, which takes a gradient."""
    return case.tensor.clone().requires_grad_(True)


def captum_guided(case: Compared, layer: str | None = None) -> Theirs:
    """`GuidedBackprop`, or `GuidedGradCam` of a network layer; summed over the channels."""
    from captum.attr import GuidedBackprop, GuidedGradCam

    network = Score(case)
    if layer is None:
        method, options = GuidedBackprop(network), {}
    else:
        method = GuidedGradCam(network, network.network.get_submodule(layer))
        options = {"interpolate_mode": "bilinear"}

    def work() -> Tensor:
        with warnings.catch_warnings():  # that it sets hooks
            warnings.simplefilter("ignore")
            return method.attribute(leaf(case), target=0, **options)[0].sum(0)

    return work


def captum_layer_grad_cam(case: Compared, layer: str) -> Theirs:
    """On the grid of the network layer."""
    from captum.attr import LayerGradCam

    method = LayerGradCam(scores(case), case.module.get_submodule(layer))
    return lambda: method.attribute(leaf(case))[0, 0]


def captum_smooth_grad(case: Compared, samples: int, sigma: float, batch: int) -> Theirs:
    """With its sign; the noise is theirs."""
    from captum.attr import NoiseTunnel, Saliency

    method = NoiseTunnel(Saliency(scores(case)))
    spread = sigma * float((case.tensor.amax((2, 3)) - case.tensor.amin((2, 3))).mean())

    def work() -> Tensor:
        torch.manual_seed(0)
        return method.attribute(
            leaf(case),
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=batch,
            stdevs=spread,
            abs=False,
        )[0].sum(0)

    return work


def monai_smooth_grad(case: Compared, samples: int, sigma: float) -> Theirs:
    """With its sign, one noisy copy at a time, as theirs does; the noise is theirs."""
    from monai.visualize import SmoothGrad

    method = SmoothGrad(Score(case), sigma, samples, magnitude=False, verbose=False)

    def work() -> Tensor:
        torch.manual_seed(0)
        return method(case.tensor.clone(), index=0)[0].sum(0)

    return work


def captum_lime(case: Compared, cells: int, samples: int, batch: int) -> Theirs:
    """With our cells, and a ridge regression as in ours."""
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    parts = torch.from_numpy(honeycomb(case.tensor.shape[2:], cells))[None, None]

    @torch.no_grad()
    def work() -> Tensor:
        torch.manual_seed(0)
        method = Lime(scores(case), interpretable_model=SkLearnRidge(alpha=1.0))
        return method.attribute(
            case.tensor, feature_mask=parts, n_samples=samples, perturbations_per_eval=batch
        )[0, 0]

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
