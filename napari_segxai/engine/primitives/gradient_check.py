"""Whether gradients arrive: where a network loses them, found once per network on an example input.

A part that runs under ``torch.no_grad``, is detached, rounded or read out of torch passes no gradient on. Where nothing
arrives, a map would be zero, or the mask that a descent began with; where only some arrives, a map would lack a part. Both
are refused, with the place. What does not depend on the input, or what nothing depends on, may be detached as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.engine.primitives.gradient_watch import (
    FLAT,
    STEP_FUNCTIONS,
    Suspect,
    WatchedNetwork,
    WatchedPass,
)
from napari_segxai.models.inference.memory import is_out_of_memory
from napari_segxai.models.inference.weights import state

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question
    from napari_segxai.models.segmentation import SegmentationModel

TOLERANCE = 1e-6
"""Least change of the output, as a share of the largest output, that counts as one."""

MOST_TRIED = 8
"""So many suspects are tried one by one; of more, the first is named."""


def known_to_reach(question: Question, layers: Sequence[str] = ()) -> None:
    """`check_gradients` of a question's network, which is asked once while it is in use: also for all windows of an image."""
    known, key = question.executor.differentiable, tuple(layers)
    if key not in known:
        check_gradients(question.model, key)
        known.add(key)


def check_gradients(model: SegmentationModel, layers: Sequence[str] = ()) -> None:
    """Refuse a network that loses the gradient between its output and its input, or some of its layers.

    It costs a forward and a backward pass on the example grid, once per network (as it is now) and choice of layers; more
    only where something is lost.

    Parameters
    ----------
    model
        In use.
    layers
        Names of network layers, from which a gradient is wanted; none: from the input.

    Raises
    ------
    UserError
        Naming the network layer where the gradient stops, and why.
    """
    model = model.original or model
    now, key = state(model.module), tuple(model.find_layer(name).name for name in layers)
    if model.lost_gradients[0] != now:
        model.lost_gradients = now, {}
    known = model.lost_gradients[1]
    if key not in known:
        try:
            with torch.inference_mode(False), torch.enable_grad():
                known[key] = _find_loss(model, key)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return  # the job itself says so, if it has too little as well
    if known[key]:
        raise UserError(known[key])


def _find_loss(model: SegmentationModel, layers: Sequence[str]) -> str:
    """Return what is to be said; "" where gradients arrive."""
    frozen = [t for t in (*model.module.parameters(), *model.module.buffers()) if t.is_inference()]
    if frozen:
        return (
            f"{model.name} passes no gradient on: it was made inside torch.inference_mode(); make or load it outside, or "
            "use a method without gradients, such as rise."
        )
    x = model.example().to(model.device)
    other = x.flip(-1) + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device)
    run = WatchedNetwork(model, layers)
    try:
        first = run(x)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        with torch.no_grad():
            model.logits(x)  # a network that fails in any case says so itself
        return (
            f"{model.name} cannot run while gradients are kept ({_first_sentence(error)}); let it run without that, or use a "
            "method without gradients, such as rise."
        )
    out = first.output
    inexact = [s for s in first.suspects if s.digest is not None]
    if inexact:
        again, same = ({s.number: s.digest for s in run(one).suspects} for one in (other, x))
        # What does not change with the input is a constant: a grid of positions, a mask of a shape; what changes without it
        # is random.
        inexact = [s for s in inexact if again.get(s.number) != s.digest == same.get(s.number)]
    for suspect in inexact[:MOST_TRIED]:
        if _differ(run(x, tampered={suspect.number}).output, out):
            return _lost(model, suspect, layers)
    if len(inexact) > MOST_TRIED and _differ(run(x, tampered={s.number for s in inexact}).output, out):
        return _lost(model, inexact[0], layers)
    return _nothing_arrives(model, layers, run, first, x, other)


def _nothing_arrives(
    model: SegmentationModel,
    layers: Sequence[str],
    run: WatchedNetwork,
    first: WatchedPass,
    x: Tensor,
    other: Tensor,
) -> str:
    """Look for starts that no gradient reaches though the output depends on them."""
    gradients: list[Tensor | None] = [None] * len(first.starts)
    if first.output.requires_grad:
        weights = torch.rand(first.output.shape, generator=torch.Generator().manual_seed(2)).to(x.device)
        try:
            gradients = list(
                torch.autograd.grad((first.output * weights).sum(), first.starts, allow_unused=True)
            )
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return (
                f"{model.name} passes no gradient on: its backward pass fails ({_first_sentence(error)}); "
                "use a method without gradients, such as rise."
            )
    for k, gradient in enumerate(gradients):
        if gradient is not None and ((layers and not first.rounded) or bool(gradient.any())):
            continue  # a layer may well be one on which nothing depends just here
        changed = run(x, tampered=set(), changed=layers[k]).output if layers else run(other).output
        if not _differ(changed, first.output):
            continue
        flat = [s for s in first.suspects if s.digest is None or s.off]
        found = flat[0] if gradient is None and flat else None
        if gradient is not None and first.rounded:
            found = first.rounded[-1]
        if found is not None:
            return _lost(model, found, layers)
        where = f"network layer {layers[k]!r}" if layers else "its input"
        if gradient is not None:
            return (
                f"{model.name} passes only zeros from its output to {where} as gradient on a random example, though the output "
                "changes with it (it is saturated, as probabilities of exactly 0 and 1 are, clamped, or a function of its own says "
                "so); let it return its logits, or use a method without gradients, such as rise."
            )
        return (
            f"{model.name} passes no gradient from its output to {where} (it is detached, rounded, constant or computed by "
            "what torch does not follow); use a method without gradients, such as rise."
        )
    return ""


def _first_sentence(error: BaseException) -> str:
    """Return what torch says, without its advice to programmers."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")


def _lost(model: SegmentationModel, suspect: Suspect, layers: Sequence[str]) -> str:
    where = f"in network layer {suspect.layer!r}" if suspect.layer else "in its own forward()"
    name = suspect.function
    if suspect.off:
        why = "runs with gradients switched off (torch.no_grad or inference_mode)"
    elif name in ("detach", "data"):
        why = "is detached (detach() or .data)"
    elif name in FLAT:
        why = f"goes through {name}, whose result has no gradient"
    elif name in STEP_FUNCTIONS:
        why = f"is rounded by {name}, which is flat"
    else:
        why = f"goes through {name}, whose result has no gradient"
    start = "a network layer before it" if layers else "the input"
    return (
        f"{model.name} passes no gradient from its output to {start}, or only a part: what is computed {where} {why}; let it "
        "run without that, choose a network layer behind it, or use a method without gradients, such as rise."
    )


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return True
    apart = (one.detach() - other.detach()).abs().max()
    return not bool(apart <= TOLERANCE * other.detach().abs().max().clamp(min=1e-12))
