"""A stranger's code runs only with an explicit yes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.models import gray, write_folder
from helpers.networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.models.loading.untrusted_code import UntrustedCode

NET_CODE = """\
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
import torch

Path(__file__).with_name("ran").touch()

@dataclass
class Settings:  # looks its module up in sys.modules
    width: int = 2

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Conv2d(1, Settings().width, 1)

    def forward(self, x):
        return self.head(x)
"""


class Evil:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_pickle_with_code_is_never_executed(tmp_path, write):
    marker, content = tmp_path / "owned", {"head.bias": Evil(tmp_path / "owned")}
    folder = write_folder(tmp_path / "m", weights="best.pt")
    script = tmp_path / "net.pt"
    for path in (folder / "best.pt", folder / "best.safetensors", script):
        write(content, path)
    if write is torch.save:
        torch.load(script, weights_only=False)
    else:
        pickle.loads(script.read_bytes())
    assert marker.exists()  # so the file is as malicious as meant
    marker.unlink()
    with pytest.raises(sx.UserError, match=r"best\.pt: cannot be read as weights"):
        sx.load_model(folder, trust=True)
    fields = yaml.safe_load((folder / "model.yaml").read_text())
    with pytest.raises(sx.UserError, match=r"best\.safetensors: cannot be read as weights"):
        sx.load_model(folder, card={**fields, "weights": "best.safetensors"}, trust=True)
    with pytest.raises(sx.UserError, match=r"net\.pt: cannot be read as weights"):
        sx.load_model(script, card=card(), trust=True)
    assert not marker.exists()


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        "os:system",
        "builtins:exec",
        "subprocess:Popen",
        "torch:load",
        "torch.hub:load",
        "torch:Tensor",
        "torch.nn:functional",
        "napari_segxai.models.zoo.unet:UNt",
        "napari_segxai.models.zoo.unet:UNet.forward",
        "napari_segxai.nothing:Net",
        "nothing_of_the_kind:Net",
        "__main__:Net",
    ],
)
def test_only_networks_are_built(tmp_path, place, trust):
    marker = tmp_path / "owned"
    folder = write_folder(tmp_path / "m", architecture=place, arguments={"command": f"touch {marker}"})
    with pytest.raises(sx.UserError, match=r"model\.yaml: architecture '"):
        sx.load_model(folder, trust=trust)
    assert not marker.exists()


def code_folder(folder: Path, name: str) -> Path:
    """A model folder for a network in the module `name`, whose code lies elsewhere."""
    torch.manual_seed(0)
    state = {f"head.{k}": v for k, v in nn.Conv2d(1, 2, 1).state_dict().items()}
    return write_folder(folder, state, architecture=f"{name}:Net", arguments={})


def check_trust(folder: Path, code: Path) -> None:
    ran = code.with_name("ran")
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(folder)
    assert caught.value.path == code
    assert str(code) in str(caught.value)
    assert "trust=True" in str(caught.value)
    assert not ran.exists()
    assert sx.load_model(folder, trust=True).predict(gray()).shape == (16, 20)
    assert ran.exists()


def test_code_beside_the_card_needs_trust(tmp_path):
    folder = code_folder(tmp_path / "m", "segxai_beside")
    (folder / "segxai_beside.py").write_text(NET_CODE)
    check_trust(folder, folder / "segxai_beside.py")


def test_code_beside_the_card_that_bears_the_name_of_a_package_needs_trust(tmp_path):
    folder = code_folder(tmp_path / "m", "numpy")
    (folder / "numpy.py").write_text(NET_CODE)
    check_trust(folder, folder / "numpy.py")
    assert hasattr(np, "ndarray")
    assert sys.modules["numpy"] is np


def test_code_on_the_path_needs_trust(tmp_path, monkeypatch):
    folder = code_folder(tmp_path / "m", "segxai_on_path")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "segxai_on_path.py").write_text(NET_CODE)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    check_trust(folder, tmp_path / "lib" / "segxai_on_path.py")
    sys.modules.pop("segxai_on_path")


def test_a_package_without_init_on_the_path_needs_trust(tmp_path, monkeypatch):
    folder = code_folder(tmp_path / "m", "segxai_space.net")
    (tmp_path / "lib" / "segxai_space").mkdir(parents=True)
    (tmp_path / "lib" / "segxai_space" / "net.py").write_text(NET_CODE)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    with pytest.raises(UntrustedCode, match="segxai_space"):
        sx.load_model(folder)
    assert not list(tmp_path.rglob("ran"))


def test_code_in_the_working_directory_needs_trust(tmp_path):
    """In a process of its own, as only `python -c` and the console have '' on their path."""
    code_folder(tmp_path / "m", "segxai_here")
    (tmp_path / "segxai_here.py").write_text(NET_CODE)
    script = """
    import sys
    assert sys.path[0] == ""
    import napari_segxai as sx
    try:
        sx.load_model("m")
    except sx.UserError as error:
        print(type(error).__name__, error.path.name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "UntrustedCode segxai_here.py"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("code", ["raise OSError('no disk')", "class Net(", "import nothing_of_the_kind"])
def test_trusted_code_that_fails_is_told_in_one_sentence(tmp_path, code):
    folder = code_folder(tmp_path / "m", "segxai_broken")
    (folder / "segxai_broken.py").write_text(code)
    with pytest.raises(sx.UserError, match=r"model\.yaml: architecture 'segxai_broken:Net'.*\.$") as caught:
        sx.load_model(folder, trust=True)
    assert "\n" not in str(caught.value)
