"""A folder of a model that is dropped on the window opens in the list of models."""

from __future__ import annotations

import pytest
from helpers.models import write_folder
from helpers.nnunet import write_results
from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from qtpy.QtWidgets import QFileDialog

from napari_segxai.gui.explain.dock import ExplainDock
from napari_segxai.gui.manifest.reader import get_reader
from napari_segxai.gui.models import recent
from napari_segxai.gui.models.store import ModelStore
from napari_segxai.gui.script.write import model_lines


@pytest.fixture(autouse=True)
def _nothing_is_recent():
    recent.forget_all()


def explain_dock(viewer):
    return viewer.window._qt_window.findChild(ExplainDock)


def test_results_of_nnunet_that_are_dropped_are_chosen(viewer, wait, tmp_path, monkeypatch):
    root = write_results(tmp_path / "Dataset007_Spheres")

    def ours(dialog):  # napari asks who is to open a folder
        for button in dialog.reader_btn_group.buttons():
            button.setChecked(button.text() == "SegXAI")
        return 1

    monkeypatch.setattr(QtReaderDialog, "exec_", ours)
    viewer.window._qt_viewer._qt_open([str(root)], stack=False)
    wait(lambda: any(entry.path == root for entry in ModelStore.shared().entries))
    entry = next(entry for entry in ModelStore.shared().entries if entry.path == root)
    wait(lambda: entry.model is not None)
    assert entry.card.labels == ("background", "organ", "lesion")
    assert not viewer.layers
    assert explain_dock(viewer).model_box.entry is entry


def test_load_model_takes_results_of_nnunet(viewer, open_panel, wait, tmp_path, monkeypatch):
    root = write_results(tmp_path / "Dataset007_Spheres", folds=("fold_0", "fold_1"))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(root))
    panel = open_panel()
    panel.model_box._browse_folder()
    entry = panel.model_box.entry
    wait(lambda: entry.model is not None)
    assert panel.model_box.combo.currentText() == "Spheres 3d_fullres (folds 0, 1)"
    assert "mean of those of 2 networks" in panel.model_box.note.text()
    assert model_lines(entry.model) == [f"model = sx.load_model({str(root)!r})"]
    before = entry.stamp()
    (root / "fold_1" / "checkpoint_final.pth").unlink()
    assert entry.stamp() != before
    (root / "dataset.json").unlink()
    panel.model_box._browse_folder()
    assert "has no dataset.json" in panel.model_box.note.text()


def test_which_folders_are_models(tmp_path):
    model = write_folder(tmp_path / "own")
    results = write_results(tmp_path)
    other = tmp_path / "cases"
    other.mkdir()
    saved = tmp_path / "segformer"
    saved.mkdir()
    for name in ("config.json", "model.safetensors"):
        (saved / name).touch()
    (tmp_path / "last.ckpt").touch()
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "inference.json").touch()
    models = (model, results, saved, saved / "model.safetensors", tmp_path / "last.ckpt", bundle)
    readers = {path: getattr(get_reader(str(path)), "__name__", None) for path in (*models, other)}
    assert readers == {**dict.fromkeys(models, "read_model"), other: None}
