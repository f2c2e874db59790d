"""torchvision's weights: their files, the members of its enums; tests/peers opens the networks."""

from __future__ import annotations

from enum import Enum
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

import napari_segxai as sx
from napari_segxai.models.card import make_card
from napari_segxai.models.formats.torchvision import handles
from napari_segxai.models.torchvision_weights import card_of_weights, is_weights


class FCN_ResNet50_Weights(Enum):
    """Looks like torchvision's own."""

    COCO = 1

    url = "https://download.pytorch.org/models/fcn_resnet50_coco-1167a1af.pth"
    meta = property(
        lambda self: {
            "categories": ["__background__", "cat"],
            "_docs": "Trained\n on COCO.",
            "_metrics": {"COCO-val2017": {"miou": 60.5, "pixel_acc": 91.4}},
        }
    )

    def transforms(self):
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        return SimpleNamespace(
            resize_size=[520], mean=mean, std=std, interpolation=SimpleNamespace(value="bilinear")
        )


FCN_ResNet50_Weights.__module__ = "torchvision.models.segmentation.fcn"


def test_weights_that_torchvision_publishes_have_a_card():
    card = make_card(card_of_weights(FCN_ResNet50_Weights.COCO))
    assert (card.name, card.labels) == ("fcn_resnet50 COCO", ("__background__", "cat"))
    assert card.grid.shortest_edge == 520
    assert [step.kind for step in card.intensity] == ["divide", "normalize"]
    assert (card.description, card.output) == ("Trained on COCO.", "out")
    assert card.validation == "COCO-val2017: miou 60.5, pixel_acc 91.4"


def test_a_network_in_a_script_takes_the_weights_as_its_card():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = network

        def forward(self, x):
            return {"out": self.part(x), "aux": self.part(x)}

    model = sx.load_model(Named(), card=FCN_ResNet50_Weights.COCO)
    assert model.labels == ("__background__", "cat")
    assert model.grid_for(sx.Image(torch.zeros(50, 100, 3).numpy(), channel_axis=2)) == (520, 1040)


def test_weights_of_other_networks_are_refused():
    class ResNet50_Weights(Enum):
        V1 = 1

        def transforms(self):
            return SimpleNamespace(resize_size=[232])

    ResNet50_Weights.__module__ = "torchvision.models.resnet"
    assert is_weights(ResNet50_Weights.V1)
    with pytest.raises(sx.UserError, match="are not the weights of a segmentation network"):
        card_of_weights(ResNet50_Weights.V1)


def test_files_are_known_by_the_names_that_torchvision_gives(tmp_path):
    known = ("deeplabv3_resnet50_coco-cd0a2569.pth", "fcn_resnet101_mine.pt", "lraspp_mobilenet_v3_large-d234d4ea.pth")  # fmt: skip
    for name in (*known, "my_fcn_resnet50.pth", "fcn_resnet50v2.pth"):
        torch.save({"a": torch.zeros(1)}, tmp_path / name)
        assert handles(tmp_path / name) == (name in known)
    (tmp_path / "fcn_resnet101_mine.yaml").write_text("")  # a card beside it says what it is
    assert not handles(tmp_path / "fcn_resnet101_mine.pt")
    (tmp_path / "fcn_resnet50.pth").write_text("text")
    assert not handles(tmp_path / "fcn_resnet50.pth")
    assert handles(FCN_ResNet50_Weights.COCO)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_the_package_that_is_needed_is_named(tmp_path):
    path = tmp_path / "fcn_resnet50_coco-1167a1af.pth"
    torch.save({"a": torch.zeros(1)}, path)
    for source in (path, FCN_ResNet50_Weights.COCO):
        with pytest.raises(sx.UserError, match=r'pip install "napari-segxai\[torchvision\]"'):
            sx.load_model(source)
