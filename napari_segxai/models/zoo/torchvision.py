"""torchvision's segmentation networks, made of plain settings, without weights.

``napari_segxai.models.zoo.torchvision:deeplabv3_resnet50`` is what torchvision's function of that name makes, as a class, which a card
can name.
"""

from __future__ import annotations

from functools import cache

from torch import nn

from napari_segxai.core.extras import need

NAMES = (
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet101",
    "deeplabv3_resnet50",
    "fcn_resnet101",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
)

CLASSES = {"deeplabv3": "DeepLabV3", "fcn": "FCN", "lraspp": "LRASPP"}
"""Of what torchvision's functions make."""


@cache
def _network(name: str) -> type[nn.Module]:
    package = need("torchvision.models.segmentation", "torchvision", name)
    make = getattr(package, name)

    def __init__(self: nn.Module, num_classes: int = 21, *, aux_loss: bool = False) -> None:
        nn.Module.__init__(self)
        extra = {} if name.startswith("lraspp") else {"aux_loss": aux_loss}
        vars(self).update(vars(make(weights=None, weights_backbone=None, num_classes=num_classes, **extra)))

    own = getattr(package, CLASSES[name.partition("_")[0]])
    return type(own.__name__, (own,), {"__init__": __init__, "__module__": __name__, "__doc__": own.__doc__})


def __getattr__(name: str) -> type[nn.Module]:
    """Return the network of this name.

    Raises
    ------
    AttributeError
        If torchvision has none of this name.
    UserError
        If torchvision is not installed, or does not fit torch.
    """
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _network(name)
