"""A yes to a model's code, given once, reaches every place that asks for it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers.networks import card
from helpers.nnunet import CONFIGURATION, network, plans, write_results
from torch import nn

import napari_segxai as sx
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.registry import check_stored, stored_card

DATA = Path(__file__).parents[2] / "data"


class Writes(nn.Module):
    """A TorchScript network that could write a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 1e9):
            torch.save(x, "written.pt")
        return torch.cat([x, -x], 1)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """nnU-Net's package of networks where packages are not installed, as an editable checkout of it lies."""
    module = tmp_path / "checkout/dynamic_network_architectures/architectures/unet.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from napari_segxai.models.zoo.nnunet import PlainConvUNet\nclass OtherUNet(PlainConvUNet): pass\n"
    )
    for folder in (module.parent, module.parents[1]):
        (folder / "__init__.py").touch()
    before = {name for name in sys.modules if name.startswith("dynamic_network_architectures")}
    monkeypatch.syspath_prepend(tmp_path / "checkout")
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    yield module
    for name in [name for name in sys.modules if name.startswith("dynamic_network_architectures")]:
        del sys.modules[name]


def test_that_of_nnunet_reaches_its_networks_also_through_a_cascade(elsewhere, tmp_path):
    name = "dynamic_network_architectures.architectures.unet.OtherUNet"
    told = plans({"architecture": {**CONFIGURATION["architecture"], "network_class_name": name}})
    folder = write_results(tmp_path / "Dataset007_Spheres", told=told)
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(folder)
    assert caught.value.module == "dynamic_network_architectures.architectures.unet"
    assert sx.load_model(folder, trust=True).module.__class__.__name__ == "OtherUNet"


@pytest.mark.parametrize("name", ["dynamic_network_architectures", "napari_segxai"])
def test_what_lies_in_a_folder_of_nnunet_never_stands_for_a_package(name, tmp_path):
    folder = write_results(tmp_path / "Dataset007_Spheres", module=network())
    for package, module in (("zoo", "nnunet"), ("architectures", "unet")):
        inner = folder / name / "models" / package if name == "napari_segxai" else folder / name / package
        inner.mkdir(parents=True)
        (inner / f"{module}.py").write_text("raise SystemExit('it ran')")
    for trust in (False, True):
        assert sx.load_model(folder, trust=trust).labels == ("background", "organ", "lesion")


def test_a_program_is_named_as_such_and_a_copied_script_tells_of_the_yes(tmp_path):
    pytest.importorskip("qtpy")
    from napari_segxai.gui.script.write import model_lines

    path = tmp_path / "net.pt"
    torch.jit.script(Writes()).save(path)
    path.with_suffix(".yaml").write_text(json.dumps(card()))
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(path)
    assert (caught.value.path, caught.value.module) == (path, "")
    lines = model_lines(sx.load_model(path, trust=True))
    assert lines[0] == "# This model was loaded after a yes to code of its own."
    assert lines[-2:] == [
        f"model = sx.load_model({str(path)!r})",
        f"# model = sx.load_model({str(path)!r}, trust=True)",
    ]


def test_the_code_of_a_bundle_is_found_from_each_of_its_files(tmp_path):
    own = shutil.copytree(DATA / "monai_bundle/photo", tmp_path / "own")
    (own / "scripts").mkdir()
    (own / "scripts/net.py").write_text("from napari_segxai.models.zoo.unet import UNet as Net\n")
    config = own / "configs/inference.json"
    told = json.loads(config.read_text())
    config.write_text(
        json.dumps(told | {"network_def": {**told["network_def"], "_target_": "scripts.net.Net"}})
    )
    for path in (own, config, own / "models/model.pt", own.parent):
        place = stored_card(path).architecture
        with pytest.raises(UntrustedCode) as caught:
            check_stored(path, place)
        assert caught.value.path == own / "scripts/net.py"
