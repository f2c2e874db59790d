"""What a viewer keeps of a dock that is closed, until a dock of its kind is opened again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel


@dataclass(frozen=True)
class Kept:
    """What a dock shows, or what its run had found when it was closed.

    Attributes
    ----------
    result
        What was found.
    request
        What was asked, as the dock needs it to ask again; None where only the result says it.
    was_stopped
        Whether the run was stopped because its dock was closed.
    """

    result: Any
    request: Any = None
    was_stopped: bool = False


class KeptResults(QObject):
    """The last result of each kind of dock, as long as the viewer is there.

    Attributes
    ----------
    arrived
        A run ended after its dock was closed, and found something: its kind.
    """

    arrived = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, Kept] = {}
        self._gathered: dict[str, dict[Any, Any]] = {}

    def put(self, kind: str, kept: Kept) -> None:
        """Keep what a dock shows."""
        self._held[kind] = kept

    def leave(self, kind: str, kept: Kept) -> None:
        """Keep what a run had found when its dock was closed; a dock that has been opened since shows it."""
        self.put(kind, kept)
        self.arrived.emit(kind)

    def get(self, kind: str) -> Kept | None:
        """Return what is kept."""
        return self._held.get(kind)

    def forget(self, kind: str) -> None:
        """Keep nothing of this kind any more."""
        self._held.pop(kind, None)

    def gathered(self, kind: str) -> dict[Any, Any]:
        """Return what all docks of a kind have gathered in this viewer, to be added to."""
        return self._gathered.setdefault(kind, {})


_kept: WeakKeyDictionary[ViewerModel, KeptResults] = WeakKeyDictionary()


def kept_results(viewer: ViewerModel) -> KeptResults:
    """Return what a viewer keeps."""
    return _kept.setdefault(viewer, KeptResults())
