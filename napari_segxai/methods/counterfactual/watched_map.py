"""The map that an attack watches: of any input, with a gradient of its own where the attack needs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam import cam
from napari_segxai.models.introspection.layers import not_run, token_stride
from napari_segxai.models.introspection.layout import infer_layout
from napari_segxai.models.introspection.observed import layer_outputs

Kind = Literal["vanilla gradient", "input x gradient", "seg-grad-cam"]
"""Methods whose map can be watched."""

CAM = "seg-grad-cam"
"""That whose map is one of a network layer."""


def gradient_of(question: Question, value: Tensor, leaf: Tensor, **kwargs: Any) -> Tensor:
    """Return the gradient of a value by `leaf`, zero where nothing depends on it.

    Raises
    ------
    UserError
        If the network passes no gradient on, or cannot be differentiated as often as is asked.
    """
    if not value.requires_grad:
        raise UserError(
            f"{question.model.name} passes no gradient from its output to its input (its output is detached, rounded or "
            "constant), so it cannot be attacked."
        )
    try:
        (gradient,) = torch.autograd.grad(value, [leaf], allow_unused=True, **kwargs)
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise _only_once(question, str(error).splitlines()[0].rstrip(".")) from error
    return torch.zeros_like(leaf) if gradient is None else gradient


def _only_once(question: Question, why: str) -> UserError:
    return UserError(
        f"{question.model.name} cannot be differentiated twice ({why}), which an attack on the explanation needs; use "
        "attack=segmentation."
    )


def _breaks_off(gradient: Tensor) -> bool:
    """Tell whether a part of a gradient has no gradient of its own: torch puts a node "Error" there and says nothing."""
    seen, waiting = set(), [gradient.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("Error"):
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


class WatchedMap:
    """The map of a gradient method for any input, with or without a graph back to that input.

    Parameters
    ----------
    kind
        Whose map.
    layer
        Network layer, for Seg-Grad-CAM.
    """

    def __init__(self, question: Question, kind: Kind, layer: str, *, graph: bool = False):
        self.question, self.kind, self.graph = question, kind, graph
        self.layer = question.model.find_layer(layer).name if kind == CAM else None
        self.whole = False  # whether the gradient is known to have a gradient of its own

    def of(self, tensor: Tensor, take_logits: Callable[[Tensor], object]) -> Tensor:
        """Return the map (*grid, or *cells of the layer) of (1, channels, *grid)."""
        with torch.enable_grad():
            leaf = tensor if tensor.requires_grad else tensor.detach().clone().requires_grad_(True)
            logits, watched = self._forward(leaf)
            take_logits(logits if self.graph else logits.detach())
            score = self.question.score(logits).sum()
            gradient = gradient_of(self.question, score, watched, create_graph=self.graph)
            if self.graph and not self.whole:
                if _breaks_off(gradient):
                    raise _only_once(
                        self.question, "a function of it has a backward pass of its own, for once"
                    )
                self.whole = True
            self.question.passes.backward += 1
            values = self._values(watched, gradient)
        return values if self.graph else values.detach()

    def _forward(self, leaf: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and that of which the gradient is asked: the input, or what the network layer returned."""
        question = self.question
        if self.layer is None:
            return question.forward(leaf), leaf
        with layer_outputs(question.model.module, self.layer) as seen:
            logits = question.forward(leaf)
        if not seen:
            raise not_run(question.model.name, self.layer)
        return logits, seen[0]

    def _values(self, watched: Tensor, gradient: Tensor) -> Tensor:
        if self.kind == "vanilla gradient":
            return gradient.abs().amax(1)[0]
        if self.layer is None:
            return (gradient * watched).sum(1)[0]
        model = self.question.model
        stride = token_stride(self.layer, model.card.tokens)
        layout = infer_layout(tuple(watched.shape), self.question.grid, stride)
        if layout is None:
            raise UserError(
                f"{model.name}: network layer {self.layer!r} returns shape {tuple(watched.shape)}, in "
                "which the place of a value cannot be told; choose another."
            )
        return cam(layout.to_maps(watched), layout.to_maps(gradient))
