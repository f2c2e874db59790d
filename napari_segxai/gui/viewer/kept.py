"""What a viewer keeps of a dock that is closed, until a dock of its kind is opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel


class KeptResults(QObject):
    """The last result of each kind that is no layer and in no folder, as long as the viewer is there.

    Attributes
    ----------
    arrived
        A result of this kind was found when no dock was left to show it.
    """

    arrived = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, Any] = {}

    def put(self, kind: str, result: Any) -> None:
        """Keep the result that a dock shows."""
        self._held[kind] = result

    def leave(self, kind: str, result: Any) -> None:
        """Keep what was found until its dock was closed; one that has been opened since shows it."""
        self.put(kind, result)
        self.arrived.emit(kind)

    def get(self, kind: str) -> Any | None:
        """Return what is kept."""
        return self._held.get(kind)


_kept: WeakKeyDictionary[ViewerModel, KeptResults] = WeakKeyDictionary()


def kept_results(viewer: ViewerModel) -> KeptResults:
    """Return what a viewer keeps."""
    return _kept.setdefault(viewer, KeptResults())
