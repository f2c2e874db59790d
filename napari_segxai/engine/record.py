"""P2: activations and gradients of network layers, from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_segxai.engine.memory import OutOfMemory, free, is_out_of_memory
from napari_segxai.engine.modules import find_module, first_tensor, replace_first_tensor
from napari_segxai.engine.passes import Steps
from napari_segxai.engine.question import Question


def record(question: Question, names: Sequence[str]) -> Steps[list[tuple[Tensor, Tensor]]]:
    """Record activation and gradient of the target for every named network layer.

    The graph begins at the earliest of the layers and reaches the target alone: parameters are frozen and
    the input takes no gradient. What is recorded is kept from in-place operations further on.

    Parameters
    ----------
    names
        Network layers; ``name@2`` is the second call of a module.

    Yields
    ------
    Step
        After the forward and after the backward pass.

    Returns
    -------
    list of (activation, gradient)
        Each (1, channels, *layer grid). A layer that does not influence the target has a zero gradient
        and leaves a warning.
    """
    model = question.model
    layers = [model.find_layer(name) for name in names]
    captured: dict[str, Tensor] = {}
    handles = []
    try:
        wanted: dict[str, set[str]] = {}
        for layer in layers:
            wanted.setdefault(layer.name.partition("@")[0], set()).add(layer.name)
        for name, calls in wanted.items():
            module = find_module(model.module, name)
            handles.append(module.register_forward_hook(_capture(name, calls, captured)))
        with torch.enable_grad():
            logits = question.forward(question.input)
    except RuntimeError as error:
        if is_out_of_memory(error):
            captured.clear()
            free(question.device)
            raise OutOfMemory(question.device) from None
        raise
    finally:
        for handle in handles:
            handle.remove()
    question.remember_logits(logits)
    yield question.step("forward pass")
    activations = [captured[layer.name] for layer in layers]
    gradients: Sequence[Tensor | None] = [None] * len(activations)
    try:
        with torch.enable_grad():
            score = question.score(logits).sum()
            if score.requires_grad:
                gradients = torch.autograd.grad(score, activations, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            free(question.device)
            raise OutOfMemory(question.device) from None
        raise
    question.passes.backward += 1
    out = []
    for layer, activation, gradient in zip(layers, activations, gradients, strict=True):
        if gradient is None:
            question.warnings.append(
                f"network layer {layer.name} does not influence the target; its map is zero."
            )
            gradient = torch.zeros_like(activation)
        out.append((activation.detach(), gradient))
    yield question.step("backward pass")
    return out


def _capture(name: str, wanted: set[str], captured: dict[str, Tensor]) -> Callable[..., Any]:
    calls = 0

    def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
        nonlocal calls
        found = first_tensor(out)
        if found is None:
            return None
        calls += 1
        call = name if calls == 1 else f"{name}@{calls}"
        if call not in wanted:
            return None
        leaf = found if found.requires_grad else found.detach().requires_grad_(True)
        captured[call] = leaf
        # The network goes on with a copy, so that an in-place operation cannot change what was recorded.
        return replace_first_tensor(out, lambda _: leaf.clone())

    return hook
