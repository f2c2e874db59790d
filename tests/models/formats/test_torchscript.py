"""TorchScript: files, parts, what is refused, what is said of errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from helpers.models import gray
from helpers.networks import LinearHead, PatchSwitch, card, patch_of, planted_image, planted_model
from torch import nn

import napari_segxai as sx


@pytest.mark.parametrize("suffix", [".pt", ".PTH", ".ts"])
def test_a_torchscript_file_with_its_card_beside_it_or_passed(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    torch.jit.save(torch.jit.script(LinearHead()), path)
    with pytest.raises(sx.UserError, match=r"labels: .*write net\.yaml beside it"):
        sx.load_model(path)
    reference = sx.load_model(LinearHead(), card=card()).predict(gray())
    np.testing.assert_array_equal(sx.load_model(str(path), card=card()).predict(gray()), reference)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(card()))
    model = sx.load_model(path)
    np.testing.assert_array_equal(model.predict(gray()), reference)
    assert model.source == f"TorchScript file net{suffix}"


@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen"])
def test_torchscript_refuses_methods_with_network_layers_and_runs_the_others(kind):
    module, example = Scriptable().eval(), torch.rand(1, 1, 32, 32)
    scripted = {
        "scripted": lambda: torch.jit.script(module),
        "traced": lambda: torch.jit.trace(module, example),
        "frozen": lambda: torch.jit.freeze(torch.jit.trace(module, example)),
    }[kind]()
    model = sx.load_model(scripted, card=card(grid={"size": [32, 32]}))
    assert not model.has_layers
    for method in ("seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"):
        with pytest.raises(sx.UserError, match=r"TorchScript model, whose .* misure or rise.* nn\.Module"):
            sx.explain(model, planted_image(), "object", method)
    with pytest.raises(sx.UserError, match="TorchScript"):
        model.network_layers()
    for method, small in (("rise", {"masks": 20}), ("misure", {"iterations": 3, "kernel": 3})):
        ex = sx.explain(model, planted_image(), "object", method, **small)
        reference = sx.explain(planted_model(), planted_image(), "object", method, **small)
        np.testing.assert_allclose(ex.map, reference.map, atol=1e-5)
        assert ex.map.any()


class Scriptable(nn.Module):
    """PatchSwitch in the words that TorchScript understands."""

    def __init__(self):
        super().__init__()
        planted = PatchSwitch(patch_of(2))
        self.mix, self.head = planted.mix, planted.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x[:, :, 4:10, 20:26].mean((2, 3), keepdim=True)
        return self.head(self.mix(torch.cat([x, mean.expand_as(x)], 1)))


def test_a_torchscript_part_of_a_network_is_no_network_layer():
    class Wrap(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = torch.jit.script(LinearHead()), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.head(self.inner(x))

    model = sx.load_model(Wrap(), card=card())
    assert [layer.name for layer in model.network_layers()] == ["head"]


def test_what_torchscript_raises_is_told_without_its_traceback():
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == 3, "three channels please"
            return x

    with pytest.raises(sx.UserError, match=r"allows: .*three channels please\.$"):
        sx.load_model(torch.jit.script(Picky()), card=card())
