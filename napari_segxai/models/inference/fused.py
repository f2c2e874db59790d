"""A fused network, which computes the same in less time, for methods that need many passes.

Batch normalisation is folded into the convolution before it, kernels lie in memory as convolutions read them fastest, and
3D convolutions of a single image are put so that torch takes its fast path (docs/performance.md says what each of them
gives). What a convolution returns is then no longer what it returned in the user's network: methods that look at network
layers use that network itself.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from napari_segxai.models.inference.memory import is_out_of_memory
from napari_segxai.models.inference.weights import tensors
from napari_segxai.models.introspection.modules import find_module, named_modules

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CHANNELS_LAST = {nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d}
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

TOLERANCE = 1e-2
"""Largest difference of the outputs, relative to the largest output: that of a GPU's TensorFloat-32 lies well below."""

SMALL = 20480
"""Below so many channels x rows of a single image, torch (2.13) computes a 3D convolution of one group on the CPU in a
slow way of its own: measured, up to 8 times slower than oneDNN. Of a single channel it is not slower."""


@dataclass(frozen=True)
class Changes:
    """What is different in a fused network.

    Attributes
    ----------
    folded
        Number of batch normalisations that were folded into convolutions.
    channels_last
        Whether kernels are channels last: such convolutions return maps that are channels last, however their input lies.
    grouped
        Whether 3D convolutions of a single image are computed in two groups.
    """

    folded: int = 0
    channels_last: bool = False
    grouped: bool = False

    def __bool__(self) -> bool:
        return self != Changes()

    def __str__(self) -> str:
        said = [f"{self.folded} batch normalisations folded"] if self.folded else []
        said += ["kernels channels last"] if self.channels_last else []
        said += ["3D convolutions of one image in two groups"] if self.grouped else []
        return ", ".join(said)


def fast_layout(tensor: Tensor) -> Tensor:
    """Return an input in the memory layout in which convolutions are fastest: channels last in 2D."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def fuse(module: nn.Module, run: Callable[[nn.Module], Tensor]) -> tuple[nn.Module, Changes] | None:
    """Return a fused copy of a network and what is different in it; None where there is nothing to gain.

    The copy shares every parameter and buffer that stays as it is. It is tried on one input before it is used.

    Parameters
    ----------
    module
        In evaluation mode; never changed.
    run
        module -> its output for some input, without gradients.
    """
    if any("_orig_mod" in name.split(".") for name, _ in named_modules(module)):  # it would be compiled again
        return None
    pairs, wanted = _pairs(module, run)
    try:
        fused, changes = _fused(module, pairs)
        if not changes:
            return None
        found = run(fused)
    except Exception as error:  # a network may hold anything, also what no copy can
        if is_out_of_memory(error):
            raise
        return None
    alike = found.shape == wanted.shape and (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()
    return (fused, changes) if alike else None


class _Uses(TorchFunctionMode):
    """Counts the operations that take what a convolution returned."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not isinstance(out, int | float | bool | str | torch.Size):  # asking for a shape is no use
            self._look((args, kwargs))
        return out

    def _look(self, value: Any) -> None:
        if isinstance(value, Tensor):
            name = getattr(value, "_returned_by", None)
            if name is not None:
                self.count[name] += 1
        elif isinstance(value, dict):
            self._look(tuple(value.values()))
        elif isinstance(value, tuple | list):
            for item in value:
                self._look(item)


def _pairs(module: nn.Module, run: Callable[[nn.Module], Tensor]) -> tuple[list[tuple[str, str]], Tensor]:
    """Return the names of convolutions and of the normalisations that alone use what they return; and the output."""
    calls: Counter[str] = Counter()
    followed: list[tuple[str, str]] = []

    def called(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
            calls[name] += 1
            vars(out)["_returned_by"] = name

        return hook

    def follows(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple) -> None:
            calls[name] += 1
            before = getattr(args[0], "_returned_by", None) if args else None
            if before is not None:
                followed.append((before, name))

        return hook

    handles = []
    for name, one in named_modules(module):
        if one._forward_hooks or one._forward_pre_hooks:  # somebody looks, or computes the weights
            continue
        if type(one) in CONVOLUTIONS or (type(one) in TRANSPOSED and one.groups == 1):
            handles.append(one.register_forward_hook(called(name)))
        elif type(one) in NORMALIZATIONS and one.running_mean is not None and not one.training:
            handles.append(one.register_forward_pre_hook(follows(name)))
    try:
        with _Uses() as uses:
            out = run(module)
    finally:
        for handle in handles:
            handle.remove()
    once = [pair for pair in followed if all(calls[name] == 1 for name in pair) and uses.count[pair[0]] == 1]
    return once, out


def _fused(module: nn.Module, pairs: list[tuple[str, str]]) -> tuple[nn.Module, Changes]:
    fused = copy.deepcopy(module, {id(t): t for t in tensors(module)})
    for convolution, normalization in pairs:
        before: Any = find_module(fused, convolution)
        after: Any = find_module(fused, normalization)
        weight, bias = fuse_conv_bn_weights(
            before.weight,
            before.bias,
            after.running_mean,
            after.running_var,
            after.eps,
            after.weight,
            after.bias,
            transpose=isinstance(before, TRANSPOSED),
        )
        before.weight, before.bias = _frozen(weight), _frozen(bias)
        parent, _, last = normalization.rpartition(".")
        (find_module(fused, parent) if parent else fused)._modules[last] = nn.Identity()
    turned: list[tuple[Any, torch.memory_format]] = []
    modules = [one for _, one in named_modules(fused)]
    if not any(isinstance(one, INSTANCE) for one in modules):  # which copies what is not channels first
        turned = [
            (one, memory_format)
            for kind, memory_format in CHANNELS_LAST.items()
            for one in modules
            if isinstance(one, kind) and one._parameters.get("weight") is not None
        ]
        for one, memory_format in turned:
            one.weight = _frozen(one.weight.contiguous(memory_format=memory_format))
    divided = [one for one in modules if type(one) is nn.Conv3d and _divides(one)]
    for one in divided:
        one.__class__ = _Convolution3d
    return fused, Changes(len(pairs), bool(turned), bool(divided))


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


def _divides(one: nn.Conv3d) -> bool:
    return one.groups == 1 < one.in_channels and one.out_channels % 2 == 0 and one.padding_mode == "zeros"


class _Convolution3d(nn.Conv3d):
    """For a single image the same convolution in two groups, which both see all of the image; see `SMALL`."""

    def forward(self, input: Tensor) -> Tensor:
        single = input.ndim == 5 and len(input) == 1 and input.is_cpu
        if not single or math.prod(input.shape[1:4]) > SMALL:
            return super().forward(input)
        twice = torch.cat([input, input], 1)
        return F.conv3d(twice, self.weight, self.bias, self.stride, self.padding, self.dilation, 2)
