"""The networks and images of benchmarks/against_peers.py, beside the large U-Net of benchmarks/cams.py."""

from __future__ import annotations

import torch
from peers import Compared
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.models.zoo.unet import UNet


class TwoLabels(nn.Module):
    """A network with one output, put so that both sides see a background beside it: its logit is 0."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return torch.cat([torch.zeros_like(out), out], 1)


def portrait() -> Compared:
    """The selfie segmenter, a small network with trained weights, on the astronaut."""
    from skimage.data import astronaut

    selfie = sx.load_model("selfie")
    card = {"name": "selfie segmenter", "labels": ["background", "person"], "spatial_dims": 2, "channels": ["red", "green", "blue"],
            "intensity": selfie.card.model_dump(exclude_none=True)["intensity"], "grid": selfie.card.model_dump(exclude_none=True)["grid"]}  # fmt: skip
    model = sx.load_model(TwoLabels(selfie.module), card=card)
    return Compared(model, sx.Image(astronaut(), channel_axis=2, name="astronaut"), label=1)


def near_sighted() -> Compared:
    """A U-Net of two levels, whose receptive field is far smaller than its image of 256 x 256."""
    from skimage.data import astronaut

    torch.manual_seed(0)
    card = {"name": "U-Net of two levels, 256 x 256", "labels": ["background", "object"], "spatial_dims": 2,
            "channels": ["red", "green", "blue"], "intensity": [{"divide": 255}], "grid": {"size": [256, 256]}}  # fmt: skip
    model = sx.load_model(UNet(3, 2, (8, 16)), card=card)
    return Compared(model, sx.Image(astronaut(), channel_axis=2, name="astronaut"))


def brain() -> Compared:
    """The built-in brain-tissue on the average brain, in 3D."""
    model = sx.load_model("brain-tissue")
    return Compared(model, sx.read_image(resource("sample_data/images/mni_t1.nii.gz")), label=2)
