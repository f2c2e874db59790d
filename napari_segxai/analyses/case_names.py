"""Whether cases call their channels and labels as a model does."""

from __future__ import annotations

from napari_segxai.core.errors import UserError
from napari_segxai.io.cases.case import Cases
from napari_segxai.models.segmentation import SegmentationModel


def check_names(model: SegmentationModel, cases: Cases) -> None:
    """Refuse cases whose channels or labels have the names of the model's in another order, which would be taken for each other in silence,
    or some of its channels alone.

    Raises
    ------
    UserError
        With what would be right.
    """
    given = model.card.channels[:1] if model.card.repeats_channel else model.card.channels
    own, wanted = [[one.casefold() for one in names] for names in (cases.channels, given)]
    if own != wanted and set(wanted) <= set(own):
        names = ", ".join(model.card.channels)
        how = f"name them so (--channels {','.join(model.card.channels)})"
        raise UserError(
            f"{cases.source.name}: its channels are {', '.join(cases.channels)}, but {model.name} takes {names}, in this order; "
            + (how if len(cases[0].images) > 1 else "write the files with these channels")
            + "."
        )
    if own and set(own) < set(wanted) and len(cases[0].images) < len(wanted):
        raise UserError(
            f"{cases.source.name}: an image was taken to be {', '.join(cases.channels)} alone, but {model.name} takes "
            f"{', '.join(model.card.channels)}; name them all (--channels {','.join(model.card.channels)})."
        )
    drawn = [label.casefold() for label in model.labels]
    for value, name in cases.labels if any(case.truth is not None for case in cases) else ():
        if name.casefold() in drawn and drawn.index(name.casefold()) != value:
            raise UserError(
                f"{cases.source.name}: its truths call {value} {name!r}, which is label {drawn.index(name.casefold())} of {model.name}; "
                "renumber the truths as the model's labels are."
            )
