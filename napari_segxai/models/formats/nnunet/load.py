"""A folder of nnU-Net's results, opened without nnU-Net."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import folder
from napari_segxai.models.formats.nnunet.card import OTHERS, TURNED, card_of
from napari_segxai.models.formats.nnunet.cascade import first_stage
from napari_segxai.models.formats.nnunet.checkpoint import Checkpoint, read_checkpoint
from napari_segxai.models.formats.nnunet.dataset import Dataset, read_dataset
from napari_segxai.models.formats.nnunet.network import network_of
from napari_segxai.models.formats.nnunet.plans import Plans, read_plans
from napari_segxai.models.formats.nnunet.results import DATASET, PLANS, Results, find, is_results
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.segmentation import SegmentationModel
from napari_segxai.models.zoo.nnunet import MeanOfNetworks


def handles(source: object) -> bool:
    """Tell whether `source` is of nnU-Net's results, and no model folder."""
    return isinstance(source, Path) and not (source / folder.CARD).is_file() and is_results(source)


def read_card(source: Path) -> ModelCard:
    """Return the card of a folder of results, without building its network.

    Raises
    ------
    UserError
        As `load`.
    """
    results = find(source)
    return card_of(results, *_read(results))


@model_format("nnunet", handles=handles, card=read_card)
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that plans.json describes and load the weights of one fold, or the mean of several.

    Raises
    ------
    UserError
        If a file is missing, damaged or of another version, or the files do not fit each other.
    UntrustedCode
        If the network's package does not lie where packages are installed, and `trust` is False.
    """
    return _load(source, card, trust=trust)


def _load(
    source: Path, card: ModelCard | None = None, *, trust: bool, is_first: bool = False
) -> SegmentationModel:
    results = find(source)
    dataset, plans, first = _read(results)
    card = card or card_of(results, dataset, plans, first)
    name = plans.previous_stage
    if name is not None and is_first:
        raise UserError(
            f"{results.root}: is a second stage itself, and no first one; name that with previous_stage in the card."
        )
    stage = None
    if name is not None:
        resampling = plans.label_resampling  # which may refuse, before another folder is read
        stage = first_stage(
            results, dataset, name, card.previous_stage, partial(_load, trust=trust, is_first=True)
        )
        stage = replace(stage, resampling=resampling)
    inputs = len(dataset.channels) + (0 if name is None else len(dataset.values))
    outputs = len(dataset.labels) - bool(dataset.regions)
    networks = [network_of(plans, first, inputs, outputs, trust=trust)]
    for path in results.checkpoints[1:]:  # one at a time: a file holds the optimizer's state as well
        networks.append(network_of(plans, read_checkpoint(path), inputs, outputs, trust=trust))
    module = networks[0] if len(networks) == 1 else MeanOfNetworks(networks).eval()
    folds = ", ".join(path.parent.name for path in results.checkpoints)
    model = SegmentationModel(
        module,
        card,
        source=f"nnU-Net {results.root.name}, {folds}",
        path=source.absolute(),
        first_stage=stage,
    )
    if stage is not None:
        model.with_note(
            f"{model.name} is the second stage of a cascade: beside the image it sees the labels of {stage.name}, which are held fixed; "
            "what is explained are the channels of the image."
        )
    if len(networks) > 1:
        model.with_note(f"the logits are the mean of those of {len(networks)} networks: {folds}.")
    if plans.reader not in (*TURNED, *OTHERS):
        model.with_note(
            f"{plans.path.name} names {plans.reader!r:.60} as what read the images, which is none of nnU-Net's readers: their axes are taken as they "
            "are stored; write `orientation` in the card if it turned them."
        )
    if results.others:
        model.with_note(f"{', '.join(results.others)} is left out; name its folder if it is meant.")
    return model


def _read(results: Results) -> tuple[Dataset, Plans, Checkpoint]:
    dataset = read_dataset(results.root / DATASET)
    first = read_checkpoint(results.checkpoints[0])
    return dataset, read_plans(results.root / PLANS, first.configuration), first
