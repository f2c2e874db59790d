"""Windows: one is shared by the tests of a process, each of which finds it as new; some need one of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


def _once(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that loads each built-in model once, for docks; how fast it was is forgotten."""
    kept: dict[str, tuple[Any, float]] = {}

    def load_model(source: Any, **options: Any) -> Any:
        if not isinstance(source, str):
            return load(source, **options)
        if source not in kept:
            model = load(source, **options)
            kept[source] = model, model.seconds
        model, model.seconds = kept[source]
        return model

    return load_model


@pytest.fixture(scope="session")
def _window(qapp, _asked_once) -> Iterator[Any]:
    from helpers.gui.windows import shared_window

    from napari_segxai.gui.models import store

    with shared_window() as shared, pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "load_model", _once(store.load_model))
        yield shared


@pytest.fixture
def viewer(request, _window, qtbot):
    """A real napari window that was tidied after the test before; nothing may be left of this one.

    Its canvas is not drawn unless the test asks for `drawn`.
    """
    from napari.settings import get_settings

    get_settings().reset()
    _window.begin("drawn" in request.fixturenames)
    yield _window.viewer
    get_settings().reset()
    _window.tidy()
    left = _window.left()
    assert not left, "\n".join(left)


@pytest.fixture
def own_viewer(make_napari_viewer):
    """A napari window of this test alone, drawn, for tests that close it or ask what it keeps."""
    from helpers.gui.windows import end_tasks

    yield make_napari_viewer(show=True)
    end_tasks()


@pytest.fixture
def drawn() -> None:
    """The canvas of the shared window is drawn in this test, which looks at it or at the time that it takes."""
