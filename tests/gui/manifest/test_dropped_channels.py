"""Files that are dropped together, as the window gets them; it is asked whether they are channels, and nobody waits for it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.networks import LinearHead, card
from qtpy.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.gui.manifest import open_volume
from napari_segxai.gui.manifest.dropped import Channels

VALUES = {
    name: np.random.default_rng(k).normal(size=(6, 8, 10)).astype(np.float32) for k, name in enumerate("ab")
}


def volume(path: Path, values: np.ndarray, shift: float = 0.0) -> Path:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = shift
    nib.Nifti1Image(values, affine).to_filename(path)
    return path


@pytest.fixture
def files(tmp_path):
    return [volume(tmp_path / f"{name}.nii.gz", values) for name, values in VALUES.items()]


@pytest.fixture
def drop(viewer, wait):
    """Drop files on the window from within the event loop; returns the questions that are open then."""
    open_volume.set_always(True)

    def dropped(paths, keys=Qt.KeyboardModifier.NoModifier):
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        event = QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, keys)
        done = []
        QTimer.singleShot(
            0,
            lambda: (viewer.window._qt_viewer.dropEvent(event), QTimer.singleShot(0, lambda: done.append(1))),
        )
        wait(lambda: bool(done))
        return questions()

    yield dropped
    for question in questions():
        question.close()
    QApplication.sendPostedEvents(None, 52)  # DeferredDelete


def questions() -> list[Channels]:
    return [one for one in QApplication.topLevelWidgets() if isinstance(one, Channels) and one.isVisible()]


def test_who_says_yes_finds_the_channels_chosen_in_that_order(
    viewer, open_panel, wait, files, drop, run_panel
):
    panel = open_panel()
    model = sx.load_model(LinearHead(3, inputs=2), card=card(3, name="two", channels=["T1", "FLAIR"]))
    sx.register_model(model)
    panel.model_box.refresh_registered()
    names = [entry.card.name for entry in panel.model_box.entries]
    panel.model_box.combo.setCurrentIndex(names.index("two"))
    (question,) = drop(files)
    assert [box.currentText() for box in question.boxes] == ["a.nii.gz", "b.nii.gz"]
    question.boxes[0].setCurrentIndex(1)
    assert not question.yes.isEnabled()
    question.boxes[1].setCurrentIndex(0)
    question.yes.click()
    assert not questions()
    chosen = [box.currentText() for box in panel.image_box.details.channel_boxes]
    assert chosen == ["b", "a"]
    wait(lambda: panel.run_bar.run.isEnabled())
    run_panel(panel, "vanilla-gradient")
    assert [one["name"] for one in panel.explanation.record.image["channels"]] == ["b", "a"]


def test_who_says_no_has_images_of_their_own(viewer, files, drop):
    (question,) = drop(files)
    assert [layer.name for layer in viewer.layers] == ["a", "b"]
    question.no.click()
    assert not questions()
    assert [layer.name for layer in viewer.layers] == ["a", "b"]


def test_it_is_not_asked_where_it_makes_no_sense(viewer, tmp_path, files, drop):
    assert drop(files[:1]) == []
    mask = volume(tmp_path / "mask.nii.gz", (VALUES["a"] > 0).astype(np.uint8))
    assert drop([files[0], mask]) == []
    assert drop([files[0], volume(tmp_path / "c.nii.gz", VALUES["a"][:4])]) == []
    assert drop([files[0], volume(tmp_path / "d.nii.gz", VALUES["a"], 5.0)]) == []


def test_a_script_is_never_asked(viewer, files, wait):
    viewer.open([str(path) for path in files], plugin="napari-segxai")
    viewer.open([str(path) for path in files], plugin="napari-segxai", stack=True)
    done = []
    QTimer.singleShot(20, lambda: done.append(1))
    wait(lambda: bool(done))
    assert questions() == []
