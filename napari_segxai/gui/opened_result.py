"""A result that was opened from a folder becomes the one that a dock holds: it is loaded, and its model is chosen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui.models.store import Entry
from napari_segxai.gui.viewer.opened import folder_of
from napari_segxai.gui.widgets.model_box import ModelBox
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.io.held import RECORD
from napari_segxai.io.image_record import is_remote

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtWidgets import QWidget

    from napari_segxai.core.image import Image
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.segmentation import SegmentationModel

Stamp = tuple[str, int, int]


class OpenedResult(QObject):
    """The result that was opened from a folder, and of which a layer is selected.

    Parameters
    ----------
    dock
        Whose part it is.
    viewer
        Whose selected layer counts.
    kind
        What the dock makes, as records call it.
    model_box, run_bar
        Of the dock: where the model is chosen, and where it is said what happens.
    start
        Runs a task in the worker thread: `Dock._start`.
    load
        Reads a result from its folder, and returns it with its image and what its record says of the model.
    hold
        Makes a result the one that the dock holds: called with it, its model, and its stamp; raises UserError.
    """

    def __init__(
        self,
        dock: QWidget,
        viewer: napari.viewer.Viewer,
        kind: str,
        model_box: ModelBox,
        run_bar: RunBar,
        start: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None], str], None],
        load: Callable[[str], tuple[Any, Image, Mapping[str, Any]]],
        hold: Callable[[Any, SegmentationModel, Stamp], None],
    ):
        super().__init__(dock)
        self.viewer, self.kind = viewer, kind
        self._model_box, self._run_bar = model_box, run_bar
        self._start, self._load, self._hold = start, load, hold
        self._meant: str | None = None
        self._last: str | None = None
        self._passed: str | None = None
        self._is_cancelled = False
        self._held: Stamp | None = None
        self._waiting: tuple[Entry, Callable[[], None]] | None = None
        self._is_holding = False
        model_box.store.changed.connect(self._on_loaded)
        run_bar.cancel_clicked.connect(self._on_cancel)

    # -- which one is meant -----------------------------------------------------------------------------

    def select(self) -> bool:
        """Mean the result of the selected layer; return whether there is one.

        A dock that adds layers selects them, and then again what was selected before: that does not count.
        """
        active = self.viewer.layers.selection.active
        folder = folder_of(active, self.kind)
        if folder is not None:
            self._last = folder
        elif active is not None and "segxai" not in active.metadata:
            self._last = self._passed = None
        if folder is not None and folder != self._passed:
            self._passed = None
        self._meant = None if folder == self._passed else folder
        return self._meant is not None

    def removed(self) -> None:
        """Layers were removed: if none is left of what was passed over, it counts when it is opened once more."""
        of = (folder_of(layer, self.kind) for layer in self.viewer.layers)
        if self._passed is not None and self._passed not in of:
            self._last = self._passed = None

    def pass_over(self) -> None:
        """The dock has made a result of its own: that is meant, until an image or another opened result is selected."""
        self._passed = self._last
        self._meant = self._held = None

    def let_go(self) -> None:
        """The dock does not hold what it got any more."""
        self._held = None

    def ready(self, then: Callable[[], Any]) -> bool:
        """Tell whether the dock holds the result that is meant; else it gets it, and `then` is called."""
        if self._is_holding or self._meant is None or self._run_bar.is_running:
            return True
        if _stamp(self._meant) == self._held:
            return True
        folder = self._meant

        def make() -> Steps[Any]:
            yield Step(0, 1, f"opening {folder}")
            stamp = _stamp(folder)
            result, image, told = self._load(folder)
            _ = image.array  # raises if the values are not there any more
            return result, told, stamp

        self._waiting, self._is_cancelled = None, False
        self._start(make, lambda outcome: self._on_read(outcome, then), f"opening {folder}")
        return False

    # -- getting it -------------------------------------------------------------------------------------

    def _on_read(self, outcome: Outcome, then: Callable[[], Any]) -> None:
        if outcome.error is not None:
            self._run_bar.set_failed(outcome)
            return
        if outcome.cancelled or self._is_cancelled:  # what is being read is read to its end
            self._run_bar.set_ended("Cancelled; nothing was opened.", result=False)
            return
        result, told, stamp = outcome.result
        self._run_bar.set_ended("Loading the model…", result=False)
        try:
            entry = choose_model(self._model_box, told)
        except UserError as error:
            self._run_bar.show_status(str(error), error=True)
            return
        self._waiting = (entry, lambda: self._take(entry, result, stamp, then))
        if entry.model is not None or entry.problem:
            self._on_loaded(entry)

    def _on_cancel(self) -> None:
        self._is_cancelled = True

    def _on_loaded(self, entry: Entry) -> None:
        """A model was loaded, or could not be: the one that is waited for?"""
        if self._waiting is not None and self._waiting[0] is entry:
            QTimer.singleShot(0, self._go_on)  # the dock has to hear of it first

    def _go_on(self) -> None:
        if self._waiting is not None:
            (_, go_on), self._waiting = self._waiting, None
            go_on()

    def _take(self, entry: Entry, result: Any, stamp: Stamp, then: Callable[[], Any]) -> None:
        try:
            if entry.model is None:
                raise UserError(entry.problem or f"{entry.card.name} was not loaded.")
            self._hold(result, entry.model, stamp)
        except UserError as error:
            self._run_bar.show_status(str(error), error=True)
            return
        self._held = stamp
        self._run_bar.set_ended(f"The {self.kind} in {stamp[0]} was opened.")
        self._is_holding = True
        try:
            then()
        finally:
            self._is_holding = False


def planned(make: Callable[[], Any], folder: str) -> Any:
    """Return the plan of a result from a folder; raises UserError where its record tells what cannot be asked."""
    try:
        return make()
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder}: its record tells something that cannot be asked ({error}); make the result again."
        ) from error


def known_models(box: ModelBox, told: Mapping[str, Any]) -> list[Entry]:
    """Return the models of a list that have the weights, or the path, that a record tells; the surest first."""
    same = [entry for entry in box.entries if entry.model and entry.model.sha256 == told["sha256"]]
    return same + [
        entry for entry in box.entries if entry.path is not None and str(entry.path) == told["path"]
    ]


def choose_model(box: ModelBox, told: Mapping[str, Any]) -> Entry:
    """Choose the model of a record in a list; what is not in it is opened from its path, after the user has trusted its code.

    Raises
    ------
    UserError
        If there is no such model, or its code was not trusted.
    """
    name, path, found = told["name"], told["path"], known_models(box, told)
    there = (
        path is not None and not is_remote(path) and os.path.exists(path)
    )  # of a path that cannot be, False
    if not found and there:
        box.open_asking(Path(path))
        if box.refused:
            raise UserError(box.refused)
        found = [box.entry] if box.entry is not None else []
    found += [entry for entry in box.entries if entry.card.name == name]
    if not found:
        gone = (
            "is not in the list" if path is None or there else f"is not in the list, nor at {path} any more"
        )
        raise UserError(f"the model {name} {gone}; choose it with Load model…, and try again.")
    box.choose(found[0])
    return found[0]


def _stamp(folder: str) -> Stamp:
    """Return what tells whether a folder holds what it held before."""
    try:
        stat = Path(folder, RECORD).stat()
    except OSError:
        return folder, 0, -1
    return folder, stat.st_mtime_ns, stat.st_size


def of_what_is_meant(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of something with `ready` wait until the dock holds the result that is meant; see `OpenedResult.ready`."""

    @wraps(method)
    def waits(self: Any, *args: Any, **options: Any) -> Any:
        if self.ready(lambda: waits(self, *args, **options)):
            return method(self, *args, **options)
        return None

    return waits
