"""A torch.nn.Module given in a script or in the napari console, with a card."""

from __future__ import annotations

from torch import nn

from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.segmentation import SegmentationModel


def handles(source: object) -> bool:
    """Tell whether `source` is a network."""
    return isinstance(source, nn.Module)


@model_format("module", handles=handles)
def load(source: nn.Module, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Join a network and its card; of one that `torch.compile` made, the network inside, which computes the same.

    Hooks and modes, by which layers are looked into, would have it compiled again and again.

    Raises
    ------
    UserError
        If there is no card.
    """
    if card is None:
        raise UserError(
            f"a {type(source).__name__} needs a card that names its labels and its input: "
            "load_model(network, card={'name': ..., 'labels': [...], 'spatial_dims': 2 or 3})."
        )
    kind = "TorchScript module" if type(source).__module__.startswith("torch.jit") else type(source).__name__
    inside = getattr(source, "_orig_mod", None)
    network = inside if isinstance(inside, nn.Module) else source
    return SegmentationModel(network, card, source=f"{kind} given in a script")
