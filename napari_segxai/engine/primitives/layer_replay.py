"""The network from one of its layers on; everything before that layer is computed once.

Python runs the network's own code again, so that any structure works; but a module that had returned before the
layer began cannot depend on the layer, and answers with what it returned the first time. Whole blocks are answered
for at once, so that little more than what follows the layer is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from napari_segxai.core.capabilities import ONE_PASS
from napari_segxai.core.errors import UserError
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.call_names import CallNames, module_of
from napari_segxai.models.introspection.layers import not_run, token_stride
from napari_segxai.models.introspection.layout import infer_layout
from napari_segxai.models.introspection.modules import find_module, map_tensors, replace_first_tensor
from napari_segxai.models.introspection.observed import layer_inputs
from napari_segxai.models.introspection.trace import Call
from napari_segxai.models.logits import as_returned

TOLERANCE = 1e-5
"""Largest difference between replayed and full logits, as a share of the largest logit."""


class Replay:
    """Recomputes what follows a network layer for changed outputs of that layer.

    Parameters
    ----------
    question
        Its model and input. The one full pass counts there, and gives its logits.
    name
        The network layer.
    inputs
        Whether to keep what enters the layer.

    Attributes
    ----------
    activation
        What the layer returned: (1, channels, *layer grid).
    entered
        The first tensor that enters it, if that is kept.
    exact
        Whether only what follows is computed. Where replaying does not give the same logits, which a network can
        cause that counts its calls or changes what it is given, full passes are run instead.
    """

    def __init__(self, question: Question, name: str, *, inputs: bool = False):
        self.question = question
        model = question.model
        model.require((ONE_PASS,))
        self.layer = model.find_layer(name)
        calls = model.example_calls
        own = next(k for k, call in enumerate(calls) if call.name == self.layer.name)
        self._answered = _answered(calls, own)
        self._numbers = happening(calls, {own, *self._answered})
        self._names = {k: calls[k].name for k in (own, *self._answered)}
        self._own = own
        self._spread: dict[int, tuple[int, Any]] = {}
        self._reached = False
        self.exact = True
        with torch.inference_mode(False), torch.no_grad(), guarded(question.device):
            # Copies, where the network goes on to write into what it got.
            self._copied = {k for k in self._names if calls[k].overwritten}
            with layer_inputs(model.module, name) if inputs else nullcontext([None]) as entered:
                logits, self._kept = keep_outputs(question, self._names, self._copied)
            question.remember_logits(logits)
            strides = model.card.tokens
            found = self._value  # which tells a layer that did not run
            self.entered = entered[0]
            layout = infer_layout(tuple(found.shape), question.grid, token_stride(self.layer.name, strides))
            if layout is None:
                raise UserError(
                    f"{model.name}: network layer {name!r} returns shape {tuple(found.shape)} for this image, in which "
                    "the place of a value cannot be told; write the stride of its tokens under `tokens` in the card."
                )
            self.layout, self.activation = layout, layout.to_maps(found)
            self.exact = self._check(logits)
        if not self.exact:
            self._kept = {own: self._kept[own]}
            self._answered = []
            self._names = {own: calls[own].name}
            self._numbers = happening(calls, {own})
            said = f"{model.name} cannot be split at {name}; every change runs the whole network, which takes longer."
            question.warnings += [said] * (said not in question.warnings)

    @property
    def _value(self) -> Tensor:
        if self._own not in self._kept:
            raise not_run(self.question.model.name, self.layer.name)
        found: list[Tensor] = []
        replace_first_tensor(self._kept[self._own], lambda t: found.append(t) or t)
        return found[0]

    def logits(self, maps: Tensor) -> Tensor:
        """Return the logits for changed outputs of the layer: (n, channels, *layer grid) -> (n, labels, *grid)."""
        n = len(maps)
        if n > 1 and self.question.model.one_at_a_time:
            return torch.cat([self.logits(one) for one in maps.split(1)])
        value = self.layout.from_maps(maps, self._value)

        def answer(k: int) -> Any:
            if k == self._own:
                self._reached = True
                kept = self._kept[k]
                return replace_first_tensor(map_tensors(kept, lambda t: _repeat(t, n)), lambda _: value)
            if k in self._copied or self._spread.get(k, (0,))[0] != n:
                self._spread[k] = n, map_tensors(self._kept[k], lambda t: _repeat(t, n))
            return self._spread[k][1]

        x = _repeat(self.question.input, n)
        with Stubs(self.question.model.module, self._names, self._numbers, answer):
            out = self.question.model.logits(x)
        if self.exact:
            self.question.passes.suffix += n
        else:
            self.question.passes.forward += n
        return out

    def _check(self, logits: Tensor) -> bool:
        """Tell whether replaying the unchanged layer, for two images, gives the logits."""
        if len(self._kept) < len(self._names):
            return False
        try:
            replayed = self.logits(self.activation.repeat(2, *(1,) * (self.activation.ndim - 1)))
        except (RuntimeError, KeyError, IndexError, TypeError, AttributeError):
            return False
        for k, (_, value) in self._spread.items():
            changed: list[bool] = []
            map_tensors(value, lambda t, changed=changed: changed.append(t._version > 0) or t)
            if any(changed):  # what the network writes into is handed out as a fresh copy from now on
                self._copied.add(k)
        self._spread.clear()
        if not self._reached:
            return False
        if replayed.shape[1:] != logits.shape[1:]:
            return False
        if not self.question.model.one_window:  # else that is what the network returns
            replayed, logits = (as_returned(self.question.model.card, one) for one in (replayed, logits))
        close = TOLERANCE * logits.abs().max().clamp(min=1e-12)
        return bool((replayed - logits).abs().max() <= close)


class Stubs:
    """While open, some calls of some modules are answered instead of run; each is found by its number."""

    def __init__(
        self,
        root: nn.Module,
        names: dict[int, str],
        numbers: dict[str, list[int]],
        answer: Callable[[int], Any],
    ):
        self.modules = {
            path: find_module(root, path) for path in {module_of(name) for name in names.values()}
        }
        self.names, self.numbers, self.answer = names, numbers, answer
        self.own = {path: module.__dict__.get("forward") for path, module in self.modules.items()}

    def __enter__(self) -> None:
        # Hooks that do nothing: some modules of torch call their parts only where these have hooks.
        self.handles = [m.register_forward_hook(lambda *_: None) for m in self.modules.values()]
        for path, module in self.modules.items():
            module.__dict__["forward"] = self._stub(module, self.numbers[path])

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
        for path, module in self.modules.items():
            del module.__dict__["forward"]
            if self.own[path] is not None:
                module.__dict__["forward"] = self.own[path]

    def _stub(self, module: nn.Module, numbers: list[int]) -> Callable[..., Any]:
        run, turn = module.forward, iter(numbers)

        def forward(*args: Any, **kwargs: Any) -> Any:
            k = next(turn, None)
            return self.answer(k) if k in self.names else run(*args, **kwargs)

        return forward


def keep_outputs(
    question: Question, names: Mapping[int, str], copied: Collection[int]
) -> tuple[Tensor, dict[int, Any]]:
    """Run the network once, and keep what some of its calls return.

    Parameters
    ----------
    names
        Of the calls, by position in the list of calls.
    copied
        Those of them of which a copy is kept.

    Returns
    -------
    logits
        (1, labels, *grid).
    kept
        By position, what the calls returned; those that did not run on this image are not among them.
    """
    wanted = {name: k for k, name in names.items()}
    running = CallNames()
    kept: dict[int, Any] = {}

    def listen(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            k = wanted.get(running.next(path))
            if k is not None:
                kept[k] = map_tensors(out, Tensor.clone) if k in copied else out

        return hook

    handles = [
        find_module(question.model.module, path).register_forward_hook(listen(path))
        for path in {module_of(name) for name in wanted}
    ]
    try:
        return question.forward(question.input), kept
    finally:
        for handle in handles:
            handle.remove()


def _answered(calls: Sequence[Call], own: int) -> list[int]:
    """Return the calls that are answered: outermost ones that had returned before `own` began."""
    begin = calls[own].start
    done = {k for k, call in enumerate(calls) if call.end < begin}
    return [k for k in sorted(done) if not has_ancestor(calls, k, {*done, own})]


def happening(calls: Sequence[Call], answered: set[int]) -> dict[str, list[int]]:
    """Return, by module, the calls that still happen when those in `answered` do not run, in their order."""
    found = [k for k in range(len(calls)) if not has_ancestor(calls, k, answered)]
    out: dict[str, list[int]] = {}
    for k in sorted(found, key=lambda k: calls[k].start):
        out.setdefault(module_of(calls[k].name), []).append(k)
    return out


def has_ancestor(calls: Sequence[Call], k: int, among: set[int]) -> bool:
    """Tell whether a call was made inside one of the calls in `among`."""
    parent = calls[k].parent
    while parent is not None:
        if parent in among:
            return True
        parent = calls[parent].parent
    return False


def _repeat(tensor: Tensor, n: int) -> Tensor:
    """Repeat the sample along the batch axis, in the memory layout that it has."""
    if tensor.ndim == 0:
        return tensor
    spread = tensor.repeat(n, *(1,) * (tensor.ndim - 1))
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return spread.contiguous(memory_format=torch.channels_last) if last else spread
