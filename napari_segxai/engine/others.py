"""Other cases beside one: in which order they come, and how the network gets them on the same grid."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.record import digest_of
from napari_segxai.engine.question import Question
from napari_segxai.models.preprocessing.resample import resize

if TYPE_CHECKING:
    from napari_segxai.core.image import Image


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def subject(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


def by_chance(cases: Iterable[Named], seed: int) -> list[Named]:
    """Return cases in an order by chance that changes little where a case is added."""
    return sorted(cases, key=lambda case: digest_of([seed, case.id]))


def on_grid_of(mask: Tensor, like: Tensor) -> Tensor:
    """Return the mask of another case on the grid of this one, which may have another shape.

    Parameters
    ----------
    mask
        Boolean (*grid of the other case).
    like
        (*grid): on this, on its device.
    """
    mask = mask.to(like.device)
    if mask.shape == like.shape:
        return mask
    return resize(mask.float()[None, None], tuple(like.shape), linear=False)[0, 0] > 0.5


def others_of(case: Named, order: Sequence[Named], many: int) -> list[Named]:
    """Return the cases after one in an order, of other subjects; those before it follow."""
    start = next(k for k, one in enumerate(order) if one.id == case.id)
    rest = [*order[start + 1 :], *order[:start]]
    return [one for one in rest if one.subject != case.subject][:many]


def inputs_of(
    question: Question, slice: int | None, reads: Iterable[Callable[[], Image]], many: int
) -> list[Tensor]:
    """Return how the network gets other images that lie on the grid of a question's input: (1, channels, *grid) each.

    Parameters
    ----------
    question
        About the image.
    slice
        For a 2D model on a volume: which slice that is; of others the slice at the same share of their height is taken.
    reads
        Read an image each; one that cannot be read is passed over, since that is said in its own row.
    many
        How many at most.
    """
    place, model, out = question.prepared.placement, question.model, []
    for read in reads:
        with contextlib.suppress(UserError):
            image = read()
            own, index = model.slices(image), None
            if own is not None and slice is not None:
                here = model.slices(question.image) or 1
                index = round(slice * (own - 1) / max(here - 1, 1))
            prepared = model.prepare(image, index)
            other = prepared.placement
            if (other.shape, other.inner) == (place.shape, place.inner):
                out.append(prepared.tensor)
        if len(out) == many:
            break
    return out
