"""MONAI bundles as data: what is read, what is asked, what is refused, and that nothing of them runs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.monai_bundles import BUNDLES, DATA, case, change, make_own, refused

import napari_segxai as sx
from napari_segxai.models.formats.monai_bundle.config import Config, Unread
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.registry import stored_card


@pytest.fixture
def own(tmp_path):
    return make_own(tmp_path)


# ---------------------------------------------------------------- as MONAI


@pytest.mark.parametrize("name", BUNDLES)
def test_input_logits_and_labels_are_monai_s(name):
    model, image, frozen = sx.load_model(DATA / name), case(name), np.load(DATA / name / "frozen/monai.npz")
    seen = model.prepare(image).tensor
    np.testing.assert_allclose(seen[0].numpy(), frozen["input"], atol=1e-6)
    with torch.no_grad():
        logits = model.logits(seen)[0].numpy()
    theirs = frozen["logits"]
    np.testing.assert_allclose(logits[-len(theirs) :], theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())
    labels = frozen["labels"] if model.overlapping else frozen["labels"][0]
    labels = labels.T if name == "photo" else labels  # MONAI takes the columns of a picture first
    assert len(np.unique(labels)) == (2 if model.overlapping else len(model.labels))
    np.testing.assert_array_equal(model.predict(image), labels)


def test_a_gradient_goes_through_the_windows_of_the_torchscript_file():
    model = sx.load_model(DATA / "ct", card={"weights": "model.ts"})
    assert "TorchScript" in model.notes[0]
    found = sx.explain(model, case("ct"), "lesion", "vanilla-gradient")
    assert found.map.shape == case("ct").spatial_shape
    assert np.abs(found.map).max() > 0


# ---------------------------------------------------------------- what is read


def test_the_card_of_a_volume():
    card = stored_card(DATA / "ct")
    assert card.labels == ("background", "organ", "lesion")
    assert card.channels == ("CT",)
    assert (card.orientation, card.spatial_dims, card.activation) == ("RAS", 3, "softmax")
    assert (card.grid.spacing, card.grid.align, card.grid.back) == ((1.5, 1.5, 2), "centers", "probabilities")
    assert [step.kind for step in card.intensity] == ["normalize", "scale_shift", "clip"]
    assert card.windows.size == (16, 16, 12)
    assert (card.windows.rule, card.windows.weighting, card.windows.overlap) == ("monai", "gaussian", 0.5)
    assert card.architecture == "monai.networks.nets:UNet"
    assert card.arguments["out_channels"] == 3
    assert card.weights == "model.pt"


def test_the_card_of_two_channels_in_yaml():
    card = stored_card(DATA / "mri")
    assert card.labels == ("background", "whole", "core")
    assert card.overlapping
    assert card.background_output is False
    assert (card.orientation, card.grid.crop) == ("ijk", "positive")
    assert [step.channels for step in card.intensity] == [("T1",), ("T2",)]
    assert card.arguments["in_channels"] == 2  # $len(@modalities)


def test_a_picture_has_its_columns_first():
    card = stored_card(DATA / "photo")
    assert (card.orientation, card.grid.size, card.grid.antialias) == ("kij", (48, 32), False)
    assert card.windows is None


def test_every_path_of_a_bundle_means_it(own):
    whole = sx.load_model(own)
    assert "MONAI bundle own" in whole.source
    assert not whole.notes
    for path in (own / "configs", own / "configs/inference.json", own / "models/model.pt", own.parent):
        assert sx.load_model(path).sha256 == whole.sha256
    shutil.copytree(own, own.parent / "deep/inner/own")
    assert sx.load_model(own.parent / "deep/inner").sha256 == whole.sha256
    shutil.copytree(own, own.parent / "second")
    assert "holds 2 MONAI bundles; name one of them: own, second." in refused(own.parent)


def test_another_configuration_is_named(own):
    (own / "configs/inference.json").rename(own / "configs/evaluate.json")
    assert "has no configs/inference.json (or .yaml)" in (said := refused(own))
    assert "evaluate.json" in said
    assert sx.load_model(own / "configs/evaluate.json").labels == ("background", "disc")


VALUES = {
    "plain": [1, "two", None],
    "to": "@plain::1",
    "old": "@plain#0",
    "whole": "$@plain",
    "sum": "$@plain::0 + 2 * 3",
    "minus": "$-@sum / 2",
    "chosen": "$'a.pt' if @flags::high else 'b.pt'",
    "flags": {"high": True},
    "path": "$@root + '/models/' + @chosen",
    "root": ".",
    "joined": "$os.path.join(@root, 'x', 'y.pt')",
    "counted": "$len(@plain) + 1",
    "key": "$monai.utils.CommonKeys.IMAGE",
    "net": {"_target_": "UNet", "in_channels": "@sum"},
    "moved": "$@net.to(@device)",
    "asleep": "$@net.to(@device).eval()",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "word": "a@b.c",
    "item": "$@plain[1]",
    "less": "$not (@sum < 3)",
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("to", "two"),
        ("old", 1),
        ("whole", [1, "two", None]),
        ("sum", 7),
        ("minus", -3.5),
        ("path", "./models/a.pt"),
        ("joined", "./x/y.pt"),
        ("counted", 4),
        ("key", "image"),
        ("moved", {"_target_": "UNet", "in_channels": 7}),
        ("asleep", {"_target_": "UNet", "in_channels": 7}),
        ("word", "a@b.c"),
        ("item", "two"),
        ("less", True),
    ],
)
def test_plain_values_are_worked_out(tmp_path, key, value):
    (path := tmp_path / "a.json").write_text(json.dumps(VALUES))
    assert Config(path).get(key) == value


MALICE = [
    "$import os",
    "$open('MARK', 'w').write('x')",
    "$__import__('os').system('touch MARK')",
    "$[x for x in ().__class__.__base__.__subclasses__()]",
    "$(lambda: open('MARK', 'w'))()",
    "$@plain.__class__",
    "$'a' * 10**9",
    "$9**9**9",
    "$1 / 0",
    "$len(open('MARK', 'w').name)",
    "$@nothing",
    "@nothing::here",
    "$" + "(" * 500,
    "$" + "-" * 1500 + "1",
    "%other.json::key",
    "$'{0.__class__}'.format(@plain)",
    "$exec('1')",
]


@pytest.mark.parametrize("text", MALICE)
def test_anything_else_is_kept_as_it_stands_and_does_not_run(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (path := tmp_path / "a.json").write_text(json.dumps({**VALUES, "bad": text, "other": ["@bad"]}))
    config = Config(path)
    assert config.get("bad") == Unread(text)
    assert config.get("other") == [Unread(text)]
    assert not (tmp_path / "MARK").exists()


def test_circles_and_bombs_end(tmp_path):
    doubling = {f"a{k}": f"$@a{k + 1} + @a{k + 1}" for k in range(60)} | {"a60": ["x"]}
    nested = {f"b{k}": [f"@b{k + 1}"] * 10 for k in range(30)} | {"b30": 1}
    (path := tmp_path / "a.json").write_text(
        json.dumps({"one": "@two", "two": {"x": "@one"}, **doubling, **nested})
    )
    assert isinstance(Config(path).get("a0"), Unread)
    for key in ("one", "b0"):
        with pytest.raises(sx.UserError, match="in a circle, or to far too much"):
            Config(path).get(key)


# ---------------------------------------------------------------- what is not run


@pytest.mark.parametrize("target", ["subprocess.run", "os.system", "builtins.eval", "shutil.rmtree"])
def test_no_other_function_is_called(own, tmp_path, target):
    mark = tmp_path / "MARK"
    change(own, network_def={"_target_": target, "args": ["touch", str(mark)]})
    for trust in (False, True):
        assert "part of Python, which has no networks" in refused(own, trust=trust)
    change(own, network_def={"_target_": "numpy.save", "file": str(mark), "arr": 1})
    with pytest.raises(UntrustedCode):
        sx.load_model(own)
    assert "is not a torch.nn.Module class" in refused(own, trust=True)
    assert not mark.exists()


def test_code_of_the_bundle_runs_after_a_yes_alone(own):
    (own / "scripts").mkdir()
    (own / "scripts/net.py").write_text(
        "from pathlib import Path\nfrom napari_segxai.models.zoo.unet import UNet\n"
        "(Path(__file__).parent / 'RAN').touch()\nclass Net(UNet): pass\n"
    )
    network = json.loads((own / "configs/inference.json").read_text())["network_def"]
    change(own, network_def={**network, "_target_": "scripts.net.Net"})
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(own)
    assert caught.value.path == own / "scripts/net.py"
    assert not (own / "scripts/RAN").exists()
    assert type(sx.load_model(own, trust=True).module).__name__ == "Net"
    assert (own / "scripts/RAN").exists()


def test_imports_and_what_is_not_needed_are_not_looked_at(own):
    change(own, imports=["$import does_not_exist"], handlers="$1/0", dataset={"_target_": "nothing.at.all"})
    assert sx.load_model(own).labels == ("background", "disc")
