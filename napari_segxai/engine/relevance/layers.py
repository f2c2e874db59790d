"""Calls of convolutions, linear layers and normalisations, read as `Weighted` layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.engine.relevance.weighted import Weighted

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """The names of the arguments of a function, and the defaults of those that have one."""

    names: tuple[str, ...]
    defaults: Arguments

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Form:
        """Return the form of a function; `bound` is called too often for `inspect` to do it each time."""
        own = signature(function).parameters
        return cls(
            tuple(own), {name: one.default for name, one in own.items() if one.default is not one.empty}
        )


def _conv(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> None: ...


def _conv_transpose(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> None: ...


def _linear(input: Any, weight: Any, bias: Any = None) -> None: ...


CONV, CONV_TRANSPOSE, LINEAR = Form.of(_conv), Form.of(_conv_transpose), Form.of(_linear)
KERNELS: dict[str, Form] = {
    **{f"conv{n}d": CONV for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": CONV_TRANSPOSE for n in (1, 2, 3)},
    "linear": LINEAR,
}
"""Functions with weights, by name."""


def bound(form: Form, args: tuple[Any, ...], kwargs: Arguments) -> Arguments:
    """Return all arguments by name, defaults included."""
    return {**form.defaults, **dict(zip(form.names, args, strict=False)), **kwargs}


def read_kernel(name: str, func: Callable[..., Tensor], given: Arguments) -> Weighted:
    """Return a call of a function of `KERNELS` as a layer.

    Parameters
    ----------
    given
        Its arguments by name; what they say of the input does not count.
    """
    rest = {key: value for key, value in given.items() if key not in ("input", "weight", "bias")}
    weight, bias = given["weight"].detach(), given["bias"]
    if name == "linear":
        shaped = None if bias is None else bias.detach()
        return Weighted(lambda x, w: func(x, w), weight, shaped, "plain")
    if bias is not None:
        bias = bias.detach().view(-1, *(1,) * (weight.ndim - 2))
    ones = (1,) * (weight.ndim - 2)
    if name.startswith("conv_transpose"):
        per_group, groups = weight.shape[1], rest["groups"]

        def per_output(scale: Tensor) -> Tensor:
            rows = scale.view(groups, 1, per_group).expand(groups, weight.shape[0] // groups, per_group)
            return rows.reshape(weight.shape[0], per_group, *ones)
    else:

        def per_output(scale: Tensor) -> Tensor:
            return scale.view(-1, 1, *ones)

    return Weighted(lambda x, w: func(x, w, **rest), weight, bias, "kernel", per_output)


def _batch(
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
) -> Any:
    if training or running_mean is None:
        axes = (0, *range(2, input.ndim))
        return _scale(input, *_moments(input, axes), weight, bias, eps, (1, -1, *(1,) * (input.ndim - 2)))
    shape = (1, -1, *(1,) * (input.ndim - 2))
    return _scale(input, running_mean.view(shape), running_var.view(shape), weight, bias, eps, shape)


def _instance(
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: Any = True,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
) -> Any:
    shape = (1, -1, *(1,) * (input.ndim - 2))
    if use_input_stats:
        mean, variance = _moments(input, tuple(range(2, input.ndim)))
    else:
        mean, variance = running_mean.view(shape), running_var.view(shape)
    return _scale(input, mean, variance, weight, bias, eps, shape)


def _group(input: Tensor, num_groups: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5) -> Any:
    n, channels = input.shape[:2]
    grouped = input.reshape(n, num_groups, -1)
    per_channel = (n, channels, *(1,) * (input.ndim - 2))
    each = channels // num_groups
    mean, variance = (one.repeat_interleave(each, 1).view(per_channel) for one in _moments(grouped, (2,)))
    return _scale(input, mean, variance, weight, bias, eps, (1, -1, *(1,) * (input.ndim - 2)))


def _layer(
    input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5
) -> Any:
    axes = tuple(range(input.ndim - len(tuple(normalized_shape)), input.ndim))
    return _scale(input, *_moments(input, axes), weight, bias, eps, tuple(normalized_shape))


def _root_mean_square(
    input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Any:
    axes = tuple(range(input.ndim - len(tuple(normalized_shape)), input.ndim))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    scale = (input.square().mean(axes, keepdim=True) + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    return scale, torch.zeros((1,) * input.ndim, dtype=input.dtype, device=input.device)


def _moments(input: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return input.mean(axes, keepdim=True), input.var(axes, unbiased=False, keepdim=True)


def _scale(
    input: Tensor, mean: Tensor, variance: Tensor, weight: Any, bias: Any, eps: float, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.view(shape)
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias.view(shape)


NORMS: dict[str, tuple[Callable[..., tuple[Tensor, Tensor]], str]] = {
    "batch_norm": (_batch, "kernel"),
    "instance_norm": (_instance, "kernel"),
    "group_norm": (_group, "kernel"),
    "layer_norm": (_layer, "plain"),
    "rms_norm": (_root_mean_square, "plain"),
}
"""Normalisations: name -> (input, ...) -> scale and shift, broadcast to the input; and the kind of layer."""

FUNCTIONS = {getattr(F, name): name for name in NORMS}
"""Only torch.nn.functional's have these arguments."""


_form = cache(Form.of)


def read_norm(name: str, args: tuple[Any, ...], kwargs: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a normalisation, its statistics taken as fixed, multiplies with and adds, and what it reads."""
    reader = NORMS[name][0]
    given = bound(_form(reader), args, kwargs)
    with torch.no_grad():
        scale, shift = reader(**given)
    return scale.detach(), shift.detach(), given["input"]


def as_diagonal(name: str, scale: Tensor, shift: Tensor) -> Weighted:
    """Return a normalisation on its own as a layer."""
    return Weighted(lambda x, w: x * w, scale, shift, NORMS[name][1])
