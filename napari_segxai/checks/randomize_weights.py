"""A copy of a network whose weights can be made random, layer by layer, and set back.

It is a copy, so that the user's network is never touched: not when a run is cancelled or fails, and not for another
thread that uses it meanwhile. It takes as much memory as the weights, as saving them would.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm

from napari_segxai.core.arrays import ROUNDING
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.memory import guarded, is_out_of_memory
from napari_segxai.models.inference.residence import Residence
from napari_segxai.models.introspection.call_names import module_of
from napari_segxai.models.introspection.modules import first_tensor, map_tensors, named_modules
from napari_segxai.models.preprocessing.resample import resize
from napari_segxai.models.segmentation import SegmentationModel

SETTLING = 15
"""Power iterations after which a spectral norm fits weights that it has not seen before."""


FEW = 16
ALIKE = 0.5
"""Correlation from which a weight that was drawn again is hardly another one."""


class NotCopied(Exception):
    """The network cannot be copied; the message says why."""


class RandomizedCopy:
    """A copy of a model that can be made random.

    Parameters
    ----------
    model
        Never changed.
    device
        Where the copy is held.

    Attributes
    ----------
    model
        The copy.
    """

    def __init__(self, model: SegmentationModel, device: torch.device):
        self._own = _modules(model.module)
        self.model = copy.copy(model)
        with guarded(device):
            try:
                with torch.no_grad():  # or TorchScript copies its weights with a history
                    self.model.module = copy.deepcopy(model.module, _made(self._own.values())).to(device)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise NotCopied(str(error)) from None
        self.model.residence = Residence(self.model.module)
        self._copied = _modules(self.model.module)

    def randomize(self, layers: Sequence[str], seed: int) -> None:
        """Make the weights of these layers random, each by its own `reset_parameters` where it has one.

        Every parameter that this does not reach, such as one from which a weight is made (weight norm, spectral norm,
        pruning), is drawn from a normal distribution of its own mean and deviation.
        """
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(seed)
            for name in layers:
                owner = self._copied[name.partition(".parametrizations.")[0]]
                before = _made_weights(owner)
                _reset(self._copied[name])
                _settle(owner)
                _assign(owner, before)

    def constant(self, logits: Tensor) -> SegmentationModel:
        """Return the copy with an answer that is the same for every input: these logits (1, labels, *grid)."""
        other, run = copy.copy(self.model), self.model.logits

        def answer(tensor: Tensor, where: Tensor | None = None) -> Tensor:
            out = run(tensor)  # so that there are gradients, all of them zero
            same = logits.to(out)
            if same.shape[2:] != out.shape[2:]:
                same = resize(same, tuple(out.shape[2:]), linear=True)
            return 0 * out.nan_to_num(0, 0, 0) + same

        other.logits, other.windows = answer, None  # whose windows are run by `run`
        return other

    def stays(self, question: Question) -> tuple[bool, list[str]]:
        """Tell what computes as before although its weights are not those of the user's network any more.

        Every layer of the copy is shown what that of the user's network is shown: two forward passes in all.

        Returns
        -------
        bool
            Whether the network as a whole answers as before.
        list of str
            The names of the layers. TorchScript cannot be watched inside; then there are none.
        """
        same: dict[str, bool] = {}

        def compare(name: str) -> Any:
            def hook(_module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
                own = map_tensors((args, kwargs), Tensor.clone)
                try:
                    other = first_tensor(self._copied[name](*own[0], **own[1]))
                except Exception:
                    return  # a layer that only works within its network
                same[name] = same.get(name, True) and _equal(first_tensor(out), other)

            return hook

        module = question.model.module
        inside = () if isinstance(module, torch.jit.ScriptModule) else self._own
        changed = [
            name
            for name in inside
            if not isinstance(self._own[name], torch.jit.ScriptModule)  # a scripted part takes no hooks
            and any(
                not torch.equal(own, copied)
                for own, copied in zip(_state(self._own[name]), _state(self._copied[name]), strict=True)
            )
        ]
        handles = [self._own[name].register_forward_hook(compare(name), with_kwargs=True) for name in changed]
        try:
            with torch.no_grad(), guarded(question.device):
                whole = question.forward(question.input)
                question.passes.forward += 1
                as_before = _equal(whole, self.model.given(question.prepared).logits(question.input))
        finally:
            for handle in handles:
                handle.remove()
        alike = [name for name in inside if not same.get(name) and self._made_alike(name)]
        return as_before, [name for name in changed if same.get(name, False)] + alike

    def kept(self) -> list[str]:
        """Return the buffers in which a network may keep its weights, and which are as before.

        They are those of two axes or more, such as the weights of a convolution; none where they hold fewer numbers than the
        parameters, as masks and tables of positions do.
        """
        found = {
            f"{name}.{key}".lstrip("."): value.numel()
            for name, module in self._own.items()
            for key, value in module.named_buffers(recurse=False)
            if value.is_floating_point()
            and value.ndim > 1
            and torch.equal(value, dict(self._copied[name].named_buffers(recurse=False))[key])
        }
        drawn = sum(value.numel() for value in self.model.module.parameters())
        return list(found) if sum(found.values()) > drawn else []

    def _made_alike(self, name: str) -> bool:
        """Tell whether a weight that a layer makes of others is nearly what it was."""
        own, copied = _made_weights(self._own[name]), _made_weights(self._copied[name])
        return any(_alike(weight, copied[key]) for key, weight in own.items())

    def restore(self) -> None:
        """Set everything back to the weights of the user's network, bit for bit."""
        with torch.no_grad():
            for name, module in self._copied.items():
                for own, copied in zip(_state(self._own[name]), _state(module), strict=True):
                    copied.copy_(own)


def layers_of(model: SegmentationModel) -> list[str]:
    """Return the dotted names of the modules with weights of their own, in the order in which they are first called.

    "" is the network itself. A module whose weights are used without calling it comes with what holds it.
    """
    modules = _modules(model.module)
    first: dict[str, int] = {"": -1}
    if model.has_layers:
        for call in model.example_calls:
            first.setdefault(module_of(call.name), call.start)

    def time(name: str) -> int:
        while name not in first:
            name = name.rpartition(".")[0]
        return first[name]

    own = [
        name for name, module in modules.items() if next(module.parameters(recurse=False), None) is not None
    ]
    return sorted(own, key=time)


def _modules(root: nn.Module) -> dict[str, nn.Module]:
    walk = root.named_modules() if isinstance(root, torch.jit.ScriptModule) else named_modules(root)
    return {"": root, **dict(walk)}


def _state(module: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of a module alone."""
    values = chain(module.parameters(recurse=False), module.buffers(recurse=False))
    return [value.data for value in values]


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= ROUNDING * one.abs().max())


def _made(modules: Any) -> dict[int, Any]:
    """Return copies, for deepcopy, of tensors that modules hold as plain attributes.

    Those that a hook has made of parameters carry a history, or come from inference, and refuse to be copied.
    """
    held = (value for module in modules for value in vars(module).values())
    return {id(value): value.detach().clone() for value in held if isinstance(value, Tensor)}


def _reset(module: nn.Module) -> None:
    own = getattr(module, "reset_parameters", None)
    values = [value for value in module.parameters(recurse=False) if value.is_floating_point()]
    before = [value.clone() for value in values]
    if callable(own):
        for value in values:
            value.fill_(torch.nan)  # what is still not a number has not been reached
        with contextlib.suppress(Exception):  # one that wants arguments, or a weight that is not there
            own()
    for value, old in zip(values, before, strict=True):
        if not callable(own) or bool(value.isnan().any()):
            deviation = old.std(unbiased=False) if old.numel() > 1 else old.abs()
            value.copy_(old.mean() + deviation * torch.randn_like(old))


def _made_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a module makes of others when they are asked for, by name."""
    if isinstance(module, torch.jit.ScriptModule) or not is_parametrized(module):
        return {}
    with torch.no_grad():
        return {name: getattr(module, name).detach().clone() for name in module.parametrizations}


def _assign(module: nn.Module, before: dict[str, Tensor]) -> None:
    """Draw again, as a whole, what a module still makes as before: an orthogonal weight is kept in a place of its own."""
    for name, now in _made_weights(module).items():
        if _alike(before[name], now):
            drawn = now.mean() + now.std(unbiased=False) * torch.randn_like(now)
            with contextlib.suppress(Exception):  # what cannot be assigned is found by `stays`
                setattr(module, name, drawn)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Tell whether two weights are much the same; of a few numbers that says nothing."""
    if one.numel() < FEW or one.shape != other.shape:
        return False
    a, b = (value.flatten().double() - value.double().mean() for value in (one, other))
    return bool(a @ b > ALIKE * a.norm() * b.norm())


def _settle(module: nn.Module) -> None:
    """Let what is kept beside a weight, as the singular vectors of a spectral norm, fit its new values."""
    norms = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm)]
    made = module.parametrizations.values() if is_parametrized(module) else ()
    for norm in norms:
        for _ in range(SETTLING):
            norm.compute_weight(module, do_power_iteration=True)
    for parametrization in made:
        training = parametrization.training
        parametrization.train()
        for _ in range(SETTLING):
            parametrization()
        parametrization.train(training)
