"""MONAI bundles: what is asked where their files do not say it plainly, and files that are missing."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from helpers.monai_bundles import DATA, about, asked, change, facts_of, make_own, refused

import napari_segxai as sx
from napari_segxai.models.formats.monai_bundle.config import Unread
from napari_segxai.models.formats.monai_bundle.preprocessing import read_transforms
from napari_segxai.models.registry import stored_card
from napari_segxai.models.zoo.unet import UNet


@pytest.fixture
def own(tmp_path):
    return make_own(tmp_path)


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
    change(own, **config)
    notes = " ".join(sx.load_model(own).notes)
    assert "KeepLargestConnectedComponentd of the bundle is left out" in notes


def step(name: str, **own) -> dict:
    return {"_target_": name, "keys": ["image"], **own}


LOAD = step("LoadImaged")
SPACE = step("Spacingd", pixdim=[1, 1, 2])
SCALE = step("ScaleIntensityRanged", a_min=0, a_max=10)


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
    ("transforms", "expected"),
    [
        (
            [SCALE, step("DivisiblePadd", k=16)],
            {"multiple": [16] * 3, "at": "both", "mode": "constant", "value": 0},
        ),
        (
            [step("SpatialPadd", spatial_size=[96, -1, 8], method="end", mode=["edge"]), SCALE],
            {"size": [96, 0, 8], "at": "end", "mode": "replicate", "value_of": "image"},
        ),
        (
            [step("BorderPadd", spatial_border=[1, 2, 3], value=-1)],
            {"border": [[1, 1], [2, 2], [3, 3]], "mode": "constant", "value": -1},
        ),
    ],
)
def test_padding_is_said_by_the_grid(transforms, expected):
    found = read_transforms({"_target_": "Compose", "transforms": [LOAD, *transforms]}, ("image",), 3, None)
    assert not found.asked
    assert found.grid == {"pad": expected}


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([step("CropForegroundd"), SPACE], "image"),
        ([SPACE, step("CropForegroundd", source_key="image"), SCALE], "grid"),
        ([SPACE, SCALE, step("CropForegroundd", source_key="image", allow_smaller=True)], "network"),
    ],
)
def test_a_crop_is_said_where_it_comes(transforms, expected):
    found = read_transforms({"_target_": "Compose", "transforms": [LOAD, *transforms]}, ("image",), 3, None)
    assert not found.asked
    assert (found.grid["crop"], found.grid.get("crop_on", "image")) == ("positive", expected)


def test_slices_are_padded_within_alone():
    pads = [step("DivisiblePadd", k=[8, 4, 1]), step("DivisiblePadd", k=8)]
    within, across = (
        read_transforms({"_target_": "Compose", "transforms": [LOAD, pad]}, ("image",), 2, 2) for pad in pads
    )
    assert within.grid["pad"]["multiple"] == [8, 4]
    assert "before or behind the volume" in across.asked["grid"]


def test_without_a_configuration_for_inference_that_of_the_training_is_read(own):
    path = own / "configs/inference.json"
    config = json.loads(path.read_text())
    steps = config.pop("preprocessing")["transforms"]
    flip = {"_target_": "RandFlipd", "keys": "image", "prob": 0.5}
    config["train"] = {"preprocessing": {"_target_": "Compose", "transforms": [*steps, flip]}}
    config["train"]["inferer"] = config.pop("inferer", {"_target_": "SimpleInferer"})
    config["train"]["postprocessing"] = config.pop("postprocessing")
    (own / "configs/train.json").write_text(json.dumps(config))
    before = stored_card(own)
    path.unlink()
    model = sx.load_model(own)
    assert model.card == before
    notes = " ".join(model.notes)
    assert "train.json, which is not for inference" in notes
    assert "RandFlipd of the bundle's training is left out" in notes


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
        (
            [SPACE, step("CropForegroundd"), step("NormalizeIntensityd")],
            "intensity",
            "measures the cropped image",
        ),
        ([step("DivisiblePadd", k=4), step("ScaleIntensityd")], "intensity", "measures the padded image"),
        (
            [SCALE, step("DivisiblePadd", k=4), SCALE],
            "intensity",
            "before the image is padded and some after",
        ),
        ([step("CropForegroundd", margin=3)], "grid", "margin 3"),
        ([step("CropForegroundd", k_divisible=[8, 8, 8])], "grid", "k_divisible"),
        ([step("CropForegroundd", source_key="label")], "grid", "crops to what 'label' holds"),
        ([step("DivisiblePadd", k=8), step("SpatialPadd", spatial_size=8)], "grid", "pads what was padded"),
        ([step("DivisiblePadd", k=8), step("CropForegroundd")], "grid", "crops what was padded"),
        ([step("DivisiblePadd", k=8), SPACE], "grid", "resamples what was cropped or padded"),
        ([step("SpatialPadd", spatial_size=[8, 8])], "grid", "spatial_size [8, 8]"),
        ([step("SpatialPadd", spatial_size=8, mode="wrap")], "grid", "mode 'wrap'"),
        ([step("BorderPadd", spatial_border=Unread("$f()"))], "grid", "spatial_border '$f()'"),
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


def test_a_class_that_is_not_there_and_a_number_of_axes_that_no_image_has_are_told(own):
    network = json.loads((own / "configs/inference.json").read_text())["network_def"]
    change(own, network_def={**network, "_target_": "torch.nn.Conv2dd"})
    assert "'torch.nn:Conv2dd' is not a torch.nn.Module class; did you mean 'Conv2d'?" in refused(own)
    change(own, network_def={**network, "spatial_dims": 4})
    assert "the network has spatial_dims 4; networks of 2 or 3 axes" in refused(own)
