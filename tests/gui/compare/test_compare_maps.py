"""Maps that are layers, and truths, which are measured as well."""

from __future__ import annotations

import numpy as np
from helpers.docks import use_network
from helpers.gui.compare_dock import METRICS, add_map, names_of
from helpers.networks import OBJECT, PATCH, LinearHead, card, planted_image

import napari_segxai as sx


def test_maps_that_are_there_are_measured_as_well(compare_panel, run_compare, viewer, tmp_path):
    panel = compare_panel
    panel.fields.metrics.tree.tick(METRICS)
    found = sx.explain(panel.model, sx.image_of_layer(panel.layer), "object", "occlusion")
    other = sx.explain(panel.model, sx.image_of_layer(panel.layer), "background", "vanilla-gradient")
    foreign = sx.explain(panel.model, planted_image().array + 1, "object", "vanilla-gradient")
    for explanation in (found, other, foreign):
        [data] = [d for d in explanation.to_layers(1) if d[1]["metadata"]["segxai_role"] == "saliency"]
        viewer.add_image(data[0], **data[1])
    mine, theirs, away = viewer.layers[1:]
    tree = panel.fields.methods.tree
    keys = {key: tree.reason(key) for key in tree.keys if key[0] == "map"}
    assert keys == {
        ("map", id(mine)): "",
        ("map", id(theirs)): "explains the label background, not object",
        ("map", id(away)): "explains image, another image than planted",
    }
    panel.fields.methods.tick(["vanilla-gradient"], [mine])
    run_compare(panel)
    assert list(panel.comparison.maps) == ["#1 · occlusion · object", "vanilla-gradient"]
    np.testing.assert_array_equal(panel.comparison.maps["#1 · occlusion · object"], found.map)
    script = panel.copy_as_python(tmp_path)
    assert "maps={'#1 · occlusion · object': sx.read_image(folder / 'map.tif').array}" in script
    panel.results.table.select("vanilla-gradient")
    assert not mine.visible
    panel.results.table.select("#1 · occlusion · object")
    assert mine.visible
    assert len(viewer.layers) == 6  # the map is not added again
    panel.fields.methods.tick([], [mine])
    run_compare(panel)
    assert list(panel.comparison.maps) == ["#1 · occlusion · object"]
    viewer.layers.remove(mine)
    assert panel.run_bar.estimate.text() == "Tick at least one method or map."


def test_a_map_of_another_time_point_or_model_is_grey_and_says_why(viewer, open_compare, wait, tmp_path):
    import nibabel as nib

    rng = np.random.default_rng(0)
    frames = rng.random((8, 7, 6, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, np.diag([-1.0, 1, 1, 1])), tmp_path / "film.nii.gz")
    viewer.open(tmp_path / "film.nii.gz", plugin="napari-segxai")
    [film] = viewer.layers
    panel = open_compare()
    model = use_network(panel, LinearHead(3), wait, spatial_dims=3, grid={"size": [8, 7, 6]})
    other = sx.load_model(LinearHead(3), card=card(3, name="other", grid={"size": [8, 7, 6]}))
    other.module.head.bias.data += 1
    file = sx.read_image(tmp_path / "film.nii.gz")
    assert file.path == sx.image_of_layer(film).path
    method = {"method": "vanilla-gradient"}
    maps = {
        "first": add_map(viewer, sx.explain(model, file.frame(0), "object", **method)),
        "second": add_map(viewer, sx.explain(model, file.frame(1), "object", **method)),
        "other": add_map(viewer, sx.explain(other, file.frame(0), "object", **method)),
        "layer": add_map(viewer, sx.explain(model, sx.image_of_layer(film), "object", **method)),
    }
    panel.image_box.setCurrentText(film.name)

    def reasons() -> dict[str, str]:
        return {name: panel.fields.methods.tree.reason(("map", id(layer))) for name, layer in maps.items()}

    viewer.dims.set_current_step(0, 0)
    first = reasons()
    assert first["first"] == first["layer"] == ""  # in the axes of the file, and of the layer
    assert first["second"] == "explains film, another image than film (other intensities under the name film)"
    assert first["other"].startswith("explains the model other, not mine")
    viewer.dims.set_current_step(0, 1)
    second = reasons()
    assert second["second"] == ""
    assert "another image" in second["first"]
    assert "another image" in second["layer"]


def test_a_map_is_checked_again_when_run_is_pressed(compare_panel, run_compare, viewer):
    panel = compare_panel
    mine = add_map(
        viewer, sx.explain(panel.model, sx.image_of_layer(panel.layer), "object", "vanilla-gradient")
    )
    panel.fields.methods.tick([], [mine])
    assert panel.run_bar.run.isEnabled()
    viewer.layers["planted"].data[0, 0] += 1  # in place: nobody is told
    panel.run_bar.run.click()
    assert not panel.run_bar.is_running
    assert "explains planted, another image than planted" in panel.run_bar.estimate.text()
    assert "untick it" in panel.run_bar.estimate.text()


def test_an_image_layer_of_the_same_shape_can_be_a_map(compare_panel, run_compare, viewer):
    panel, tree = compare_panel, compare_panel.fields.methods.tree
    cause = np.zeros((32, 32))
    cause[PATCH] = cause[OBJECT] = 1
    mine = viewer.add_image(cause, name="by hand")
    small = viewer.add_image(np.zeros((5, 5)), name="small")
    color = viewer.add_image(np.zeros((32, 32, 3), np.uint8), name="colour")
    panel.image_box.setCurrentText("planted")
    assert panel.model_box.entry.model is panel.model  # chosen by the user: an image of colours leaves it
    assert tree.reason(("map", id(mine))) == ""
    assert tree._items["map", id(mine)].text(0) == "by hand (no record)"
    assert "nothing tells what it explains" in tree._items["map", id(mine)].toolTip(0)
    assert not {("map", id(layer)) for layer in (small, color, viewer.layers["planted"])} & set(tree.keys)
    panel.fields.methods.tick([], [mine])
    run_compare(panel)
    assert panel.comparison.names == ["by hand", "random order"]
    assert panel.comparison.value("by hand", "dice-explained") == 1
    np.testing.assert_array_equal(panel.comparison.maps["by hand"], cause)


def test_a_map_file_that_lies_elsewhere_is_grey(viewer, open_compare, wait, tmp_path):
    import nibabel as nib

    values = np.random.default_rng(0).random((8, 7, 6)).astype(np.float32)
    there = np.diag([2.0, 2, 2, 1])
    there[0, 3] = 9
    for name, affine in (
        ("scan", np.diag([2.0, 2, 2, 1])),
        ("map", np.diag([2.0, 2, 2, 1])),
        ("away", there),
    ):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
        viewer.open(tmp_path / f"{name}.nii.gz", plugin="napari-segxai")
    panel = open_compare()
    use_network(panel, LinearHead(3), wait, spatial_dims=3, grid={"size": [8, 7, 6]})
    panel.image_box.setCurrentText("scan")
    tree = panel.fields.methods.tree
    assert tree.reason(("map", id(viewer.layers["map"]))) == ""
    assert tree.reason(("map", id(viewer.layers["away"]))) == "lies at another place than scan"


def test_a_truth_on_another_grid_is_resampled_or_refused_in_words(
    compare_panel, run_compare, viewer, wait, tmp_path
):
    panel, note = compare_panel, compare_panel.fields.truth_note
    fine = np.zeros((64, 64), np.uint8)
    fine[8:20, 40:52] = fine[32:52, 12:32] = 1  # the patch and the object, at half the pixel size
    viewer.add_labels(fine, name="fine", scale=(0.5, 0.5), translate=(-0.25, -0.25))
    viewer.add_labels(np.ones((32, 32), np.uint8), name="away", translate=(500, 0))
    panel.image_box.setCurrentText("planted")
    panel.fields.metrics.tree.tick(["f1-mask"])
    panel.fields.truth_box.setCurrentText("away")
    assert not panel.run_bar.run.isEnabled()
    assert "nothing of the truth away lies in planted" in panel.run_bar.estimate.text()
    assert not note.isVisibleTo(panel)
    panel.fields.truth_box.setCurrentText("fine")
    assert panel.run_bar.run.isEnabled()
    assert note.isVisibleTo(panel)
    assert "the truth fine lies on another grid than planted and was resampled" in note.text()
    run_compare(panel)
    wanted = np.zeros((32, 32), bool)
    wanted[PATCH] = wanted[OBJECT] = True
    np.testing.assert_array_equal(panel.comparison.truth, wanted)
    assert "was resampled" in panel.run_bar.status.text()
    text = panel.copy_as_python(tmp_path)
    call = next(line for line in text.splitlines() if line.startswith("comparison = "))
    [folder] = tmp_path.iterdir()
    again = eval(call.removeprefix("comparison = "), {**names_of(panel), "folder": folder})
    assert (
        again.value("seg-grad-cam", "f1-mask")
        == panel.comparison.value("seg-grad-cam", "f1-mask")
        is not None
    )
    viewer.layers["fine"].data = np.zeros_like(fine)
    run_compare(panel)
    assert not panel.comparison.truth.any()  # not the one that was resampled before
    panel.fields.truth_box.setCurrentText("none")
    assert not note.isVisibleTo(panel)


def test_a_truth_brings_its_metrics(compare_panel, run_compare, viewer, tmp_path):
    panel, tree = compare_panel, compare_panel.fields.metrics.tree
    tree.tick(["f1-mask", "saliency-ratio"])
    assert panel.fields.metrics.chosen() == ["saliency-ratio"]
    assert "truth" in tree.reason("f1-mask")
    truth = np.zeros((32, 32), np.uint8)
    truth[PATCH] = truth[OBJECT] = 1
    viewer.add_labels(truth, name="truth")
    panel.fields.truth_box.setCurrentText("truth")
    assert panel.fields.metrics.chosen() == ["saliency-ratio", "f1-mask"]
    run_compare(panel)
    wanted = sx.compare(
        panel.model, planted_image(), "object", ["seg-grad-cam"], truth=truth, metrics=["f1-mask"]
    )
    assert panel.comparison.value("seg-grad-cam", "f1-mask") == wanted.value("seg-grad-cam", "f1-mask")
    assert "truth=sx.read_region(folder / 'truth.tif', image)" in panel.copy_as_python(tmp_path)
    assert panel.fields.truth_note.text() == ""
