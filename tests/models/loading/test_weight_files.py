"""Each file of weights is taken for what it is, or answered in one short sentence."""

from __future__ import annotations

import pytest
import torch
import yaml
from helpers.networks import card
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app

POINT = {"in_channels": 1, "out_channels": 2, "kernel_size": 1}


def point(dtype: torch.dtype = torch.float32) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(1, 2, 1).to(dtype)


def changed(change) -> dict:
    return {**point().state_dict(), "weight": change(point().weight.detach())}


def old(thing, path):
    torch.save(thing, path, _use_new_zipfile_serialization=False)


def scripted(network, path):
    torch.jit.save(torch.jit.script(network), path)


def exported(network, path):
    with open(path, "wb") as file:
        torch.export.save(torch.export.export(network, (torch.rand(1, 1, 8, 8),)), file)


COMPLEX = point(torch.complex64)
PICKLED = ["'torch.nn.modules.conv.Conv2d'", "never unpickled"]
WHOLE = {
    "complex": (
        lambda p: torch.save(COMPLEX.state_dict(), p),
        ["complex numbers"],
        ["architecture: the class"],
    ),
    "complex, old": (
        lambda p: old(COMPLEX.state_dict(), p),
        ["complex numbers"],
        ["architecture: the class"],
    ),
    "complex, safe": (
        lambda p: save_file(COMPLEX.state_dict(), p),
        ["complex numbers"],
        ["architecture: the class"],
    ),
    "complex, scripted": (lambda p: scripted(COMPLEX, p), ["TorchScript"], ["complex64"]),
    "whole": (lambda p: torch.save(point(), p), PICKLED, PICKLED),
    "whole, old": (lambda p: old(point(), p), PICKLED, PICKLED),
    "whole, wrapped": (lambda p: torch.save({"net": point(), "epoch": 1}, p), PICKLED, PICKLED),
    "scripted": (lambda p: scripted(point(), p), ["TorchScript", "this file itself"], None),
    "exported": (lambda p: exported(point(), p), ["torch.export"], ["torch.export"]),
    "plain": (
        lambda p: torch.save(point().state_dict(), p),
        None,
        ["architecture: the class of the network", "--architecture"],
    ),
    "plain, old": (lambda p: old(point().state_dict(), p), None, ["architecture: the class"]),
    "plain, safe": (lambda p: save_file(point().state_dict(), p), None, ["architecture: the class"]),
    "quantised": (
        lambda p: torch.save(changed(lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)), p),
        ["quantised", "'weight'", "dequantize"],
        ["architecture: the class"],
    ),
    "sparse": (
        lambda p: torch.save(changed(torch.Tensor.to_sparse), p),
        ["sparse", "to_dense"],
        ["architecture: the class"],
    ),
    "without numbers": (
        lambda p: torch.save(changed(lambda w: w.to("meta")), p),
        ["no numbers"],
        ["architecture: the class"],
    ),
    "noise": (lambda p: p.write_bytes(b"hello\x1b[31m world"), ["damaged"], ["TorchScript"]),
    "empty": (lambda p: p.write_bytes(b""), ["empty"], ["empty"]),
    "cut off": (
        lambda p: (torch.save(point().state_dict(), p), p.write_bytes(p.read_bytes()[:600])),
        ["damaged"],
        ["cut off"],
    ),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("what", WHOLE)
def test_each_file_is_taken_for_what_it_is(tmp_path, what, suffix):
    """As the weights of a folder, and as a model itself: right, or one short sentence that says what it is."""
    write, in_folder, alone = WHOLE[what]
    path = tmp_path / f"w{suffix}"
    write(path)
    safe = "safe" in what
    if suffix == ".safetensors" and what in ("noise", "cut off"):
        in_folder = ["safetensors"]
    elif safe != (suffix == ".safetensors") and not (in_folder or [""])[0].startswith(
        ("Torch", "torch", "empty")
    ):
        in_folder = ["its suffix is", "rename it", ".safetensors" if safe else ".pt"]
    if "rename it" in (in_folder or ()):
        alone = in_folder
    elif suffix == ".safetensors" and not safe:
        alone = ["is not a model"]
    plain_card = card(channels=["grey"])
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(plain_card))
    (tmp_path / "model.yaml").write_text(
        yaml.safe_dump(
            {**plain_card, "architecture": "torch.nn:Conv2d", "arguments": POINT, "weights": path.name}
        )
    )
    for source, words in ((tmp_path, in_folder), (path, alone)):
        if words is None:
            assert torch.equal(
                dict(sx.load_model(source).module.named_parameters())["weight"], point().weight
            )
            continue
        with pytest.raises(sx.UserError) as caught:
            sx.load_model(source)
        said = str(caught.value).replace(str(tmp_path), "")
        assert said.isprintable()
        assert len(said) < 260
        for word in words:
            assert word in said


@pytest.mark.parametrize("what", ["complex", "whole", "quantised", "noise", "plain"])
def test_the_command_line_says_it_in_one_line(tmp_path, what):
    WHOLE[what][0](tmp_path / "w.pt")
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(card(channels=["grey"])))
    result = CliRunner().invoke(
        app, ["layers", str(tmp_path / "w.pt")], env={"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    )
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.strip().isprintable()
    assert "w.pt: " in result.stderr
