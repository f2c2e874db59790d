"""Relevance of the input, and of any network layers, for a target: one forward pass, then any number of passes back.

    start = sum over logits of z G,  G = d score / d z;  R = x G at the input and at every layer on the way

(Bach et al., PLoS ONE 2015, in the form G = R / x). The rules are in `engine.relevance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from napari_segxai.core.capabilities import ONE_PASS
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.gradient_check import check_gradients
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.ledger import Balance, Ledger, summed
from napari_segxai.engine.relevance.mode import Relevance
from napari_segxai.engine.relevance.weighted import Rules
from napari_segxai.engine.tiles import in_window, slopes_of, so_far
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.call_names import CallNames, module_of
from napari_segxai.models.introspection.layers import not_run, token_stride
from napari_segxai.models.introspection.layout import Layout, infer_layout
from napari_segxai.models.introspection.modules import find_module, first_tensor, replace_first_tensor


@dataclass(frozen=True)
class Relevances:
    """What one pass back found.

    Attributes
    ----------
    input
        (1, channels, *grid): R of every value of the input.
    layers
        By name: R of what the network layer returned, (1, channels, *layer grid).
    skips
        By the network layer where it leaves: what a skip connection carried.
    balance
        The ledger.
    """

    input: Tensor
    layers: dict[str, Tensor]
    skips: dict[str, float]
    balance: Balance


@dataclass
class _Watched:
    """A network layer: what it returned, where the graph goes on from there, and G of the last whole pass."""

    values: list[Tensor] = field(default_factory=list)
    edges: list[GradientEdge] = field(default_factory=list)
    found: list[Tensor] = field(default_factory=list)


class RelevanceRecorder:
    """A forward pass whose graph carries relevance, for any number of passes back.

    Parameters
    ----------
    question
        Its model and input; passes and warnings go there.
    rules
        Of layers with weights.
    layers
        Network layers whose relevance is wanted; ``name@2`` is the second call of a module.
    routes
        Whether to tell what skip connections carry.

    Attributes
    ----------
    logits
        (1, labels, *grid), with the graph.
    """

    def __init__(self, question: Question, rules: Rules, layers: Sequence[str] = (), *, routes: bool = False):
        self.question = question
        model = question.model
        if not model.has_layers:
            raise UserError(
                f"{model.name} is a TorchScript model, whose operations cannot be given rules of relevance; use "
                "integrated-gradients, or load it as an nn.Module."
            )
        model.require((ONE_PASS,))
        check_gradients(model)
        self.names = [model.find_layer(name).name for name in layers]
        self._watched = {name: _Watched() for name in self.names}
        self._mode = Relevance(rules)
        self._mode.on_watched = lambda name, out: self._watch(name, out, out.detach().clone())
        self._leaf = question.input.detach().clone().requires_grad_(True)
        self._flat = rules.flat
        self._listening = False
        self.logits = self._forward(routes)
        question.remember_logits(self.logits)
        if missing := [name for name in self.names if not self._watched[name].values]:
            raise not_run(model.name, missing[0])
        if not self.logits.requires_grad:
            raise UserError(
                f"{model.name} passes no relevance from its output to its input; use a method without gradients, such as rise."
            )

    def _forward(self, routes: bool) -> Tensor:
        model, mode = self.question.model, self._mode
        overwritten = {call.name for call in model.example_calls if call.overwritten}
        roles = model.roles if routes else None
        bottoms = set(roles.bottlenecks) if roles else set()
        sources = {skip.source for skip in roles.skips} if roles else set()
        wanted = {module_of(name) for name in {*self.names, *bottoms, *sources} if name != "input"}
        calls, handles = CallNames(), []

        def hook_of(path: str) -> Callable[..., Any]:
            def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
                name = calls.next(path)
                found = first_tensor(out)
                if found is None or not found.requires_grad:
                    return None
                if name in bottoms:
                    mode.know(found, after=True)
                if name in sources:
                    mode.know(found, origin=name)
                if name in self._watched:
                    self._watch(name, found)
                    if name in overwritten:
                        return replace_first_tensor(out, lambda one: one.clone())
                    mode.know(found, watched=(*mode.fact(found).watched, name))
                return None

            return hook

        try:
            for path in wanted:
                module = find_module(model.module, path)
                handles.append(module.register_forward_hook(hook_of(path)))
            with torch.inference_mode(False), torch.enable_grad(), guarded(self.question.device), mode:
                begun = self._leaf.clone()
                if self._flat:
                    mode.know(begun, inside=torch.ones_like(self._leaf))
                if "input" in sources:
                    mode.know(begun, origin="input")
                return self.question.forward(begun)
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, name: str, out: Tensor, value: Tensor | None = None) -> None:
        """Listen to what goes back through a layer's output."""
        watched = self._watched[name]
        number = len(watched.values)
        watched.values.append(out.detach() if value is None else value)
        watched.edges.append(get_gradient_edge(out))

        def hook(g: Tensor) -> None:
            if self._listening:
                watched.found[number] = g

        out.register_hook(hook)

    def layout(self, name: str) -> Layout:
        """Return how a layer's output lies."""
        shape = tuple(self._watched[name].values[0].shape)
        strides = self.question.model.card.tokens
        found = infer_layout(shape, self.question.grid, token_stride(name, strides))
        if found is None:
            raise UserError(
                f"{self.question.model.name}: network layer {name!r} returns shape {shape} for this image, in which the "
                "place of a value cannot be told; write the stride of its tokens under `tokens` in the model card."
            )
        return found

    def activation(self, name: str) -> Tensor:
        """Return what a layer returned: (1, channels, *layer grid)."""
        return self.layout(name).to_maps(self._watched[name].values[0])

    def propagate(self, score: Callable[[Tensor], Tensor] | None = None, *, keep: bool = True) -> Relevances:
        """Carry relevance from the logits back.

        Parameters
        ----------
        score
            Logits (1, labels, *grid) -> one number; the target's score by default.
        keep
            Whether the graph is kept for another pass.
        """
        logits = self.logits.detach().requires_grad_()
        start = self.question.score(logits).sum() if score is None else score(logits)
        for watched in self._watched.values():
            watched.found = [torch.zeros_like(value) for value in watched.values]
        (g,) = torch.autograd.grad(start, logits)
        self._listening = True
        try:
            found, ledger = self._back([self.logits], [self.logits.detach()], [g], keep=keep)
            self.question.passes.backward += 1
        finally:
            self._listening = False
        layers = {name: self._relevance_of(name) for name in self.names}
        skips = {name: float(account) for name, account in self._mode.skips.items()}
        return Relevances(found, layers, skips, ledger.closed())

    def through(self, name: str, channels: Sequence[int]) -> Relevances:
        """Carry back what passes through some channels of a layer alone, as the last `propagate` found it there.

        Relevance that passes by the layer takes no part.

        Parameters
        ----------
        name
            One of the layers.
        channels
            Which of its channels.
        """
        watched, layout = self._watched[name], self.layout(name)
        maps = torch.zeros_like(layout.to_maps(watched.values[0]))
        maps[:, list(channels)] = 1
        mask = layout.from_maps(maps, watched.values[0])
        begins = [g * mask for g in watched.found]
        found, ledger = self._back(watched.edges, watched.values, begins, keep=True)
        self.question.passes.suffix += 1
        return Relevances(found, {}, {}, ledger.closed())

    def _back(
        self, outputs: Sequence[Any], values: Sequence[Tensor], begins: Sequence[Tensor], *, keep: bool
    ) -> tuple[Tensor, Ledger]:
        """Return R of the input, and the ledger."""
        mode, ledger = self._mode, Ledger()
        mode.ledger, mode.skips = ledger, {}
        for value, g in zip(values, begins, strict=True):
            ledger.start.add(value * g)
        leaves = [self._leaf, *mode.constants]
        with guarded(self.question.device):
            found = torch.autograd.grad(outputs, leaves, begins, retain_graph=keep, allow_unused=True)
        leaf = self._leaf.detach()
        at_input = torch.zeros_like(leaf) if found[0] is None else found[0]
        relevance = at_input if self._flat else leaf * at_input
        ledger.input.add(relevance)
        for constant, each in zip(mode.constants, found[1:], strict=True):
            if each is not None:
                ledger.biases.add(constant.detach() * each)
        return relevance, ledger

    def _relevance_of(self, name: str) -> Tensor:
        watched = self._watched[name]
        total = sum(
            (value * g for value, g in zip(watched.values, watched.found, strict=True)),
            torch.zeros_like(watched.values[0]),
        )
        return self.layout(name).to_maps(total)


def relevance(
    question: Question, rules: Rules, layers: Sequence[str] = ()
) -> Steps[tuple[RelevanceRecorder, Relevances]]:
    """Record a forward pass and carry the target's score back once.

    Yields
    ------
    Step
        After the forward and after the backward pass.
    """
    tape = RelevanceRecorder(question, rules, layers)
    yield question.step("forward pass")
    found = tape.propagate()
    yield question.step("relevance pass")
    return tape, found


def relevance_of_input(
    question: Question, rules: Rules, partial: Callable[[Tensor], Finding] | None = None
) -> Steps[tuple[Tensor, Balance]]:
    """Carry the target's score back to the input, through windows window by window.

    Parameters
    ----------
    partial
        Relevance in the first windows, (1, channels, *grid) -> what can be shown of it.

    Returns
    -------
    Tensor
        Relevance of the input: (1, channels, *grid).
    Balance
        Where it stays.
    """
    if question.model.windows is None:
        _, found = yield from relevance(question, rules)
        return found.input, found.balance
    slopes, tiles = slopes_of(question)
    tiling = slopes.tiling
    yield question.step("forward pass")
    total, balances = torch.zeros_like(tiling.pad(question.input)), []

    def first(number: int) -> Callable[[], Finding] | None:
        if partial is None:
            return None
        return lambda: so_far(tiles, number, partial(tiling.unpad(total).clone()))

    for number, view in enumerate(tiles.views, start=1):
        begin = slopes.at(view)
        tape = RelevanceRecorder(in_window(question, tiling, view), rules)
        found = tape.propagate(lambda out, begin=begin: (out * begin).sum(), keep=False)
        total[(..., *tiling.place(view.corner))] += found.input.flip(view.axes)
        balances.append(found.balance)
        yield question.step(f"window {number} of {len(tiles.views)}", first(number))
    question.executor.note_windows(len(tiles.views), gradients=True)
    return tiling.unpad(total), summed(balances)
