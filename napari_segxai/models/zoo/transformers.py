"""Semantic segmentation networks of Hugging Face transformers, made of plain settings: those of their ``config.json``.

``napari_segxai.models.zoo.transformers:SegformerForSemanticSegmentation`` names transformers' own class of that name, with two
differences: it is made of settings in place of an object that holds them, and it returns logits, (N, channels, rows, columns) ->
(N, labels, *cells). Modules and weights have transformers' own names.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

from torch import Tensor, nn

from napari_segxai.core.extras import need

PER_PIXEL = re.compile(r"[A-Z]\w*ForSemanticSegmentation")
"""Classes that return a logit per label and cell."""

OF_QUERIES = (
    "MaskFormerForInstanceSegmentation",
    "Mask2FormerForUniversalSegmentation",
    "EomtForUniversalSegmentation",
    "EomtDinov3ForUniversalSegmentation",
)
"""Classes that return the labels and the masks of queries."""

LEAST = 1e-6
"""What is added before a logarithm is taken."""


def is_known(name: str) -> bool:
    """Tell whether a class of transformers is, by its name, a semantic segmentation network."""
    return name in OF_QUERIES or (PER_PIXEL.fullmatch(name) is not None and not name.startswith("Auto"))


def semantic_map(classes: Tensor, masks: Tensor) -> Tensor:
    """Return the logarithm of how much the queries together draw each label.

    The map is that of which MaskFormer takes the largest label: the sum over all queries of the probability of the label times that of
    the mask. It can exceed 1; a softmax of its logarithm is its share of the sum over the labels.

    Parameters
    ----------
    classes
        Logits (N, queries, labels + 1), the last of which means "nothing".
    masks
        Logits (N, queries, *cells).

    Returns
    -------
    Tensor of shape (N, labels, *cells)
    """
    found = classes.softmax(-1)[..., :-1].transpose(1, 2) @ masks.sigmoid().flatten(2)
    return (found + LEAST).log().unflatten(2, masks.shape[2:])


class _OfSettings(nn.Module):
    """What is different from a class of transformers, which comes after it in the order of classes."""

    config_class: Any

    def __init__(self, config: Any = None, *, flip_channels: bool = False, **settings: Any):
        if config is None:
            # A network of this package runs as it is; what is asked for returns of other kinds is left out.
            config = type(self).config_class.from_dict({**settings, "flip_channels": flip_channels})
        super().__init__(config)
        self.flip_channels = bool(getattr(config, "flip_channels", False))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of images whose channels are red, green and blue, also where the network wants them the other way round."""
        found = super().forward(
            pixel_values=pixels.flip(1) if self.flip_channels else pixels, return_dict=True
        )
        if type(self).__name__ in OF_QUERIES:
            return semantic_map(found.class_queries_logits, found.masks_queries_logits)
        return found.logits


@cache
def _network(name: str) -> type[nn.Module]:
    package = need("transformers", "transformers", name)
    own = getattr(package, name)
    # The names of the class and of its module are what transformers looks for settings and names of weights by.
    made = type(name, (_OfSettings, own), {"__module__": own.__module__, "__doc__": own.config_class.__doc__})
    made.__signature__ = _signature(own.config_class, package.PretrainedConfig)  # type: ignore[attr-defined]
    return made


def _signature(config: type, of_all: type) -> inspect.Signature:
    """Return the settings that a network is made of, which forms ask for: not those that all of transformers' networks have."""
    kinds = inspect.Parameter
    general = inspect.signature(of_all).parameters
    own = [
        kinds(one.name, kinds.KEYWORD_ONLY, default=one.default, annotation=one.annotation)
        for one in inspect.signature(config).parameters.values()
        if one.name not in general and one.default is not one.empty
    ]
    more = {"num_labels": 2, "flip_channels": False}
    own += [
        kinds(name, kinds.KEYWORD_ONLY, default=value)
        for name, value in more.items()
        if all(p.name != name for p in own)
    ]
    return inspect.Signature([*own, kinds("settings", kinds.VAR_KEYWORD)])


def __getattr__(name: str) -> type[nn.Module]:
    """Return the network of this name.

    Raises
    ------
    AttributeError
        If its name is not that of a semantic segmentation network, or transformers has none of this name.
    UserError
        If transformers is not installed, or cannot be imported.
    """
    if not is_known(name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _network(name)
