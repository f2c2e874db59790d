"""The first stage of a cascade of nnU-Net: the folder of its results beside that of the second, or what it predicted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_segxai.core.errors import UserError, ended
from napari_segxai.core.paths import user_path
from napari_segxai.models.formats.nnunet.dataset import Dataset, read_dataset
from napari_segxai.models.formats.nnunet.results import DATASET, Results, find, is_results
from napari_segxai.models.ground_truth import values_on_grid
from napari_segxai.models.preprocessing.first_stage import FirstStage
from napari_segxai.models.segmentation import SegmentationModel

if TYPE_CHECKING:
    from napari_segxai.core.image import Image

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".tif", ".tiff", ".png")
"""Of files of images and of label images."""

Load = Callable[[Path], SegmentationModel]
"""Loads the results of a first stage."""


def first_stage(results: Results, dataset: Dataset, name: str, given: str | None, load: Load) -> FirstStage:
    """Return the first stage of a cascade, whose labels are resampled in nnU-Net's usual way.

    Parameters
    ----------
    results, dataset
        Of the second stage.
    name
        Of the first stage's configuration.
    given
        A folder of results, a label image or a folder of label images; by default the folder that nnU-Net writes beside.
    load
        Loads the results of a first stage.

    Raises
    ------
    UserError
        If it is not there, or is of another data set.
    """
    if given is None:
        return _of_results(_beside(results, name), results, dataset, load)
    path = user_path(given)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder, which previous_stage in the card names.")
    if is_results(path):
        return _of_results(path, results, dataset, load)
    return _of_files(path, dataset, name)


def _beside(results: Results, name: str) -> Path:
    """Return what nnU-Net wrote of the first stage: of the same fold, where one alone is loaded."""
    place = results.root.parent / f"{results.root.name.rpartition('__')[0]}__{name}"
    if not is_results(place):
        raise UserError(
            f"{results.root}: is the second stage of a cascade, which sees the labels of {name!r} beside the image, and there is no "
            f"{place.name} with a trained fold beside it; put that folder there, or name it, or what it predicted, with previous_stage in the card."
        )
    if len(results.checkpoints) == 1:
        fold = place / results.checkpoints[0].parent.name
        return fold if fold.is_dir() else place
    return place


def _of_results(path: Path, results: Results, dataset: Dataset, load: Load) -> FirstStage:
    root = find(path).root
    if read_dataset(root / DATASET) != dataset:
        raise UserError(
            f"{root}: has other labels or channels than {results.root}, whose first stage it should be; they are of different trainings."
        )
    model = load(path)

    def read(image: Image, device: torch.device) -> np.ndarray:
        return _painted(model.predict(image, device=device), dataset)

    return FirstStage(f"{model.name} (weights {model.sha256[:12]})", dataset.values, read, model.has_kept)


def _of_files(path: Path, dataset: Dataset, name: str) -> FirstStage:
    def read(image: Image, device: torch.device) -> np.ndarray:
        from napari_segxai.io import read_image

        found = _file_of(path, image) if path.is_dir() else path
        try:
            labels, _ = values_on_grid(read_image(found), image)
        except UserError as reason:
            said = str(reason).replace("the truth", "the label image")
            raise UserError(f"{found}, the first stage's prediction of {image.name}: {ended(said)}") from None
        unknown = np.setdiff1d(labels, (0, *dataset.values))
        if len(unknown):
            raise UserError(
                f"{found}, the first stage's prediction of {image.name}, holds {unknown[0]:g}, which is none of the values "
                f"{', '.join(map(str, (0, *dataset.values)))} of dataset.json."
            )
        return labels

    return FirstStage(f"{name} from {path}", dataset.values, read)


def _file_of(folder: Path, image: Image) -> Path:
    """Return the label image of an image in a folder of what nnU-Net predicted: they have one name, but for the number of the channel."""
    name = next((image.name.removesuffix(end) for end in ENDINGS if image.name.endswith(end)), image.name)
    names = (name, re.sub(r"_\d{4}$", "", name))
    for path in (folder / f"{each}{end}" for each in names for end in ENDINGS):
        if path.is_file():
            return path
    raise UserError(
        f"{folder}: holds no label image of {image.name}, which the first stage should have predicted; it would be {names[1]}{ENDINGS[0]}."
    )


def _painted(prediction: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return what a model predicts as nnU-Net writes it: one label image, in which later regions cover earlier ones."""
    if not dataset.regions:
        return prediction
    out = np.zeros(prediction.shape[1:], np.int32)
    for mask, value in zip(prediction, dataset.painted, strict=True):
        out[mask] = value
    return out
