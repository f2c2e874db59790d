"""The list of models in the docks: one for all, chosen by the user alone, kept between sessions as paths."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import yaml
from helpers.networks import LinearHead, card
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox
from safetensors.torch import save_file

import napari_segxai as sx
from napari_segxai.gui import worker
from napari_segxai.gui.models import recent, store
from napari_segxai.gui.models.store import ModelStore
from napari_segxai.models import registry as model_room


class Writes(torch.nn.Module):
    """A network that could write a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 1e9):
            torch.save(x, "written.pt")
        return torch.cat([x, -x], 1)


FOUR = ["T1", "T1c", "T2", "FLAIR"]


@pytest.fixture(autouse=True)
def _nothing_is_recent():
    recent.forget_all()


@pytest.fixture
def model_folder(tmp_path):
    """A model whose code lies beside its card; it may be opened with trust alone."""

    def make(name: str = "own", **changes):
        folder = tmp_path / name
        folder.mkdir()
        fields = card(name=name.title(), architecture="net:Net", **changes)
        (folder / "model.yaml").write_text(yaml.safe_dump(fields))
        (folder / "net.py").write_text(
            "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n        self.head = nn.Conv2d(1, 2, 1)\n\n"
            "    def forward(self, x):\n        return self.head(x)\n"
        )
        torch.manual_seed(0)
        state = {f"head.{key}": value for key, value in torch.nn.Conv2d(1, 2, 1).state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        return folder

    return make


@pytest.fixture
def quick(wait):
    """Press Run with the quickest method of all, and wait for every layer."""

    def run(panel) -> None:
        names = [method.name for method in panel.fields.methods]
        panel.fields.method_box.setCurrentIndex(names.index("vanilla-gradient"))
        wait(lambda: panel.run_bar.run.isEnabled())
        panel.run_bar.run.click()
        wait(lambda: not panel.run_bar.is_running and panel._all_shown())

    return run


def name_of(panel) -> str:
    return panel.model_box.combo.currentText()


def test_a_chosen_model_stays_when_its_results_become_layers(viewer, open_panel, quick):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((4, 6, 16, 16), np.float32), name="sequences")
    panel = open_panel()
    fields = card(3, name="Four sequences", channels=FOUR, grid={"size": [6, 16, 16]})
    sx.register_model(sx.load_model(LinearHead(3, 4, inputs=4), card=fields))
    names = [entry.card.name for entry in panel.model_box.entries]
    panel.model_box.combo.setCurrentIndex(names.index("Four sequences"))
    quick(panel)
    assert any(layer.name.startswith("saliency") for layer in viewer.layers)
    assert name_of(panel) == "Four sequences"
    assert panel.explanation.record.model["name"] == "Four sequences"


def test_only_a_model_that_nobody_chose_follows_the_image(viewer, open_panel):
    viewer.open_sample("napari-segxai", "astronaut")
    panel = open_panel()
    assert panel.model_box.entry.card.channels == ("red", "green", "blue")
    assert panel.model_box.note.isHidden()
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    followed = panel.model_box.entry
    assert followed.card.channels == ("intensity",)  # it was the program's choice all along
    panel.model_box.combo.activated.emit(panel.model_box.combo.currentIndex())  # now it is the user's
    panel.image_box.setCurrentIndex(0)
    assert panel.model_box.entry is followed
    assert panel.model_box.note.isVisibleTo(panel)
    assert "needs 1 channel" in panel.model_box.note.text()
    assert "has 3" in panel.model_box.note.text()
    assert not panel.run_bar.run.isEnabled()
    panel.image_box.setCurrentText("grey")
    assert panel.model_box.note.isHidden()


def test_all_docks_have_one_list(viewer, open_panel, wait, model_folder, monkeypatch):
    loaded = []
    load_model = store.load_model
    monkeypatch.setattr(
        store, "load_model", lambda source, **kw: loaded.append(source) or load_model(source, **kw)
    )
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    first = open_panel()
    _, second = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
    first.model_box.open(model_folder(), trust=True)
    wait(lambda: first.model_box.entry.model is not None)
    assert name_of(first) == "Own"
    assert name_of(second) != "Own"  # offered, not chosen
    own = first.model_box.entry
    _, third = viewer.window.add_plugin_dock_widget("napari-segxai", "Sweep parameters")
    assert name_of(third) == "Own"  # one that is opened now begins with it
    assert third.model_box.facts.text() == first.model_box.facts.text()
    viewer.add_image(np.zeros((20, 30, 3), np.uint8), name="photograph", rgb=True)
    third.image_box.setCurrentText("photograph")
    wait(lambda: name_of(third) != "Own")  # which it does not take; nobody has chosen here
    viewer.layers.remove("photograph")
    assert name_of(first) == "Own"
    assert second.model_box.entries[-1] is own
    second.model_box.combo.setCurrentIndex(second.model_box.combo.count() - 1)
    wait(lambda: second.run_bar.run.isEnabled())
    assert second.model_box.entry.model is first.model_box.entry.model
    assert loaded.count(own.source) == 1
    first.model_box.open(own.path)  # once more: nothing is doubled
    assert [entry.path for entry in first.model_box.entries].count(own.path) == 1
    # what the console registers is in both at once, and a second one of the same name can be told apart
    sx.register_model(sx.load_model(LinearHead(), card=card(name="Own")), "console")
    for panel in (first, second):
        combo = panel.model_box.combo
        assert [combo.itemText(combo.count() - k) for k in (2, 1)] == ["Own (own)", "Own (console)"]
        assert panel.model_box.entry is own


def test_a_card_that_cannot_be_loaded_is_tried_once(
    viewer, open_panel, wait, qtbot, model_folder, monkeypatch
):
    tried = []
    load_model = store.load_model
    monkeypatch.setattr(
        store, "load_model", lambda source, **kw: tried.append(source) or load_model(source, **kw)
    )
    folder = model_folder()
    weights = folder / "weights.safetensors"
    away = weights.rename(folder / "elsewhere")
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    panel = open_panel()
    panel.model_box.open(folder, trust=True)
    wait(lambda: bool(panel.model_box.problem))
    for k in range(5):
        viewer.add_image(np.zeros((20, 30), np.float32), name=f"more {k}")
        qtbot.wait(20)
    wait(lambda: worker._running is None)
    assert tried.count(folder) == 1
    assert "the weights are missing" in panel.run_bar.estimate.text()
    assert name_of(panel) == "Own"
    away.rename(weights)
    panel.model_box.combo.activated.emit(panel.model_box.combo.currentIndex())
    wait(lambda: panel.run_bar.run.isEnabled())
    assert tried.count(folder) == 2


def test_recent_models_outlive_the_session_as_paths(viewer, open_panel, wait, model_folder, monkeypatch):
    asked = []
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2:]) or answers.pop(0))
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    folder, gone = model_folder(), model_folder("gone")
    panel = open_panel()
    for each in (gone, folder):
        panel.model_box.open(each, trust=True)
        wait(lambda: panel.model_box.entry.model is not None)
    assert [model.path for model in recent.recent_models()] == [str(folder), str(gone)]
    shutil.rmtree(gone)
    # another session: nothing is read, loaded or trusted
    viewer.window.remove_dock_widget(panel)
    ModelStore.shared().setParent(None)
    panel = open_panel()
    box = panel.model_box
    assert not any(entry.path for entry in box.entries)
    before = box.entry
    box.menu.aboutToShow.emit()
    offered = {action.text(): action for action in box.menu.actions()}
    offered["Gone  (gone)"].trigger()
    assert "gone: there is no such file or folder" in box.note.text()
    assert box.entry is before
    wait(lambda: panel.run_bar.run.isEnabled())  # which can be run as before
    offered["Own  (own)"].trigger()
    assert "not trusted" in box.note.text()
    assert box.entry is before
    offered["Own  (own)"].trigger()
    assert box.entry.path == folder
    assert box.note.isHidden()
    wait(lambda: panel.run_bar.run.isEnabled())
    assert len(asked) == 2
    assert str(folder / "net.py") in asked[0][0]
    assert asked[0][-1] == QMessageBox.StandardButton.No  # who presses Enter without reading has not said yes
    offered["Forget recent models"].trigger()
    box.menu.aboutToShow.emit()
    assert len(box.menu.actions()) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recent": 3}', '{"recent": [{"path": 1}]}', "[" * 10000])
def test_a_list_of_recent_models_that_cannot_be_read_is_empty(text):
    recent.place().write_text(text)
    assert recent.recent_models() == []


def test_what_a_user_should_know_of_a_model_is_said_when_it_is_loaded(viewer, open_panel):
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    panel = open_panel()
    box = panel.model_box
    fields = card(name="doubtful", labels=["background", "left", "right"], activation="sigmoid")
    sx.register_model(sx.load_model(LinearHead(labels=3), card=fields))
    box.combo.setCurrentText("doubtful")
    assert box.note.isVisibleTo(panel)
    assert "taken for the background" in box.note.text()
    box.combo.setCurrentIndex(0)
    assert "background" not in box.note.text()


def test_what_cannot_be_opened_leaves_the_choice(viewer, open_panel, wait, tmp_path, monkeypatch):
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    panel = open_panel()
    before = panel.model_box.entry
    (tmp_path / "model.yaml").write_text("name: x\nlabls: [a, b]\n")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path))
    panel.model_box._browse_folder()
    assert "labls" in panel.model_box.note.text()
    assert panel.model_box.entry is before
    wait(lambda: panel.run_bar.run.isEnabled())
    assert panel.model_box.browse.text() == "Load model…"
    QApplication.processEvents()


def test_a_list_that_was_put_away_is_told_nothing(qapp):
    old = ModelStore.shared()
    told, waiting = [], list(model_room._listeners)
    old.listed.connect(lambda: told.append("old"))
    old.setParent(None)
    new = ModelStore.shared()
    new.listed.connect(lambda: told.append("new"))
    assert new is ModelStore.shared() is not old
    sx.register_model(sx.load_model(LinearHead(), card=card(name="Late")))
    assert told == ["new"]
    assert model_room._listeners == waiting  # one for all lists that there ever were


def test_a_model_that_takes_all_channels_fits_better_than_one_that_takes_one():
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer

    from napari_segxai.gui.viewer.displayed import displayed_image
    from napari_segxai.gui.widgets.model_box import misfit
    from napari_segxai.models.card import ModelCard

    viewer = ViewerModel()
    layer = viewer.add_layer(ImageLayer(np.zeros((2, 8, 8)), axis_labels=("c", "y", "x")))
    scores = []
    for count in (1, 2, 3):
        card = ModelCard(name="net", labels=("no", "yes"), spatial_dims=2, channels=tuple("abc"[:count]))
        scores.append(misfit(card, displayed_image(layer, viewer, count).image)[1])
    assert scores == [2, 3, 0]


def test_a_program_is_asked_about_and_runs_after_a_yes(viewer, open_panel, wait, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2]) or args[-1])
    path = tmp_path / "net.pt"
    torch.jit.script(Writes()).save(path)
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(card(name="Program")))
    viewer.add_image(np.zeros((20, 30), np.float32), name="grey")
    box = open_panel().model_box
    box.open_asking(path)
    wait(lambda: len(asked) == 1 and bool(box.entry.problem))
    assert "could write or read files" in box.entry.problem
    assert "This model runs a program" in asked[0]
    box.open(path, trust=True)
    wait(lambda: box.entry.model is not None)
    assert box.entry.model.trusted
