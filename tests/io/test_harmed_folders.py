"""Folders of results that a stranger wrote or a broken disk changed: the right result, or one sentence."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from helpers.files.saved_folders import GONE, HARMS, MAKE, changed, make, places, seal
from napari.layers import Layer
from PIL import Image as Picture

import napari_segxai as sx

FREE = {"parameters", "results", "details", "engine", "versions"}
"""What stands below these is a method's own."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("saved")
    return {name: make(name, root) for name in MAKE}


SHOWN = {"image", "display", "model", "results", "parameters", "stage_table"}
"""What layers are made of."""


def opened(name: str, folder: Path, part: str = "image") -> str:
    """Open a folder, and show what is in it; returns the sentence with which it is refused, or ""."""
    try:
        found = MAKE[name][1](folder)
    except sx.UserError as error:
        sentence = str(error)
        assert 20 < len(sentence) <= 2100, sentence
        return sentence
    if part in SHOWN and isinstance(found, sx.Explanation):
        layers = found.to_layers()
        for layer in {id(layer): layer for layer in (layers[0], layers[1], layers[-1])}.values():
            Layer.create(*layer)
    return ""


def records(name: str, folder: Path) -> list[str]:
    """Name the JSON files that are read when a folder is opened."""
    inner = {"comparison": ["rows.json", "vanilla-gradient/record.json"], "sweep": ["rows.json"]}
    return ["record.json", *inner.get(name, [])]


@pytest.mark.parametrize("name", MAKE)
def test_whatever_stands_in_a_record_is_right_or_refused(name, folders, tmp_path):
    """Every value of every kind of record gives way to others in turn; of a wrong kind they are refused."""
    folder = tmp_path / name
    shutil.copytree(folders[name], folder)
    own = (folder / "record.json").read_text()
    assert not opened(name, folder)
    for file in records(name, folder):
        text = (folder / file).read_text()
        told = json.loads(text)
        for k, place in enumerate(places(told)):
            for harm in ([[[]]], (*HARMS, GONE)[k % (len(HARMS) + 1)]):
                (folder / "record.json").write_text(own)
                (folder / file).write_text(json.dumps(changed(told, place, harm)))
                if file != "record.json":
                    seal(folder, file)
                said = opened(name, folder, place[0])
                if harm == [[[]]] and not FREE & set(place):
                    assert said, (file, place)
        (folder / file).write_text(text)


def sealed(folder: Path) -> None:
    """Have the record list every file as it is now."""
    for name in json.loads((folder / "record.json").read_text())["files"]:
        seal(folder, name)


def npy(array: np.ndarray, *, pickled: bool = False, shape: tuple[int, ...] | None = None) -> bytes:
    """Return a file of an array, which may claim another shape."""
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=pickled)
    text = out.getvalue()
    if shape is not None:
        out = io.BytesIO()
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(out, {**header, "shape": shape})
        text = out.getvalue() + array.tobytes()
    return text


class Tell:
    """What notes that it was unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a stranger's file was unpickled",))


def test_files_that_a_stranger_sealed_are_read_by_their_headers(folders, tmp_path):
    """Damaged, of another kind, or claiming more than there is: refused, whatever the record says of their digests."""
    for name in ("film", "flow", "comparison"):
        for file in json.loads((folders[name] / "record.json").read_text())["files"]:
            if (
                Path(file).suffix not in (".gz", ".tif", ".png", ".npz", ".csv", ".json")
                or "_" in Path(file).parts[0]
            ):
                continue
            whole = (folders[name] / file).read_bytes()
            folder = tmp_path / "x"
            shutil.copytree(folders[name], folder)
            for text in (
                b"",
                b"\xff\x00\n\"'" * 20,
                whole[: len(whole) // 2],
                whole[:-1] + b"\xff" + whole[-1:],
            ):
                shutil.copy(folders[name] / "record.json", folder)
                (folder / file).write_bytes(text)
                assert "was changed since" in opened(name, folder)
                sealed(folder)
                opened(name, folder)  # one sentence, or the values that are still there
            shutil.rmtree(folder)


def test_what_claims_to_be_huge_takes_no_memory(folders, tmp_path):
    """The header of a volume, of a picture and of an array is held against the record before anything is unpacked."""
    huge = (2**12, 2**11, 2**10)
    for name, file in (
        ("explanation", "saliency.nii.gz"),
        ("film", "sufficient_region.png"),
        ("film", "saliency.tif"),
    ):
        folder = tmp_path / file
        shutil.copytree(folders[name], folder)
        if file.endswith(".gz"):
            header = nib.Nifti1Header()
            header.set_data_shape(huge)
            header.set_data_dtype(np.uint8)
            (folder / file).write_bytes(gzip.compress(header.binaryblock + bytes(2**24)))
        elif file.endswith(".tif"):
            tifffile.imwrite(folder / file, np.zeros((2**12, 2**12), np.uint8), compression="deflate")
        else:
            Picture.fromarray(np.zeros((2**12, 2**12), np.uint8)).save(folder / file)
        sealed(folder)
        with limited(2**24):
            assert "is it damaged" in opened(name, folder) or "too many" in opened(name, folder)
    folder = tmp_path / "flow"
    shutil.copytree(folders["flow"], folder)
    arrays = {key: npy(array) for key, array in np.load(folder / "maps.npz").items()}
    claims = {
        "huge": npy(np.zeros(4, np.float32), shape=(6, 2**40)),
        "other": npy(np.zeros((8, 11), np.float32)),
        "pickled": npy(np.array([[Tell()]], object), pickled=True),
    }
    for text in claims.values():
        with zipfile.ZipFile(folder / "maps.npz", "w") as file:
            for key, each in {**arrays, "map_0_0": text}.items():
                file.writestr(f"{key}.npy", each)
        sealed(folder)
        assert "does not hold the arrays" in opened("flow", folder)


@contextlib.contextmanager
def limited(most: int):
    """Fail if more than so many bytes are taken."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_links_devices_and_folders_are_no_files(folders, tmp_path):
    outside = tmp_path / "secret.nii.gz"
    for what in ("link", "folder", "fifo", "linked folder"):
        folder = tmp_path / what
        shutil.copytree(folders["comparison"], folder)
        file = folder / "own" / "saliency.nii.gz"
        outside.write_bytes(file.read_bytes())
        if what == "linked folder":
            shutil.move(folder / "own", tmp_path / "elsewhere")
            (folder / "own").symlink_to(tmp_path / "elsewhere")
        else:
            file.unlink()
            {"link": lambda f: f.symlink_to(outside), "folder": Path.mkdir, "fifo": os.mkfifo}[what](file)
        assert "is missing, though the record lists it" in opened("comparison", folder)
        record = folder / "record.json"
        record.unlink()
        os.mkfifo(record)
        assert "not a record of this program" in opened("comparison", folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"kind": "explanation", "kind": "sweep"}', "says 'kind' twice"),
        ('{"kind": NaN}', "NaN is not a number"),
        ('{"kind": 1e999}', "not a finite number"),
        ('{"kind": 1%s}' % ("0" * 5000), "too large a number"),
        ('{"kind": "\\ud800"}', "what is not text"),
        ("[" * 100_000, "too deep"),
        ("[]", "not a record"),
        ("", "not a record"),
        ('{"kind": ["explanation"]}', "not a record"),
    ],
)
def test_what_is_no_record_is_said(text, words, tmp_path):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(sx.UserError, match=words):
        sx.load_explanation(tmp_path)


def test_a_folder_that_was_moved_and_edited_with_windows_is_opened(folders, tmp_path):
    """A record with a mark in front and other ends of lines says the same, and more keys are no harm."""
    folder = tmp_path / "anywhere else"
    shutil.copytree(folders["film"], folder)
    told = {**json.loads((folder / "record.json").read_text()), "a note": {"of": ["mine"]}}
    (folder / "record.json").write_bytes(
        ("\ufeff" + json.dumps(told, indent=1).replace("\n", "\r\n")).encode()
    )
    again, first = sx.load_explanation(folder), sx.load_explanation(folders["film"])
    np.testing.assert_array_equal(again.map, first.map)
    assert again.record == first.record


def test_a_record_that_contradicts_itself_is_refused(folders, tmp_path):
    """A value of the right kind that is another one, where what stands beside it tells."""
    changes: list[tuple[str, tuple[Any, ...], Any]] = [
        ("explanation", ("files", "x" * 5000), "0" * 64),
        ("explanation", ("files", "a\nb"), "0" * 64),
        ("explanation", ("target", "label"), "another"),
        ("explanation", ("target", "region", "pixels"), 401),
        ("explanation", ("image", "affine", 0, 0), 2.0),
        ("explanation", ("image", "affine"), None),
        ("explanation", ("image", "shape", 0), 7),
        ("explanation", ("image", "spacing", 0), 1.0),
        ("explanation", ("display", "contrast_limits", 1), 2.0),
        ("film", ("masks",), {}),
        ("film", ("stage_table",), []),
        ("film", ("image", "at", "T"), 0),
        ("film", ("image", "layer", "around", "counts", 1), 31),
        ("overlapping", ("model", "labels"), ["background", "whole", "core"]),
        ("overlapping", ("model", "paint_order"), ["whole", "core"]),
        ("overlapping", ("model", "overlapping"), False),
        ("comparison", ("metrics",), ["ips", "f1-mask"]),
        ("comparison", ("maps", "vanilla-gradient", "parameters", "signed"), True),
        ("sweep", ("grid", "lam"), [1, 0.1]),
        ("sweep", ("own_chance", 0, "map"), "another"),
        ("flow", ("labels",), ["background"]),
        ("flow", ("network_layers", 0, "stage"), "decoder"),
        ("flow", ("advice", 0), []),
        ("flow", ("placement", "turn", 0), [0, 0]),
    ]
    for k, (name, place, value) in enumerate(changes):
        folder = tmp_path / str(k)
        shutil.copytree(folders[name], folder)
        told = json.loads((folder / "record.json").read_text())
        (folder / "record.json").write_text(json.dumps(changed(told, place, value)))
        assert opened(name, folder), place


def test_an_image_that_is_another_now_is_not_taken_for_the_one_explained(folders, tmp_path):
    """Its file is gone, a folder, a pipe, damaged, of another shape, type or value; the results are opened all the same."""
    folder = tmp_path / "x"
    shutil.copytree(folders["explanation"], folder)
    told = json.loads((folder / "record.json").read_text())
    image = tmp_path / "head.nii.gz"
    for place in (("image", "path"), ("image", "header", "path")):
        told = changed(told, place, str(image))
    (folder / "record.json").write_text(json.dumps(told))
    first = nib.load(folders["explanation"].parent / "head.nii.gz")
    values = np.asarray(first.dataobj)

    def write(array: np.ndarray) -> None:
        nib.save(nib.Nifti1Image(array, first.affine), image)

    for harm in (
        lambda: None,
        image.mkdir,
        lambda: os.mkfifo(image),
        lambda: image.write_bytes(b"\x1f\x8b" + bytes(400)),
        lambda: write(values[:, :, 1:]),
        lambda: write(values.astype(np.float64)),
        lambda: write(values + 1),
    ):
        harm()
        found = sx.load_explanation(folder)
        with pytest.raises(sx.UserError, match=r"cannot be read: .* is not there any more, or holds others"):
            _ = found.image.array
        shutil.rmtree(image) if image.is_dir() else image.unlink(missing_ok=True)
    write(values)
    np.testing.assert_array_equal(sx.load_explanation(folder).image.array, values)


def test_a_pipe_in_a_store_is_not_waited_for(tmp_path):
    (tmp_path / "a.zarr" / "c").mkdir(parents=True)
    for place in ("zarr.json", "c/0"):
        os.mkfifo(tmp_path / "a.zarr" / place)
        with pytest.raises(sx.UserError, match="is not a file"):
            sx.read_image(tmp_path / "a.zarr")
        (tmp_path / "a.zarr" / place).unlink()
