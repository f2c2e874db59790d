"""From names to file names: nothing leaves its folder, and two names never become one file."""

from __future__ import annotations

import random
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import skimage.io
import torch
import yaml
from helpers.networks import card
from safetensors.torch import save_file
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.io.names import LONGEST, file_name, file_names
from napari_segxai.models.zoo.unet import UNet

HOSTILE = [
    "../../x",
    "/abs",
    "..",
    ".",
    "",
    " ",
    "...",
    "~root",
    "~/x",
    "C:\\x",
    "\\\\server\\share",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "\x1b[31mred",
    "con",
    "NUL.txt",
    "Com1",
    "lpt¹",
    "aux",
    "trailing.",
    "trailing ",
    "-rf",
    ".hidden",
    "x" * 5000,
    "脳" * 300,
    "e\u0301" * 200,
    "\u202egnp.exe",
    "\ud800",
    "$(touch x)",
    "`x`",
    "%00",
    "*?<>|\"'",
    "record.json",
]


def _is_one_harmless_part(file: str) -> bool:
    return (
        0 < len(file.encode()) <= LONGEST + 66
        and Path(file).name == file == PureWindowsPath(file).name
        and not PureWindowsPath(file).is_reserved()
        and file[0] not in ".-~"
        and file[-1] not in ". "
        and all(c.isalnum() or c in "-_.@" or c.isidentifier() for c in file.replace("\u0301", ""))
    )


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_becomes_a_file_in_its_folder(name, tmp_path):
    file = file_name(name)
    assert _is_one_harmless_part(file)
    path = tmp_path / f"curve_{file}.nii.gz"
    path.touch()
    assert list(tmp_path.iterdir()) == [path]


def test_ordinary_names_keep_their_looks():
    assert file_name("grey matter") == "grey_matter"
    assert file_name("rise:masks=100") == "rise_masks_100"
    assert file_name("decoder.0.conv@2") == "decoder.0.conv@2"
    assert file_name("Läsion") == "Läsion"
    assert file_name("मस्तिष्क") == "मस्तिष्क"
    assert file_name(("triangle", "encoder2")) == "triangle_encoder2"


@pytest.mark.parametrize(
    "names",
    [
        ["a b", "a_b", "a:b", "a/b", "a\\b"],
        ["Lesion", "lesion", "LESION"],
        ["e\u0301", "é", "É"],
        ["straße", "STRASSE"],
        ["x" * 300 + "1", "x" * 300 + "2"],
        ["con", "_con", "CON"],
        ["x.", "x", ".x", "x "],
        [("a_b", "c"), ("a", "b_c")],
        HOSTILE,
    ],
)
def test_different_names_never_become_one_file(names):
    for given in (names, [*names, *file_names(names).values()]):
        files = list(file_names(given).values())
        assert len({f.casefold().upper() for f in files}) == len(set(given))


def test_the_order_of_names_does_not_matter_and_the_files_of_a_folder_stay_its_own():
    names = ["A", "a", "table.csv", "b c", "b_c"]
    assert file_names(names) == file_names(reversed(names))
    assert file_names(["Table.csv"], taken=["table.csv"])["Table.csv"].casefold() != "table.csv"


def test_random_names():
    draw = random.Random(0)
    alphabet = "aA.-_ /\\:\0é~1" + chr(0x301) + chr(0x200D)
    names = {"".join(draw.choices(alphabet, k=draw.randrange(6))) for _ in range(2000)}
    files = list(file_names(names).values())
    assert len({f.casefold() for f in files}) == len(names)
    assert all(Path(f).name == f and f[0] not in ".-" for f in files)


# -- wherever names of a stranger become files ----------------------------------------------------------

LABELS = ("background", "../../x", "/abs", "a b", "a_b", "A b", "record.json")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder with a model whose labels and channels have hostile names, and an image."""
    folder = tmp_path_factory.mktemp("hostile")
    torch.manual_seed(0)
    arguments = {"features": [2, 2], "in_channels": 3, "out_channels": len(LABELS)}
    fields = card(
        labels=list(LABELS),
        channels=["../../../T1", "../../../t1", "t2"],
        architecture="napari_segxai.models.zoo.unet:UNet",
        arguments=arguments,
        grid={"size": [8, 8]},
    )
    (folder / "model.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    save_file(UNet(**arguments).state_dict(), folder / "weights.safetensors")
    colors = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    skimage.io.imsave(folder / "image.png", colors, check_contrast=False)
    return folder


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def _command(*args: str) -> None:
    done = CliRunner().invoke(app, list(map(str, args)))
    assert done.exit_code == 0, done.output


def test_labels_of_one_command_get_folders_of_their_own(hostile, tmp_path):
    out = tmp_path / "deep" / "er" / "out"
    labels = [part for label in LABELS[1:] for part in ("--label", label)]
    _command(
        "explain", hostile / "image.png", "--model", hostile, *labels, "--region", "image",
        "--method", "seg-grad-cam", "--out", out,
    )  # fmt: skip
    folders = [path for path in out.iterdir() if (path / "record.json").is_file()]
    assert len(folders) == len(LABELS) - 1
    assert all(out in path.parents for path in _files(tmp_path))


def test_tiles_of_a_flow_stay_in_its_folder(hostile, tmp_path):
    out = tmp_path / "deep" / "er" / "out"
    tiles = [part for label in LABELS[1:4] for part in ("--tile", f"{label}:bottleneck")]
    _command(
        "flow", hostile / "image.png", "--model", hostile, *tiles, "--region", "image",
        "--layers", "bottleneck", "--out", out,
    )  # fmt: skip
    assert sum((path / "record.json").is_file() for path in out.iterdir()) == 3
    assert all(out in path.parents for path in _files(tmp_path))


def test_maps_named_after_channels_stay_in_their_folder(hostile, tmp_path):
    out = tmp_path / "deep" / "er" / "out"
    found = sx.explain(
        sx.load_model(hostile), sx.read_image(hostile / "image.png"), sx.Target("a b", region="image"),
        "adversarial-attack", steps=1,
    )  # fmt: skip
    written = found.save(out)
    assert len([path for path in written if "changed_image" in path.name]) == 6  # three channels, two formats
    assert len(set(written)) == len(written) == len(_files(tmp_path))
    assert all(path.parent == out for path in written)


def test_maps_of_a_comparison_stay_in_its_folder(hostile, tmp_path):
    model, image = sx.load_model(hostile), sx.read_image(hostile / "image.png")
    target = sx.Target("a b", region="image")
    map = sx.explain(model, image, target, "vanilla-gradient")
    names = ["../../x", "/abs", "table.csv", "a b", "a_b", "saliency"]
    found = sx.compare(model, image, target, maps=dict.fromkeys(names, map), metrics=["insertion-dice"])
    out = tmp_path / "deep" / "er" / "out"
    found.save(out)
    assert sum((path / "record.json").is_file() for path in out.iterdir()) == len(names)
    assert all(out in path.parents for path in _files(tmp_path))
