"""A volume that is dropped on the window, in every way in which napari may treat it."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog

from napari_segxai.gui.manifest import open_volume
from napari_segxai.io import VOLUMES

SPACING = (1.0, 2.0, 3.0)
OURS = "SegXAI"


@pytest.fixture(autouse=True)
def preferred():
    """No reader is preferred, before and after."""
    plugins = get_settings().plugins
    plugins.extension2reader = {}
    yield lambda: plugins.extension2reader
    plugins.extension2reader = {}


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "scan.nii.gz"
    values = np.random.default_rng(0).random((5, 6, 7), np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([*SPACING, 1])), path)
    return str(path)


@pytest.fixture
def drop(viewer):
    """Do what the window does with dropped files."""
    return lambda path: viewer.window._qt_viewer._qt_open([path], stack=False)


@pytest.fixture
def dialog(monkeypatch):
    """Answer the question which reader to take; holds what was asked."""
    asked = []

    def answer(choice: str, remember: bool):
        def exec_(self):
            asked.append(
                [button.text() for button in self._reader_buttons] or self.reader_btn_group.buttons()
            )
            for button in self.reader_btn_group.buttons():
                button.setChecked(button.text() == choice)
            self.persist_checkbox.setChecked(remember)
            return 1

        monkeypatch.setattr(QtReaderDialog, "exec_", exec_)
        return asked

    return answer


def is_right(layer) -> bool:
    return (
        layer.data.shape == (7, 6, 5)
        and tuple(layer.scale) == SPACING[::-1]
        and str(layer.units[0]) == "millimeter"
    )


def test_a_dropped_volume_opens_right_whatever_was_remembered(viewer, volume, drop, dialog, preferred):
    asked = dialog(OURS, True)
    drop(volume)
    assert is_right(viewer.layers[-1])
    assert len(asked) == 1
    assert preferred() == {"*.gz": "napari-segxai"}  # napari looks at the last ending alone
    drop(volume)
    assert is_right(viewer.layers[-1])
    assert len(asked) == 1  # once and for all
    # who took napari's own reader once, and had that remembered, is asked again when it fails
    get_settings().plugins.extension2reader = {"*.gz": "napari"}
    dialog(OURS, False)
    drop(volume)
    assert is_right(viewer.layers[-1])
    assert len(viewer.layers) == 3
    assert len(asked) == 2
    # our own choice comes before what was remembered, and leaves it
    open_volume.set_always(True)
    drop(volume)
    assert is_right(viewer.layers[-1])
    assert len(asked) == 2
    assert preferred()["*.gz"] == "napari"
    open_volume.set_always(False)
    assert preferred() == {"*.gz": "napari"}


@pytest.mark.parametrize("kind", [".nii.gz", ".nii", ".NII.GZ"])
def test_who_presses_ok_at_napari_s_question_opens_it_right(viewer, volume, drop, monkeypatch, kind):
    path = volume.removesuffix(".nii.gz") + kind
    nib.save(nib.load(volume), path.lower())
    os.rename(path.lower(), path)
    asked = []

    def ok(self):  # what is chosen already stays chosen
        asked.append([button.text() for button in self.reader_btn_group.buttons()])
        return 1

    monkeypatch.setattr(QtReaderDialog, "exec_", ok)
    drop(path)
    assert is_right(viewer.layers[-1])
    assert len(asked) == 1
    assert len(asked[0]) > 1


def test_open_volume_takes_our_reader_and_offers_to_do_so_always(
    viewer, volume, drop, dialog, monkeypatch, tmp_path
):
    asked = dialog(OURS, False)
    notes = []
    notification_manager.notification_ready.connect(notes.append)
    (tmp_path / "torn.nii").write_bytes(b"torn")
    (tmp_path / "words.txt").write_text("words")
    chosen = [str(tmp_path / "torn.nii"), str(tmp_path / "words.txt"), volume]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *args: (chosen, ""))
    open_volume.open_volume(viewer)
    notification_manager.notification_ready.disconnect(notes.append)
    assert is_right(viewer.layers[-1])
    assert len(viewer.layers) == 1
    assert not asked
    torn, words, offer = notes
    assert "torn.nii" in torn.message
    assert "words.txt: is not a volume" in words.message
    [(text, accept)] = offer.actions
    assert text == "Always take napari-segxai"
    accept(None)
    assert open_volume.is_always()
    drop(volume)
    assert is_right(viewer.layers[-1])
    assert not asked


def test_the_dock_of_the_menu(viewer, volume, wait):
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Open volume...")
    wait(dock.dialog.isVisible)
    dock.dialog.filesSelected.emit([volume])
    dock.dialog.close()
    assert is_right(viewer.layers[-1])
    assert not dock.always.isChecked()
    dock.always.click()
    assert open_volume.is_always()
    open_volume.set_always(False)
    assert not dock.always.isChecked()
    assert set(open_volume.ALWAYS) <= {f"*{kind}" for kind in VOLUMES}
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
