"""napari in tests: what it does for the eye alone is left out where nobody looks, and what it does again is done once."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import pytest

FOR_THE_EYE = {
    "napari._vispy.canvas.VispyCanvas._update_layer_overlays": "colour bars and boxes over a layer",
    "napari._qt.layer_controls.qt_layer_controls_container.QtLayerControlsContainer._add": "a layer's controls",
    "napari._qt.layer_controls.qt_layer_controls_container.QtLayerControlsContainer._remove": "the same",
    "napari._qt.layer_controls.qt_layer_controls_container.QtLayerControlsContainer._populate": "the same",
    "napari._qt.widgets.qt_viewer_buttons.QtViewerPushButton._refresh_qss": "the style of a button",
    "vispy.app.backends._qt.CanvasBackendDesktop.resizeGL": "the canvas in another size",
}
"""What napari draws or lays out of its own, half of the time of adding a layer: none of it is this package's."""


class Eye:
    """Says whether the test looks at napari's own drawings."""

    looks = True

    def leave_out(self, patch: pytest.MonkeyPatch) -> None:
        """Do what is for the eye only while `looks` is set."""
        for name in FOR_THE_EYE:
            owner, _, method = name.rpartition(".")
            patch.setattr(name, self._if_looking(getattr(pkgutil.resolve_name(owner), method)))

    def _if_looking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)  # whoever connects it to an event asks for its arguments
        def done(*args: Any) -> Any:
            return method(*args) if self.looks else None

        return done


def do_once(patch: pytest.MonkeyPatch) -> None:
    """Look at the signature of a callback once, not at every connection; collect no garbage with every layer removed.

    Shapes are cut into triangles by plain Python.
    """
    from napari._vispy import canvas
    from napari.settings import _experimental
    from napari.utils.events import EventEmitter
    from napari.utils.triangulation_backend import TriangulationBackend, set_backend

    check, known = EventEmitter._check_signature, {}

    def check_once(called: Callable) -> bool:
        key = _form(called)
        if key is None:
            return check(called)
        if key not in known:
            known[key] = check(called)
        return known[key]

    patch.setattr(EventEmitter, "_check_signature", staticmethod(check_once))
    patch.setattr(canvas, "gc", SimpleNamespace(collect=lambda: 0))  # each test ends with one
    set_backend(TriangulationBackend.pure_python)  # the other one is compiled, for five seconds
    patch.setattr(_experimental, "set_triangulation_backend", lambda backend: None)


def _form(called: Any) -> tuple[Any, ...] | None:
    """Return what the signature of a callback depends on; None where that is not plain."""
    if isinstance(called, partial):
        inner = _form(called.func)
        return None if inner is None else (inner, len(called.args), *called.keywords)
    bound, function = inspect.ismethod(called), getattr(called, "__func__", called)
    if not inspect.isfunction(function):  # an emitter that is called by another
        bound, function = True, inspect.getattr_static(type(called), "__call__", None)
    if (
        not inspect.isfunction(function)
        or hasattr(function, "__wrapped__")
        or hasattr(called, "__signature__")
    ):
        return None
    return function.__code__, bound, len(function.__defaults__ or ())
