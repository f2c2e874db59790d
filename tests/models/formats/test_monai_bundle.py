"""MONAI bundles as data: what is read, what is asked, what is refused, and that nothing of them runs."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_segxai as sx
from napari_segxai.models.formats.monai_bundle.config import Config, Unread
from napari_segxai.models.formats.monai_bundle.preprocessing import read_transforms
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.partial_card import CardIncomplete
from napari_segxai.models.registry import stored_card
from napari_segxai.models.zoo.unet import UNet

DATA = Path(__file__).parents[2] / "data" / "monai_bundle"

BUNDLES = ("ct", "mri", "photo")


def case(name: str) -> sx.Image:
    """The case that was frozen beside a bundle."""
    image = sx.read_image(next((DATA / name / "frozen").glob("case*")))
    if name != "ct" and image.channel_axis is None:
        image = sx.Image(image.array, affine=image.affine, channel_axis=image.ndim - 1)
    return image


def change(root: Path, **keys) -> Path:
    """Write other keys into a copy's configuration."""
    path = root / "configs/inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    return root


def facts_of(root: Path) -> dict:
    return json.loads((root / "configs/metadata.json").read_text())


def about(root: Path, **keys) -> Path:
    """Write other keys into a copy's metadata."""
    path = root / "configs/metadata.json"
    path.write_text(json.dumps({**facts_of(root), **keys}))
    return root


@pytest.fixture
def own(tmp_path):
    """A bundle with a network of this package, which needs no MONAI: JSON, two labels, weights in the way of MONAI."""
    root = tmp_path / "own"
    shutil.copytree(DATA / "photo", root, ignore=shutil.ignore_patterns("frozen", "models"))
    (root / "models").mkdir()
    network = UNet(3, 2, (4, 8))
    torch.save({"model": network.state_dict()}, root / "models/model.pt")
    target = "napari_segxai.models.zoo.unet.UNet"
    shape = {"image": {"channel_def": {"0": "r", "1": "g", "2": "b"}, "spatial_shape": [48, 32]}}
    about(root, network_data_format={**facts_of(root)["network_data_format"], "inputs": shape})
    return change(
        root,
        network_def={"_target_": target, "in_channels": 3, "out_channels": "@outputs", "features": [4, 8]},
        outputs=2,
    )


def refused(path: Path, **how) -> str:
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(path, **how)
    text = str(caught.value)
    assert "\n" not in text
    return text


def asked(path: Path, **how) -> dict[str, str]:
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(path, **how)
    return caught.value.missing


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


# ---------------------------------------------------------------- what is asked


def test_labels_that_do_not_fit_the_network_are_asked(own):
    outputs = {"pred": {"format": "segmentation", "channel_def": {"0": "background"}}}
    about(own, network_data_format={**facts_of(own)["network_data_format"], "outputs": outputs})
    change(own, network_def={"_target_": "UNet", "in_channels": 3, "out_channels": 2})
    said = asked(own)
    assert list(said) == ["labels"]
    assert "the network's 2 outputs" in said["labels"]
    assert "metadata.json names 1: background" in said["labels"]
    with pytest.raises(sx.UserError, match=r"pip install .*monai|do not fit the architecture"):
        sx.load_model(own, card={"labels": ["background", "disc"]})


def test_a_bundle_without_metadata_asks_and_is_completed(own):
    (own / "configs/metadata.json").unlink()
    config = json.loads((own / "configs/inference.json").read_text())
    transforms = [one for one in config["preprocessing"]["transforms"] if one["_target_"] != "Resized"]
    change(own, postprocessing=None, preprocessing={"_target_": "Compose", "transforms": transforms})
    assert set(asked(own)) == {"labels", "activation", "spatial_dims"}
    given = {"labels": ["background", "disc"], "activation": "softmax", "spatial_dims": 2}
    model = sx.load_model(own, card={**given, "channels": ["r", "g", "b"]})
    assert model.labels == ("background", "disc")


def test_arguments_that_are_expressions_are_asked_with_what_is_known(own):
    network = json.loads((own / "configs/inference.json").read_text())["network_def"]
    change(own, network_def={**network, "out_channels": "$sum([1, 1])"})
    said = asked(own)
    assert "out_channels is '$sum([1, 1])'" in said["arguments"]
    given = {"in_channels": 3, "out_channels": 2, "features": [4, 8]}
    assert sx.load_model(own, card={"arguments": given}).labels == ("background", "disc")


def test_a_network_that_is_an_expression_is_asked(own):
    change(own, network_def="$monai.networks.nets.vista3d132(in_channels=1)")
    assert "vista3d132" in asked(own)["architecture"]


@pytest.mark.parametrize(
    ("inferer", "why"),
    [
        ({"_target_": "scripts.Mine"}, "scripts.Mine"),
        (None, "no inferer"),
        ({"_target_": "SlidingWindowInferer", "roi_size": [-1, 96]}, "roi_size"),
        ({"_target_": "SlidingWindowInferer", "roi_size": "$[96, 2**5]"}, "roi_size"),
        ({"_target_": "SlidingWindowInferer", "roi_size": [96, 96], "overlap": [0.5, 0.25]}, "overlap"),
        ({"_target_": "SlidingWindowInferer", "roi_size": [96, 96], "padding_mode": "circular"}, "circular"),
        (
            {"_target_": "SlidingWindowInferer", "roi_size": [9, 9], "mode": "gaussian", "sigma_scale": 0.2},
            "0.2",
        ),
    ],
)
def test_an_inferer_that_cannot_be_said_is_asked(own, inferer, why):
    change(own, inferer=inferer)
    assert why in asked(own)["windows"]
    assert sx.load_model(own, card={"windows": None}).windows is None


def test_slices_of_a_volume_are_prepared_as_one(own):
    change(
        own, inferer={"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2}, preprocessing=[]
    )
    change(own, preprocessing=[{"_target_": "ScaleIntensityd", "keys": "image"}])
    card = stored_card(own)
    assert (card.spatial_dims, card.orientation, card.intensity_on) == (2, "kij", "volume")
    assert card.windows.size == (32, 32)


@pytest.mark.parametrize(
    ("outputs", "fields"),
    [
        ([{"_target_": "AsDiscreted", "argmax": [True]}], {"activation": "softmax"}),
        (
            [{"_target_": "Activationsd", "sigmoid": True}, {"_target_": "AsDiscreted", "threshold": 0.3}],
            {"threshold": 0.3},
        ),
        (
            [{"_target_": "Activationsd", "sigmoid": True}, {"_target_": "AsDiscreted", "argmax": True}],
            {"activation": "softmax"},
        ),
    ],
)
def test_what_becomes_of_outputs_is_read(own, outputs, fields):
    change(own, postprocessing={"_target_": "Compose", "transforms": outputs})
    card = stored_card(own)
    assert {key: getattr(card, key) for key in fields} == fields


def test_a_threshold_on_bare_outputs_asks_what_they_are(own):
    change(
        own,
        postprocessing={"_target_": "Compose", "transforms": [{"_target_": "AsDiscreted", "threshold": 0.5}]},
    )
    assert list(asked(own)) == ["values"]


def test_what_is_left_out_is_said(own):
    config = json.loads((own / "configs/inference.json").read_text())
    config["postprocessing"]["transforms"].append(
        {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}
    )
    config["preprocessing"]["transforms"].append({"_target_": "DivisiblePadd", "keys": "image", "k": 16})
    change(own, **config)
    notes = " ".join(sx.load_model(own).notes)
    assert "KeepLargestConnectedComponentd of the bundle is left out" in notes
    assert "DivisiblePadd of the bundle is left out" in notes


def step(name: str, **own) -> dict:
    return {"_target_": name, "keys": ["image"], **own}


LOAD = step("LoadImaged")
SPACE = step("Spacingd", pixdim=[1, 1, 2])


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([step("ScaleIntensityRanged", a_min=0, a_max=10)], [{"normalize": {"mean": [0], "std": [10]}}]),
        ([step("ScaleIntensityd", minv=-1)], [{"rescale": [-1, 1.0]}]),
        ([step("ScaleIntensityd", minv=None, maxv=None, factor=1)], [{"scale_shift": [2, 0]}]),
        (
            [step("NormalizeIntensityd", channel_wise=True)],
            [{"standardize": "image"}],
        ),
        ([step("NormalizeIntensityd", nonzero="True")], [{"standardize": "nonzero values"}]),
        (
            [step("NormalizeIntensityd", subtrahend=[1, 2], divisor=[3, 0], channel_wise=True)],
            [{"normalize": {"mean": [1, 2], "std": [3, 1.0]}}],
        ),
        (
            [step("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=1, clip=True)],
            [{"percentile_range": [1, 99], "jointly": True}, {"clip": [0, 1]}],
        ),
        ([step("ClipIntensityPercentilesd", lower=None, upper=99)], [{"clip_percentiles": [0, 99]}]),
        ([step("ShiftIntensityd", offset=5)], [{"scale_shift": [1, 5]}]),
        ([{"_target_": "ScaleIntensityd", "keys": "label"}, step("EnsureTyped"), step("ToTensord")], []),
        (
            [{"_target_": "monai.transforms.ScaleIntensityd", "keys": ["image", "label"]}],
            [{"rescale": [0.0, 1.0]}],
        ),
    ],
)
def test_intensity_transforms_are_steps(transforms, expected):
    found = read_transforms({"_target_": "Compose", "transforms": [LOAD, *transforms]}, ("a", "b"), 3, None)
    assert not found.asked
    assert found.fields["intensity"] == expected


@pytest.mark.parametrize(
    ("transforms", "key", "why"),
    [
        ([step("GaussianSmoothd", sigma=1)], "intensity", "GaussianSmoothd"),
        ([step("scripts.mine.Magicd")], "intensity", "scripts.mine.Magicd"),
        ([Unread("$x()")], "intensity", "$x()"),
        (
            [step("ScaleIntensityRanged", a_min=Unread("$np.min(x)"), a_max=1)],
            "intensity",
            "a_min is '$np.min(x)'",
        ),
        ([step("ScaleIntensityRanged", a_min=1, a_max=1)], "intensity", "ScaleIntensityRange"),
        (
            [step("NormalizeIntensityd", nonzero=True, subtrahend=1, divisor=2)],
            "intensity",
            "NormalizeIntensity",
        ),
        ([step("ScaleIntensityd"), SPACE, step("NormalizeIntensityd")], "intensity", "some come before"),
        ([step("CastToTyped", dtype="uint8")], "intensity", "uint8"),
        ([SPACE, step("CropForegroundd"), step("NormalizeIntensityd")], "intensity", "CropForeground"),
        ([step("Spacingd", pixdim=[1, 1, -1])], "grid", "pixdim"),
        ([step("Spacingd", pixdim=1, diagonal=True)], "grid", "diagonal"),
        ([step("Spacingd", pixdim=1, mode=3)], "grid", "mode 3"),
        ([step("Resized", spatial_size=64, size_mode="longest")], "grid", "size_mode"),
        ([SPACE, step("Resized", spatial_size=[8, 8, 8])], "grid", "resampled"),
        ([step("RandFlipd"), step("Rotate90d")], "grid", "Rotate90d"),
        ([step("Orientationd", axcodes="RA")], "orientation", "three letters"),
        ([SPACE, step("Orientationd", axcodes="RAS")], "orientation", "after the image is resampled"),
        ([step("Transposed", indices=[0, 3, 1, 2])], "orientation", "order of the axes"),
    ],
)
def test_what_no_card_can_say_is_named_and_asked(transforms, key, why):
    found = read_transforms({"_target_": "Compose", "transforms": [LOAD, *transforms]}, ("image",), 3, None)
    assert why in found.asked[key]


def test_files_that_are_joined_are_channels():
    files = ["a", "b"]
    found = read_transforms(
        [
            {"_target_": "LoadImaged", "keys": [*files, "label"]},
            {"_target_": "ScaleIntensityd", "keys": files},
            {"_target_": "ShiftIntensityd", "keys": "b", "offset": 1},
            {"_target_": "ConcatItemsd", "keys": files, "name": "image"},
            {"_target_": "NormalizeIntensityd", "keys": "image"},
        ],
        ("T1", "T2"),
        3,
        None,
    )
    assert not found.asked
    assert found.fields["intensity"] == [
        {"rescale": [0.0, 1.0], "channels": ["T1"]},
        {"rescale": [0.0, 1.0], "channels": ["T2"]},
        {"scale_shift": [1, 1], "channels": ["T2"]},
        {"standardize": "image", "jointly": True},
    ]


# ---------------------------------------------------------------- files that are not there


def test_weights_that_are_missing(own):
    (own / "models/model.pt").rename(own / "models/other.pt")
    assert "the weights are missing (there: other.pt; name it" in refused(own)
    assert sx.load_model(own, card={"weights": "other.pt"}).labels == ("background", "disc")
    shutil.rmtree(own / "models")
    assert "download the whole bundle" in refused(own)


def test_a_pointer_of_git_lfs(own):
    (own / "models/model.pt").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 19\n"
    )
    assert "is a pointer of Git LFS" in refused(own)


def test_a_file_that_is_cut_off(own):
    whole = (own / "models/model.pt").read_bytes()
    (own / "models/model.pt").write_bytes(whole[: len(whole) // 2])
    assert "is cut off or damaged" in refused(own)


def test_weights_of_another_network(own):
    torch.save(UNet(3, 2, (4, 12)).state_dict(), own / "models/model.pt")
    assert "do not fit the architecture" in refused(own)


def test_a_pickled_network_is_never_unpickled(own):
    torch.save(torch.nn.Conv2d(3, 2, 1), own / "models/model.pt")
    assert "never unpickled" in refused(own)


def test_the_name_of_the_weights_stays_in_its_folder(own):
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/../../../etc/model.pt'"}
    change(own, checkpointloader=loader)
    assert stored_card(own).weights == "model.pt"


@pytest.mark.skipif(find_spec("monai") is not None, reason="MONAI is installed")
def test_monai_is_asked_for_where_only_its_network_helps(tmp_path):
    root = tmp_path / "ct"
    shutil.copytree(DATA / "ct", root, ignore=shutil.ignore_patterns("frozen", "*.ts"))
    assert "its network UNet is one of MONAI's; install that: pip install " in refused(root)
    shutil.copy(DATA / "ct/models/model.ts", root / "models")
    assert "MONAI is not installed" in sx.load_model(root).notes[0]


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 1, "a": 2}', ""])
def test_files_that_are_no_configuration(own, text):
    (own / "configs/inference.json").write_text(text)
    assert str(own / "configs/inference.json") in refused(own)


@pytest.mark.parametrize(
    "facts", [{}, {"network_data_format": []}, {"name": 3, "network_data_format": {"outputs": {"a": 1}}}]
)
def test_metadata_of_another_form_say_nothing(own, facts):
    (own / "configs/metadata.json").write_text(json.dumps(facts))
    assert "labels" in asked(own)
