"""Files of all kinds say what their axes and colours are, or are told; several of them are joined: in Python and by command."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image as Picture
from safetensors.torch import save_file
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.models.zoo.unet import UNet

GRAY = np.random.default_rng(0).integers(0, 255, (8, 11), np.uint8)
RGB = np.random.default_rng(1).integers(0, 255, (8, 11, 3), np.uint8)


def picture(path, mode="RGB", **more):
    Picture.fromarray(RGB).convert(mode).save(path, **more)
    return path


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr"])
def test_colours_of_a_tiff_are_rgb_however_they_are_stored(tmp_path, mode):
    image = sx.read_image(picture(tmp_path / "a.tif", mode))
    assert (image.shape, image.channel_axis) == ((8, 11, 3), 2)
    np.testing.assert_array_equal(
        image.array, np.asarray(Picture.fromarray(RGB).convert(mode).convert("RGB"))
    )


def test_a_compressed_stack_keeps_its_pages(tmp_path):
    pages = [Picture.fromarray(GRAY + k) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", compression="tiff_lzw", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(sx.read_image(tmp_path / "a.tif").array, [GRAY, GRAY + 1, GRAY + 2])


def several_sizes(path):
    Picture.fromarray(GRAY).save(path, save_all=True, append_images=[Picture.fromarray(GRAY[:4])])


def turned(path):
    exif = Picture.Exif()
    exif[0x112] = 6
    picture(path, exif=exif)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.tif", several_sizes, "holds 2 images of different kinds or sizes"),
        (
            "a.png",
            lambda p: Picture.fromarray(GRAY).save(p, save_all=True, append_images=[Picture.fromarray(GRAY)]),
            "holds 2",
        ),
        ("a.jpg", turned, r"EXIF orientation 6"),
        ("a.tif", lambda p: tifffile.imwrite(p, GRAY, photometric="miniswhite"), "white as 0"),
    ],
)
def test_what_is_left_out_of_a_picture_is_said(tmp_path, name, write, said):
    write(tmp_path / name)
    with pytest.warns(UserWarning, match=said):
        sx.read_image(tmp_path / name)


def test_a_second_channel_is_no_alpha(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([GRAY, GRAY], -1), photometric="minisblack", planarconfig="contig"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sx.read_image(tmp_path / "a.tif").channels == 2


def test_axes_that_a_user_names(tmp_path):
    values = np.arange(3 * 4 * 2 * 5 * 6, dtype=np.uint16).reshape(3, 4, 2, 5, 6)
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(
        sx.UserError, match=r"does not say what its 5 axes \(3 x 4 x 2 x 5 x 6\) are.*axes='TZCYX'"
    ):
        sx.read_image(tmp_path / "a.tif")
    image = sx.read_image(tmp_path / "a.tif", axes="TZCYX")
    assert (image.time_axis, image.channel_axis, image.spatial_shape) == (0, 2, (4, 5, 6))
    tifffile.imwrite(tmp_path / "t.ome.tif", values[0, :, 0], metadata={"axes": "TYX"})
    assert sx.read_image(tmp_path / "t.ome.tif", axes="ZYX").spatial_shape == (
        4,
        5,
        6,
    )  # though the file calls it time
    nib.save(
        nib.Nifti1Image(values[0, 0].transpose(2, 1, 0)[:, :, None].repeat(3, 2), np.eye(4)),
        tmp_path / "a.nii",
    )
    assert sx.read_image(tmp_path / "a.nii", axes="xyzc").channels == 2
    for axes, said in (
        ("ZTYX", "begin axes with XYZ"),
        ("XYZ", "has 4 axes"),
        ("XYZP", "more than one image"),
    ):
        with pytest.raises(sx.UserError, match=said):
            sx.read_image(tmp_path / "a.nii", axes=axes)
    with pytest.raises(sx.UserError, match="not both"):
        sx.read_image(tmp_path / "a.nii", axes="XYZC", time_axis=3)


def test_a_level_of_a_pyramid(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(np.tile(GRAY, (4, 4)), subifds=1, metadata={"axes": "YX", **size})
        file.write(np.tile(GRAY, (2, 2)), subfiletype=1)
    image = sx.read_image(tmp_path / "a.ome.tif", level=1)
    assert (image.shape, image.spacing, image.units) == ((16, 22), (1.0, 1.0), "um")
    with pytest.raises(sx.UserError, match="has levels 0 to 1, not 2"):
        sx.read_image(tmp_path / "a.ome.tif", level=2)
    with pytest.raises(sx.UserError, match="is for pyramids"):
        sx.read_image(picture(tmp_path / "a.png"), level=1)


@pytest.mark.parametrize("name", ["a.dcm", "a.nrrd", "a.mha"])
def test_what_is_not_read_here_says_what_to_do(tmp_path, name):
    with pytest.raises(sx.UserError, match="convert it to NIfTI"):
        sx.read_image(tmp_path / name)
    with pytest.raises(sx.UserError, match="is a folder; name one image file in it"):
        sx.read_image(tmp_path)


@pytest.fixture
def two_channels(tmp_path):
    """A model of two channels, and two sequences of one head in files of their own."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(torch.nn.Conv3d(2, 2, 1).state_dict(), folder / "weights.safetensors")
    (folder / "model.yaml").write_text(
        "name: pair\nlabels: [back, yeast]\nspatial_dims: 3\nchannels: [T1, FLAIR]\narchitecture: 'torch.nn:Conv3d'\n"
        "arguments: {in_channels: 2, out_channels: 2, kernel_size: 1}\n"
    )
    values = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    for name, one in zip(("t1", "flair"), values, strict=True):
        nib.save(nib.Nifti1Image(one, np.eye(4)), tmp_path / f"{name}.nii.gz")
    return folder, [str(tmp_path / "t1.nii.gz"), str(tmp_path / "flair.nii.gz")], values


def test_files_that_hold_a_channel_each(tmp_path, two_channels):
    folder, files, values = two_channels
    image = sx.read_image(files)
    np.testing.assert_array_equal(image.channels_first(), values)
    np.testing.assert_array_equal(sx.read_image(files[:1]).array, values[0])
    wanted = sx.explain(sx.load_model(folder), image, "yeast", "vanilla-gradient").map
    asked = ["--model", str(folder), "--label", "yeast", "--method", "vanilla-gradient", "--out"]
    for k, images in enumerate((files, [",".join(files)])):
        said = CliRunner().invoke(app, ["explain", *images, *asked, str(tmp_path / f"out{k}")])
        assert said.exit_code == 0, said.output
        np.testing.assert_array_equal(sx.read_image(tmp_path / f"out{k}" / "saliency.nii.gz").array, wanted)
        record = json.loads((tmp_path / f"out{k}" / "record.json").read_text())
        assert [one["path"] for one in record["image"]["channels"]] == files
    said = CliRunner().invoke(app, ["explain", files[0], *asked, str(tmp_path / "out2")])
    assert (said.exit_code, said.output.count("\n")) == (2, 1)
    assert "needs 2 channel(s) (T1, FLAIR)" in said.output


def test_every_command_takes_several_files_as_channels(tmp_path, two_channels):
    folder, files, _ = two_channels
    weights = UNet(2, 2, (2, 4), spatial_dims=3).state_dict()
    weights["head.bias"] = torch.tensor([-9.0, 9.0])  # it draws yeast, whatever the other weights are
    save_file(weights, folder / "weights.safetensors")
    (folder / "model.yaml").write_text(
        "name: pair\nlabels: [back, yeast]\nspatial_dims: 3\nchannels: [T1, FLAIR]\ngrid: {multiple: 2}\n"
        "architecture: 'napari_segxai.models.zoo.unet:UNet'\n"
        "arguments: {in_channels: 2, out_channels: 2, features: [2, 4], spatial_dims: 3}\n"
    )
    label = ["--label", "yeast", "--region", "image"]
    lines = {
        "compare": [*label, "--methods", "vanilla-gradient", "--metrics", "ips", "--controls", "0"],
        "sweep": [*label, "--method", "integrated-gradients", "--grid", "steps=2,3", "--metrics", "ips"],
        "flow": [],
        "channels": [*label, "--how", "mean"],
    }
    for command, more in lines.items():
        asked = [command, ",".join(files), "--model", str(folder), *more, "--out", str(tmp_path / command)]
        said = CliRunner().invoke(app, asked)
        assert said.exit_code == 0, said.output
    said = CliRunner().invoke(app, ["layers", str(folder), "--image", ",".join(files)])
    assert (said.exit_code, "bottleneck" in said.output) == (0, True), said.output
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 7), np.float32), np.eye(4)), tmp_path / "other.nii.gz")
    for line in (
        ["layers", str(folder), "--image"],
        ["channels", "--model", str(folder), *label, "--out", str(tmp_path / "o")],
    ):
        said = CliRunner().invoke(app, [*line, f"{files[0]},{tmp_path / 'other.nii.gz'}"])
        assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
        assert "channels lie on one grid: resample one of them" in said.stderr


def test_axes_on_the_command_line(tmp_path, two_channels):
    folder, _, values = two_channels
    tifffile.imwrite(tmp_path / "a.tif", np.stack([values, values * 2]).transpose(0, 2, 1, 3, 4))
    asked = [
        "explain",
        str(tmp_path / "a.tif"),
        "--model",
        str(folder),
        "--label",
        "yeast",
        "--method",
        "vanilla-gradient",
    ]
    said = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "o"), "--axes", "TZCYX", "--frame", "1"])
    assert said.exit_code == 0, said.output
    record = json.loads((tmp_path / "o" / "record.json").read_text())
    assert record["image"]["at"] == {"T": 1}
    assert "time point" not in said.stderr
    said = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "first"), "--axes", "TZCYX"])
    assert "time point 0 is taken, of 0 to 1; choose another with --frame." in said.stderr
    assert record["image"]["sha256"] == sx.read_image(tmp_path / "a.tif", axes="TZCYX").frame(1).sha256


def test_units_of_a_file_are_those_of_all_its_results(tmp_path, two_channels):
    folder, files, _ = two_channels
    volume = nib.load(files[0])
    volume.header.set_xyzt_units("unknown")
    nib.save(volume, files[0])
    found = sx.explain(sx.load_model(folder), sx.read_image(files), "yeast", "vanilla-gradient")
    replace(found, native=np.zeros((2, 2, 3), np.float32), native_affine=np.eye(4)).save(tmp_path / "out")
    units = {
        path.name: nib.load(path).header.get_xyzt_units()[0] for path in (tmp_path / "out").glob("*.nii.gz")
    }
    assert set(units.values()) == {"unknown"}, units
    assert "saliency_native.nii.gz" in units


def test_numbers_that_are_not_known_are_not_printed(tmp_path, two_channels):
    folder, files, _ = two_channels
    asked = [
        "--model",
        str(folder),
        "--label",
        "yeast",
        "--method",
        "rise",
        "-p",
        "masks=4",
        "-p",
        "cells=2",
        "--out",
        str(tmp_path / "o"),
    ]
    said = CliRunner().invoke(app, ["explain", *files, *asked])
    assert said.exit_code == 0, said.output
    assert "None" not in said.output


def test_an_orientation_in_three_letters():
    from napari_segxai.models.card import ModelCard

    same = {"name": "net", "labels": ("no", "yes"), "spatial_dims": 3}
    assert ModelCard(**same, orientation=["R", "A", "S"]).orientation == "RAS"
    with pytest.raises(ValueError, match="a word of three letters, such as RAS"):
        ModelCard(**same, orientation=[1, 2, 3])


def test_a_record_says_the_whole_path_of_its_image(tmp_path, monkeypatch):
    """What was read as `a.png` is found again from another folder; an address is none of this machine."""
    from helpers.networks import planted_image, planted_model

    from napari_segxai.core.paths import absolute

    monkeypatch.chdir(tmp_path)
    values = (planted_image().array * 255).astype(np.uint8)
    Picture.fromarray(values).save("a.png")
    nib.Nifti1Image(values[..., None], np.eye(4)).to_filename("a.nii.gz")
    zarr.save_array("a.zarr", values)
    for name in ("a.png", "a.nii.gz", "a.zarr"):
        assert sx.read_image(name).path == str(tmp_path / name)
    found = sx.explain(
        planted_model(), sx.read_image("a.png"), sx.Target("object", "image"), "vanilla-gradient"
    )
    found.save("results")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(sx.load_explanation(tmp_path / "results").image.array, values)
    both = sx.join_channels([sx.read_image(tmp_path / "a.png")] * 2)
    assert [one.path for one in both.header["joined"]] == [str(tmp_path / "a.png")] * 2
    assert absolute("https://example.org/a.zarr") == "https://example.org/a.zarr"
