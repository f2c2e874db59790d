"""The rows below the image in a real window: a layer per channel, axes, the slice at a click; nothing read in its thread."""

from __future__ import annotations

import threading

import numpy as np
from helpers.networks import LinearHead, card
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.io import write_volume


def use(panel, model, wait):
    sx.register_model(model)
    panel.model_box.refresh_registered()
    names = [entry.card.name for entry in panel.model_box.entries]
    panel.model_box.combo.setCurrentIndex(names.index(model.card.name))
    QApplication.processEvents()


def test_split_channels_are_joined_by_name(viewer, open_panel, wait, run_panel):
    values = np.random.default_rng(0).random((2, 32, 32)).astype(np.float32)
    viewer.add_image(values[1], name="case_flair")
    viewer.add_image(values[0], name="case_t1")
    panel = open_panel()
    model = sx.load_model(LinearHead(inputs=2), card=card(name="two", channels=["T1", "FLAIR"]))
    use(panel, model, wait)
    wait(lambda: panel.run_bar.run.isEnabled())
    details = panel.image_box.details
    assert [box.currentText() for box in details.channel_boxes] == ["case_t1", "case_flair"]
    run_panel(panel, "vanilla-gradient")
    image = sx.Image(values, channel_axis=0)
    wanted = sx.explain(model, image, panel.explanation.record.target["label"], "vanilla-gradient")
    np.testing.assert_allclose(panel.explanation.map, wanted.map, atol=1e-6)
    assert [one["name"] for one in panel.explanation.record.image["channels"]] == ["case_t1", "case_flair"]
    details.channel_boxes[0].setCurrentIndex(0)
    assert "choose the layer of 'T1'" in panel.run_bar.estimate.text()


def test_a_gray_image_is_given_in_every_channel_after_a_word_or_if_the_card_says_so(
    viewer, open_panel, wait, run_panel
):
    layer = viewer.add_image(np.random.default_rng(0).random((32, 32)).astype(np.float32), name="cells")
    panel = open_panel()
    model = sx.load_model(LinearHead(inputs=3), card=card(name="colours", channels=["red", "green", "blue"]))
    use(panel, model, wait)
    details = panel.image_box.details
    wait(lambda: "say so under Channels" in panel.run_bar.estimate.text())
    assert panel.model_box.combo.model().item(panel.model_box.combo.currentIndex()).isEnabled()
    assert [details.in_all_box.itemText(k) for k in range(2)] == ["choose…", "this image in all 3"]
    details.in_all_box.setCurrentIndex(1)
    details.in_all_box.activated.emit(1)
    wait(panel.run_bar.run.isEnabled)
    run_panel(panel, "vanilla-gradient")
    image = sx.join_channels([sx.Image(layer.data)] * 3)
    wanted = sx.explain(model, image, panel.explanation.record.target["label"], "vanilla-gradient")
    np.testing.assert_allclose(panel.explanation.map, wanted.map, atol=1e-6)
    use(panel, sx.load_model(LinearHead(inputs=3), card=card(name="grays", channels=["gray"] * 3)), wait)
    wait(panel.run_bar.run.isEnabled)
    assert not details.rows.isRowVisible(details.in_all_box)


def test_axes_are_asked_where_they_cannot_be_told(viewer, open_panel, wait):
    viewer.add_image(np.zeros((4, 4, 32, 32), np.float32), name="film")
    panel = open_panel()
    model = sx.load_model(LinearHead(inputs=4), card=card(name="four", channels=["a", "b", "c", "d"]))
    use(panel, model, wait)
    details = panel.image_box.details
    wait(lambda: details.axes_box.isVisible())
    assert details.axes_box.itemText(0) == "choose…"
    assert not panel.run_bar.run.isEnabled()
    index = details.axes_box.findText("TCYX")
    details.axes_box.setCurrentIndex(index)
    details.axes_box.activated.emit(index)
    wait(lambda: panel.run_bar.run.isEnabled())
    viewer.dims.set_current_step(0, 2)
    assert panel.image().layer["at"] == {0: 2}


def test_a_lazy_series_is_read_by_the_job_alone(viewer, open_panel, wait, run_panel):
    import dask.array as da

    read = []

    def block(block_info=None):
        read.append(
            (block_info[None]["chunk-location"][0], threading.current_thread() is threading.main_thread())
        )
        return np.full((1, 32, 32), 0.5, np.float32)

    lazy = da.map_blocks(
        block, chunks=((1,) * 20, (32,), (32,)), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
    )
    viewer.add_image(lazy, name="film", contrast_limits=(0, 1), axis_labels=("t", "y", "x"))
    panel = open_panel()
    use(panel, sx.load_model(LinearHead(), card=card(name="one")), wait)
    viewer.dims.set_current_step(0, 7)
    wait(lambda: panel.run_bar.run.isEnabled())
    shown = panel.image()
    read.clear()
    panel._update()
    assert not shown.is_read
    assert not read
    run_panel(panel, "vanilla-gradient")
    assert {place for place, _ in read} == {7}
    assert panel.explanation.record.image["at"] == {"T": 7}


def test_another_plane_than_that_of_the_card_is_said(viewer, open_panel, wait):
    from napari_segxai.io.layer_data import layers_from_image

    image = sx.Image(
        np.random.default_rng(0).random((16, 18, 20)).astype(np.float32), affine=np.eye(4), name="head"
    )
    data, meta, _ = layers_from_image(image)[0]
    viewer.add_image(data, **meta)
    panel = open_panel()
    use(
        panel,
        sx.load_model(LinearHead(), card=card(name="axial", orientation="IPL", grid={"size": [32, 32]})),
        wait,
    )
    details = panel.image_box.details
    wait(lambda: panel.run_bar.run.isEnabled())
    assert "axial slice" in details.note.text()
    assert not details.at_click.isVisible()
    viewer.dims.order = (1, 0, 2)
    wait(lambda: details.at_click.isVisible())
    assert "the canvas shows coronal slice" in details.note.text()
    details._picked((3, 9, 9))
    assert panel.displayed().slice == 3


def test_a_result_keeps_the_image_that_was_explained_when_its_layer_is_edited(
    viewer, open_panel, wait, run_panel
):
    values = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    layer = viewer.add_image(values.copy())
    panel = open_panel()
    use(panel, sx.load_model(LinearHead(), card=card(name="one")), wait)
    wait(lambda: panel.run_bar.run.isEnabled())
    run_panel(panel, "vanilla-gradient")
    layer.data[:] = 0
    np.testing.assert_array_equal(panel.explanation.image.array, values)
    assert panel.explanation.record.image["sha256"] == sx.Image(values).sha256


def test_saved_results_are_not_taken_for_the_image(tmp_path, viewer, open_panel, wait):
    """What a record lists among its files is a result, whatever it is called; the user may choose it all the same."""
    values = np.random.default_rng(0).random((9, 8, 7), np.float32)
    scan = sx.Image(values, affine=np.eye(4))
    write_volume(tmp_path / "saliency.nii.gz", values, scan)  # a name decides nothing
    model = sx.load_model(LinearHead(3), card=card(3))
    target = sx.Target("object", "image")
    sx.explain(model, scan, target, "vanilla-gradient", device="cpu").save(tmp_path / "out")
    [image] = viewer.open(tmp_path / "saliency.nii.gz", plugin="napari-segxai")
    [result] = viewer.open(tmp_path / "out" / "saliency.nii.gz", plugin="napari-segxai")
    panel = open_panel()
    box = panel.image_box
    assert box.layer is image
    wait(lambda: panel.run_bar.run.isEnabled())
    viewer.layers.selection.active = image
    viewer.layers.selection.active = result
    assert box.layer is image
    box.setCurrentIndex(box.findText(result.name))
    assert box.layer is result
    viewer.layers.remove(image)
    assert box.layer is result
