"""What happens to a running job and its links to the viewer when the dock is closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

from napari_segxai.explanation import Explanation
from napari_segxai.gui import jobs, layers


def undo(
    links: list[tuple[Any, Callable[..., None]]],
    closed: dict[str, bool],
    running: Callable[[], jobs.Job | None],
    viewer: ref[Any],
    rename: Callable[..., None],
) -> None:
    """Disconnect from the viewer and stop the job; the widget itself is gone."""
    closed["closed"] = True
    for emitter, function in links:
        emitter.disconnect(function)
    if (alive := viewer()) is not None:
        for layer in alive.layers:
            layer.events.name.disconnect(rename)
    if (job := running()) is not None:
        job.on_step = lambda _: None
        job.on_done = partial(keep, viewer)
        job.cancel()


def keep(viewer: ref[Any], outcome: jobs.Outcome) -> None:
    """Add what a job found until its dock was closed, if the viewer is still there."""
    alive = viewer()
    if alive is not None and isinstance(outcome.result, Explanation):
        number = layers.next_number(alive, outcome.result.title)
        shown = layers.has_prediction(alive, outcome.result)
        layers.add_layers(alive, outcome.result, None, outcome.result.to_layers(number, prediction=not shown))
