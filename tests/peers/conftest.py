"""Networks to compare on, and what both sides are asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from peers import Compared
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.models.zoo.resnet_unet import ResNetUNet
from napari_segxai.models.zoo.unet import UNet

MOST_CHANNELS = 64


@dataclass
class CheckContext(Compared):
    """What both sides are asked, and where.

    `layers` are from encoder, bottleneck and decoder, and end with a ReLU; those of `few_channels` can be tried channel
    by channel in a test. What leaves `decoder1` enters the `head`.
    """

    layers: tuple[str, ...] = ()

    @property
    def few_channels(self) -> list[str]:
        return [name for name in self.layers if self.model.find_layer(name).shape[0] <= MOST_CHANNELS]

    def recorded(self, layer: str) -> tuple[Tensor, Tensor]:
        """Activation and gradient of the summed target at a network layer, with nothing but torch: (channels, *cells)."""
        kept: list[Tensor] = []
        handle = self.module.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
        try:
            [gradient] = torch.autograd.grad(self.target("sum")(self.module(self.tensor)[0]), kept)
        finally:
            handle.remove()
        return kept[0][0].detach(), gradient[0]


def random_card(labels: int, ndim: int, size: list[int], channels: int = 1) -> dict:
    names = ["background", *(f"object {k}" for k in range(1, labels))]
    fields = {"name": "random", "labels": names, "spatial_dims": ndim, "grid": {"size": size}}
    return {**fields, "channels": [f"channel {k}" for k in range(channels)]}


def noise(*shape: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    array = gaussian_filter(np.random.default_rng(0).normal(size=shape), 2)
    return (array / array.std()).astype(np.float32)


def _random(module: nn.Module) -> nn.Module:
    """Statistics of the batch normalisations, too, so that activations neither vanish nor grow."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.1, 0.3, generator=generator)
    return module


def _trained() -> CheckContext:
    image = sx.read_image(resource("sample_data/images/triangle_1.png"))
    return CheckContext(sx.load_model("triangle"), image, 1, ("encoder2", "bottleneck", "decoder2.convs"))


def _unet() -> CheckContext:
    torch.manual_seed(0)
    module = _random(UNet(1, 3, (8, 16, 32)))
    model = sx.load_model(module, card=random_card(3, 2, [32, 48]))
    return CheckContext(model, sx.Image(noise(32, 48)), layers=("encoder2", "bottleneck", "decoder1.convs"))


def _resnet() -> CheckContext:
    model = sx.load_model(_random(ResNetUNet(3, 2, seed=0)), card=random_card(2, 2, [64, 64], 3))
    layers = ("stem", "encoder2", "encoder4", "decoder2.second")
    return CheckContext(model, sx.Image(noise(64, 64, 3), channel_axis=2), layers=layers)


def _volume() -> CheckContext:
    torch.manual_seed(0)
    module = _random(UNet(1, 4, (4, 8, 16), spatial_dims=3))
    model = sx.load_model(module, card=random_card(4, 3, [16, 24, 20]))
    return CheckContext(model, sx.Image(noise(16, 24, 20)), layers=("encoder2", "bottleneck", "decoder2"))


SUBJECTS = {
    "trained U-Net": _trained,
    "random U-Net": _unet,
    "random ResNet U-Net": _resnet,
    "random 3D U-Net": _volume,
}


def pearson(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> float:
    """Correlation of two maps of one shape."""
    assert a.shape == b.shape
    return float(np.corrcoef(np.ravel(a).astype(float), np.ravel(b).astype(float))[0, 1])


@pytest.fixture(scope="session", params=[name for name in SUBJECTS if "3D" not in name])
def subject(request: pytest.FixtureRequest) -> CheckContext:
    """Each of the networks for images."""
    return SUBJECTS[request.param]()


@pytest.fixture(scope="session", params=SUBJECTS)
def any_subject(request: pytest.FixtureRequest) -> CheckContext:
    """Each of the networks, the one for volumes as well."""
    return SUBJECTS[request.param]()


@pytest.fixture
def unet() -> CheckContext:
    """The small network with random weights, a fresh one."""
    return SUBJECTS["random U-Net"]()


@pytest.fixture
def volume() -> CheckContext:
    """The network for volumes, a fresh one."""
    return SUBJECTS["random 3D U-Net"]()
