"""Results as files for 3D Slicer: values, places, names and colours come back from every file as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio
from helpers.files.slicer import NAMES, oblique, run_script
from helpers.labels import nested, regions
from helpers.networks import LinearHead, card, planted_image, planted_model
from PIL import Image as Picture
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.io.slicer.segmentation import Layer, Segment, packed, write_segmentation


def masks(folder: Path) -> dict[str, np.ndarray]:
    """The segments of a file by name, (i, j, k); and that each colour is one."""
    held = slicerio.read_segmentation(str(folder / "regions.seg.nrrd"))
    voxels = held["voxels"] if held["voxels"].ndim == 4 else held["voxels"][None]
    assert all(0 <= part <= 1 for one in held["segments"] for part in one["color"])
    return {one["name"]: voxels[one["layer"]] == one["labelValue"] for one in held["segments"]}


def place(folder: Path) -> np.ndarray:
    held = slicerio.read_segmentation(str(folder / "regions.seg.nrrd"), skip_voxels=True)
    return np.diag([-1, -1, 1, 1]) @ held["ijkToLPS"]


def points(folder: Path) -> dict[str, np.ndarray]:
    """The points by name, in RAS millimetres."""
    (held,) = json.loads((folder / "points.mrk.json").read_text())["markups"]
    assert (held["coordinateSystem"], held["coordinateUnits"]) == ("LPS", "mm")
    return {one["label"]: np.multiply(one["position"], [-1, -1, 1]) for one in held["controlPoints"]}


@pytest.fixture(scope="module", params=[False, True], ids=["right-handed", "left-handed"])
def exported(request, tmp_path_factory) -> tuple[sx.Explanation, Path]:
    """Regions and stages of MiSuRe in an oblique volume whose file says more than its place."""
    folder = tmp_path_factory.mktemp("slicer")
    volume = nib.Nifti1Image(planted_image(3).array, oblique(left_handed=request.param))
    volume.header["descrip"] = b"Jane Doe 1970"
    volume.set_qform(np.eye(4), 1)  # of another space: readers would have the choice
    volume.to_filename(folder / "a.nii.gz")
    asked = sx.Target("object", region=sx.Component((2, 20, 10)))
    own = card(3, grid={"size": [6, 32, 32]}, orientation="LAS" if request.param else "RAS")
    model = sx.load_model(planted_model(3).module, card=own)
    found = sx.explain(model, sx.read_image(folder / "a.nii.gz"), asked, "misure", iterations=12, kernel=3)
    truth = np.zeros(found.map.shape, bool)
    truth[1:3, 16:26, 6:16] = True
    sx.export_to_slicer(found, folder / "out", truth=truth)
    return found, folder / "out"


def test_every_file_lies_on_the_grid_of_the_image(exported):
    found, out = exported
    image = nib.load(out / "image.nii.gz")
    np.testing.assert_allclose(image.affine, found.image.affine, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
    np.testing.assert_array_equal(place(out), image.affine)
    np.testing.assert_array_equal(image.get_fdata(), found.image.array)
    saved = nib.load(out / "map_misure_object.nii.gz")
    assert saved.get_data_dtype() == np.float32
    np.testing.assert_array_equal(saved.affine, image.affine)
    np.testing.assert_array_equal(saved.get_fdata(), found.map)
    assert b"Jane" not in b"".join(nib.load(path).header.binaryblock for path in out.glob("*.nii.gz"))


def test_overlapping_regions_labels_and_stages_are_segments(exported):
    found, out = exported
    held = masks(out)
    stages = [
        f"stage {row['stage']}, {row['dilations']} dilation{'s' * (row['dilations'] != 1)}"
        for row in found.stage_table
    ]
    assert list(held) == [
        "sufficient region (misure, object)",
        "minimal region (misure, object)",
        "prediction: object",
        "truth: object",
        *(f"{name} (misure, object)" for name in stages),
    ]
    np.testing.assert_array_equal(
        held["sufficient region (misure, object)"], found.masks["sufficient_region"]
    )
    np.testing.assert_array_equal(
        held["minimal region (misure, object)"], found.masks["minimally_sufficient_region"]
    )
    np.testing.assert_array_equal(held["prediction: object"], found.drawn("object"))
    assert held["truth: object"].sum() == 200
    for row, name in zip(found.stage_table, stages, strict=True):
        np.testing.assert_array_equal(held[f"{name} (misure, object)"], found.stages == row["stage"])


def test_points_say_what_was_asked_and_where_the_map_is_highest(exported):
    found, out = exported
    held = points(out)
    assert list(held) == ["asked (object)", "highest (misure, object)"]
    np.testing.assert_allclose(held["asked (object)"], (found.image.affine @ [2, 20, 10, 1])[:3], atol=1e-4)
    at = np.linalg.inv(found.image.affine) @ [*held["highest (misure, object)"], 1]
    assert found.map[tuple(np.rint(at[:3]).astype(int))] == found.map.max()


def test_the_script_shows_the_map_over_the_image(exported):
    _, out = exported
    calls = run_script(out / "open_in_slicer.py")
    assert [call[1] for call in calls if call[0] == "load"] == [
        "image.nii.gz",
        "map_misure_object.nii.gz",
        "regions.seg.nrrd",
        "points.mrk.json",
    ]
    assert ("display", "SetWindowLevelMinMax", 0.0, 1.0) in calls
    ends = [call[2:] for call in calls if call[:2] == ("colors", "SetColor") and call[2] in (0, 255)]
    assert ends == [(0, 0.0, 0.0, 0.02, 0.0), (255, 0.99, 1.0, 0.64, 1.0)]
    assert calls[-1] == ("layers",)
    hidden = [call[2:] for call in calls if call[:2] == ("segments", "SetSegmentVisibility")]
    assert hidden
    assert all(shown is False for _, shown in hidden)


def test_a_saved_result_is_exported_as_the_result_itself(exported, tmp_path):
    found, out = exported
    found.save(tmp_path / "saved")
    truth = nib.load(out / "image.nii.gz").get_fdata() * 0
    truth[1:3, 16:26, 6:16] = 1
    nib.Nifti1Image(truth.astype(np.uint8), found.image.affine).to_filename(tmp_path / "truth.nii.gz")
    line = [
        "export",
        str(tmp_path / "saved"),
        "--out",
        str(tmp_path / "out"),
        "--truth",
        str(tmp_path / "truth.nii.gz"),
    ]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert [Path(one).name for one in done.stdout.split()] == [
        *sorted(json.loads((out / "record.json").read_text())["files"]),
        "record.json",
    ]
    for name in ("regions.seg.nrrd", "points.mrk.json", "open_in_slicer.py"):
        assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes()
    again = CliRunner().invoke(app, line)
    assert (again.exit_code, "already holds an export for 3D Slicer" in again.stderr) == (2, True)
    assert CliRunner().invoke(app, [*line, "--overwrite"]).exit_code == 0


def test_any_name_of_a_label_is_kept(tmp_path):
    """What pynrrd reads of a name is ASCII, with what ends a line escaped; test_itk.py has the names themselves."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, len(NAMES) + 1, (5, 6, 7)).astype(np.uint8)
    colors = {k: (k / 8, 0.5, 0.25) for k in range(1, len(NAMES) + 1)}
    segments = {k: Segment(name, colors[k]) for k, name in enumerate(NAMES, 1)}
    write_segmentation(tmp_path / "regions.seg.nrrd", [Layer(values, segments)], oblique())
    held = slicerio.read_segmentation(str(tmp_path / "regions.seg.nrrd"))
    np.testing.assert_array_equal(held["voxels"], values)
    np.testing.assert_allclose(held["ijkToLPS"], np.diag([-1, -1, 1, 1]) @ oblique())
    raw = (tmp_path / "regions.seg.nrrd").read_bytes().partition(b"\n\n")[0].decode().split("\n")
    told = dict(line.split(":=", 1) for line in raw if ":=" in line)
    assert len(told) == 3 + 9 * len(NAMES)
    for k, (name, one) in enumerate(zip(NAMES, held["segments"], strict=True)):
        assert told[f"Segment{k}_Name"].replace("\\n", "\n").replace("\\\\", "\\") == name
        assert one["color"] == list(colors[k + 1])


def test_many_masks_that_overlap_share_few_layers_and_many_segments_one():
    rng = np.random.default_rng(0)
    apart = [np.zeros((4, 4, 4), bool) for _ in range(64)]
    for k, mask in enumerate(apart):
        mask.flat[k] = True
    found = packed((mask, Segment(str(k), (1, 0, 0))) for k, mask in enumerate(apart))
    assert [len(layer.segments) for layer in found] == [64]
    crossing = [rng.random((4, 4, 4)) < 0.5 for _ in range(5)]
    assert len(packed((mask, Segment("", (1, 0, 0))) for mask in crossing)) == 5
    assert len(packed([(apart[0] & False, Segment("", (1, 0, 0)))])[0].segments) == 1  # an empty one


def test_more_segments_than_a_byte_counts(tmp_path):
    values = np.arange(300).reshape(3, 10, 10)
    write_segmentation(
        tmp_path / "regions.seg.nrrd",
        [Layer(values, {k: Segment(f"s{k}", (0, 0, 1)) for k in range(1, 300)})],
        np.eye(4),
    )
    np.testing.assert_array_equal(
        slicerio.read_segmentation(str(tmp_path / "regions.seg.nrrd"))["voxels"], values
    )


def test_a_micrograph_lies_in_millimetres_in_all_files(tmp_path):
    image = sx.Image(planted_image().array, spacing=(0.5, 0.25), units="um", name="cells")
    asked = sx.Target("object", region=sx.Box((16, 6), (20, 10)))
    found = sx.explain(planted_model(), image, asked, "vanilla-gradient")
    sx.export_to_slicer(found, tmp_path)
    held = nib.load(tmp_path / "image.nii.gz")
    np.testing.assert_allclose(held.header.get_zooms()[:2], [0.00025, 0.0005])
    np.testing.assert_array_equal(place(tmp_path), held.affine)
    asked_region = masks(tmp_path)["asked region (vanilla-gradient, object)"]
    assert asked_region.shape == (32, 32, 1)
    np.testing.assert_array_equal(np.argwhere(asked_region[..., 0]).min(0), [6, 16])
    assert asked_region.sum() == 25
    at = np.linalg.inv(held.affine) @ [*points(tmp_path)["highest (vanilla-gradient, object)"], 1]
    x, y, _, _ = np.rint(at).astype(int)
    assert found.map[y, x] == found.map.max()


def test_channels_are_files_and_colours_one(tmp_path):
    rng = np.random.default_rng(0)
    names = []
    for name in ("T1", "FLAIR"):
        names.append(tmp_path / f"{name}.nii.gz")
        nib.Nifti1Image(rng.normal(size=(8, 9, 10)).astype(np.float32), oblique()).to_filename(names[-1])
    model = sx.load_model(LinearHead(3, inputs=2), card=card(3, channels=["T1", "FLAIR"]))
    found = sx.explain(model, sx.read_image(names), sx.Target("object", region="image"), "vanilla-gradient")
    sx.export_to_slicer(found, tmp_path / "mr")
    for name in names:
        np.testing.assert_array_equal(
            nib.load(tmp_path / "mr" / f"image_{name.name}").get_fdata(), nib.load(name).get_fdata()
        )
    rgb = sx.Image(rng.integers(0, 255, (16, 16, 3), np.uint8), channel_axis=2)
    model = sx.load_model(
        LinearHead(inputs=3), card=card(channels=["r", "g", "b"], intensity=[{"divide": 255}])
    )
    sx.export_to_slicer(
        sx.explain(model, rgb, sx.Target("object", region="image"), "vanilla-gradient"), tmp_path / "rgb"
    )
    held = nib.load(tmp_path / "rgb" / "image.nii.gz").dataobj.get_unscaled()
    np.testing.assert_array_equal(np.stack([held[c] for c in "RGB"], -1)[:, :, 0].swapaxes(0, 1), rgb.array)


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_that_overlap_are_segments_each(tmp_path, ndim):
    image, model = nested(ndim), regions(ndim)
    label = model.labels[1]
    found = sx.explain(model, image, sx.Target(label, region="image"), "vanilla-gradient")
    sx.export_to_slicer(found, tmp_path, truth={label: found.drawn(label)})
    held = masks(tmp_path)
    for name in model.labels[1:]:
        turned = held[f"prediction: {name}"]
        there = turned[:, :, 0].T if ndim == 2 else turned.transpose(2, 1, 0)
        np.testing.assert_array_equal(there, found.drawn(name))
    np.testing.assert_array_equal(held[f"truth: {label}"], held[f"prediction: {label}"])


def test_the_maps_of_a_case_of_a_cohort_come_with_its_truth(tmp_path):
    values = (planted_image().array * 255).astype(np.uint8)
    (tmp_path / "data").mkdir()
    Picture.fromarray(values).save(tmp_path / "data" / "c0.png")
    Picture.fromarray((values > 200).astype(np.uint8)).save(tmp_path / "data" / "c0_label.png")
    model = sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))
    methods = ["vanilla-gradient", "input-x-gradient"]
    sx.run_cohort(model, sx.find_cases(tmp_path / "data"), methods=methods, out=tmp_path / "cohort")
    sx.export_to_slicer(tmp_path / "cohort", tmp_path / "out", case="c0")
    for method in methods:
        saved = nib.load(tmp_path / "out" / f"map_{method}_object.nii.gz").get_fdata()
        wanted = sx.read_cohort(tmp_path / "cohort").explanation("c0", "object", method).map
        np.testing.assert_array_equal(saved[:, :, 0].T, wanted)
    np.testing.assert_array_equal(masks(tmp_path / "out")["truth: object"][:, :, 0].T, values > 200)
    for case, said in ((None, "name one of its cases, such as 'c0'"), ("c1", "has no case 'c1'")):
        with pytest.raises(sx.UserError, match=said):
            sx.export_to_slicer(tmp_path / "cohort", tmp_path / "other", case=case)
    assert not (tmp_path / "other").exists()


def test_all_maps_of_a_comparison_are_there_under_their_names(tmp_path):
    model, image = planted_model(), planted_image()
    truth = image.array > 0.5
    methods = ["occlusion", "occlusion:patch=16"]
    compared = sx.compare(
        model,
        image,
        "object",
        methods,
        maps={"drawn/by hand": image.array},
        truth=truth,
        metrics=["ips"],
        controls=0,
        steps=2,
    )
    sx.export_to_slicer(compared, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "record.json").read_text())["maps"]
    assert sorted(told.values()) == sorted(
        [*(f"{name} · object" for name in compared.explanations), "drawn/by hand"]
    )
    for file, title in told.items():
        wanted = compared.maps[title.removesuffix(" · object")]
        np.testing.assert_allclose(nib.load(tmp_path / "out" / file).get_fdata()[:, :, 0].T, wanted)
    np.testing.assert_array_equal(masks(tmp_path / "out")["truth: object"][:, :, 0].T, truth)
    found = list(compared.explanations.values())
    sx.export_to_slicer([*found, found[0]], tmp_path / "listed")
    assert len({*json.loads((tmp_path / "listed" / "record.json").read_text())["maps"].values()}) == 3


def test_what_cannot_be_exported_is_said_and_nothing_is_written(tmp_path):
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    other = sx.explain(model, sx.Image(image.array * 0.99), "object", "vanilla-gradient")
    sheared = oblique()
    sheared[:3, 1] += 0.01 * sheared[:3, 0]
    leaning = sx.explain(
        planted_model(3), sx.Image(planted_image(3).array, affine=sheared), "object", "vanilla-gradient"
    )
    Picture.fromarray((image.array * 255).astype(np.uint8)).save(tmp_path / "a.png")
    gone = sx.explain(
        model, sx.read_image(tmp_path / "a.png"), sx.Target("object", "image"), "vanilla-gradient"
    )
    gone.save(tmp_path / "gone")
    (tmp_path / "a.png").unlink()
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "image.nii.gz").touch()
    for result, more, said in (
        ([found, other], {}, "are different images"),
        ([], {}, "there is no explanation to export"),
        (leaning, {}, "is sheared"),
        (found, {"case": "c0"}, "is for cohorts"),
        (found, {"truth": np.zeros((3, 3), np.uint8)}, "the truth has shape"),
        (tmp_path, {}, "holds no result"),
        (tmp_path / "gone", {}, "is not there any more"),
    ):
        with pytest.raises(sx.UserError, match=said):
            sx.export_to_slicer(result, tmp_path / "out", **more)
        assert not (tmp_path / "out").exists()
    with pytest.raises(sx.UserError, match=r"image\.nii\.gz"):
        sx.export_to_slicer(found, tmp_path / "user")
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["image.nii.gz"]
    shutil.rmtree(tmp_path / "user")
