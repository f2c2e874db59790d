"""The form of the Explain widget: what can be chosen, picked and run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.docks import choose, use_model
from helpers.networks import Located, PatchSwitch, card, patch_of, planted_image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

import napari_segxai as sx
from napari_segxai.gui.explain.dock import ExplainDock
from napari_segxai.methods.registry import all_methods


def test_a_panel_needs_no_image_to_open_and_a_disabled_run_says_why(viewer, open_panel, wait):
    alone = ExplainDock(viewer)
    assert not alone.run_bar.run.isEnabled()
    alone.close()
    alone.deleteLater()
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
    panel.fields.method_box.showPopup()
    gray = {
        i.data(0, Qt.ItemDataRole.UserRole)
        for i in panel.fields.method_box.chooser._items()
        if i.isDisabled()
    }
    assert gray == {m.name for m in all_methods("image") if "network layers" in m.needs}
    panel.fields.method_box.hidePopup()
    choose(panel, "seg-grad-cam")
    assert not panel.run_bar.run.isEnabled()
    assert "TorchScript" in panel.run_bar.estimate.text()
    run_panel(panel, "rise", masks=3)


def test_the_parameter_form_shows_bounds_and_resets(triangle_panel):
    panel = triangle_panel
    choose(panel, "rise")
    panel.fields.method_parameters.preset_box.setCurrentText("hasany")
    values = panel.fields.form.values()
    assert values["score"] == "dice"
    assert values["keep"] == pytest.approx(0.539828, abs=1e-6)
    panel.fields.method_parameters.reset.click()
    assert panel.fields.form.values()["score"] == "probability"
    choose(panel, "misure")
    values = panel.fields.form.values()
    assert values["kernel"] is None
    assert panel.fields.form._fields["kernel"].widget.text() == "auto"
    assert "default" in panel.fields.form._fields["lam"].widget.toolTip()
    panel.fields.form.set_values({"kernel": 5})
    assert panel.fields.form.values()["kernel"] == 5


def test_shift_click_picks_the_object_and_escape_leaves_picking(viewer, open_panel, wait, run_panel):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    network = Located(patch_of(2), (32, 32))
    use_model(panel, sx.load_model(network, card=card(name=f"pick {id(network)}", grid={"size": [32, 32]})))
    wait(lambda: panel.run_bar.run.isEnabled())
    style = viewer.cursor.style
    panel.fields.region_box.pick.click()
    assert viewer.cursor.style != style
    before = len(viewer.mouse_drag_callbacks)
    [leave] = [function for key, function in viewer.keymap.items() if str(key) == "Escape"]
    leave(viewer)
    assert not panel.fields.region_box.pick.isChecked()
    assert len(viewer.mouse_drag_callbacks) == before - 1
    panel.fields.region_box.pick.click()

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


def test_everything_is_in_reach_at_1280_by_800_and_follows_the_theme(viewer, open_panel, wait):
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
    dark = panel.run_bar.run.styleSheet()
    viewer.theme = "light"
    assert panel.run_bar.run.styleSheet() != dark


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


def test_a_folder_of_images_is_chosen_beside_its_row(viewer, open_panel, wait, monkeypatch):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    network = sx.load_model(
        PatchSwitch(patch_of(2)), card=card(name="patch with folder", grid={"size": [32, 32]})
    )
    use_model(panel, network)
    wait(lambda: panel.run_bar.run.isEnabled())
    choose(panel, "l-crp")
    line = panel.fields.form._fields["references"].widget
    assert panel.fields.form.changed_values() == {}
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/images/of/others")
    [action] = line.actions()
    action.trigger()
    assert panel.fields.form.changed_values() == {"references": "/images/of/others"}
    with pytest.raises(sx.UserError, match="/images/of/others: is not there"):
        panel.plan()
