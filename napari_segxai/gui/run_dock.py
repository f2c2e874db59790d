"""What every dock widget of the plugin has: a form with a run bar, results beside it, and the task that Run starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from napari.utils.notifications import show_info
from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.gui.viewer import events
from napari_segxai.gui.viewer.dock_layout import HEIGHT, Sides, take_room
from napari_segxai.gui.viewer.kept import Kept, kept_results
from napari_segxai.gui.viewer.lifetime import DeletedWhenClosed, Leave, Tasks, connect_until_gone, when_gone

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

WAITING = "Waiting until the run of another dock has ended…"


class RunDock(QWidget):
    """Base of all docks: the form, *Run*, *Cancel*, progress, the estimate, and closing.

    A dock builds its form and its results, hands them to `set_up`, connects what it alone has, and calls `show_kept`. It
    overrides `run`, `_cost`, `_take_kept` and, where there is a script, `copy_as_python`.

    The viewer keeps what a dock shows, and what its run had found when it was closed (`viewer.kept`): the next dock of its
    kind shows it again.

    Parameters
    ----------
    viewer
        The viewer to which results are added.

    Attributes
    ----------
    fields
        The form. It has a `model_box` and a `run_bar`.
    viewer
        The viewer itself.
    tasks
        What the dock has given to the worker thread.
    kind
        What the dock makes, as the record of a folder calls it; "" in a dock that leaves nothing when it is closed.
    """

    fields: Any
    kind: ClassVar[str] = ""

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__()
        # The plugin menu gives a proxy, whose layers are proxies too: they live no longer than the line that asks for them.
        self.viewer = getattr(viewer, "__wrapped__", viewer)
        self.tasks = Tasks(self.viewer)
        self.sides: Sides | None = None
        self._was_shown = False

    def set_up(self, fields: Any, results: QWidget | None = None, width: int = 0) -> None:
        """Lay the dock out, and connect what all docks have.

        Parameters
        ----------
        fields
            The form.
        results
            What is shown to the right of the form, in a dock that is wide and low.
        width
            Of the form of such a dock, in pixels.
        """
        self.fields = fields
        self.model_box, self.run_bar = fields.model_box, fields.run_bar
        if results is None:
            layout = QHBoxLayout(self)  # napari would add a stretch to a vertical one
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(fields)
        else:
            self.sides = Sides(self, fields, self.run_bar, results, width)
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.tasks.cancel)
        self.run_bar.copy_clicked.connect(lambda: self.copy_as_python())
        self.follow(*events.links(self.viewer), (self.viewer.events.theme, lambda _: self._on_theme()))
        kept_results(self.viewer).arrived.connect(self._on_arrived)
        when_gone(self, self.tasks.end)
        self.installEventFilter(DeletedWhenClosed(self))

    def follow(self, *links: tuple[Any, Callable[[Any], Any]]) -> None:
        """Call functions at events of the viewer until the dock is gone; `links` are pairs of an event and a function."""
        connect_until_gone(self, links)

    def sizeHint(self) -> QSize:
        """A dock with results is wide, and about half as high as a small screen."""
        return super().sizeHint() if self.sides is None else QSize(1200, HEIGHT)

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def card(self) -> ModelCard | None:
        """The card of the chosen model."""
        entry = self.model_box.entry
        return entry.card if entry is not None else None

    @property
    def model_if_loaded(self) -> SegmentationModel | None:
        """The chosen model; None while it is not loaded."""
        entry = self.model_box.entry
        return entry.model if entry is not None else None

    def loaded_model(self) -> SegmentationModel:
        """Return the chosen model.

        Raises
        ------
        UserError
            If it cannot be used, or is not loaded yet.
        """
        if self.model_box.problem:
            raise UserError(self.model_box.problem)
        model = self.model_if_loaded
        if model is None:
            raise UserError("Loading the model…")
        return model

    def network_layers(self) -> list[str]:
        """Return the names of the network layers of the chosen model, if it is loaded and has any."""
        model = self.model_if_loaded
        return [one.name for one in model.network_layers()] if model is not None and model.has_layers else []

    # -- what a dock overrides ----------------------------------------------------------------------------

    def run(self) -> None:
        """Start what the form describes."""
        raise NotImplementedError

    def copy_as_python(self) -> str:
        """Put a script that makes the shown result on the clipboard; returns it."""
        raise NotImplementedError

    def _cost(self) -> str:
        """Return what Run would cost; raises UserError where it cannot be pressed."""
        raise NotImplementedError

    # -- running ------------------------------------------------------------------------------------------

    def _start(
        self,
        make: Callable[[], Steps[Any]],
        done: Callable[[Outcome], None],
        note: str = "starting",
        on_partial: Callable[[Any], None] | None = None,
        leave: Leave | None = None,
    ) -> None:
        """Run a task, with its progress in the run bar.

        Parameters
        ----------
        note
            What is said until its first step.
        leave
            What is done with what it has found when the dock is closed meanwhile; see `Tasks.run`.
        """

        def ended(outcome: Outcome) -> None:
            done(outcome)
            self._update()

        self.run_bar.set_running(note)
        if self.tasks.run(make, self.run_bar.report, ended, on_partial, leave):
            self.run_bar.show_status(WAITING)

    def _ended_well(
        self, outcome: Outcome, *, failed: str = "", cancelled: str = "Cancelled.", result: bool = True
    ) -> bool:
        """Report a task that failed or was cancelled; return whether it did neither.

        Parameters
        ----------
        failed, cancelled
            What is said after the error, and when the task was cancelled.
        result
            Whether there is a result now that can be saved and copied.
        """
        if outcome.error is not None:
            self.run_bar.set_failed(outcome, failed, result=result)
        elif outcome.cancelled:
            self.run_bar.set_ended(cancelled, result=result)
        return outcome.error is None and not outcome.cancelled

    def in_background(self, make: Callable[[], Steps[Any]], done: Callable[[Outcome], None]) -> None:
        """Run a task without progress, and say where it has to wait for another one."""
        if self.tasks.in_background(make, done) and not self.run_bar.is_running:
            self.run_bar.show_status(WAITING)

    def write(self, make: Callable[[], Steps[list[Path]]]) -> None:
        """Write files in the worker thread, also when the dock is closed meanwhile, and say which were written."""
        if self.tasks.write(make, self.run_bar.show_written) and not self.run_bar.is_running:
            self.run_bar.show_status(WAITING)

    # -- what is there when the dock is closed and opened again -------------------------------------------

    @staticmethod
    def has_found(result: Any) -> bool:
        """Tell whether a run has found something that can be shown."""
        return result is not None

    def keep(self, result: Any, request: Any = None) -> None:
        """Let the viewer keep what is shown, for when the dock is closed and opened again; see `Kept`."""
        kept_results(self.viewer).put(self.kind, Kept(result, request))

    @classmethod
    def leave(cls, request: Any, viewer: Any, outcome: Outcome) -> None:
        """Let the viewer keep what a run had found when its dock was closed, and say where it can be seen."""
        if not cls.kind or not cls.has_found(outcome.result):
            return
        was_stopped = outcome.cancelled or outcome.error is not None
        kept_results(viewer).leave(cls.kind, Kept(outcome.result, request, was_stopped))
        if not any(getattr(dock, "kind", "") == cls.kind for dock in viewer.window.dock_widgets.values()):
            how = "was stopped" if was_stopped else "ended"
            show_info(
                f"The {cls.kind} {how} when its dock was closed. Open the dock again to see what was found."
            )

    def show_kept(self) -> None:
        """Show what a dock of this kind had that was closed; call it when everything is connected."""
        kept = kept_results(self.viewer).get(self.kind)
        if kept is not None and not self.run_bar.is_running and self._take_kept(kept):
            said = (
                "What was found until the dock was closed is shown"
                if kept.was_stopped
                else "The last result is shown again"
            )
            self.run_bar.set_ended(f"{said}{self._way_to_files()}.")
            self._update()

    def _on_arrived(self, kind: str) -> None:
        if kind == self.kind:
            self.show_kept()

    def _take_kept(self, kept: Kept) -> bool:
        """Show what a dock had that was closed; return whether that can be done."""
        raise NotImplementedError

    def _way_to_files(self) -> str:
        """Say how what is shown is written to files."""
        return f"; {self.run_bar.save.text().rstrip('…')} writes it to files"

    # -- keeping the form true ----------------------------------------------------------------------------

    def _update(self) -> None:
        """Say what Run would cost, or why it cannot be pressed."""
        try:
            self.run_bar.set_ready(self._cost())
        except UserError as error:
            self.run_bar.set_blocked(str(error))

    def _on_theme(self) -> None:
        self.run_bar.set_accent(get_theme(self.viewer.theme).current.as_hex())

    def showEvent(self, event: Any) -> None:
        """Offer the models that were registered while the dock was hidden; a wide dock takes its room once."""
        self.model_box.refresh_registered()
        super().showEvent(event)
        if not self._was_shown and self.sides is not None:
            self._was_shown = True
            QTimer.singleShot(0, self._take_room)

    def _take_room(self) -> None:
        take_room(self)
