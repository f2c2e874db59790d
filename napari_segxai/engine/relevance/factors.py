"""Products and quotients of what depends on the input: one factor is a gate and fixed, or all get equal parts.

A gate's factor says how much of another passes; all relevance goes to the other (Arras et al. 2017). A divisor is fixed
like the statistics of a normalisation. A softmax in attention is fixed, so that relevance flows through the values alone
(Ali et al. 2022). A product of two others is homogeneous of degree 2: each gets half (Achtibat et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_segxai.engine.relevance import operations as known
from napari_segxai.engine.relevance.calls import Call, on_path
from napari_segxai.engine.relevance.facts import Gate
from napari_segxai.engine.relevance.functions import part
from napari_segxai.engine.relevance.weighted import Weighted


class Factors:
    """The rules of products.

    Parameters
    ----------
    gate_of
        What gate a tensor is known to be, "" for none.
    weighted
        Runs a layer with weights under its rule: (what it reads, the layer, the network's own call).
    """

    def __init__(
        self,
        gate_of: Callable[[Tensor], Gate],
        weighted: Callable[[Tensor, Weighted, Callable[[], Tensor]], Tensor],
    ):
        self.gate_of = gate_of
        self.weighted = weighted

    def run(self, call: Call) -> Any:
        """Run a product or quotient."""
        if call.name in known.RECIPROCALS:
            return self.fixed(call)
        if call.name in known.QUOTIENTS:
            return self._quotient(call)
        if len(call.inputs) == 1:
            return self._with_weights(call)
        return self._product(call)

    def fixed(self, call: Call) -> Any:
        """Return the result as a constant."""
        with torch.no_grad():
            return call.with_inputs(lambda x: x.detach().clone()).run()

    def _quotient(self, call: Call) -> Any:
        above, below = call.args[:2] if len(call.args) > 1 else (call.args[0], call.kwargs.get("other"))
        if call.name in ("rtruediv", "rdiv"):
            above, below = below, above
        if not isinstance(below, Tensor) or not below.requires_grad:
            return call.run()
        if not isinstance(above, Tensor) or not above.requires_grad:
            return self.fixed(call)
        if call.in_place:
            return above.div_(below.detach().clone())
        return above / below.detach()

    def _with_weights(self, call: Call) -> Any:
        """A product with a constant: a matrix counts as weights."""
        x = call.inputs[0]
        others = [
            one for one in (*call.args, *call.kwargs.values()) if isinstance(one, Tensor) and one is not x
        ]
        operands = call.args[1] if call.name == "einsum" and isinstance(call.args[1], list | tuple) else ()
        others += [one for one in operands if isinstance(one, Tensor) and one is not x]
        if call.name not in known.MATRICES or len(others) != 1 or call.in_place:
            return call.run()
        weight = others[0].detach()

        def product(new: Tensor, w: Tensor) -> Tensor:
            swap = lambda one: new if one is x else w if one is others[0] else one  # noqa: E731
            args = tuple(
                type(one)(swap(each) for each in one) if isinstance(one, list | tuple) else swap(one)
                for one in call.args
            )
            return call.func(*args, **{key: swap(one) for key, one in call.kwargs.items()})

        return self.weighted(x, Weighted(product, weight, None, "plain"), call.run)

    def _product(self, call: Call) -> Any:
        inputs = call.inputs
        free = [one for one in inputs if not self.gate_of(one)]
        if not free:  # of a class times a mask, say, the mask carries it
            free = [one for one in inputs if self.gate_of(one) == "sigmoid"] or inputs
        if call.name in ("mul", "multiply", "imul", "rmul") and len(free) > 1:
            largest = max(one.numel() for one in free)
            free = [
                one for one in free if one.numel() == largest
            ]  # what is broadcast over the other is a gate
        parts = len(free)
        kept = {id(one) for one in free}

        def share(x: Tensor) -> Tensor:
            if id(x) not in kept:
                return x.detach().clone()
            return part(x, parts) if parts > 1 else x

        if not call.in_place:
            return call.with_inputs(share).run()
        first = call.args[0]
        before = call.with_inputs(lambda x: part(x, parts) if id(x) in kept else x.detach().clone())
        return first.copy_(torch.mul(*before.args[:2]))

    def sampled(self, call: Call) -> Any:
        """A sample at places that a network has found: where they lie is fixed."""
        image, places, *rest = call.args
        if not on_path(image):
            return self.fixed(call)
        return call.func(image, places.detach().clone(), *rest, **call.kwargs)

    def attention(self, call: Call) -> Any:
        """Scaled dot product attention: how much each place attends to each other is fixed."""
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, call.args, strict=False)) | call.kwargs
        query, key, value = given["query"], given["key"], given["value"]
        if not value.requires_grad:
            return self.fixed(call)
        with torch.no_grad():
            if given.get("enable_gqa"):
                repeats = query.shape[-3] // key.shape[-3]
                key = key.repeat_interleave(repeats, -3)
            scale = given.get("scale") or query.shape[-1] ** -0.5
            scores = query @ key.transpose(-2, -1) * scale
            mask = given.get("attn_mask")
            if given.get("is_causal"):
                mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
            weights = scores.softmax(-1)
        if given.get("enable_gqa"):
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        return weights @ value
