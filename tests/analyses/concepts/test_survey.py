"""Asking about a folder of cases: network dissection on what is planted, and all that holds for every such method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.concepts import SQUARE, planted_folder, planted_network
from PIL import Image as Picture
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.concepts.again import plan_again
from napari_segxai.cli.app import app

ASKED = {"method": "network-dissection", "layers": "body"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return planted_folder(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def model():
    return planted_network()


@pytest.fixture(scope="module")
def found(folders, model):
    return sx.survey(model, folders[0], concepts=folders[1], **ASKED)


def test_the_planted_unit_is_found_and_its_control_finds_nothing(found):
    (row,) = found.table
    assert (row["concept"], row["layer"], row["unit"]) == ("square", "body", 1)
    assert row["iou"] > 0.98
    assert row["auc"] > 0.99
    assert row["share"] == pytest.approx(SQUARE**2 / 32**2)
    assert row["control_iou"] < 0.3
    assert row["beyond_control"] is True
    assert "square by unit 1 of body" in found.sentence
    by_unit = {one["unit"]: one for one in found.tables["units"]}
    assert by_unit[0]["auc"] < 0.01
    assert by_unit[3]["auc"] == pytest.approx(0.5)


def test_the_quantile_of_the_paper_cannot_go_beyond_the_ceiling(folders, model):
    (row,) = sx.survey(model, folders[0], concepts=folders[1], preset="paper", **ASKED).table
    share = SQUARE**2 / 32**2
    assert row["ceiling"] == pytest.approx(0.005 / share)
    assert row["iou"] == pytest.approx(row["ceiling"], rel=0.02)
    assert row["auc"] > 0.99  # which knows no threshold


def test_one_seed_gives_one_result_and_passes_are_as_planned(found, folders, model):
    again = sx.survey(model, folders[0], concepts=folders[1], **ASKED)
    assert again.table == found.table
    plan = sx.plan_survey(model, folders[0], concepts=folders[1], **ASKED)
    assert plan.passes.as_dict() == found.record["passes"] == {"forward": 10, "backward": 0}


def test_it_opens_as_it_was_saved_and_can_be_asked_again(found, model, tmp_path):
    written = found.save(tmp_path / "out")
    assert {"table.csv", "columns.csv", "cases.csv", "units.csv", "record.json", "figure.png"} <= {
        path.name for path in written
    }
    opened = sx.load_survey(tmp_path / "out")
    assert (opened.table, opened.charts, opened.tables) == (found.table, found.charts, dict(found.tables))
    assert opened.record == json.loads(json.dumps(found.record))
    for one, other in zip(opened.to_layers(), found.to_layers(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1]["name"] == other[1]["name"]
    assert [one.of for one in opened.maps] == [one.of for one in found.maps]
    assert all(one.shows(opened.table[0]) for one in opened.maps)
    assert not any(one.shows({**opened.table[0], "unit": 0}) for one in opened.maps)
    names = [kwargs["name"] for _, kwargs, _ in opened.to_layers()]
    assert len(names) == 4  # two images, each with a map
    assert any(name.startswith("square: unit 1 of body") for name in names)
    assert plan_again(opened, model).passes == plan_again(found, model).passes
    with pytest.raises(sx.UserError, match="no map of case 'nowhere'"):
        opened.to_layers("nowhere")


def test_a_map_of_a_case_is_the_activation_of_the_unit(found):
    one = found.maps[0]
    np.testing.assert_allclose(one.array(), one.image().array / 255, atol=1e-4)


def test_stopping_keeps_what_there_is_and_restores_the_model(folders, model):
    steps = sx.survey_steps(model, folders[0], concepts=folders[1], **ASKED)
    last = None
    for number, step in enumerate(steps):
        last = step.partial()
        if number == 4:
            break
    steps.close()
    assert last is not None
    assert last.record["partial"]
    assert not any(module._forward_hooks for module in model.module.modules())


def test_a_case_that_fails_is_told_and_the_rest_goes_on(folders, model, tmp_path):
    shutil.copytree(folders[0], tmp_path / "images")
    shutil.copytree(folders[1], tmp_path / "masks")
    (tmp_path / "images" / "c2.png").write_bytes(b"not a picture")
    Picture.fromarray(np.ones((8, 9), np.uint8)).save(tmp_path / "masks" / "c3.png")
    (tmp_path / "masks" / "c4.png").unlink()
    got = sx.survey(model, tmp_path / "images", concepts=tmp_path / "masks", **ASKED)
    assert set(got.failed) == {"c2", "c3", "c4"}
    assert "another grid than c3 (of shape (8, 9), not (32, 32))" in got.failed["c3"]
    assert "holds no mask for it" in got.failed["c4"]
    assert "3 of 8 cases failed" in " ".join(got.warnings)
    assert got.table[0]["unit"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"method": "misure"},
            "misure is a method for one image, not for a folder of cases; for those there are",
        ),
        ({"layers": "bdoy"}, "no network layer 'bdoy'; did you mean 'body'"),
        ({"concepts": "nowhere"}, "there is no such folder; name one that holds the masks"),
        ({"concepts": "truth"}, "images has no truth whose labels could be concepts"),
        ({"quantile": 1.0}, "quantile is 1; it has to be"),
        ({"within": "elsewhere"}, "needs 2 cases of different subjects.*there is no concept 'elsewhere'"),
    ],
)
def test_what_is_asked_wrongly_is_said(change, words, folders, model):
    asked = {**ASKED, "concepts": folders[1], **change}
    with pytest.raises(sx.UserError, match=words):
        sx.survey(model, folders[0], **asked)


def test_too_few_cases_and_folders_without_images_are_said(folders, model, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    with pytest.raises(sx.UserError, match="holds no case that could be read"):
        sx.survey(model, one, concepts="predicted", **ASKED)
    shutil.copy(folders[0] / "c0.png", one)
    with pytest.raises(sx.UserError, match="needs 2 cases of different subjects, and one holds 1; add some"):
        sx.survey(model, one, concepts="predicted", **ASKED)
    (one / "c1.png").write_bytes(b"nothing")
    with pytest.raises(sx.UserError, match=r"of the 2 in one 1 can be used; c1: .*c1\.png"):
        sx.survey(model, one, concepts="predicted", **ASKED)
    with pytest.raises(
        sx.UserError, match="network-dissection is a method for a folder of cases, not for one image"
    ):
        sx.explain(model, sx.read_image(one / "c0.png"), "object", "network-dissection")


def test_the_first_mask_is_looked_at_before_the_work_begins(folders, model, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for k in range(8):
        Picture.fromarray(np.ones((8, 9), np.uint8)).save(masks / f"c{k}.png")
    with pytest.raises(
        sx.UserError, match=r"masks.c0\.png: the mask lies on another grid than c0 \(of shape \(8, 9\)"
    ):
        sx.survey_steps(model, folders[0], concepts=masks, **ASKED)


def test_a_concept_that_is_nowhere_has_no_numbers(folders, model, tmp_path):
    """A folder per concept: of one the masks are empty, of the other a case has none."""
    shutil.copytree(folders[1], tmp_path / "m" / "square")
    (tmp_path / "m" / "square" / "c5.png").unlink()
    (tmp_path / "m" / "ghost").mkdir()
    for k in range(8):
        Picture.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "m" / "ghost" / f"c{k}.png")
    got = sx.survey(model, folders[0], concepts=tmp_path / "m", **ASKED)
    rows = {row["concept"]: row for row in got.table}
    assert rows["square"]["unit"] == 1
    numbers = {
        key: value
        for key, value in rows["ghost"].items()
        if key not in ("concept", "layer", "stage", "units")
    }
    assert set(numbers.values()) == {None}
    assert "ghost is not in both halves" in " ".join(got.warnings)
    assert "square has no mask in 1 of 8 cases" in " ".join(got.warnings)
    assert "ghost" not in got.sentence


def test_label_images_with_names_and_masks_called_after_case_and_concept(folders, model, tmp_path):
    labels, loose = tmp_path / "labels", tmp_path / "loose"
    labels.mkdir()
    loose.mkdir()
    for k in range(8):
        mask = np.asarray(Picture.open(folders[1] / f"c{k}.png"))
        both = mask * 2
        both[0, 0] = 7
        Picture.fromarray(both.astype(np.uint8)).save(labels / f"c{k}.png")
        Picture.fromarray(mask * 255).save(loose / f"c{k}_bright.png")
    (labels / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "square": 2}}))
    for where, names in ((labels, {"square", "label 7"}), (loose, {"bright"})):
        got = sx.survey(model, folders[0], concepts=where, **ASKED)
        assert {row["concept"] for row in got.table} == names
        best = next(row for row in got.table if row["concept"] in ("square", "bright"))
        assert best["unit"] == 1
        assert best["iou"] > 0.95


def test_cells_outside_of_a_region_do_not_count(folders, model, tmp_path):
    """Among the cells of the lower half alone, its own half is told by the row, and no longer by being low."""
    for k in range(8):
        for name, rows in (("low", slice(16, 32)), ("lowest", slice(24, 32))):
            mask = np.zeros((32, 32), np.uint8)
            mask[rows] = 1
            (tmp_path / name).mkdir(exist_ok=True)
            Picture.fromarray(mask).save(tmp_path / name / f"c{k}.png")
    whole = sx.survey(model, folders[0], concepts=tmp_path, **ASKED)
    part = sx.survey(model, folders[0], concepts=tmp_path, within="low", **ASKED)
    shares = {row["concept"]: row["share"] for row in whole.table}
    assert shares == pytest.approx({"low": 0.5, "lowest": 0.25})
    (row,) = part.table
    assert (row["concept"], row["unit"], row["share"]) == ("lowest", 2, pytest.approx(0.5))
    assert not row["beyond_control"]  # there is one part alone, so that nothing can change places
    assert row["control_auc"] is None
    assert "no single unit shows low, lowest better" in whole.sentence.lower()


def test_roles_that_cannot_be_seen_are_no_finding(model, tmp_path):
    """Of three squares that look alike, one is the object by chance: by size alone IoU is .2, and it is the same for the control."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for k in range(12):
        array, masks = rng.uniform(0, 80, (32, 32)), np.zeros((3, 32, 32), np.uint8)
        places = [(4, 4), (4, 20), (20, 12)]
        for y, x in places:
            array[y : y + 6, x : x + 6] = rng.uniform(180, 255, (6, 6))
            masks[0, y : y + 6, x : x + 6] = 1
        y, x = places[rng.integers(3)]
        masks[1, y : y + 6, x : x + 6] = 1
        masks[2, y : y + 6, x : x + 3] = 1
        Picture.fromarray(array.astype(np.uint8)).save(tmp_path / "images" / f"c{k}.png")
        for name, mask in zip(("item", "role", "left"), masks, strict=True):
            (tmp_path / "masks" / name).mkdir(parents=True, exist_ok=True)
            Picture.fromarray(mask).save(tmp_path / "masks" / name / f"c{k}.png")
    found = sx.survey(model, tmp_path / "images", concepts=tmp_path / "masks", within="item", **ASKED)
    rows = {row["concept"]: row for row in found.table}
    assert rows["role"]["share"] == pytest.approx(1 / 3)
    assert not rows["role"]["beyond_control"]
    assert rows["role"]["control_iou"] > 0.1
    assert rows["role"]["control_auc"] > 0.45


def test_the_command_writes_what_python_finds(found, folders, tmp_path, monkeypatch, model):
    monkeypatch.setattr("napari_segxai.cli.concepts.load", lambda *_: model)
    asked = [
        "concepts",
        str(folders[0]),
        "--model",
        "planted",
        "--method",
        "network-dissection",
        "-p",
        "layers=body",
    ]
    done = CliRunner().invoke(app, [*asked, "--concepts", str(folders[1]), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.stderr
    assert found.sentence in done.stdout
    assert sx.load_survey(tmp_path / "out").table == found.table
    assert (
        (tmp_path / "out" / "table.csv")
        .read_text()
        .startswith("concept,layer,unit,iou,control_iou,auc,control_auc,beyond_control,ceiling")
    )
    again = CliRunner().invoke(app, [*asked, "--concepts", "predicted", "--out", str(tmp_path / "out")])
    assert again.exit_code == 2
    assert "already holds a survey" in again.stderr


def test_listings_say_the_scope():
    scopes = {one["name"]: one["scope"] for one in sx.list_methods()}
    assert scopes["misure"] == ["image"]
    assert scopes["network-dissection"] == ["dataset"]


def test_a_saved_survey_opens_in_napari(found, tmp_path):
    from napari_segxai.gui.viewer.opened import layers_of_saved

    found.save(tmp_path / "out")
    layers = layers_of_saved(tmp_path / "out")
    assert [kwargs["visible"] for _, kwargs, _ in layers] == [True, True, False, False]
    assert layers[1][1]["metadata"]["segxai_map"] == "square: unit 1 of body"


def test_volumes_that_a_2d_model_sees_slice_by_slice(model, tmp_path):
    """The slice that holds the concept is looked at; it is brought back to its place."""
    import nibabel

    rng = np.random.default_rng(1)
    for k in range(4):
        array, mask = rng.uniform(0, 100, (12, 16, 5)), np.zeros((12, 16, 5), np.uint8)
        mask[3:7, 4:9, k] = 1
        array[mask > 0] = 220
        for name, values in (("images", array.astype(np.float32)), ("masks", mask)):
            (tmp_path / name).mkdir(exist_ok=True)
            nibabel.save(
                nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), tmp_path / name / f"v{k}.nii.gz"
            )
    got = sx.survey(model, tmp_path / "images", concepts=tmp_path / "masks", **ASKED)
    assert got.table[0]["unit"] == 1
    assert sorted(case["slice"] for case in got.record["cases"]) == [1, 2, 3, 4]
    one = got.maps[0]
    array = one.array()
    planes = [k for k in range(5) if array[..., k].any()]
    assert len(planes) == 1
    assert array[..., planes[0]].max() == pytest.approx(220 / 255, abs=1e-4)


def test_paths_do_not_leave_the_folder(tmp_path, found):
    """Names of cases and concepts become names of files in the folder, and nothing else."""
    for path in found.save(tmp_path / "out"):
        assert Path(path).parent == tmp_path / "out"


def test_what_is_noted_of_images_is_told_once(model, folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / "masks")
    (tmp_path / "images").mkdir()
    for k in range(8):
        array = np.asarray(Picture.open(folders[0] / f"c{k}.png")).astype(np.float32)
        array[0, 0] = np.nan
        Picture.fromarray(array).save(tmp_path / "images" / f"c{k}.tif")
    got = sx.survey(model, tmp_path / "images", concepts=tmp_path / "masks", **ASKED)
    said = [one for one in got.warnings if "not finite" in one]
    assert 1 <= len(said) == len(set(said))
    assert got.table[0]["unit"] == 1


def test_a_network_that_cannot_be_looked_into_is_refused_before_the_work(folders):
    import torch
    from helpers.concepts import Planted
    from helpers.networks import card

    script = torch.jit.trace(Planted(), torch.zeros(1, 1, 32, 32))
    model = sx.SegmentationModel(script, card(), capabilities=("gradients",))
    with pytest.raises(sx.UserError, match="network layers cannot be observed"):
        sx.survey_steps(model, folders[0], concepts=folders[1], **ASKED)


def test_on_triangles_what_it_is_is_lost_and_which_role_it_plays_is_found(tmp_path, monkeypatch):
    """The last layers of the encoder cannot tell an item of the object from another; the first of the decoder can, and no longer tell trousers."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "scripts")
    from concepts_figure import write_cases

    images, concepts = write_cases(tmp_path, 16)
    found = sx.survey(
        "triangle", images, "network-dissection", concepts=concepts, within="item", choose="auc", examples=0,
        layers="encoder2,encoder4,decoder4,decoder2",
    )  # fmt: skip
    rows = {(row["concept"], row["layer"]): row for row in found.table}
    assert all(rows["object", layer]["auc"] < 0.65 for layer in ("encoder2", "encoder4"))
    assert all(rows["object", layer]["auc"] > 0.85 for layer in ("decoder4", "decoder2"))
    assert all(rows["object", layer]["beyond_control"] for layer in ("decoder4", "decoder2"))
    assert rows["trouser", "decoder4"]["auc"] < 0.6


def test_images_beside_their_masks_are_no_masks_and_strange_files_are_told(folders, model, tmp_path):
    for k in range(8):
        shutil.copy(folders[0] / f"c{k}.png", tmp_path)
        shutil.copy(folders[1] / f"c{k}.png", tmp_path / f"c{k}_mask.png")
    cases = tuple(sx.Case(f"c{k}", (tmp_path / f"c{k}.png",)) for k in range(8))
    shutil.copy(folders[1] / "c0.png", tmp_path / "other.png")
    got = sx.survey(model, sx.Cases(tmp_path, "folder", cases), concepts=tmp_path, **ASKED)
    assert [row["unit"] for row in got.table] == [1]
    assert "1 files of" in " ".join(got.warnings)
    assert "left out: other.png" in " ".join(got.warnings)


@pytest.mark.parametrize(
    ("name", "words"),
    [("c0.jpg", "JPEG changes the values of masks"), ("c0.png", "holds 3 channels, such as colors")],
)
def test_masks_that_do_not_say_what_they_mean_are_refused(name, words, folders, model, tmp_path):
    shutil.copytree(folders[1], tmp_path / "masks")
    (tmp_path / "masks" / "c0.png").unlink()
    Picture.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "masks" / name)
    with pytest.raises(sx.UserError, match=words):
        sx.plan_survey(model, folders[0], concepts=tmp_path / "masks", **ASKED)


def test_a_mask_of_one_concept_with_several_values_is_refused(folders, model, tmp_path):
    """Labels, objects by number or a soft edge: taken for one region, a halo would count as the concept."""
    shutil.copytree(folders[1], tmp_path / "m" / "square")
    path = tmp_path / "m" / "square" / "c0.png"
    soft = np.asarray(Picture.open(path)) * 255
    soft[0, :3] = 7
    Picture.fromarray(soft).save(path)
    with pytest.raises(
        sx.UserError, match="holds the values 7, 255 beside 0; the mask of square has 0 outside"
    ):
        sx.plan_survey(model, folders[0], concepts=tmp_path / "m", **ASKED)


def test_without_masks_that_say_nothing_no_unit_is_said_to_fail_beside_them(model, tmp_path):
    """Of two cases one judges: no other case's masks are there to compare with, which is said as it is."""
    images, masks = planted_folder(tmp_path, cases=2)
    found = sx.survey(model, images, concepts=masks, **ASKED)
    (row,) = found.table
    assert (row["unit"], row["control_iou"], row["beyond_control"]) == (1, None, None)
    assert "no masks that say nothing" in found.sentence
    assert "better than" not in found.sentence
    assert "chosen on 1 and judged on 1" in " ".join(found.warnings)


def test_many_concepts_are_told_in_a_sentence_that_can_be_read(folders, model, tmp_path):
    (tmp_path / "stripes").mkdir()
    for k in range(8):
        stripes = np.arange(32, dtype=np.uint8)[:, None].repeat(32, 1)
        Picture.fromarray(stripes).save(tmp_path / "stripes" / f"c{k}.png")
    found = sx.survey(model, folders[0], concepts=tmp_path / "stripes", **ASKED)
    assert len(found.table) == 31
    assert all(row["auc"] > 0.5 for row in found.table if row["beyond_control"])
    assert "more" in found.sentence
    assert len(found.sentence) < 800


def test_why_cases_failed_and_why_truths_cannot_be_used_is_told(folders, model, tmp_path):
    shutil.copytree(folders[0], tmp_path / "images")
    shutil.copytree(folders[1], tmp_path / "labels")
    (tmp_path / "images" / "c3.png").write_bytes(b"no picture")
    Picture.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "labels" / "c5.png")
    found = sx.survey(model, tmp_path, "segmentation-ability", layers="body")
    said = " ".join(found.warnings)
    assert "1 of 8 cases failed and do not count; c3: " in said
    assert "a truth cannot be used, and counts as none: " in said
    assert found.table[0]["n"] == 7
