"""Networks that segment, of packages that are installed: their names alone, nothing is imported for them."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from napari_segxai.core.errors import UserError

NETWORKS = {
    "monai.networks.nets": """
        UNet BasicUNet BasicUNetPlusPlus AttentionUnet DynUNet SegResNet SegResNetDS SegResNetDS2 SegResNetVAE UNETR SwinUNETR VNet
        HighResNet FlexibleUNet FlexUNet MedNeXt MedNeXtSmall MedNeXtBase MedNeXtMedium MedNeXtLarge AHNet RegUNet
    """,
    "segmentation_models_pytorch": """
        Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer DPT
    """,
    "torchvision.models.segmentation": """
        deeplabv3_mobilenet_v3_large deeplabv3_resnet50 deeplabv3_resnet101 fcn_resnet50 fcn_resnet101 lraspp_mobilenet_v3_large
    """,
    "transformers": """
        SegformerForSemanticSegmentation UperNetForSemanticSegmentation DPTForSemanticSegmentation BeitForSemanticSegmentation
        Data2VecVisionForSemanticSegmentation MobileNetV2ForSemanticSegmentation MobileViTForSemanticSegmentation
        MobileViTV2ForSemanticSegmentation MaskFormerForInstanceSegmentation Mask2FormerForUniversalSegmentation
        EomtForUniversalSegmentation
    """,
    "napari_segxai.models.zoo.unet": "UNet",
    "napari_segxai.models.zoo.resnet_unet": "ResNetUNet",
    "napari_segxai.models.zoo.linknet3d": "LinkNet3d",
}
"""By their modules; those whose constructors take numbers and words alone, as a card can give them."""

NAMED_IN = {
    "torchvision.models.segmentation": ("deeplabv3", "fcn", "lraspp"),
    "transformers": ("models.auto.modeling_auto",),
}
"""Where in a module its networks are named, if not in the module itself."""


@cache
def known_networks() -> tuple[str, ...]:
    """Return the networks whose packages are installed and have them, as "package.module:Class"."""
    return tuple(
        f"{module}:{name}"
        for module, names in NETWORKS.items()
        if (text := _text_of(module))
        for name in names.split()
        if re.search(rf"\b{name}\b", text)
    )


def place_of(architecture: str) -> str:
    """Return an architecture that is written "package.module:Class", as it is.

    Raises
    ------
    UserError
        If it is written otherwise; it names what may be meant.
    """
    if re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", architecture):
        return architecture
    module, _, name = architecture.rpartition(".")
    meant = [place for place in known_networks() if place.rpartition(":")[2] == name][:3]
    if not meant and module and re.fullmatch(r"\w+(\.\w+)*", architecture):
        meant = [f"{module}:{name}"]
    hint = f"; did you mean {' or '.join(map(repr, meant))}?" if meant else "."
    raise UserError(
        f"architecture {architecture!r:.90} is written 'package.module:Class', or 'my_net.py:Net' for a class in a file of yours{hint}"
    )


def _text_of(module: str) -> str:
    """Return the text of what names the networks of a module; "" if it is not installed."""
    top, *parts = module.split(".")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return ""
    place = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)
    files = [place / f"{name.replace('.', '/')}.py" for name in NAMED_IN.get(module, ())]
    files = files or [place / "__init__.py", place.with_suffix(".py")]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
