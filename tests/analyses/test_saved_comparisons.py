"""Comparisons and sweeps that were saved are opened as they were, number by number, and saved again as the same files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from helpers.labels import nested, regions
from helpers.networks import OBJECT, PATCH, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.analyses.sweep.api import sweep_steps
from napari_segxai.analyses.sweep.result import table
from napari_segxai.io.saving import complete

FAST = {"metrics": ["dice-explained", "insertion-dice", "f1-mask"], "steps": 4, "chance": 3}


def plain(value: Any) -> Any:
    """Return a value as JSON has it, which is what a record keeps."""
    return json.loads(json.dumps(value, default=lambda array: np.asarray(array).tolist()))


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Compare two results field by field: arrays with their type, mappings with their order."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray), where
        assert (a.shape, a.dtype) == (b.shape, b.dtype), where
        np.testing.assert_array_equal(a, b, where)
    elif isinstance(a, sx.Image):
        for name in ("name", "path", "shape", "spacing", "units", "sha256", "plane"):
            assert getattr(a, name) == getattr(b, name), f"{where}.{name}"
        assert_same(a.affine, b.affine, f"{where}.affine")
    elif isinstance(a, sx.Comparison | sx.Sweep | sx.Explanation | sx.Target):
        assert type(a) is type(b), where
        for field in fields(a):
            if field.name in ("created", "versions", "saved_picture"):
                continue  # told when it is saved
            if field.name == "record":
                assert plain(a.record.as_dict()) == plain(b.record.as_dict()), where
            elif field.name == "seconds":
                assert round(a.seconds, 3) == b.seconds, where
            else:
                assert_same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for k, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{where}[{k}]")
    else:
        assert a == b, where
        assert type(a) is type(b), where


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def check_round_trip(found: Any, folder: Path, load: Any) -> Any:
    """Save, open, compare, save what was opened, and compare the files."""
    found.save(folder / "first")
    opened = load(folder / "first")
    assert_same(found, opened)
    again = opened.save(folder / "second")
    assert again[-1].name == "record.json"
    assert digests(folder / "first") == digests(folder / "second")
    return opened


def cause(ndim: int = 2) -> np.ndarray:
    out = np.zeros(planted_image(ndim).shape)
    out[..., PATCH[0], PATCH[1]] = out[..., OBJECT[0], OBJECT[1]] = 1 / 3
    return out


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_comparison_is_opened_as_it_was(ndim, tmp_path):
    """With maps of the user's own, a truth, controls, and names that no file could have."""
    maps = {"=1+1": cause(ndim), "a/b": cause(ndim) > 0, "../c.nii.gz": (9 * cause(ndim)).astype(np.int64)}
    found = sx.compare(
        planted_model(ndim), planted_image(ndim), sx.Target("object", region="image", score="probability"),
        ["vanilla-gradient", "seg-grad-cam:layer=mix", "rise:masks=4", "rise:masks=6"],
        maps=maps, truth=cause(ndim) > 0, controls=2, seed=5, **FAST,
    )  # fmt: skip
    found.warnings.append("a note, with a comma")
    opened = check_round_trip(found, tmp_path, sx.load_comparison)
    assert opened.names == found.names == [
        "=1+1", "a/b", "../c.nii.gz", "vanilla-gradient", "seg-grad-cam", "rise masks=4", "rise masks=6",
        "random order", "random order 2",
    ]  # fmt: skip
    assert opened.table == found.table
    assert str(opened.table) == str(found.table)
    for row in found.rows:
        where = (row["map"], row["metric"])
        assert opened.value(*where) == found.value(*where)
        assert opened.curve(*where) == found.curve(*where)
        assert opened.chance(*where) == found.chance(*where)
    assert opened.best("insertion-dice") == found.best("insertion-dice")
    assert opened.metrics == found.metrics


def test_labels_that_overlap_are_opened_as_they_were(tmp_path):
    asked = {"truth": nested().array > 1.5, **FAST}
    found = sx.compare(
        regions(), nested(), "core", ["vanilla-gradient"], maps={"own": nested().array}, **asked
    )
    opened = check_round_trip(found, tmp_path, sx.load_comparison)
    assert opened.overlapping
    assert opened.label == 2
    np.testing.assert_array_equal(opened.shown(opened.prediction), found.shown(found.prediction))


def test_a_file_of_a_scanner_keeps_its_place_and_its_picture_without_the_file(tmp_path):
    """Stored from right to left, with pixels that are not cubes; later the file is gone, and the rest is still there."""
    affine = np.diag([-1.5, 2.0, 3.0, 1.0])
    array = np.moveaxis(planted_image(3).array, 0, -1)
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "scan.nii.gz")
    image = sx.read_image(tmp_path / "scan.nii.gz")
    drawn = sx.Target("object", region=image.array > 0.5)
    found = sx.compare(planted_model(), image, drawn, ["rise:masks=4"], axis=0, slice=2, maps={"mine": image.array},
                       **FAST)  # fmt: skip
    opened = check_round_trip(found, tmp_path, sx.load_comparison)
    np.testing.assert_array_equal(opened.image.array, image.array)
    again = sx.evaluate(planted_model(), opened.explanations, metrics=FAST["metrics"], steps=4, chance=3)
    for name in opened.explanations:
        assert again.value(name, "dice-explained") == found.value(name, "dice-explained")
    (tmp_path / "scan.nii.gz").unlink()
    sx.load_comparison(tmp_path / "first" / "record.json").save(tmp_path / "third")
    assert digests(tmp_path / "first") == digests(tmp_path / "third")


def test_maps_alone_are_opened_as_they_were(tmp_path):
    """No explanation is among them: model, prediction and the header of the file are told by the comparison."""
    found = sx.evaluate(planted_model(), {"mine": cause()}, planted_image(), 1, **FAST)
    opened = check_round_trip(found, tmp_path, sx.load_comparison)
    assert opened.target.label == 1
    assert opened.model["labels"] == ["background", "object"]


def test_what_a_comparison_had_when_it_was_stopped_is_opened(tmp_path):
    steps = sx.compare_steps(
        planted_model(),
        planted_image(),
        "object",
        ["vanilla-gradient", "rise:masks=4"],
        maps={"own": cause()},
    )
    first = next(steps).partial()  # the map that was given, and no prediction yet
    some = next(so_far for so_far in (step.partial() for step in steps) if len(so_far.maps) == 2)
    steps.close()
    for name, so_far in {"none": first, "some": some}.items():
        assert so_far.partial
        assert not so_far.rows
        check_round_trip(so_far, tmp_path / name, sx.load_comparison)


def test_a_metric_that_is_not_known_here_is_told_by_its_rows(tmp_path):
    found = sx.evaluate(planted_model(), {"mine": cause()}, planted_image(), "object", metrics=["ips", "pps"])
    found.save(tmp_path / "c")
    rename(
        tmp_path / "c", {"rows.json": ('"ips"', '"of another package"')}, ('"ips"', '"of another package"')
    )
    opened = sx.load_comparison(tmp_path / "c")
    assert [metric.name for metric in opened.metrics] == ["of another package", "pps"]
    assert opened.metrics[0].better == found.metrics[0].better
    assert opened.value("mine", "of another package") == found.value("mine", "ips")


def rename(folder: Path, files: dict[str, tuple[str, str]], record: tuple[str, str]) -> None:
    """Change the text of files and of the record, as another program would have written them."""
    for name, (old, new) in files.items():
        (folder / name).write_text((folder / name).read_text().replace(old, new))
    facts = json.loads((folder / "record.json").read_text().replace(*record))
    del facts["files"]
    (folder / "record.json").unlink()
    complete(folder, facts)


def test_a_record_cannot_name_files_elsewhere(tmp_path):
    for name in ("secret", "c"):
        found = sx.evaluate(planted_model(), {"mine": cause()}, planted_image(), "object", metrics=["ips"])
        found.save(tmp_path / name)
    rename(tmp_path / "c", {}, ('"folder": "mine"', '"folder": "../secret/mine"'))
    with pytest.raises(sx.UserError, match=r"lists no file '\.\./secret/mine/saliency\.nii\.gz'"):
        sx.load_comparison(tmp_path / "c")
    rename(tmp_path / "c", {}, ('"folder": ', '"place": '))
    with pytest.raises(sx.UserError, match="lacks what the record of a comparison says"):
        sx.load_comparison(tmp_path / "c")
    with pytest.raises(sx.UserError, match="holds a comparison, not a sweep"):
        sx.load_sweep(tmp_path / "secret")


# -- sweeps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_sweep_is_opened_as_it_was(ndim, tmp_path):
    grid = {"lam": [0.01, 1], "baseline": ["zero", "mean"]}
    asked = (planted_model(ndim), planted_image(ndim), "object", "misure:iterations=3", grid)
    found = sx.sweep(*asked, metrics=["ips", "dice-explained"], chance=3)
    assert found.own_chance
    opened = check_round_trip(found, tmp_path, sx.load_sweep)
    assert table(opened) == table(found)
    assert opened.numbers == found.numbers
    for number in found.numbers:
        np.testing.assert_array_equal(opened.array(number), found.array(number))
        np.testing.assert_array_equal(opened.chance_cells(number), found.chance_cells(number))
    if ndim == 2:
        with pytest.raises(sx.UserError, match="holds a sweep, not a comparison"):
            sx.load_comparison(tmp_path / "first")


def test_what_a_sweep_had_when_it_was_stopped_is_opened(tmp_path):
    grid = {"masks": [2, 3, 4, 5, 6, 7, 8, 9, 10]}
    steps = sweep_steps(planted_model(), planted_image(), "object", "rise", grid, metrics=["ips"])
    some = next(so_far for so_far in (step.partial() for step in steps) if so_far.comparison.maps)
    steps.close()
    opened = check_round_trip(some, tmp_path, sx.load_sweep)
    assert len(opened.comparison.maps) == 8
    assert opened.shape == (1, 9)


# -- in napari -------------------------------------------------------------------------------------------


def test_folders_that_are_dropped_open_their_maps(viewer, tmp_path):
    """All maps of a comparison, of which one is seen; of a sweep the best. Each knows the folder with its record."""
    stored = planted_image(3).array[::-1, ::-1, ::-1].transpose(2, 1, 0)  # shown, it lies as it was planted
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "scan.nii.gz")
    image, model = sx.read_image(tmp_path / "scan.nii.gz"), planted_model(3)
    methods = ["vanilla-gradient", "rise:masks=4"]
    maps = {"own": cause(3)[::-1, ::-1, ::-1].transpose(2, 1, 0)}
    found = sx.compare(model, image, "object", methods, maps=maps, metrics=["ips"], controls=0)
    found.save(tmp_path / "c")
    swept = sx.sweep(model, image, "object", "rise", {"masks": [20, 30]}, metrics=["insertion-dice"])
    swept.save(tmp_path / "s")
    viewer.open(tmp_path / "c", plugin="napari-segxai")
    names = [layer.name for layer in viewer.layers]
    assert names[:3] == ["scan", "own", "prediction · planted"]
    assert [name.partition(" · ")[2] for name in names[3:]] == ["vanilla-gradient", "rise"]
    assert [layer.visible for layer in viewer.layers] == [True, False, True, False, True]
    np.testing.assert_array_equal(viewer.layers["own"].data, cause(3))
    last = viewer.layers[-1].metadata
    assert last["segxai"]["method"] == "rise"
    assert sx.load_explanation(last["segxai_folder"]).record.passes == last["segxai"]["passes"]
    viewer.layers.clear()
    viewer.open(tmp_path / "s" / "record.json", plugin="napari-segxai")
    best = swept.comparison.best("insertion-dice")
    assert len(viewer.layers) == 3
    assert viewer.layers[-1].metadata["segxai"]["parameters"]["masks"] == int(best.partition("=")[2])
