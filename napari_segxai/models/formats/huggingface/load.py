"""A folder that Hugging Face transformers saved: a network for semantic segmentation."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.extras import need
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats.huggingface.card import PLACE, card_of, labels_of, preparation, unnamed
from napari_segxai.models.formats.huggingface.files import CONFIG, Saved, is_saved, read_saved
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.offline import offline
from napari_segxai.models.loading.saved_weights import numbers_in, read_all, refuse_other, weight_files
from napari_segxai.models.loading.weights import unwrapped, without_prefix
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel


def handles(source: object) -> bool:
    """Tell whether `source` is of a folder that transformers saved."""
    return isinstance(source, Path) and is_saved(source)


def read_card(source: Path) -> PartialCard:
    """Return what a folder says, without building its network.

    Raises
    ------
    UserError
        As `load`.
    """
    return card_of(read_saved(source))


@model_format("huggingface", handles=handles, card=read_card)
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that config.json describes and load its weights, without the internet.

    Raises
    ------
    UserError
        If a file is missing or damaged, transformers is not installed, or the network is not one of its own for semantic
        segmentation.
    """
    saved = read_saved(source)
    stored = card_of(saved)
    card = card or stored.completed()
    files = weight_files(saved.folder)
    need("transformers", "transformers", f"{saved.folder}: the network")
    place, arguments = f"{PLACE}:{saved.network}", stored.known["arguments"]
    refuse_other(card.architecture, place, saved.folder / CONFIG)
    with _quiet():
        numbers = numbers_in(files)
        network, _ = build(
            place, arguments, saved.folder / CONFIG, trust=trust, numbers=numbers, beside=False
        )
        network, left = _with_weights(network, read_all(files), saved)
    network.eval().requires_grad_(False)
    model = SegmentationModel(
        network, card, source=f"Hugging Face {saved.network} {saved.name}", path=source.absolute()
    )
    for note in preparation(saved).notes:
        model.with_note(note)
    if unnamed(labels_of(saved)):
        model.with_note(f"{CONFIG} gives no names to the labels (LABEL_0, ...); id2label has them.")
    if left:
        model.with_note(f"{len(left)} weights of the file are no part of the network, such as {left[0]}.")
    return model


def _with_weights(network: Any, state: dict[str, Tensor], saved: Saved) -> tuple[nn.Module, list[str]]:
    """Return the network with its weights, and the names of those that are no part of it.

    transformers itself puts them in, which knows what they were called in its earlier versions.
    """
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in without_prefix(unwrapped(state), network.state_dict()).items()
    }
    try:
        with offline():
            found, said = type(network).from_pretrained(
                None,
                config=network.config,
                state_dict=state,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever the library makes of them
        raise UserError(
            f"{saved.folder}: the weights do not fit the network of {CONFIG} ({reason_of(error)})."
        ) from error
    missing, other = sorted(said["missing_keys"]), sorted(said["mismatched_keys"])
    if missing or other:
        what = f"lack {missing[0]!r}" if missing else f"are of other sizes ({other[0][0]!r})"
        raise UserError(
            f"{saved.folder}: the weights do not fit the network of {CONFIG}: they {what}, of {len(missing) + len(other)} in all; the "
            "files are of different models, or were saved by a training that changed the network."
        )
    return found, sorted(said["unexpected_keys"])


@contextmanager
def _quiet() -> Generator[None]:
    """Keep transformers from writing to the terminal what is said otherwise."""
    logging = need("transformers.utils.logging", "transformers", "its network")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
