"""The members of an ensemble, such as the folds of a cross-validation: one of them alone in the place of all."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from napari_segxai.models.zoo.nnunet import MeanOfNetworks


def ensemble_of(module: nn.Module) -> MeanOfNetworks | None:
    """Return the part of a network that is the mean of several; None where there is none, or of one alone."""
    found = next((one for one in module.modules() if isinstance(one, MeanOfNetworks)), None)
    return found if found is not None and len(found.networks) > 1 else None


@contextmanager
def alone(ensemble: MeanOfNetworks, number: int) -> Generator[None]:
    """Let one member of an ensemble answer for all, for a while."""
    ensemble.only = number
    try:
        yield
    finally:
        ensemble.only = None
