"""Which network a bundle has: the class and its arguments, as the keys of a card."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.formats.monai_bundle.config import (
    TARGET,
    Config,
    arguments,
    is_component,
    unread,
)

NETS = "monai.networks.nets"

INPUTS = ("in_channels", "input_channels")
OUTPUTS = ("out_channels", "num_classes", "out_classes", "n_classes")


@dataclass
class NetworkFacts:
    """What is known of the network.

    Attributes
    ----------
    known, asked, suggested
        As of a `PartialCard`.
    inputs, outputs, dims
        Its channels, its outputs and axes of space, as its arguments say; None where they do not.
    """

    known: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    suggested: dict[str, Any] = field(default_factory=dict)
    inputs: int | None = None
    outputs: int | None = None
    dims: int | None = None


def network_facts(config: Config) -> NetworkFacts:
    """Return what the configuration says of the network.

    Raises
    ------
    UserError
        If it has none.
    """
    found = config.get("network_def", "network")
    if found is None:
        raise UserError(
            f"{config.path}: has no `network_def`, which says how the network of a MONAI bundle is built."
        )
    facts = NetworkFacts()
    if not is_component(found):
        facts.asked["architecture"] = (
            f"the class of the network as 'package.module:Class' (the bundle builds it by {_shown(found)}, which is not run), "
            "with its arguments"
        )
        return facts
    facts.known["architecture"] = _place(found[TARGET])
    own = arguments(found)
    facts.inputs, facts.outputs = _whole(own, INPUTS), _whole(own, OUTPUTS)
    dims = _whole(own, ("spatial_dims", "dimensions"))
    if dims not in (None, 2, 3):
        raise UserError(
            f"{config.path}: the network has spatial_dims {dims}; networks of 2 or 3 axes can be explained."
        )
    facts.dims = dims
    unknown = [f"{name} is {value!r}" for name, value in unread(own)]
    unknown += [
        f"{name} is built of {value[TARGET]!r:.80}" for name, value in own.items() if is_component(value)
    ]
    if unknown:
        facts.asked["arguments"] = (
            f"the arguments of {found[TARGET]}, all of them, as plain values ({'; '.join(unknown[:4])}, which is not run)"
        )
        facts.suggested["arguments"] = {
            name: value for name, value in own.items() if not is_component(value) and not any(unread(value))
        }
    else:
        facts.known["arguments"] = own
    return facts


def _place(target: str) -> str:
    """Return "package.module:Class"; a name without a package is one of MONAI's networks."""
    module, _, name = target.rpartition(".")
    return f"{module or NETS}:{name}"


def _whole(own: dict[str, Any], names: tuple[str, ...]) -> int | None:
    found = next((own[name] for name in names if name in own), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 2**16 else None


def _shown(value: Any) -> str:
    return f"{value!r:.100}"
