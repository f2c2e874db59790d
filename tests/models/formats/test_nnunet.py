"""Folders of nnU-Net's results: which file is meant, what plans.json and dataset.json say, and one sentence for each usual failure."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.nnunet import CONFIGURATION, DATASET, LAYERS, network, plans, save_checkpoint, write_results
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.again import model_again
from napari_segxai.cli.app import app
from napari_segxai.models.formats.nnunet.load import read_card
from napari_segxai.models.zoo.nnunet import ResidualUNet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results") / "Dataset007_Spheres")


def refusal(path: Path) -> str:
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(path)
    text = str(caught.value)
    assert text.count("\n") == 0
    return text


def test_the_network_is_the_one_that_was_trained(folder):
    model, own = sx.load_model(folder), network()
    x = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        assert torch.equal(model.module(x), own(x))
    assert model.labels == ("background", "organ", "lesion")
    assert model.card.channels == ("CT",)
    assert model.name == "Spheres 3d_fullres (fold 0)"
    assert not model.module.training
    assert not any(weight.requires_grad for weight in model.module.parameters())
    assert model.card == read_card(folder)


def test_a_path_may_be_a_fold_a_checkpoint_or_a_folder_above(folder, tmp_path):
    for path in (
        folder.parent,
        folder.parent.parent,
        folder / "fold_0",
        folder / "fold_0" / "checkpoint_final.pth",
        folder / "plans.json",
    ):
        assert sx.load_model(str(path)).sha256 == sx.load_model(folder).sha256
    best = save_checkpoint(tmp_path / "a__b__3d_fullres" / "fold_2" / "checkpoint_best.pth", network(seed=5))
    for name in ("plans.json", "dataset.json"):
        shutil.copy(folder / name, best.parents[1])
    assert sx.load_model(best).sha256 != sx.load_model(folder).sha256
    assert "was not finished; name the file that is meant: " + str(best) in refusal(best.parents[1])


def test_all_numbered_folds_are_averaged_and_fold_all_is_for_itself(tmp_path):
    root = write_results(tmp_path, folds=("fold_0", "fold_1", "fold_all"))
    model = sx.load_model(root)
    x = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        np.testing.assert_allclose(model.module(x), (network(seed=0)(x) + network(seed=1)(x)) / 2, atol=1e-6)
        assert torch.equal(sx.load_model(root / "fold_all").module(x), network(seed=2)(x))
    assert any("mean of those of 2 networks: fold_0, fold_1" in note for note in model.notes)
    assert any("fold_all is left out" in note for note in model.notes)
    for fold in ("fold_0", "fold_1"):
        shutil.rmtree(root / fold)
    assert sx.load_model(root).name.endswith("(fold all)")


def test_several_models_in_one_folder_are_asked_for_by_name(tmp_path):
    for name in ("a__b__2d", "a__b__3d_fullres"):
        write_results(tmp_path, name=name)
    assert "holds 2 models of nnU-Net; name one of them: a__b__2d, a__b__3d_fullres." in refusal(tmp_path)


def test_the_card_says_how_images_are_prepared(tmp_path):
    told = plans(
        {
            "normalization_schemes": ["CTNormalization", "ZScoreNormalization", "NoNormalization"],
            "use_mask_for_norm": [False, True, False],
        },
        transpose_forward=[2, 0, 1],
    )
    dataset = {**DATASET, "channel_names": {"0": "CT", "1": "T1", "2": "T1"}}
    card = read_card(write_results(tmp_path, told=told, dataset=dataset))
    assert card.channels == ("CT", "T1 1", "T1 2")
    assert card.orientation == "ikj"
    assert (card.grid.crop, card.grid.spacing) == ("nonzero", (2, 1, 1))
    assert (card.grid.interpolation, card.grid.coarse_axis) == ("cubic", "nearest")
    assert card.intensity_on == "image"
    steps = [step.model_dump(exclude_unset=True) for step in card.intensity]
    assert steps == [
        {"clip": (-150, 250), "channels": ("CT",)},
        {"normalize": {"mean": (40,), "std": (100,)}, "channels": ("CT",)},
        {"standardize": "nonzero", "channels": ("T1 1",)},
    ]


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"image_reader_writer": "NibabelIOWithReorient"}, "orientation", "SAR"),
        ({"dataset_name": "Dataset291_TotalSegmentator_part1_organs_1559subj"}, "orientation", "SAR"),
        ({"image_reader_writer": "NibabelIO", "transpose_forward": [1, 0, 2]}, "orientation", "jki"),
    ],
)
def test_what_read_the_images_says_how_they_lie(changes, key, value, tmp_path):
    assert getattr(read_card(write_results(tmp_path, told=plans(**changes))), key) == value


def test_regions_may_overlap(tmp_path):
    dataset = {
        **DATASET,
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
    }
    model = sx.load_model(write_results(tmp_path, dataset=dataset))
    assert model.labels == ("background", "whole", "core", "enhancing")
    assert model.overlapping
    assert model.card.paint_order == ("whole", "core", "enhancing")
    assert model.card.ignored_values == (4,)
    assert model.card.regions == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert model.predict(
        sx.Image(np.zeros((8, 16, 16), np.float32), spacing=(2, 1, 1), units="mm")
    ).shape == (3, 8, 16, 16)


def test_pictures_have_no_millimetres(tmp_path):
    """nnU-Net reads them with a reader of their own, and plans of 2D networks say how."""
    two = {key: value[1:] for key, value in CONFIGURATION.items() if key in ("patch_size", "spacing")}
    arguments = {
        **CONFIGURATION["architecture"]["arch_kwargs"],
        "conv_op": "torch.nn.Conv2d",
        "norm_op": "torch.nn.InstanceNorm2d",
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
    }
    flat = {
        **two,
        "normalization_schemes": ["RGBTo01Normalization", "RescaleTo01Normalization", "ZScoreNormalization"],
        "use_mask_for_norm": [False, False, True],
        "architecture": {**CONFIGURATION["architecture"], "arch_kwargs": arguments},
    }
    told = plans(flat, image_reader_writer="NaturalImage2DIO")
    dataset = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": "0", "organ": "1"}}
    classes = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "kernel_sizes": 3, "strides": [1, 2]}
    module = network(inputs=3, outputs=2, **classes)
    model = sx.load_model(
        write_results(
            tmp_path, told=told, dataset=dataset, module=module, inference_allowed_mirroring_axes=(0, 1)
        )
    )
    values = np.random.default_rng(0).integers(1, 255, (20, 24, 3)).astype(np.uint8)
    values[:3] = values[10, 11] = 0
    prepared = model.prepare(sx.Image(values, channel_axis=2))
    seen, own = prepared.tensor[0].numpy(), values[3:].astype(np.float32)
    assert seen.shape == (3, 17, 24)
    np.testing.assert_array_equal(seen[0], own[..., 0] / np.float32(255))
    green = own[..., 1] - own[..., 1].min()
    np.testing.assert_array_equal(seen[1], green / green.max())
    inside = own.any(-1)  # a picture is one slice of a volume, in which no hole is closed
    blue = own[..., 2][inside]
    np.testing.assert_array_equal(seen[2][inside], (blue - blue.mean()) / blue.std())
    assert not seen[2][~inside].any()
    assert not model.predict(sx.Image(values, channel_axis=2))[:3].any()


def test_a_folder_of_totalsegmentator_takes_the_settings_of_its_program(tmp_path):
    """It opens one of several folders, turns volumes, and goes over them without mirroring, at a step of 0.8."""
    name = "Dataset291_TotalSegmentator_part1_organs_1559subj"
    told = plans(dataset_name=name)
    root = write_results(
        tmp_path / name,
        told=told,
        name="nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres",
        trainer_name="nnUNetTrainerNoMirroring",
    )
    assert sx.load_model(root).windows.mirror == (0, 2)  # as the checkpoint says
    settings = tmp_path / "totalsegmentator.yaml"
    settings.write_text("windows:\n  overlap: 0.2\n  mirror: []\n")
    for card in ({"windows": {"overlap": 0.2, "mirror": []}}, settings):
        model = sx.load_model(tmp_path / name, card=card)
        assert (model.windows.size, model.windows.overlap, model.windows.mirror) == ((8, 16, 16), 0.2, ())
        assert model.card.orientation == "SAR"
    turned = sx.load_model(root, card={"orientation": "kji"})
    assert turned.card.orientation == "kji"
    assert turned.windows.overlap == 0.5
    values = np.random.default_rng(0).normal(40, 80, (20, 20, 10)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([-1, 1, 2, 1])), tmp_path / "s0001.nii.gz")
    words = [
        "explain",
        str(tmp_path / "s0001.nii.gz"),
        "--model",
        str(root / "fold_0"),
        "--card",
        str(settings),
    ]
    words += ["--label", "organ", "--method", "vanilla-gradient", "--region", "image"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["model"]["windows"]["overlap"], record["model"]["windows"]["mirror"]) == (0.2, [])
    with pytest.raises(sx.UserError, match="sees images through other windows"):
        model_again(record["model"], sx.load_model(root / "fold_0"), "explanation")


def test_all_folds_and_one_through_the_command_line(tmp_path):
    root = write_results(tmp_path, folds=("fold_0", "fold_1", "fold_all"))
    for path, several in (("", True), ("fold_1", False), ("fold_all", False)):
        done = CliRunner().invoke(app, ["layers", str(root / path)])
        assert done.exit_code == 0, done.output
        assert "encoder.stages.0" in done.output
        assert ("networks.1.encoder.stages.0" in done.output) == several


def test_a_residual_network_and_one_with_batch_normalisation(tmp_path):
    residual = plans()
    own = residual["configurations"]["3d_fullres"]["architecture"]
    own["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    own["arch_kwargs"]["n_blocks_per_stage"] = own["arch_kwargs"].pop("n_conv_per_stage")
    both = copy.deepcopy(residual)
    both["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "architectures.ResidualUNet"
    x = torch.randn(1, 1, 8, 16, 16)
    for name, told, module in [
        ("a__b__3d", residual, network(residual=True)),
        ("a__both__3d", both, network(residual=True, kind=ResidualUNet)),
        ("nnUNetTrainerBN__b__3d", plans(), network(norm_op=nn.BatchNorm3d)),
    ]:
        model = sx.load_model(write_results(tmp_path, name=name, told=told, module=module))
        with torch.inference_mode():
            assert torch.equal(model.module(x), module(x))


def test_plans_from_before_architectures_were_named(tmp_path):
    old = {key: value for key, value in CONFIGURATION.items() if key != "architecture"} | {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 2,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2]],
        "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "num_pool_per_axis": [0, 1, 1],
    }
    told = plans()
    told["configurations"] = {"base": old, "3d_fullres": {"inherits_from": "base", "batch_size": 4}}
    told["foreground_intensity_properties_by_modality"] = told.pop(
        "foreground_intensity_properties_per_channel"
    )
    model, x = sx.load_model(write_results(tmp_path, told=told)), torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        assert torch.equal(model.module(x), network()(x))


def changed(kind: str, **changes):
    """Return a function that changes plans.json or dataset.json of a folder."""

    def change(root: Path) -> None:
        facts = json.loads((root / f"{kind}.json").read_text())
        inner = facts["configurations"]["3d_fullres"] if kind == "plans" else facts
        inner.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del inner[key]
        (root / f"{kind}.json").write_text(json.dumps(facts))

    return change


def layer(**changes):
    arguments = {**CONFIGURATION["architecture"]["arch_kwargs"], **changes}
    return changed("plans", architecture={**CONFIGURATION["architecture"], "arch_kwargs": arguments})


def cut(root: Path) -> None:
    path = root / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:-2000])


def emptied(root: Path) -> None:
    (root / "fold_0" / "checkpoint_final.pth").write_bytes(b"")


def other_file(root: Path) -> None:
    torch.save({"state_dict": network().state_dict()}, root / "fold_0" / "checkpoint_final.pth")


def of_other_labels(root: Path) -> None:
    save_checkpoint(
        root / "fold_0" / "checkpoint_final.pth", network(outputs=5), trainer_name="nnUNetTrainerMine"
    )


def first_version(root: Path) -> None:
    (root / "plans.json").rename(root / "plans.pkl")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: shutil.rmtree(root / "fold_0"), "has no fold (fold_0, ..., fold_all)"),
        (
            lambda root: (root / "fold_0" / "checkpoint_final.pth").unlink(),
            "has no checkpoint_final.pth; copy it",
        ),
        (lambda root: (root / "dataset.json").unlink(), "has no dataset.json, which nnU-Net 2 writes"),
        (
            first_version,
            "has no plans.json, which nnU-Net 2 writes beside the folders of its folds (plans.pkl is of nnU-Net 1",
        ),
        (cut, "is cut off or damaged"),
        (emptied, "is cut off or damaged"),
        (other_file, "holds no `network_weights`"),
        (of_other_labels, "the trainer nnUNetTrainerMine may have made another one"),
        (changed("dataset", labels=None), "names no `labels`"),
        (changed("dataset", labels={"0": "background", "1": "organ"}), "in the way of nnU-Net 1"),
        (changed("dataset", labels={"background": 0, "organ": 2}), "numbers them 1, 2, 3"),
        (
            changed("dataset", labels={"background": 0, "a": [1, 2], "b": 2}),
            "`regions_class_order` has to give one value",
        ),
        (changed("dataset", channel_names=None), "names no `channel_names`"),
        (
            changed("dataset", channel_names={"0": "CT", "1": "PET"}),
            "for the 2 channel(s) of dataset.json (CT, PET)",
        ),
        (changed("plans", spacing=[1.0, 1.0]), "needs 3 positive numbers, one per axis of patch_size"),
        (changed("plans", patch_size=[2**13, 2**13, 2**13]), "windows size makes inputs of"),
        (
            changed("plans", patch_size=None),
            "lacks `patch_size`; these plans are of a version of nnU-Net that is not known",
        ),
        (changed("plans", architecture=None), "has neither `architecture` nor `UNet_class_name`"),
        (changed("plans", previous_stage="3d_lowres"), "is the second stage of a cascade"),
        (changed("plans", inherits_from="3d_lowres"), "has no configuration '3d_lowres'"),
        (changed("plans", inherits_from="3d_fullres"), "inherit from each other in a circle"),
        (changed("plans", normalization_schemes=["MyNormalization"]), "is normalised by 'MyNormalization'"),
        (changed("plans", resampling_fn_data="mine"), "images are resampled by 'mine'"),
        (layer(conv_op="os.system"), "conv_op is 'os.system', which is no layer of torch.nn"),
        (layer(nonlin="torch.nn.modules.module.torch"), "which is no layer of torch.nn"),
        (layer(features_per_stage=[2, 8]), "is of other sizes"),
        (layer(surprise=1), "does not take these arguments"),
        (layer(n_stages=3), "has 2 entries for 3 stages"),
    ],
)
def test_every_usual_failure_is_one_sentence(damage, words, folder, tmp_path):
    root = tmp_path / folder.name
    shutil.copytree(folder, root)
    damage(root)
    assert words in refusal(root)


def test_a_reader_that_is_not_nnunets_is_said(tmp_path):
    model = sx.load_model(write_results(tmp_path, told=plans(image_reader_writer="MyReader")))
    assert "'MyReader' as what read the images, which is none of nnU-Net's readers" in " ".join(model.notes)


def test_another_network_of_nnunet_names_its_package(folder, tmp_path):
    root = tmp_path / folder.name
    shutil.copytree(folder, root)
    name = "dynamic_network_architectures.architectures.primus.Primus"
    changed("plans", architecture={**CONFIGURATION["architecture"], "network_class_name": name})(root)
    text = refusal(root)
    assert "Primus" in text


def test_an_archive_is_to_be_unpacked(tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"PK")
    assert "is an archive; unpack it" in refusal(path)


def test_an_image_of_another_number_of_channels_or_without_millimetres_is_told(folder):
    model = sx.load_model(folder)
    with pytest.raises(sx.UserError, match="needs 1 channel"):
        model.predict(sx.Image(np.zeros((2, 8, 16, 16)), channel_axis=0, spacing=(1, 1, 1), units="mm"))
    with pytest.raises(sx.UserError, match="does not say its pixel size in mm"):
        model.predict(np.zeros((8, 16, 16)))


def test_nothing_of_a_checkpoint_is_unpickled(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    root = tmp_path / folder.name
    shutil.copytree(folder, root)
    save_checkpoint(root / "fold_0" / "checkpoint_final.pth", network(), extra=Evil())
    assert "which are never unpickled" in refusal(root)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_numpy_1_opens(folder, tmp_path):
    root = tmp_path / folder.name
    shutil.copytree(folder, root)
    path = root / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    [name] = [name for name in parts if name.endswith("data.pkl")]
    assert b"numpy._core." in parts[name]
    parts[name] = parts[name].replace(b"numpy._core.", b"numpy.core.")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    assert sx.load_model(root).sha256 == sx.load_model(folder).sha256


def test_layers_have_the_names_that_nnunet_gives_them(folder):
    names = [layer.name for layer in sx.load_model(folder).network_layers()]
    assert "encoder.stages.0" in names
    assert "decoder.seg_layers.0" in names
    assert LAYERS["nonlin_kwargs"]["inplace"]  # and nothing that is overwritten comes out wrong
    model = sx.load_model(folder)
    image = sx.Image(np.random.default_rng(0).normal(40, 80, (8, 16, 16)), spacing=(2, 1, 1), units="mm")
    found = sx.explain(model, image, sx.Target("organ", region="image"), "seg-grad-cam", layer="bottleneck")
    assert np.isfinite(found.map).all()


def test_the_command_line_takes_the_folder(folder, tmp_path):
    volume, out = tmp_path / "case.nii.gz", tmp_path / "out"
    values = np.random.default_rng(0).normal(40, 80, (16, 16, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 2, 1])), volume)
    words = [
        "explain",
        str(volume),
        "--model",
        str(folder),
        "--label",
        "organ",
        "--method",
        "vanilla-gradient",
    ]
    done = CliRunner().invoke(app, [*words, "--region", "image", "--out", str(out)])
    assert done.exit_code == 0, done.output
    record = json.loads((out / "record.json").read_text())
    assert record["model"]["name"] == "Spheres 3d_fullres (fold 0)"
    assert any("in the order in which they are stored (kji)" in note for note in record["warnings"])
