"""Models that are dropped on the window: they open in the list of models, and are chosen in the *Explain* dock."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

CARD = "model.yaml"

SAVED = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
"""Weights beside the config.json of transformers and of segmentation_models_pytorch."""

FILES = (".pth", ".pt", ".ckpt", ".safetensors", ".ts", ".torchscript")
"""Files that are opened as models; napari.yaml names them as well."""


def is_model(path: str | Path) -> bool:
    """Tell whether a path is a model: a folder with a card, of nnU-Net's results, of bioimage.io, of MONAI or of
    transformers, or a file of weights or of a network.

    Nothing heavy is imported for that.
    """
    from napari_segxai.models.formats.bioimageio.description import found_in
    from napari_segxai.models.formats.monai_bundle.find import is_bundle
    from napari_segxai.models.formats.nnunet.results import is_results

    folder = Path(path)
    if folder.suffix.lower() in FILES:
        return folder.is_file()
    saved = (folder / "config.json").is_file() and any((folder / name).is_file() for name in SAVED)
    return folder.is_dir() and (
        (folder / CARD).is_file()
        or saved
        or is_results(folder)
        or is_bundle(folder)
        or found_in(folder) is not None
    )


def open_model(path: str | Path) -> bool:
    """Open a model in the current viewer, once napari is done with what was dropped; return whether there is a window."""
    import napari
    from qtpy.QtCore import QTimer

    viewer = napari.current_viewer()
    if viewer is None:
        return False
    QTimer.singleShot(0, partial(_open, ref(viewer), Path(path)))
    return True


def _open(viewer: ref[Any], path: Path) -> None:
    from napari_segxai.gui.viewer.layers import is_open

    if (alive := viewer()) is not None and is_open(alive):
        _, dock = alive.window.add_plugin_dock_widget("napari-segxai", "Explain")
        dock.model_box.open_asking(path)
