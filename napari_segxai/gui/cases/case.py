"""A case of a folder in the viewer: its image, truth, prediction and saved maps as layers, and nothing computed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.gui.viewer import layers
from napari_segxai.gui.viewer.opened import LayerData
from napari_segxai.gui.viewer.opened_case import OUTLINED, Piece, richest_plane

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_segxai.gui.viewer.lifetime import Tasks
    from napari_segxai.gui.worker import Outcome

AT_ONCE = 2
"""Pieces that are read at the same time: unpacking takes most of it, and leaves other threads free."""

BEGUN = 3
"""Milliseconds after which a thread that reads has begun: napari starts it with a timer of one."""

Key = tuple[str, ...]
"""Of which results a case is, the case, and what is shown of it."""

Slot = tuple[str, str, int]
"""Which piece of a case, what the layer is of it, and which of several."""


@dataclass(eq=False)
class _Reading:
    """A piece that is being read, and what came of it; None until then."""

    piece: Piece
    outcome: Outcome | None = None


class CaseView(QObject):
    """Shows one case at a time: the layers of the case before are given the new values, and keep how they look.

    Parameters
    ----------
    viewer
        Gets the layers.
    tasks
        Of the dock: read beside what runs, and end with it.

    Attributes
    ----------
    told
        What was opened, or why something was not: a sentence, and whether it is an error.
    """

    told = Signal(str, bool)

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        tasks: Tasks,
        parent: QObject,
    ):
        super().__init__(parent)
        self.viewer, self._tasks = viewer, tasks
        self.shown: Key | None = None
        """What is shown, or on its way."""
        self._asked: tuple[Key, Callable[[], Sequence[Piece]]] | None = None
        self.is_busy = False
        """Whether something is on its way."""
        self._slots: dict[Slot, ref[Layer]] = {}
        self._used: set[Slot] = set()
        self._names: dict[Slot, str] = {}
        self._pieces: deque[Piece] = deque()
        self._reading: deque[_Reading] = deque()
        """What is being read, in the order in which its layers are added."""
        self._waiting: deque[tuple[Slot, LayerData, tuple[int, int] | None]] = deque()
        """Layers that have been read, and the slice to show with each."""
        self._is_adding = False
        self._failed: list[str] = []
        self._is_new_case = False

    @property
    def layers(self) -> list[Layer]:
        """The layers that the next case will replace."""
        found = [weak() for weak in self._slots.values()]
        return [layer for layer in found if layer is not None and layer in self.viewer.layers]

    def pin(self) -> None:
        """Let the layers of this case stay: the next one gets layers of its own."""
        self._slots, self.shown = {}, None

    def show(self, key: Key, pieces: Callable[[], Sequence[Piece]]) -> None:
        """Show a case; what was asked for before, and has not begun, is passed over.

        Parameters
        ----------
        key
            Of which results, which case, and what of it. What is asked for twice is shown once.
        pieces
            Returns what there is to be shown of it, the image and the truth under these names.
        """
        if key == self.shown and len(self.layers) == len(self._slots):
            return
        self._asked = key, pieces
        if not self.is_busy:
            self._begin()

    def _begin(self) -> None:
        if self._asked is None:
            self.is_busy = False
            return
        (key, pieces), self._asked = self._asked, None
        self._is_new_case = self.shown is None or self.shown[:2] != key[:2]
        same_case = not self._is_new_case and len(self.layers) == len(self._slots)
        self.is_busy, self.shown, self._failed = True, key, []
        self._used = {slot for slot in self._slots if same_case and slot[0] in ("image", "truth")}
        self._pieces = deque(one for one in pieces() if not (same_case and one.name in ("image", "truth")))
        self._waiting.clear()
        self._read()
        self._go_on()

    def _read(self) -> None:
        """Read the next pieces, while layers of those before are added: both take a while with a volume."""
        while self._pieces and self._asked is None and layers.is_open(self.viewer):
            if sum(one.outcome is None for one in self._reading) == AT_ONCE:
                break
            reading = _Reading(self._pieces.popleft())
            self._reading.append(reading)
            self._tasks.beside(partial(_steps, reading.piece), partial(self._on_read, reading))

    def _on_read(self, reading: _Reading, outcome: Outcome) -> None:
        reading.outcome = outcome
        while self._reading and (first := self._reading[0]).outcome is not None:
            self._reading.popleft()
            self._take(first.piece, first.outcome)
        self._read()
        QTimer.singleShot(BEGUN, self._go_on)

    def _take(self, piece: Piece, outcome: Outcome) -> None:
        """Let the layers of a piece wait for being added, or keep why it has none."""
        if outcome.error is not None:
            expected = isinstance(outcome.error, UserError | MemoryError)
            said = str(outcome.error)
            self._failed.append(said if expected else f"{type(outcome.error).__name__}: {said}")
        found, place = outcome.result or ((), None)
        count: Counter[str] = Counter()
        for data in found:
            role = str(data[1]["metadata"].get("segxai_role", ""))
            goes = piece.place is not None or (role == "saliency" and self._is_new_case)
            own = place if goes else None
            self._waiting.append(((piece.name, role, count[role]), data, own))
            count[role] += 1

    def _go_on(self) -> None:
        """Add the layers that have been read, one for each turn of the window; then end, or begin what was asked for meanwhile."""
        if self._is_adding or self._tasks.is_closed():
            return
        if self._asked is not None or not layers.is_open(self.viewer):
            self._waiting.clear()
            if not self._reading:
                self._begin()
        elif self._waiting:
            slot, data, place = self._waiting.popleft()
            self._is_adding = True  # adding a layer may turn the event loop
            try:
                layer = self._put(slot, data)
            finally:
                self._is_adding = False
            if place is not None and layer.ndim > 2:
                self._go_to(layer, *place)
            QTimer.singleShot(0, self._go_on)
        elif not self._reading and self.is_busy:
            self._end()

    def _go_to(self, layer: Layer, axis: int, index: int) -> None:
        """Show a slice of a layer; `axis` is one of its three last ones."""
        at = np.zeros(layer.ndim)
        at[axis - 3] = index
        self.viewer.dims.set_point(self.viewer.dims.ndim - 3 + axis, float(layer.data_to_world(at)[axis - 3]))

    def _put(self, slot: Slot, data: LayerData) -> Layer:
        """Add a layer, or give the one that is there other values."""
        self._used.add(slot)
        weak = self._slots.get(slot)
        layer = weak() if weak is not None else None
        array, kwargs, kind = data
        fits = layer is not None and layer in self.viewer.layers and layer._type_string == kind
        axes = array.shape[1] if kind == "points" else array.ndim
        if fits and layer.ndim == axes and not getattr(layer, "rgb", False):
            _renew(layer, array, kwargs)
            self._names[slot] = kwargs["name"]
        else:
            if layer is not None and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
            first = not len(self.viewer.layers)
            layer = self._added(data)
            if first:
                self.viewer.reset_view()
        self._slots[slot] = ref(layer)
        return layer

    def _added(self, data: LayerData) -> Layer:
        """Add a layer above those of its kind that are there; the selection of layers stays."""
        active = self.viewer.layers.selection.active
        if "segxai_role" in data[1]["metadata"]:
            [layer] = layers.add_layers(self.viewer, [data])
        else:
            from napari.layers import Layer as AnyLayer

            layer = AnyLayer.create(*data)
            if data[1]["metadata"].get(OUTLINED):
                layer.contour = 1  # no argument of Labels
            # Images and truths of a case lie below its maps, which may have come first.
            own = [
                k
                for k, other in enumerate(self.viewer.layers)
                if other in self.layers and "segxai_role" in other.metadata
            ]
            self.viewer.layers.insert(own[0] if own else len(self.viewer.layers), layer)
        if active is not None and active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        return layer

    def _end(self) -> None:
        """Take away what this case has not, and say what is shown."""
        for slot in [slot for slot in self._slots if slot not in self._used]:
            layer = self._slots.pop(slot)()
            if layer is not None and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        # While the maps of a case change places, another layer has the name still, and napari appends [1].
        for slot, name in self._names.items():
            layer = self._slots[slot]() if slot in self._slots else None
            if layer is not None and layer.name != name:
                layer.name = name
        self._names = {}
        if self.shown is not None:
            case = self.shown[1]
            self.told.emit("\n".join([case, *self._failed]), bool(self._failed))
        self.is_busy = False


def _steps(piece: Piece) -> Steps[tuple[list[LayerData], tuple[int, int] | None]]:
    yield from ()
    found = list(piece.read())
    plane = richest_plane(found) if piece.place is None and piece.name == "map" else None
    return found, piece.place if plane is None else (0, plane)


def _renew(layer: Layer, array: np.ndarray, kwargs: dict[str, Any]) -> None:
    """Give a layer the values, the place and the record of another case.

    What is the same is left alone: napari lays out the layer anew, and draws it, whenever something of it is set.
    """
    n = layer.ndim
    place: dict[str, Any] = {
        "scale": kwargs.get("scale", (1.0,) * n),
        "translate": kwargs.get("translate", (0.0,) * n),
        "affine": kwargs.get("affine", np.eye(n + 1)),
    }
    place |= {name: kwargs[name] for name in ("rotate", "shear") if kwargs.get(name) is not None}
    words = {name: kwargs[name] for name in ("units", "axis_labels") if name in kwargs}
    layer.data = array
    layer.name, layer.metadata = kwargs["name"], kwargs["metadata"]
    for name, value in place.items():
        if not np.array_equal(np.asarray(getattr(layer, name)), np.asarray(value)):
            setattr(layer, name, value)
    for name, value in words.items():
        if [str(one) for one in getattr(layer, name)] != [str(one) for one in value]:
            setattr(layer, name, value)
    if layer._type_string == "image":
        if "contrast_limits" in kwargs:
            low, high = kwargs["contrast_limits"]
            if (low, high) != tuple(layer.contrast_limits):
                layer.contrast_limits_range = (
                    min(low, layer.contrast_limits[0]),
                    max(high, layer.contrast_limits[1]),
                )
                layer.contrast_limits = low, high
            if (low, high) != tuple(layer.contrast_limits_range):
                layer.contrast_limits_range = low, high
        else:
            layer.reset_contrast_limits()
    else:
        for name in ("features", "colormap"):
            if name in kwargs:
                setattr(layer, name, kwargs[name])
