"""Cases that can be read: what an engine sees of a folder before it looks at one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_segxai.core.image import Image


@dataclass(frozen=True, eq=False)
class Held:
    """What was read of a case.

    Attributes
    ----------
    image
        Its image.
    concepts
        Boolean masks on the image grid by the name of the concept; None where the labels as predicted are the concepts.
    truth
        Returns the truth, in the form of a prediction, on the image grid; None where there is none. A `UserError` says why it cannot be used.
    ignored
        Boolean, on the image grid: where nobody has said whether a concept is there; None for nowhere.
    """

    image: Image
    concepts: Mapping[str, np.ndarray] | None
    truth: Callable[[], np.ndarray | None]
    ignored: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class CaseEntry:
    """A case that can be read.

    Attributes
    ----------
    id, subject
        As of a case of a cohort.
    read
        Reads it; a `UserError` says what is wrong with it.
    """

    id: str
    subject: str
    read: Callable[[], Held]
