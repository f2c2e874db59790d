"""Files of weights alone: what they tell, what is asked, code of one's own, and the model folder that is made of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.models import gray
from helpers.networks import card
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort.where.work import order_of
from napari_segxai.cli.app import app
from napari_segxai.gui.script.write import model_lines
from napari_segxai.models.loading.signature import arguments_of
from napari_segxai.models.loading.weight_shapes import shapes_of
from napari_segxai.models.partial_card import CardIncomplete
from napari_segxai.models.registry import stored_card
from napari_segxai.models.zoo.unet import UNet

ZOO = "napari_segxai.models.zoo.unet:UNet"
SAID = {"labels": ["background", "one", "two"], "intensity": []}


def network(seed: int = 0, **arguments) -> UNet:
    torch.manual_seed(seed)
    return UNet(**{"features": [2, 2], "out_channels": 3, **arguments}).eval()


HABITS = {
    "best_metric_model.pth": lambda net, path: torch.save(net.state_dict(), path),
    "parallel.pth": lambda net, path: torch.save(nn.DataParallel(net).state_dict(), path),
    "unet_carvana_scale0.5_epoch2.pth": lambda net, path: torch.save(
        {**net.state_dict(), "mask_values": [0, 255]}, path
    ),
    "last.ckpt": lambda net, path: torch.save(
        {
            "epoch": 3,
            "state_dict": {f"model.{key}": value for key, value in net.state_dict().items()},
            "hyper_parameters": {"features": [2, 2], "lr": 0.1},
        },
        path,
    ),
    "iter_20000.pth": lambda net, path: torch.save(
        {"meta": {"classes": ["a"]}, "state_dict": net.state_dict()}, path
    ),
    "ema.pt": lambda net, path: torch.save(
        {
            "model": net.state_dict(),
            "ema": network(7).state_dict(),
            "optimizer": {"state": {0: torch.ones(3)}},
        },
        path,
    ),
    "checkpoint.pth.tar": lambda net, path: torch.save({"state_dict": net.state_dict(), "best": 0.5}, path),
    "model.safetensors": lambda net, path: save_file(net.state_dict(), path),
    "without_suffix": lambda net, path: torch.save(net.state_dict(), path),
}


@pytest.mark.parametrize("name", HABITS)
def test_weights_as_training_loops_leave_them_open_and_come_back_from_a_folder(tmp_path, name):
    HABITS[name](network(), tmp_path / name)
    model = sx.load_model(tmp_path / name, architecture=ZOO, arguments={"features": [2, 2]}, card=SAID)
    example = model.example()
    with torch.no_grad():
        wanted = network()(example)
    assert torch.equal(model.logits(example), wanted)
    assert "out_channels=3 of the network was read from" in " ".join(model.notes)
    folder = sx.save_model(model, tmp_path / "saved" / "mine")
    again = sx.load_model(folder)
    assert torch.equal(again.logits(example), wanted)
    assert again.sha256 == model.sha256
    assert again.card.arguments == {"out_channels": 3, "features": [2, 2]}
    assert again.labels == model.labels == ("background", "one", "two")
    assert {path.name for path in folder.iterdir()} == {"model.yaml", "weights.safetensors"}
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]  # nothing is left of the writing


def test_what_a_file_does_not_tell_is_asked_with_what_it_does(tmp_path):
    path = tmp_path / "best.pth"
    torch.save(network().state_dict(), path)
    with pytest.raises(
        CardIncomplete, match=r"architecture: .*labels: the names of its 3 outputs.*intensity"
    ) as caught:
        sx.load_model(path)
    assert caught.value.partial.known == {"name": "best", "spatial_dims": 2}
    assert caught.value.partial.suggested["labels"] == ["background", "label 1", "label 2"]
    assert set(caught.value.missing) == {"architecture", "labels", "intensity"}
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(path, architecture=ZOO)
    assert set(caught.value.missing) == {"labels", "intensity"}
    torch.save(nn.Sequential(nn.Conv3d(2, 4, 3), nn.ConvTranspose3d(4, 1, 3)).state_dict(), path)
    with pytest.raises(CardIncomplete, match=r"its one output.*channels: the names of its 2 input") as caught:
        sx.load_model(path)
    assert caught.value.partial.known == {"name": "best", "spatial_dims": 3, "activation": "sigmoid"}


def test_a_card_beside_the_file_is_read(tmp_path):
    path = tmp_path / "best.pth"
    torch.save(network().state_dict(), path)
    fields = {"labels": SAID["labels"], "architecture": ZOO, "arguments": {"features": [2, 2]}}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(fields))
    assert sx.load_model(path).card.labels == tuple(SAID["labels"])
    assert sx.load_model(path, card={"name": "other"}).name == "other"
    path.with_suffix(".yaml").unlink()
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**fields, "weights": "best.pth"}))
    assert sx.load_model(path).card.labels == tuple(SAID["labels"])


def test_arguments_that_the_weights_tell_are_used_where_they_fit_alone(tmp_path):
    path = tmp_path / "best.pth"
    torch.save(network(in_channels=2).state_dict(), path)
    given = {**SAID, "channels": ["a", "b"]}
    for call, words in {
        lambda: sx.load_model(path, architecture=ZOO, card=given): "do not fit the architecture.*missing",
        lambda: sx.load_model(
            path, architecture=ZOO, card=given, arguments={"feature": [2, 2]}
        ): "does not take these arguments.*feature",
        lambda: sx.load_model(path, architecture="torch.nn:Conv2d", card=given): (
            "needs the argument kernel_size, which the weights do not tell.*--arguments kernel_size="
        ),
        lambda: sx.load_model(path, architecture=3, card=given): "architecture is a int; give",
        lambda: sx.load_model(
            path, architecture="torch.nn.functional:relu", card=given
        ): "not a torch.nn.Module",
        lambda: sx.load_model(path, architecture=lambda: 3, card=given): "returns no torch.nn.Module",
        lambda: sx.load_model(network(), architecture=ZOO, card=given): "for a file of weights",
        lambda: sx.load_model(tmp_path, architecture=UNet, card=given): "is no file of weights",
        lambda: sx.load_model(tmp_path / "no.pth", architecture=UNet, card=given): "there is no such file",
        lambda: sx.load_model(path, architecture="no.py:Net", card=given): "there is no such file; write",
        lambda: sx.load_model(
            path, architecture=network(), arguments={"a": 1}, card=given
        ): "a network already",
    }.items():
        with pytest.raises(sx.UserError, match=words):
            call()
    model = sx.load_model(path, architecture=UNet, arguments={"features": [2, 2]}, card=given)
    assert model.card.architecture == ZOO
    assert model.card.arguments == {"features": [2, 2], "in_channels": 2, "out_channels": 3}
    own = network(3, in_channels=2)
    before = own.state_dict()["encoder1.conv1.weight"].clone()
    given_network = sx.load_model(path, architecture=own, card=given)
    assert given_network.sha256 == model.sha256
    assert torch.equal(own.state_dict()["encoder1.conv1.weight"], before)
    with pytest.raises(sx.UserError, match="names no architecture, by which a folder would open again"):
        sx.save_model(given_network, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shapes_of_transposed_and_plain_last_layers_are_told_apart():
    for last, outputs in {
        nn.ConvTranspose3d(8, 3, 2, 2): 3,
        nn.Conv3d(8, 3, 3): 3,
        nn.Conv3d(8, 3, 1, bias=False): 3,
        nn.ConvTranspose3d(8, 3, 2, bias=False): None,
    }.items():
        found = shapes_of(nn.Sequential(nn.Conv3d(2, 8, 3), last).state_dict())
        assert (found.spatial_dims, found.inputs, found.outputs) == (3, 2, outputs)
    own = {
        f"net.{k}": v for k, v in nn.Sequential(nn.Conv2d(2, 8, 3), nn.Conv2d(8, 3, 1)).state_dict().items()
    }
    trained = {**own, "perceptual_loss.conv.weight": torch.ones(64, 3, 1, 1)}
    assert (shapes_of(trained).inputs, shapes_of(trained).outputs) == (2, 3)
    assert shapes_of({"a": torch.ones(3)}).inputs is None
    assert shapes_of("nothing").inputs is None


def repository(folder: Path, top: str = "unet") -> Path:
    """A repository as many are: a package of relative imports, and a folder of helpers beside it."""
    (folder / top).mkdir(parents=True)
    (folder / "utils").mkdir()
    (folder / top / "__init__.py").write_text("from .unet_model import UNet\n")
    (folder / top / "unet_parts.py").write_text(
        "from torch import nn\n\n\nclass Double(nn.Module):\n    def __init__(self, i, o):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(i, o, 3, padding=1)\n\n    def forward(self, x):\n        return self.conv(x).relu()\n"
    )
    (folder / top / "unet_model.py").write_text(
        "import pathlib\nfrom .unet_parts import *\nfrom utils.data import WIDTH\n\n"
        "pathlib.Path(__file__).with_name('ran').touch()\n\n\nclass UNet(nn.Module):\n"
        '    """A small net.\n\n    Args:\n        n_channels: of the image,\n            all of them.\n    """\n\n'
        "    def __init__(self, n_channels, n_classes, bilinear=False):\n        super().__init__()\n"
        "        self.inc = Double(n_channels, WIDTH)\n        self.outc = nn.Conv2d(WIDTH, n_classes, 1)\n\n"
        "    def forward(self, x):\n        return self.outc(self.inc(x))\n"
    )
    (folder / "utils" / "data.py").write_text("WIDTH = 4\n")
    return folder / top / "unet_model.py"


def weights_of(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    inc, outc = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
    state = {f"inc.conv.{key}": value for key, value in inc.state_dict().items()}
    torch.save({**state, **{f"outc.{key}": value for key, value in outc.state_dict().items()}}, path)
    return path


def test_a_class_in_a_file_of_ones_own_runs_after_a_yes_alone_and_is_copied(tmp_path):
    file = repository(tmp_path / "Pytorch-UNet")
    path = weights_of(tmp_path / "best.pth")
    given = {"labels": ["background", "car"], "intensity": []}
    names = {name for name in sys.modules if name.partition(".")[0] in ("unet", "utils")}
    with pytest.raises(
        sx.UserError, match=r"would run the module 'unet\.unet_model'.*a file of its own.*trust=True"
    ):
        sx.load_model(path, architecture=f"{file}:UNet", card=given)
    assert not file.with_name("ran").exists()
    model = sx.load_model(path, architecture=f"{file}:UNet", card=given, trust=True)
    assert file.with_name("ran").exists()
    assert model.notes[0] == "n_channels=1, n_classes=2 of the network were read from best.pth."
    folder = sx.save_model(model, tmp_path / "car")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert found == {"unet/__init__.py", "unet/unet_model.py", "unet/unet_parts.py", "utils/data.py"}
    with pytest.raises(sx.UserError, match="which came with the card"):
        sx.load_model(folder)
    again = sx.load_model(folder, trust=True)
    assert again.sha256 == model.sha256
    np.testing.assert_array_equal(again.predict(gray()), model.predict(gray()))
    # another repository with modules of the same names, and nothing left of either
    other = repository(tmp_path / "other")
    (tmp_path / "other" / "utils" / "data.py").write_text("WIDTH = 5\n")
    with pytest.raises(sx.UserError, match="do not fit the architecture: the file is of other sizes"):
        sx.load_model(path, architecture=f"{other}:UNet", card=given, trust=True)
    assert {name for name in sys.modules if name.partition(".")[0] in ("unet", "utils")} == names
    # what other processes and copied scripts are told
    lines = "\n".join(model_lines(model))
    assert f"architecture={f'{file}:UNet'!r}, trust=True" in lines
    scope: dict = {"sx": sx}
    exec("\n".join(line.removeprefix("# ") if "trust=True" in line else line for line in lines.splitlines()
                   if not line.startswith("model =")), scope)  # fmt: skip
    assert scope["model"].sha256 == model.sha256
    assert order_of(_Plan(model))["architecture"] == f"{file}:UNet"


class _Plan:
    """What `order_of` reads of a plan."""

    def __init__(self, model):
        self.model, self.question, self.device, self.jobs = model, {}, torch.device("cpu"), ()


def test_the_class_that_a_script_hands_over_is_named_by_its_file(tmp_path, monkeypatch):
    file = repository(tmp_path / "repo", "segxai_test_net")
    path = weights_of(tmp_path / "best.pth")
    monkeypatch.syspath_prepend(str(file.parents[1]))
    (file.parents[1] / "utils").rename(file.parents[1] / "segxai_test_utils")
    file.write_text(file.read_text().replace("utils.data", "segxai_test_utils.data"))
    from segxai_test_net import UNet as own  # type: ignore[import-not-found]

    model = sx.load_model(path, architecture=own, card={"labels": ["background", "car"], "intensity": []})
    assert model.card.architecture == "segxai_test_net.unet_model:UNet"
    assert model.architecture == f"{file}:UNet"
    assert type(model.module) is own
    folder = sx.save_model(model, tmp_path / "out")
    assert (folder / "segxai_test_utils" / "data.py").is_file()
    for name in [name for name in sys.modules if name.startswith("segxai_test")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["my-net.py", "broken.py", "empty.py"])
def test_files_that_hold_no_such_class_are_answered(tmp_path, name):
    path = weights_of(tmp_path / "best.pth")
    (tmp_path / name).write_text({"my-net.py": "class Net: pass", "broken.py": "def (", "empty.py": ""}[name])
    with pytest.raises(
        sx.UserError, match=r"rename it to letters|is not Python|defines no class 'Net'; .* none at all"
    ):
        sx.load_model(
            path, architecture=f"{tmp_path / name}:Net", card={"labels": ["a", "b"], "intensity": []}
        )


def test_a_folder_is_not_replaced_unasked_nor_one_of_other_files(tmp_path):
    model = sx.load_model("triangle")
    folder = sx.save_model(model, tmp_path / "mine")
    with pytest.raises(
        sx.UserError, match="already holds a model; name another folder, or replace it with --overwrite"
    ):
        sx.save_model(model, folder)
    changed = sx.load_model(model, card={"name": "changed"})
    assert sx.load_model(sx.save_model(changed, folder, overwrite=True)).name == "changed"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.csv").touch()
    with pytest.raises(sx.UserError, match="holds other files and no model"):
        sx.save_model(model, tmp_path / "other", overwrite=True)
    wrong = sx.load_model(
        network(), card=card(labels=SAID["labels"], architecture=ZOO, arguments={"features": [2, 2]})
    )
    with pytest.raises(sx.UserError, match=r"does not open again from a folder: .*do not fit"):
        sx.save_model(wrong, tmp_path / "wrong")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "other"]


def test_the_command_line_takes_architecture_and_arguments_and_saves(tmp_path):
    path, part = tmp_path / "best.pth", tmp_path / "part.yaml"
    torch.save(network().state_dict(), path)
    part.write_text(yaml.safe_dump(SAID))
    told = [str(path), "--card", str(part), "--architecture", ZOO, "--arguments", "features=[2, 2]"]
    result = CliRunner().invoke(app, ["layers", *told])
    assert result.exit_code == 0, result.output
    assert "encoder1" in result.output
    result = CliRunner().invoke(app, ["save-model", *told, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "note: out_channels=3 of the network was read from best.pth." in result.output
    assert sx.load_model(tmp_path / "out").name == "best"
    result = CliRunner().invoke(app, ["layers", *told[:-1], "features=[2"])
    assert result.exit_code == 2
    assert "--arguments features: '[2' is no value" in result.stderr


def test_arguments_are_told_with_what_their_docstring_says():
    class Net(nn.Module):
        """A net.

        Parameters
        ----------
        width : int
            Of the first block.

            More.
        depth : int
            How deep.
        """

        def __init__(self, width, depth: int = 3, *, act: str = "relu", **more):
            """Make it.

            Args:
                act: what comes after
                    each block.
            """

    found = arguments_of(Net)
    assert [(a.name, a.required, a.default, a.help) for a in found] == [
        ("width", True, None, "Of the first block."),
        ("depth", False, 3, "How deep."),
        ("act", False, "relu", "what comes after each block."),
    ]


def test_weights_in_several_files_open_by_their_index_or_any_of_them(tmp_path):
    torch.manual_seed(0)
    network = UNet(features=(4, 8), out_channels=3)
    state, parts = network.state_dict(), [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    names = sorted(state)
    for k, part in enumerate(parts):
        save_file({name: state[name] for name in names[k::2]}, tmp_path / part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: parts[k % 2] for k, name in enumerate(names)}}))
    fields = {"labels": ["background", "a", "b"], "intensity": [], "name": "parts"}
    for source in (index, tmp_path / parts[1]):
        model = sx.load_model(
            source,
            architecture="napari_segxai.models.zoo.unet:UNet",
            arguments={"features": [4, 8], "out_channels": 3},
            card=fields,
        )
        x = model.example()
        with torch.no_grad():
            assert torch.equal(model.network_output(x), network.eval()(x))
    (tmp_path / parts[0]).unlink()
    with pytest.raises(sx.UserError, match="1 of 2 files of weights are missing"):
        sx.load_model(index, architecture="napari_segxai.models.zoo.unet:UNet", card=fields)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".tar", ".bin"])
def test_a_file_that_is_cut_off_is_said_to_be_before_anything_is_asked_about_it(tmp_path, suffix):
    whole, cut = tmp_path / "whole.pth", tmp_path / f"cut{suffix}"
    torch.save({"conv.weight": torch.ones(2, 1, 3, 3)}, whole)
    cut.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(sx.UserError, match=r"is cut off or damaged.*copy or download it again"):
        stored_card(cut)
    with pytest.raises(sx.UserError, match="is cut off or damaged"):
        sx.load_model(cut, architecture="napari_segxai.models.zoo.unet:UNet")
