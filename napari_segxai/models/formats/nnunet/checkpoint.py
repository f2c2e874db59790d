"""A checkpoint of nnU-Net: its weights, and what it says of how they were trained. Nothing in it is unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.loading.file_kinds import kind_of
from napari_segxai.models.loading.weights import read_weights


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What one file holds.

    Attributes
    ----------
    path
        The file.
    weights
        The network's state dict.
    configuration
        The one that was trained; that of the folder's name where the file does not say it.
    trainer
        Name of the trainer's class.
    mirror
        Axes of the network along which images may be mirrored.
    """

    path: Path
    weights: dict[str, Tensor]
    configuration: str
    trainer: str
    mirror: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    UserError
        If it is cut off or damaged, or none of nnU-Net's.
    """
    if kind_of(path) in ("empty", "unknown"):
        raise UserError(
            f"{path}: is cut off or damaged, so that it cannot be read as a checkpoint of nnU-Net; copy it again from where the model was "
            "trained."
        )
    saved = read_weights(path, wanted="a checkpoint of nnU-Net")
    weights = saved.get("network_weights") if isinstance(saved, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise UserError(f"{path}: holds no `network_weights`; it is no checkpoint of nnU-Net 2.")
    made: Any = saved.get("init_args")
    configuration = made.get("configuration") if isinstance(made, dict) else None
    if not isinstance(configuration, str):
        configuration = path.parents[1].name.rpartition("__")[2]
    axes = saved.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(axes, list | tuple) or not all(isinstance(axis, int) for axis in axes):
        raise UserError(
            f"{path}: inference_allowed_mirroring_axes are {axes!r:.60}; they need whole numbers."
        )
    return Checkpoint(path, weights, configuration, str(saved.get("trainer_name", "")), tuple(axes))
