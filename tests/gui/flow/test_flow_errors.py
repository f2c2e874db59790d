"""An information flow of an error, and of a score of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import Slow, use_network
from helpers.networks import card, patch_of, planted_image
from torch import nn

import napari_segxai as sx
from napari_segxai.gui.script.files import ScriptFiles
from napari_segxai.gui.script.write import python_of_flow


def test_the_flow_of_an_error_is_asked_in_the_dock_and_by_its_script(
    viewer, open_flow, wait, run_flow, tmp_path
):
    image = planted_image()
    viewer.add_image(image.array, name="planted")
    dock = open_flow()
    model = use_network(dock, Slow(patch_of(2)), wait, grid={"size": [32, 32]})
    drawn = model.predict(image) > 0
    truth = drawn.copy()
    truth[:, :16] = False  # what is drawn on the left is not true
    wrong = drawn & ~truth
    assert 0 < wrong.sum() < drawn.sum()
    viewer.add_labels(truth.astype(np.uint8), name="true")
    fields, errors = dock.fields, dock.errors
    fields.errors.click()
    assert errors.isVisible()
    errors.list_button.click()
    assert "Choose the truth" in errors.said.text()
    fields.truth_box.setCurrentText("true")  # the dock's own: the window asks for no second one
    errors.list_button.click()
    wait(lambda: errors.table.rowCount() > 0)
    assert "false positive" in errors.said.text()
    errors.table.selectRow(0)
    wait(lambda: fields.region_box.combo.currentText().startswith("false-positive 1"))
    run_flow(dock)
    target = dock.flow.facts["target"]
    assert (target["error"], target["component"]) == ("false-positive", 1)
    assert dock.flow.region.sum() == errors.found[0].pixels
    files = ScriptFiles(())
    files.save_in(tmp_path, "planted")
    text = python_of_flow(dock.flow, files)
    assert "error='false-positive', component=1, truth=" in text
    assert text.count("truth=") == 1  # said once, for the error and for the numbers
    compile(text, "script", "exec")
    # with another truth the region is drawn, and no error any more
    fields.truth_box.setCurrentIndex(0)
    assert dock.plan().first.target.error is None
    fields.truth_box.setCurrentText("true")
    assert dock.plan().first.target.error == "false-positive"
    # a flow that is opened again is of the same error
    dock.flow.save(tmp_path / "saved")
    again = sx.load_flow(tmp_path / "saved")
    assert again.facts["target"]["error"] == "false-positive"


def test_errors_are_listed_of_one_label(viewer, open_flow, wait):
    viewer.add_image(planted_image().array, name="planted")
    dock = open_flow()
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 1))
    model = sx.load_model(network, card=card(labels=["background", "A", "B"], name="three"))
    sx.register_model(model)
    dock.model_box.refresh_registered()
    dock.model_box.combo.setCurrentIndex(
        [entry.model is model for entry in dock.model_box.entries].index(True)
    )
    dock.fields.label_list.tick(["A", "B"])
    dock.fields.errors.click()
    dock.errors.list_button.click()
    assert dock.errors.said.text() == "Tick one label only: errors are listed for one label at a time."


def test_a_score_of_ones_own_is_asked_of_the_flow_of_one_label(tmp_path):
    model, image = sx.load_model(Slow(patch_of(2)), card=card(grid={"size": [32, 32]})), planted_image()

    def mean_logit(logits, region):
        return logits[0, 1][region].mean()

    usual = sx.information_flow(model, image, ["object"])
    own = sx.information_flow(model, image, ["object"], score=mean_logit)
    for key, tile in usual.tiles.items():
        np.testing.assert_allclose(own.tiles[key].map, tile.map, rtol=1e-5, atol=1e-7)
    files = ScriptFiles(())
    files.save_in(tmp_path, "own")
    text = python_of_flow(own, files)
    assert "score=mean_logit" in text
    assert "# define it above" in text
    compile(text, "script", "exec")
    own.save(tmp_path / "saved")
    with pytest.raises(sx.UserError, match="was a function of a script, 'mean_logit'"):
        sx.causal_check(sx.load_flow(tmp_path / "saved"), model=model)
    with pytest.raises(sx.UserError, match="'mean_logit' is one number of one label"):
        sx.information_flow(model, image, ["background", "object"], score=mean_logit)
