"""*Load model…* with weights alone: what is asked, whether they fit, a trial, the folder that is made; and nothing after a cancel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit, QMessageBox
from safetensors.torch import save_file
from torch import nn

import napari_segxai as sx
from napari_segxai.gui.manifest.reader import get_reader
from napari_segxai.gui.models import recent
from napari_segxai.gui.models.load_dialog.card_form import CardForm
from napari_segxai.gui.script.write import model_lines
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.zoo.unet import UNet

ZOO = "napari_segxai.models.zoo.unet:UNet"


@pytest.fixture(autouse=True)
def _nothing_is_recent():
    recent.forget_all()


@pytest.fixture
def weights(tmp_path):
    """Weights as Lightning leaves them, of two outputs."""
    torch.manual_seed(0)
    state = UNet(features=[2, 2], out_channels=2).state_dict()
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 1, "state_dict": {f"model.{key}": value for key, value in state.items()}}, path)
    return path


@pytest.fixture
def asked(viewer, open_panel, wait):
    """Open an image and a file, as the menu does; returns the panel and its dialog."""

    def open_(path: Path):
        viewer.open_sample("napari-segxai", "triangle")
        panel = open_panel()
        wait(lambda: panel.model_box.entry is not None)
        panel.model_box.open_asking(path)
        return panel, panel.model_box.dialog

    return open_


def fill(dialog, name: str, text: str) -> None:
    """Type into the field of an argument."""
    next(w for w in dialog.network.findChildren(QLineEdit) if w.accessibleName() == name).setText(text)


def recipe(dialog, words: str) -> None:
    index = dialog.form.recipe.findText(words)
    dialog.form.recipe.setCurrentIndex(index)
    dialog.form.recipe.activated.emit(index)


def test_weights_are_asked_about_tried_and_saved_as_a_folder_that_is_remembered(
    viewer, asked, wait, weights, tmp_path, monkeypatch
):
    panel, dialog = asked(weights)
    before = [entry.card.name for entry in panel.model_box.entries]
    assert not dialog.use_button.isEnabled()
    assert dialog.form.labels.toPlainText() == "background\nlabel 1"
    dialog.network.choose(ZOO)
    wait(
        lambda: "do not fit the architecture" in dialog.said.text(), 180
    )  # napari's colours are compiled first
    assert dialog.said.geometry().bottom() < dialog.use_button.geometry().top()
    assert dialog.network.note.text() == "All arguments have defaults."
    fill(dialog, "features", "[2, 2]")
    wait(lambda: "✓ The weights fit: 2 output(s), 1 input channel(s)." in dialog.said.text())
    assert "Still asked: intensity" in dialog.said.text()
    assert not dialog.try_button.isEnabled()
    recipe(dialog, "image's own minimum and maximum become 0 and 1")
    assert dialog.form.steps.text() == "[{rescale: [0, 1]}]"
    dialog.form.labels.setPlainText("background")
    wait(lambda: "at least two labels" in dialog.said.text())
    dialog.form.labels.setPlainText("background\ncloth\nmore")
    wait(lambda: "its card names 3 label(s)" in dialog.said.text())
    assert dialog.form.count.text() == "3 label(s), 2 output(s) ⚠"
    dialog.form.labels.setPlainText("background\ncloth")
    wait(dialog.use_button.isEnabled)
    dialog.try_button.click()
    wait(lambda: "Trial on triangle_1, pixels drawn: cloth: " in dialog.said.text())
    assert "The network saw values from 0 to 1." in dialog.said.text()
    (trial,) = [layer for layer in viewer.layers if layer.name.startswith("trial: ")]
    assert trial.name == "trial: last"
    assert (trial.data == dialog.model.predict(panel.image_box.image())).all()
    assert dialog.forms.isHidden()  # so that it is seen
    red, green, blue = (round(255 * float(part)) for part in trial.get_color(1)[:3])
    assert f'color: #{red:02x}{green:02x}{blue:02x}">■</span> cloth' in dialog.legend.text()
    assert dialog.legend.isVisibleTo(dialog)
    dialog.form_button.click()
    assert dialog.forms.isVisibleTo(dialog)
    monkeypatch.setattr(
        QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path)
    )  # which holds other files
    sha256 = dialog.model.sha256
    dialog.save_button.click()
    wait(lambda: panel.model_box.dialog is None and panel.model_box.entry.card.name == "last")
    wait(lambda: panel.model_box.entry.model is not None)
    assert trial not in viewer.layers
    assert [entry.card.name for entry in panel.model_box.entries] == [*before, "last"]
    assert [model.path for model in recent.recent_models()] == [str(tmp_path / "last")]
    again = sx.load_model(tmp_path / "last")
    assert again.sha256 == sha256
    assert again.labels == ("background", "cloth")
    assert again.card.intensity[0].rescale == (0, 1)
    # from the file to the first explanation
    panel.fields.method_box.choose("vanilla-gradient")
    wait(panel.run_bar.run.isEnabled)
    panel.run_bar.run.click()
    wait(lambda: panel.explanation is not None and not panel.run_bar.is_running)
    assert panel.explanation.record.model["sha256"] == sha256
    wait(panel._all_shown)


@pytest.mark.parametrize("yes", [True, False])
def test_a_package_whose_code_is_named_by_its_description_alone_is_asked_about_once(
    viewer, open_panel, wait, monkeypatch, yes
):
    asked = []
    answer = QMessageBox.StandardButton.Yes if yes else QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *said: asked.append(said[2]) or answer)
    panel = open_panel()
    wait(lambda: panel.model_box.entry is not None)
    panel.model_box.open_asking(Path(__file__).parents[2] / "data" / "bioimageio" / "cells")
    wait(lambda: bool(asked))
    assert "unet.py" in asked[0]
    if yes:
        wait(lambda: panel.model_box.entry.model is not None)
    else:
        assert "would run the module 'unet'" in panel.model_box.problem
    assert len(asked) == 1


def test_a_cancel_leaves_no_layer_and_no_model(viewer, asked, wait, weights):
    panel, dialog = asked(weights)
    entries = list(panel.model_box.entries)
    dialog.network.choose(ZOO)
    wait(lambda: bool(dialog.network._get))
    fill(dialog, "features", "[2, 2]")
    recipe(dialog, "as they are")
    wait(dialog.try_button.isEnabled)
    dialog.try_button.click()
    wait(lambda: len(viewer.layers) == 2)
    dialog.cancel_button.click()
    wait(lambda: panel.model_box.dialog is None)
    assert [layer.name for layer in viewer.layers] == ["triangle_1"]
    assert panel.model_box.entries == entries
    assert recent.recent_models() == []


NET = """import pathlib
from torch import nn

pathlib.Path(__file__).with_name("ran").touch()


class Net(nn.Module):
    def __init__(self, n_channels: int, n_classes: int, skip: bool = False):
        super().__init__()
        self.head = nn.Conv2d(n_channels, n_classes, 1)

    def forward(self, x):
        return self.head(x)
"""


def test_a_file_of_ones_own_runs_after_a_yes_and_the_model_is_used_without_a_folder(
    viewer, asked, wait, tmp_path, monkeypatch
):
    (tmp_path / "net.py").write_text(NET)
    torch.manual_seed(0)
    state = {f"head.{key}": value for key, value in nn.Conv2d(1, 2, 1).state_dict().items()}
    save_file(state, tmp_path / "own.safetensors")
    panel, dialog = asked(tmp_path / "own.safetensors")
    answers, questions = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes], []
    monkeypatch.setattr(QMessageBox, "question", lambda *args: (questions.append(args[2]), answers.pop(0))[1])
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "net.py"), ""))
    dialog.network.file.click()
    assert "was not run: its code was not trusted" in dialog.said.text()
    assert str(tmp_path / "net.py") in questions[0]
    assert not (tmp_path / "ran").exists()
    dialog.network.choose("")
    dialog.network.file.click()
    wait(lambda: bool(dialog.network._get))
    wait(lambda: "✓ The weights fit: 2 output(s), 1 input" in dialog.said.text())
    assert (tmp_path / "ran").exists()
    recipe(dialog, "as they are")
    wait(dialog.use_button.isEnabled)
    dialog.use_button.click()
    wait(lambda: panel.model_box.dialog is None)
    entry = panel.model_box.entry
    assert entry.card.name == "own"
    assert entry.card.arguments == {"n_channels": 1, "n_classes": 2}
    assert f"architecture='{tmp_path / 'net.py'}:Net', trust=True" in "\n".join(model_lines(entry.model))
    assert recent.recent_models() == []
    assert len(questions) == 2


def test_a_file_that_runs_code_is_said_to_hold_it_and_a_torchscript_file_is_asked_about(
    viewer, asked, wait, tmp_path
):
    torch.save(nn.Conv2d(1, 2, 1), tmp_path / "whole.pt")
    panel, dialog = asked(tmp_path / "whole.pt")
    assert dialog is None
    assert "'torch.nn.modules.conv.Conv2d', which are never unpickled" in panel.model_box.note.text()
    torch.jit.save(torch.jit.script(nn.Conv2d(1, 2, 1)), tmp_path / "net.pt")
    panel.model_box.open_asking(tmp_path / "net.pt")
    dialog = panel.model_box.dialog
    assert dialog.network.isHidden()
    wait(lambda: "Still asked: labels" in dialog.said.text())
    dialog.form.labels.setPlainText("background\ncloth")
    wait(dialog.use_button.isEnabled)
    assert not dialog.save_button.isEnabled()
    dialog.use_button.click()
    wait(lambda: panel.model_box.entry.card.name == "net")


def test_weights_that_are_dropped_on_the_list_of_models_are_asked_about(open_panel, weights):
    panel = open_panel()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(weights))])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(5, 5), copy, data, left, none)
    enter.ignore()
    QApplication.sendEvent(panel.model_box, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(panel.model_box, QDropEvent(QPointF(5, 5), copy, data, left, none))
    assert panel.model_box.dialog.path == weights


def test_weights_that_are_dropped_open_the_dialog_and_closing_the_dock_closes_it(viewer, wait, weights):
    read = get_reader(str(weights))
    assert read is not None
    assert read(str(weights)) == [(None,)]
    wait(
        lambda: any(
            widget.windowTitle() == "Load model: last.ckpt" for widget in QApplication.topLevelWidgets()
        )
    )
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    dialog = panel.model_box.dialog
    assert dialog.path == weights
    assert dialog.width() <= 1280
    assert dialog.height() <= 800
    dialog.network.choose("no.such.package:Net")
    assert "there is no package 'no'" in dialog.said.text()
    dialog.network.choose("torch.nn:Linear")
    wait(lambda: "To be told: in_features, out_features." in dialog.network.note.text())
    fill(dialog, "out_features", "3")
    assert dialog.network.note.text() == "To be told: in_features."
    fill(dialog, "in_features", "[2")
    wait(lambda: "in_features: '[2' is no value" in dialog.said.text())


def test_every_key_that_is_asked_has_a_field_and_what_is_written_has_the_name_that_is_shown(qtbot):
    asked = {
        "grid": "how images are resized",
        "values": "logits or probabilities",
        "windows": "or null",
        "labels": "their names",
    }
    form = CardForm(
        PartialCard("model", {"name": "m", "spatial_dims": 2}, asked, {"grid": {"size": [512, 512]}})
    )
    qtbot.addWidget(form)
    assert set(form.others) == {"grid", "values", "windows"}
    assert form.others["grid"].placeholderText() == "such as {size: [512, 512]}"
    assert "grid" not in form.given()
    form.others["grid"].setText("{size: [64, 64]}")
    form.others["windows"].setText("null")
    form.others["values"].setText("logits")
    assert form.given() | {"labels": 0} == {
        "grid": {"size": [64, 64]}, "windows": None, "values": "logits", "labels": 0, "channels": ["intensity"],
        "activation": "softmax", "intensity": [],
    }  # fmt: skip
    form.steps.setText("[{divide: 65535}]")
    assert form.recipe.currentText() == "0 to 65535 becomes 0 to 1 (16 bits)"
    form.steps.setText("[{divide: 4095}]")
    assert form.recipe.currentText() == "other steps, as below"


def test_which_of_several_outputs_is_explained_is_asked_once_the_network_has_run(
    viewer, open_panel, wait, tmp_path, monkeypatch
):
    asked = []
    yes = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", lambda *said: asked.append(said[2]) or yes)
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.head = nn.Conv2d(1, 2, 1)\n\n    def forward(self, x):\n        return self.head(x), -self.head(x)\n"
    )
    fields = {"name": "Two", "labels": ["background", "object"], "spatial_dims": 2, "architecture": "net:Net"}
    (folder / "model.yaml").write_text(yaml.safe_dump(fields))
    save_file(
        {"head.weight": torch.ones(2, 1, 1, 1), "head.bias": torch.zeros(2)}, folder / "weights.safetensors"
    )
    box = open_panel().model_box
    box.open_asking(folder)
    wait(lambda: box.dialog is not None)
    dialog = box.dialog
    assert "which of its outputs" in dialog.form.others["output"].toolTip()
    dialog.form.others["output"].setText("1")
    wait(dialog.use_button.isEnabled)
    dialog.use_button.click()
    wait(lambda: box.entry.model is not None and box.entry.model.card.output == 1)
    assert len(asked) == 1
