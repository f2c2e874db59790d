"""The device that a model runs on."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.models.inference.device import choose_device


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:1", "meta", ""])
def test_a_device_that_is_not_there(name):
    with pytest.raises(sx.UserError, match=r"is not on this machine; choose auto, .*cpu"):
        choose_device(name)
    with pytest.raises(sx.UserError, match="is not on this machine"):
        planted_model().predict(planted_image(), device=name)


def test_devices():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert str(choose_device("auto")).partition(":")[0] in ("cpu", "cuda", "mps")
