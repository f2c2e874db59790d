"""A mode in which a network's operations pass relevance back instead of a gradient.

What autograd carries is G = R / x, relevance per unit of activation. Linear rules are then another gradient, and all that is
homogeneous (ReLU, pooling, concatenation, sums, interpolation) keeps its own. So functions are looked at where they are called,
as modules, as functions or as methods; only those that need a rule are replaced. What is known of a tensor, such as that it is a
gate, is kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from napari_segxai.engine.relevance import operations as known
from napari_segxai.engine.relevance.calls import (
    Call,
    has_one_bound,
    inputs_of,
    is_index,
    is_of_two,
    is_positive_power,
    is_relu,
    mapped,
    name_of,
    on_path,
    opened,
    tensors_of,
)
from napari_segxai.engine.relevance.curves import curve, is_of_each_value
from napari_segxai.engine.relevance.factors import Factors
from napari_segxai.engine.relevance.facts import NOTHING, Fact, Gate
from napari_segxai.engine.relevance.functions import same_relevance, to_relevance
from napari_segxai.engine.relevance.layers import (
    FUNCTIONS,
    KERNELS,
    as_diagonal,
    bound,
    read_kernel,
    read_norm,
)
from napari_segxai.engine.relevance.ledger import Account, Ledger
from napari_segxai.engine.relevance.own_functions import shown_to
from napari_segxai.engine.relevance.weighted import (
    Rules,
    Weighted,
    propagate_epsilon,
    propagate_flat,
    propagate_parts,
)
from napari_segxai.engine.relevance.written_out import WRITTEN_OUT, is_written_out


class Relevance(TorchFunctionMode):
    """While open, the graph of a forward pass carries relevance.

    Parameters
    ----------
    rules
        Of layers with weights.

    Attributes
    ----------
    ledger
        Of the pass that runs back; who starts one sets a new one.
    constants
        Leaves that stand for constants which take part in sums: R on them is R on biases.
    skips
        By the network layer where it leaves: relevance that a skip connection carried, of the pass that runs back.
    """

    def __init__(self, rules: Rules):
        super().__init__()
        self.rules = rules
        self.ledger = Ledger()
        self.constants: list[Tensor] = []
        self.skips: dict[str, Account] = {}
        self.on_watched: Callable[[str, Tensor], None] = lambda name, out: None
        self._facts = WeakTensorKeyDictionary()
        self._factors = Factors(lambda x: self.fact(x).gate, self.weighted)

    # -- what is known of tensors ---------------------------------------------------------------------

    def fact(self, tensor: Tensor) -> Fact:
        """Return what is known of a tensor."""
        return self._facts.get(tensor, NOTHING)

    def know(self, tensor: Tensor, **what: Any) -> None:
        """Add to what is known of a tensor."""
        self._facts[tensor] = replace(self.fact(tensor), **what)

    def books(self) -> Ledger:
        """Return the ledger of the pass that runs back."""
        return self.ledger

    def __enter__(self) -> Self:
        self._seen = shown_to(self._own_function)
        self._seen.__enter__()
        return super().__enter__()

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self._seen.__exit__(exc_type, exc_val, exc_tb)

    # -- calls --------------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not torch.is_grad_enabled() or name_of(func) in known.NO_MATHS:
            return func(*args, **kwargs)
        call = Call(func, name_of(func), args, kwargs)
        call.inputs = inputs_of(args, kwargs)
        writes_constant = call.name in ("setitem", "copy", "index_put") and bool(call.inputs)
        if writes_constant and isinstance(args[0], Tensor) and not on_path(args[0]):
            self._begin_with_constant(args[0])
            call.inputs.append(args[0])
        if not call.inputs:
            return func(*args, **kwargs)
        facts = [self.fact(one) for one in call.inputs]
        call = self._split_skips(call, facts)
        out = self._run(call, facts)
        self._follow(call, facts, out)
        return out

    def _own_function(self, kind: type, apply: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run a function with a backward pass of its own."""

        def run(*given: Any) -> Any:
            return apply(*given)

        run.__name__ = kind.__name__
        return self.__torch_function__(run, (), args)

    def _run(self, call: Call, facts: Sequence[Fact]) -> Any:
        if any(fact.inside is not None for fact in facts):
            done = self._on_raw(call, facts)
            if done is not None:
                return done[0]
            if call.in_place and self.fact(call.args[0]).inside is not None:
                return self._overwrite_raw(call)
            call = call.with_inputs(lambda x: to_relevance(x) if self.fact(x).inside is not None else x)
        name = call.name
        if name in KERNELS:
            return self._kernel(call)
        if call.func in FUNCTIONS:
            return self._norm(call)
        if name == "scaled_dot_product_attention":
            return self._factors.attention(call)
        if name in known.PRODUCTS or name in known.QUOTIENTS or name in known.RECIPROCALS:
            return self._factors.run(call)
        if is_written_out(call):
            with self:
                return WRITTEN_OUT[name](*call.args, **call.kwargs)
        if name in known.JOINT or is_of_two(call):
            return self.joint(call)
        if name.startswith("grid_sampler"):
            return self._factors.sampled(call)
        if name == "pad":
            return self._pad(call)
        if name in ("log", "logit", "log_softmax"):
            return self._log(call)
        if name == "glu":
            x = call.inputs[0]
            axis = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else -1)
            with torch.no_grad():
                half = x.shape[axis] // 2
                gate = x.narrow(axis, half, half).sigmoid()
            return x.narrow(axis, 0, half) * gate
        if name in known.CURVES:
            return self._curve(call)
        if name in known.NATURAL:
            return call.run()
        return self._unknown(call)

    def _overwrite_raw(self, call: Call) -> Any:
        """Put what a call makes of a tensor, behind which R is carried, in its place."""
        x, old = call.args[0], call.args[0].clone()
        self.know(old, inside=self.fact(x).inside)
        made = call.elsewhere(old)
        new = self._run(made, [self.fact(one) for one in made.inputs])
        self.know(x, inside=self.fact(new).inside)
        return x.copy_(new)

    def _follow(self, call: Call, facts: Sequence[Fact], out: Any) -> None:
        """Note what is known of a result."""
        plain = call.name not in known.GATES and not call.in_place
        if plain and all(fact is NOTHING for fact in facts):
            return  # most calls
        after = any(fact.after for fact in facts)
        origins = [fact.origin for fact in facts if fact.after == after and fact.origin]
        gate: Gate = ""
        if call.name in known.GATES and not (call.name in ("clamp", "clip") and has_one_bound(call)):
            gate = "softmax" if call.name in known.SHARES else "sigmoid"
        elif call.name in known.KEEPS_GATE and all(fact.gate for fact in facts):
            gate = "softmax" if any(fact.gate == "softmax" for fact in facts) else "sigmoid"
        made_of = facts[0].made_of if call.name in ("clamp", "contiguous", "clone", "float", "to") else None
        if call.name in ("sigmoid", "softmax"):
            axis = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else -1)
            made_of = call.name, call.inputs[0], axis
        for one in tensors_of(out):
            if not on_path(one):
                continue
            new = self._facts.get(one, NOTHING)
            if call.in_place:
                new = replace(new, layer=None)
            keeps = made_of if made_of is not None else (None if call.in_place else new.made_of)
            if (gate, after, bool(origins), keeps) != ("", False, False, None) or one in self._facts:
                self._facts[one] = replace(
                    new, gate=gate, after=after, origin=origins[-1] if origins else "", made_of=keeps
                )

    def _split_skips(self, call: Call, facts: Sequence[Fact]) -> Call:
        """Where what passed the bottleneck meets what did not, book the relevance of the latter."""
        if not any(fact.after for fact in facts) or all(fact.after or not fact.origin for fact in facts):
            return call

        def tapped(x: Tensor) -> Tensor:
            fact = self.fact(x)
            if fact.after or not fact.origin:
                return x
            return self._tap(x, lambda: self.skips.setdefault(fact.origin, Account()))

        return call.with_inputs(tapped)

    def _tap(self, x: Tensor, account: Callable[[], Account]) -> Tensor:
        """Return x under another name, whose relevance is booked."""
        other = x.view_as(x)
        value = x.detach()
        other.register_hook(lambda g: None if g is None else account().add(value * g))
        self._facts[other] = self.fact(x)
        return other

    # -- rules ------------------------------------------------------------------------------------------------

    def _kernel(self, call: Call) -> Any:
        given = bound(KERNELS[call.name], call.args, call.kwargs)
        if on_path(given["weight"]) or not on_path(given["input"]):
            return self._of_made_weights(call, given)
        layer = read_kernel(call.name, call.func, given)
        return self.weighted(given["input"], layer, call.run)

    def _of_made_weights(self, call: Call, given: dict[str, Any]) -> Tensor:
        """A layer whose weights, or bias, were made from the image: a product, and a sum."""
        bias = given.pop("bias")
        plain = Call(call.func, "matmul_t", (), given)
        plain.inputs = [given[key] for key in ("input", "weight") if on_path(given[key])]
        out = self._factors.run(plain) if plain.inputs else call.func(**given)
        if bias is None:
            return out
        with self:
            return out + (
                bias if call.name == "linear" else bias.view(-1, *(1,) * (given["weight"].ndim - 2))
            )

    def weighted(self, x: Tensor, layer: Weighted, run: Callable[[], Tensor]) -> Tensor:
        """Return the output of a layer with weights, under its rule.

        Parameters
        ----------
        run
            -> the output, by the network's own call.
        """
        if x.is_complex() or layer.weight.is_complex():  # has no sign
            return run()
        if self.rules.of(layer.kind) == "epsilon":
            y = run()
            out = propagate_epsilon(y, layer, self.rules, self.books)
        else:
            with torch.no_grad():
                y = run()
            out = propagate_parts(x, y, layer, self.rules, self.books)
        if layer.per_output is not None:
            self.know(out, layer=(layer, x, y, out._version))
        return out

    def _norm(self, call: Call) -> Any:
        name = FUNCTIONS[call.func]
        scale, shift, y = read_norm(name, call.args, call.kwargs)
        fact = self.fact(y)
        folds = (
            fact.layer is not None
            and fact.layer[3] == y._version
            and name not in ("layer_norm", "rms_norm")
            and len(scale) == 1
            and scale[0, 0].numel() == 1
        )
        if folds and fact.layer is not None:
            layer, x, before, _ = fact.layer
            layer = layer.scaled(scale.flatten(), shift.flatten())
        else:
            layer, x, before = as_diagonal(name, scale, shift), y, y

        def run() -> Tensor:
            return before * scale + shift if torch.is_grad_enabled() else call.run()

        out = self.weighted(x, layer, run)
        if folds:  # what is asked of the layer is answered by what stands for it
            for watched in fact.watched:
                self.on_watched(watched, out)
            self.know(out, layer=None)
        return out

    def joint(self, call: Call) -> Any:
        """Run a sum or the like, whose constants become leaves that absorb relevance."""
        numbers = known.JOINT.get(call.name, ())
        like = call.inputs[0]

        def number(one: Any) -> Any:
            if isinstance(one, int | float) and not isinstance(one, bool) and one:
                return self.leaf(torch.tensor(float(one), dtype=like.dtype, device=like.device))
            return constant(one)

        def constant(one: Any) -> Any:
            if isinstance(one, Tensor) and not on_path(one) and one.dtype != torch.bool:
                sums = call.name in ("add", "radd", "iadd", "sub", "subtract", "isub", "rsub")
                return self.leaf(one.to(like.dtype) if sums else one)
            return one

        args = []
        for k, one in enumerate(call.args):
            if call.name == "index_put" and k == 1:
                args.append(one)
            elif k in numbers and isinstance(one, int | float):
                args.append(number(one))
            else:
                args.append(mapped(one, constant) if not is_index(call.name, k) else one)
        kwargs = {
            key: number(one) if numbers and key in known.NUMBERS_BY_NAME else mapped(one, constant)
            for key, one in call.kwargs.items()
            if key != "out"
        }
        if call.name == "rsub" and isinstance(args[1], Tensor):  # rsub(x, c) = c - x
            return args[1] - args[0] * kwargs.get("alpha", 1)
        return call.func(*args, **kwargs)

    def leaf(self, constant: Tensor) -> Tensor:
        """Return a constant as a leaf whose relevance is booked on biases."""
        if not constant.is_floating_point() or not bool(constant.any()):
            return constant
        found = constant.detach().clone().requires_grad_()
        self.constants.append(found)
        return found

    def _begin_with_constant(self, buffer: Tensor) -> None:
        """Let a constant, which is about to be overwritten in part, absorb the relevance of the rest."""
        if buffer.is_floating_point():
            buffer.mul_(torch.ones((), dtype=buffer.dtype, device=buffer.device).requires_grad_())
            if bool(buffer.detach().any()):
                buffer.copy_(self.leaf(buffer))

    def _pad(self, call: Call) -> Any:
        given = dict(zip(("input", "pad", "mode", "value"), call.args, strict=False)) | call.kwargs
        value = given.get("value")
        if given.get("mode", "constant") != "constant" or not value:
            return call.run()
        x, width = given["input"], given["pad"]
        with torch.no_grad():
            rim = F.pad(torch.zeros_like(x), width, value=value)
        return F.pad(x, width) + self.leaf(rim)

    def _log(self, call: Call) -> Any:
        """The logits of probabilities are what the probabilities were made from."""
        x = call.inputs[0]
        if call.name == "log_softmax":
            with torch.no_grad():
                value = call.run()
            return x + self.leaf((value - x.detach()).contiguous())
        made = self.fact(x).made_of
        if made is not None and call.name == "logit" and made[0] == "sigmoid":
            return made[1].view_as(made[1])
        if made is not None and call.name == "log" and made[0] == "softmax":
            with torch.no_grad():
                value = made[1].log_softmax(made[2])
            return made[1] + self.leaf(value - made[1].detach())
        return self._unknown(call)

    def _curve(self, call: Call) -> Any:
        """A function of each value for itself."""
        if len(call.inputs) > 1 or (call.name == "pow" and not is_positive_power(call)):
            return self._factors.fixed(call)
        if call.name in ("clamp_min", "clamp") and is_relu(call):
            return call.run()
        return curve(call, self.books)

    def _unknown(self, call: Call) -> Any:
        """Look into a function that is written in Python; of another one, use the plain gradient and book what it does."""
        inner = opened(call.func)
        if inner is not None:
            with self:
                return inner(*call.args, **call.kwargs)
        if call.in_place:
            out = call.run()
        else:
            account = lambda: self.ledger.before.setdefault(call.name, Account())  # noqa: E731
            out = call.with_inputs(lambda x: self._tap(x, account)).run()
            if on_path(out) and is_of_each_value(call):
                return curve(call, self.books)
        behind = lambda: self.ledger.behind.setdefault(call.name, Account())  # noqa: E731
        for one in tensors_of(out):
            if on_path(one):
                value = one.detach().clone() if call.in_place else one.detach()
                one.register_hook(lambda g, value=value: None if g is None else behind().add(value * g))
        return out

    # -- the first layer, if it is flat -----------------------------------------------------------------

    def _on_raw(self, call: Call, facts: Sequence[Fact]) -> tuple[Any] | None:
        """Run a call on the image as it came in, through which R itself is carried; None if relevance ends to be R there."""
        name = call.name
        if any(fact.inside is None for fact in facts):
            return None
        inside = facts[0].inside
        assert inside is not None
        if name in KERNELS and len(call.inputs) == 1:
            given = bound(KERNELS[name], call.args, call.kwargs)
            if given["input"] is not call.inputs[0]:
                return None
            layer = read_kernel(name, call.func, given)
            with torch.no_grad():
                y = call.run()
            out = propagate_flat(call.inputs[0], y, layer, inside, self.books)
            return (out,)
        if call.in_place or len(call.inputs) != 1:
            return None
        if name in known.RAW:
            out = call.run()
            with torch.no_grad():
                masks = call.with_inputs(lambda x: inside.to(x)).run()
            for one, mask in zip(tensors_of(out), tensors_of(masks), strict=True):
                self.know(one, inside=mask)
            return (out,)
        if name in known.RESCALES:
            with torch.no_grad():
                value = call.run()
            if value.shape == call.inputs[0].shape:
                out = same_relevance(call.inputs[0], value)
                self.know(out, inside=inside)
                return (out,)
        return None
