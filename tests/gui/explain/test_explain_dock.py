"""The Explain widget, driven in a real napari window."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest
import torch
from helpers.docks import Slow, choose, use_model
from helpers.networks import Located, PatchSwitch, card, patch_of, planted_image
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.gui import worker
from napari_segxai.gui.explain.dock import ExplainDock

TRIANGLE = resource("sample_data/images/triangle_1.png")


@pytest.fixture
def slow_panel(viewer, open_panel, wait):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    network = Slow(patch_of(2))
    use_model(panel, sx.load_model(network, card=card(name=f"slow {id(network)}", grid={"size": [32, 32]})))
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.network = network
    return panel


def test_two_clicks_to_the_first_explanation(viewer, open_panel, wait, run_panel):
    viewer.open_sample("napari-segxai", "t1_head")
    panel = open_panel()
    assert panel.layer.name == "t1_head"
    assert panel.model_box.entry.card.name == "Brain extraction"
    assert panel.fields.label_box.currentText() == "brain"
    assert panel.method.name == "misure"
    wait(lambda: panel.run_bar.run.isEnabled())
    assert "forward" in panel.run_bar.estimate.text()
    run_panel(panel, "seg-hires-grad-cam")
    names = [layer.name for layer in viewer.layers]
    assert "saliency #1 · seg-hires-grad-cam" in names
    head = viewer.layers["t1_head"]
    for layer in viewer.layers:
        if "segxai" not in layer.metadata:
            continue
        assert layer.data.shape == head.data.shape
        np.testing.assert_allclose(layer.extent.world, head.extent.world)
        assert layer.units == head.units
        assert layer.axis_labels == head.axis_labels
        assert layer.metadata["segxai"]["method"] == "seg-hires-grad-cam"
    assert viewer.dims.units is not None  # one layer without mm would switch units off for all


def test_results_lie_above_their_source_in_order_and_nothing_is_overwritten(
    viewer, triangle_panel, run_panel
):
    viewer.add_points([[3, 3]], name="mine")
    run_panel(triangle_panel, "misure", iterations=4)
    title = "#1 · misure"
    expected = [
        "triangle_1",
        "prediction · Triangle",
        f"stages {title}",
        f"saliency {title}",
        f"sufficient region {title}",  # outlines lie on top: under a map nobody sees them
        f"minimal region {title}",
        "mine",
    ]
    found = [layer.name for layer in viewer.layers]
    assert found[0] == expected[0]
    assert found[1].startswith("prediction · ")
    assert found[2:] == expected[2:]
    before = [(layer, layer.data.copy()) for layer in viewer.layers if hasattr(layer.data, "copy")]
    run_panel(triangle_panel, "misure", iterations=6)
    found = [layer.name for layer in viewer.layers]
    assert "saliency #2 · misure · iterations 6" in found
    assert sum(name.startswith("prediction") for name in found) == 1  # it was there already
    for layer, data in before:  # an older run may have another name now
        assert layer in viewer.layers
        np.testing.assert_array_equal(layer.data, data)


def test_stages_are_one_labels_layer_with_a_table(viewer, triangle_panel, run_panel):
    run_panel(triangle_panel, "misure", iterations=0)
    stages = viewer.layers["stages #1 · misure"]
    n = len(triangle_panel.explanation.stage_table)
    assert set(np.unique(stages.data)) <= set(range(n + 1))
    table = stages.features
    assert {"index", "stage", "dilations", "radius", "dice", "area_pixel2"} <= set(table.columns)
    assert len(table) == n + 1
    mask = viewer.layers["sufficient region #1 · misure"]
    assert mask.contour == 1
    saliency = viewer.layers["saliency #1 · misure"]
    assert tuple(saliency.contrast_limits) == (0, pytest.approx(1))


def test_signed_maps_get_symmetric_limits(viewer, triangle_panel, run_panel):
    run_panel(triangle_panel, "seg-hires-grad-cam", layer="last")
    layer = viewer.layers["saliency #1 · seg-hires-grad-cam"]
    low, high = layer.contrast_limits
    assert low == -high
    assert layer.data.min() < 0
    assert layer.colormap.name == "against-for"


@pytest.mark.parametrize("method", ["rise", "misure", "seg-grad-cam"])
def test_the_same_numbers_as_in_python(viewer, triangle_panel, run_panel, method):
    params = {"rise": {"masks": 40}, "misure": {"iterations": 8}, "seg-grad-cam": {"layer": "bottleneck"}}[
        method
    ]
    triangle_panel.fields.target_fields.seed_box.setValue(3)
    run_panel(triangle_panel, method, **params)
    ex = sx.explain(sx.load_model("triangle"), sx.read_image(TRIANGLE), "triangle", method, seed=3, **params)
    np.testing.assert_array_equal(viewer.layers[f"saliency #1 · {method}"].data, ex.map)


def test_the_same_numbers_in_3d_whatever_the_storage_order(viewer, open_panel, wait, run_panel, tmp_path):
    import nibabel as nib

    head = nib.load(resource("sample_data/images/t1_head.nii.gz"))
    nib.save(nib.as_closest_canonical(head), tmp_path / "head.nii.gz")
    viewer.open(str(tmp_path / "head.nii.gz"), plugin="napari-segxai")
    panel = open_panel()
    wait(lambda: panel.run_bar.run.isEnabled())
    run_panel(panel, "seg-hires-grad-cam", layer="decoder2")
    panel.save(tmp_path / "widget")
    image = sx.read_image(resource("sample_data/images/t1_head.nii.gz"))
    ex = sx.explain(sx.load_model("brain-extraction"), image, "brain", "seg-hires-grad-cam", layer="decoder2")
    ex.save(tmp_path / "python")
    one, two = (
        nib.as_closest_canonical(nib.load(tmp_path / k / "saliency.nii.gz")) for k in ("widget", "python")
    )
    np.testing.assert_allclose(one.affine, two.affine, atol=1e-5)
    np.testing.assert_array_equal(one.get_fdata(), two.get_fdata())


def test_the_copied_script_makes_the_same_result(viewer, triangle_panel, run_panel):
    run_panel(triangle_panel, "rise", masks=30, keep=0.4)
    code = triangle_panel.copy_as_python()
    assert QApplication.clipboard().text() == code
    space: dict = {}
    exec(code.replace('explanation.save("explanation")', ""), space)
    np.testing.assert_array_equal(space["explanation"].map, triangle_panel.explanation.map)


def test_the_script_of_a_drawn_region_reads_it_from_a_file(viewer, triangle_panel, run_panel, tmp_path):
    mask = np.zeros((112, 112), np.uint8)
    mask[20:90, 20:90] = 1
    viewer.add_labels(mask, name="where")
    triangle_panel.fields.region_box.combo.setCurrentText("where")
    run_panel(triangle_panel, "seg-hires-grad-cam")
    assert triangle_panel.explanation.record.target["region"]["pixels"] == 4900
    code = triangle_panel.copy_as_python(tmp_path)
    assert "It reads region.tif, saved in" in triangle_panel.run_bar.status.text()
    space: dict = {}
    exec(code.replace('explanation.save("explanation")', ""), space)
    np.testing.assert_array_equal(space["explanation"].map, triangle_panel.explanation.map)


def test_shapes_are_regions(viewer, triangle_panel, run_panel):
    viewer.add_shapes(
        [np.array([[10, 10], [10, 40], [30, 40], [30, 10]])], shape_type="rectangle", name="box"
    )
    triangle_panel.fields.region_box.combo.setCurrentText("box")
    run_panel(triangle_panel, "seg-hires-grad-cam")
    pixels = triangle_panel.explanation.record.target["region"]["pixels"]
    assert 550 <= pixels <= 651


def test_run_again_takes_the_settings_of_the_selected_result(viewer, triangle_panel, run_panel, wait):
    run_panel(triangle_panel, "rise", masks=25)
    first = triangle_panel.explanation.map.copy()
    run_panel(triangle_panel, "seg-grad-cam")
    viewer.layers.selection.active = viewer.layers["saliency #1 · rise"]
    triangle_panel.run_bar.again.click()
    wait(lambda: not triangle_panel.run_bar.is_running and triangle_panel._all_shown())
    assert triangle_panel.fields.form.values()["masks"] == 25
    np.testing.assert_array_equal(viewer.layers["saliency #3 · rise"].data, first)


def test_save_writes_what_the_command_line_writes(viewer, triangle_panel, run_panel, tmp_path):
    run_panel(triangle_panel, "misure", iterations=2)
    triangle_panel.save(tmp_path / "out")
    assert (tmp_path / "out" / "record.json").exists()
    assert (tmp_path / "out" / "minimally_sufficient_region.nii.gz").exists()


def test_a_disabled_run_says_why(viewer, open_panel, wait):
    panel = open_panel()
    assert not panel.run_bar.run.isEnabled()
    assert "Open an image" in panel.run_bar.estimate.text()
    viewer.add_image(np.zeros((30, 40), np.float32), name="grey")
    wait(lambda: panel.run_bar.run.isEnabled())
    assert panel.model_box.entry.card.spatial_dims == 2
    names = [entry.card.name for entry in panel.model_box.entries]
    panel.model_box.combo.setCurrentIndex(names.index("Brain extraction"))
    wait(lambda: "3D volumes" in panel.run_bar.estimate.text())
    assert not panel.run_bar.run.isEnabled()


def test_models_that_do_not_fit_are_greyed_out(viewer, open_panel, wait):
    viewer.open_sample("napari-segxai", "astronaut")
    panel = open_panel()
    wait(lambda: panel.run_bar.run.isEnabled())
    assert "person" in [panel.fields.label_box.itemText(k) for k in range(panel.fields.label_box.count())]
    items = panel.model_box.combo.model()
    for index, entry in enumerate(panel.model_box.entries):
        assert items.item(index).isEnabled() == (len(entry.card.channels) == 3)


def test_a_torchscript_model_offers_only_what_works(viewer, open_panel, wait, tmp_path, run_panel):
    import yaml

    module = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1)))
    module.save(str(tmp_path / "net.pt"))
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(card(name="scripted")))
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    panel.model_box.open(tmp_path / "net.pt")
    wait(lambda: panel.run_bar.run.isEnabled())
    items = panel.fields.method_box.model()
    for index, method in enumerate(panel.fields.methods):
        assert items.item(index).isEnabled() == ("network layers" not in method.needs)
    choose(panel, "seg-grad-cam")
    assert not panel.run_bar.run.isEnabled()
    assert "TorchScript" in panel.run_bar.estimate.text()
    run_panel(panel, "rise", masks=3)


def test_the_parameter_form_shows_bounds_and_resets(triangle_panel):
    panel = triangle_panel
    choose(panel, "rise")
    panel.fields.preset_box.setCurrentText("hasany")
    values = panel.fields.form.values()
    assert values["score"] == "dice"
    assert values["keep"] == pytest.approx(0.539828, abs=1e-6)
    panel.fields.reset.click()
    assert panel.fields.form.values()["score"] == "probability"
    choose(panel, "misure")
    values = panel.fields.form.values()
    assert values["kernel"] is None
    assert panel.fields.form._fields["kernel"].widget.text() == "auto"
    assert "default" in panel.fields.form._fields["lam"].widget.toolTip()
    panel.fields.form.set_values({"kernel": 5})
    assert panel.fields.form.values()["kernel"] == 5


def test_run_becomes_cancel_and_the_partial_result_stays(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=2000)
    slow_panel.run_bar.run.click()
    assert slow_panel.run_bar.run.text() == "Cancel"
    wait(lambda: slow_panel.run_bar.progress.value() > 0)
    assert "left" in slow_panel.run_bar.status.text() or "mask" in slow_panel.run_bar.status.text()
    start = time.perf_counter()
    slow_panel.run_bar.run.click()
    assert "Cancelling" in slow_panel.run_bar.run.text()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert time.perf_counter() - start < 2  # one batch of 64 takes 30 ms here
    assert "Cancelled" in slow_panel.run_bar.status.text()
    wait(slow_panel._all_shown)
    [layer] = [layer for layer in viewer.layers if layer.name.startswith("saliency")]
    assert layer.name.endswith("(partial)")
    assert layer.metadata["segxai"]["partial"]
    assert layer.data.any()
    assert slow_panel.run_bar.run.text() == "Run"


def test_the_window_stays_alive_while_a_job_runs(slow_panel, wait):
    late: list[float] = []
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        late.append(now - last[0] - 0.01)
        last[0] = now

    choose(slow_panel, "rise", masks=640)
    slow_panel.network.delay = 0.3
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    slow_panel.run_bar.run.click()
    last[0] = time.perf_counter()
    timer.start(10)
    wait(lambda: not slow_panel.run_bar.is_running)
    timer.stop()
    # The job takes 10 batches of 0.3 s; a job in the GUI thread would leave a handful of ticks.
    assert len(late) > 100


def test_a_second_job_waits_for_the_first(slow_panel, wait):
    done = []
    choose(slow_panel, "rise", masks=300)
    slow_panel.run_bar.run.click()

    def quick():
        yield from ()
        return "second"

    job = worker.start(worker.WorkerTask(quick, lambda _: None, done.append))
    assert worker.is_waiting(job)
    assert slow_panel.run_bar.is_running
    wait(lambda: bool(done))
    assert done[0].result == "second"
    assert not slow_panel.run_bar.is_running


def test_an_error_in_the_network_is_shown_and_the_next_run_works(slow_panel, viewer, wait, capsys):
    choose(slow_panel, "rise", masks=640)
    original, calls = slow_panel.network.forward, []

    def failing(x):
        calls.append(len(x))
        if len(calls) == 9:
            raise RuntimeError("the network broke")
        return original(x)

    slow_panel.network.forward = failing
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "the network broke" in slow_panel.run_bar.status.text()
    wait(slow_panel._all_shown)
    assert any(layer.name.endswith("(partial)") for layer in viewer.layers)
    slow_panel.network.forward = original
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "Done" in slow_panel.run_bar.status.text()


def test_out_of_memory_says_what_to_lower_and_the_next_run_works(slow_panel, wait):
    choose(slow_panel, "rise", masks=10)
    original = slow_panel.network.forward

    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    slow_panel.network.forward = full
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "ran out of memory" in slow_panel.run_bar.status.text()
    assert "downsample" in slow_panel.run_bar.status.text()
    slow_panel.network.forward = original
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "Done" in slow_panel.run_bar.status.text()


def test_renaming_the_source_meanwhile(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=300)
    slow_panel.run_bar.run.click()
    viewer.layers["planted"].name = "renamed"
    assert slow_panel.image_box.currentText() == "renamed"
    wait(lambda: not slow_panel.run_bar.is_running and slow_panel._all_shown())
    assert viewer.layers[0].name == "renamed"
    assert viewer.layers[1].name.startswith("prediction")


def test_deleting_the_source_meanwhile(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=300)
    slow_panel.run_bar.run.click()
    viewer.layers.remove("planted")
    wait(lambda: not slow_panel.run_bar.is_running and slow_panel._all_shown())
    assert any(layer.name.startswith("saliency") for layer in viewer.layers)
    assert not slow_panel.run_bar.run.isEnabled()


def test_closing_the_dock_stops_the_job(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=3000)
    slow_panel.run_bar.run.click()
    wait(lambda: slow_panel.run_bar.progress.value() > 0)
    job = worker._running
    viewer.window.remove_dock_widget(slow_panel)
    slow_panel.deleteLater()
    gc.collect()
    wait(lambda: job.stop.is_set() and worker._running is None)
    assert any(layer.name.endswith("(partial)") for layer in viewer.layers)  # nothing is lost
    viewer.add_image(np.zeros((4, 4)))  # nothing is connected to what is gone


def test_closing_the_viewer_while_a_job_runs(make_napari_viewer, wait):
    viewer = make_napari_viewer()
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    network = Slow(patch_of(2))
    use_model(
        panel, sx.load_model(network, card=card(name=f"closing {id(network)}", grid={"size": [32, 32]}))
    )
    wait(lambda: panel.run_bar.run.isEnabled())
    choose(panel, "rise", masks=3000)
    panel.run_bar.run.click()
    wait(lambda: worker._running is not None)
    viewer.close()
    wait(lambda: worker._running is None)


def test_two_viewers_do_not_mix(make_napari_viewer, wait, run_panel):
    panels = []
    for _ in range(2):
        viewer = make_napari_viewer()
        viewer.open_sample("napari-segxai", "triangle")
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
        panels.append(panel)
    for panel in panels:
        wait(lambda panel=panel: panel.run_bar.run.isEnabled())
    run_panel(panels[1], "seg-grad-cam")
    assert len(panels[0].viewer.layers) == 1
    assert len(panels[1].viewer.layers) == 3


def test_shift_click_picks_the_object(viewer, open_panel, wait, run_panel):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    network = Located(patch_of(2), (32, 32))
    use_model(panel, sx.load_model(network, card=card(name=f"pick {id(network)}", grid={"size": [32, 32]})))
    wait(lambda: panel.run_bar.run.isEnabled())
    style = viewer.cursor.style
    panel.fields.region_box.pick.click()
    assert viewer.cursor.style != style

    class Event:
        modifiers = ("Shift",)
        position = (20.2, 9.9)

    for callback in list(viewer.mouse_drag_callbacks):
        callback(viewer, Event())
    assert panel.fields.region_box.combo.currentText() == "object at 20, 10"
    assert not panel.fields.region_box.pick.isChecked()
    assert viewer.cursor.style == style
    run_panel(panel, "seg-hires-grad-cam", layer="look")
    assert panel.explanation.record.target["region"] == {"kind": "component", "at": [20, 10]}


def test_escape_leaves_picking(viewer, triangle_panel):
    triangle_panel.fields.region_box.pick.click()
    before = len(viewer.mouse_drag_callbacks)
    [leave] = [function for key, function in viewer.keymap.items() if str(key) == "Escape"]
    leave(viewer)
    assert not triangle_panel.fields.region_box.pick.isChecked()
    assert len(viewer.mouse_drag_callbacks) == before - 1


def test_a_2d_model_on_a_volume_takes_the_slice_that_is_shown(viewer, open_panel, wait, run_panel):
    volume = np.zeros((5, 32, 32), np.float32)
    volume[3] = planted_image().array
    viewer.add_image(volume, name="stack")
    panel = open_panel()
    network = PatchSwitch(patch_of(2))
    use_model(panel, sx.load_model(network, card=card(name=f"flat {id(network)}", grid={"size": [32, 32]})))
    viewer.dims.set_current_step(0, 3)
    wait(lambda: panel.run_bar.run.isEnabled())
    assert panel.fields.inputs.isRowVisible(panel.fields.slice_box)
    run_panel(panel, "misure", iterations=0)
    prediction = next(layer for layer in viewer.layers if layer.name.startswith("prediction"))
    assert prediction.data[3].any()
    assert not prediction.data[[0, 1, 2, 4]].any()
    assert panel.explanation.record.slice == 3
    panel.fields.slice_box.setCurrentText("every slice")
    run_panel(panel, "misure", iterations=0)
    assert panel.explanation.record.slice is None
    assert "4 of 5 slices" in panel.explanation.record.warnings[0]


def test_everything_is_in_reach_at_1280_by_800(viewer, open_panel, wait):
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-segxai", "t1_head")
    panel = open_panel()
    panel.fields.parameters.expand(animate=False)
    panel.fields.target.expand(animate=False)
    wait(lambda: panel.run_bar.run.isEnabled())
    QApplication.processEvents()
    assert panel.width() <= 360
    bottom = panel.run_bar.save.mapTo(panel.window(), QPoint(0, panel.run_bar.save.height())).y()
    assert bottom <= 800
    assert panel.run_bar.run.isVisible()


def test_the_theme_reaches_the_run_button(viewer, open_panel):
    panel = open_panel()
    dark = panel.run_bar.run.styleSheet()
    viewer.theme = "light"
    assert panel.run_bar.run.styleSheet() != dark


def test_a_panel_needs_no_image_to_open(viewer):
    panel = ExplainDock(viewer)
    assert not panel.run_bar.run.isEnabled()
    panel.close()
    panel.deleteLater()


def test_a_slice_that_is_not_shown_is_not_explained(viewer, open_panel, wait):
    viewer.add_image(np.ones((5, 32, 32), np.float32), name="stack")
    viewer.add_image(np.ones((50, 32, 32), np.float32), name="longer")
    panel = open_panel()
    network = PatchSwitch(patch_of(2))
    use_model(panel, sx.load_model(network, card=card(name=f"far {id(network)}", grid={"size": [32, 32]})))
    viewer.dims.set_current_step(0, 40)
    panel.image_box.setCurrentText("stack")
    wait(lambda: "outside stack" in panel.run_bar.estimate.text())
    assert not panel.run_bar.run.isEnabled()
    viewer.dims.set_current_step(0, 2)
    wait(lambda: panel.run_bar.run.isEnabled())
