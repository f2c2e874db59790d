"""Shared fixtures: a real napari window, which the tests of a process share and each finds as new, and the Explain panel."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

# Threads that wait for work in a loop stall a machine on which anything else runs; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# napari's settings, and what we keep beside them, are not those of whoever runs the tests; read at napari's import.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp(prefix="napari-")) / "settings.yaml")

collect_ignore = ["peers"]  # these need an environment of their own: `make test-peers`


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list) -> None:
    """Share the cores between processes; numba, which sets OpenMP's number of threads, has to agree with torch.

    Both read it when they are loaded, which in these processes is before this file.
    """
    threads = str(max(1, (os.cpu_count() or 1) // len(specs)))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, threads)


_frozen = 0


def _freeze_imports() -> None:
    """Leave what was imported out of every garbage collection; napari makes one with each layer removed.

    Each takes a quarter of a second once napari's window is loaded, which several tests in a row would pay ten times.
    """
    global _frozen
    if len(sys.modules) > _frozen + 50:
        gc.collect()
        gc.freeze()
        _frozen = len(sys.modules)


def pytest_collection_finish() -> None:
    """Freeze what the tests import."""
    _freeze_imports()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Freeze what the tests before have made napari import, when nothing is left of their windows."""
    yield
    _freeze_imports()


@pytest.fixture(autouse=True)
def _no_models_of_other_tests():
    """Models that a test registered, or opened in a dock, are forgotten."""
    yield
    from napari_segxai.models import registry

    registry._registered.clear()
    if "napari_segxai.gui.models.store" in sys.modules:
        from qtpy.QtWidgets import QApplication

        from napari_segxai.gui.models.store import ModelStore

        if (app := QApplication.instance()) is not None and (store := app.findChild(ModelStore)) is not None:
            store.setParent(None)
            store.deleteLater()


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """What tests save need not outlive the machine; what is had on the disk, and when, tests/io/test_saving.py asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def _figures():
    """Figures of results are drawn in no test that does not ask for it."""
    from helpers.figures import leave_out

    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        yield


@pytest.fixture
def figures() -> Iterator[None]:
    """The figures that results are saved with are drawn in this test; elsewhere their files hold none."""
    from helpers.figures import seen

    with seen():
        yield


@pytest.fixture
def wait(qtbot) -> Callable[..., None]:
    """Turn the event loop until a condition holds."""

    def until(condition: Callable[[], bool], seconds: float = 60) -> None:
        qtbot.waitUntil(condition, timeout=int(seconds * 1000))

    return until


@pytest.fixture(scope="session")
def _asked_once():
    """The files of all plugins are read once, not for every window, and the settings of the tests are not written."""
    from helpers.gui.quick import do_once
    from napari.settings import NapariSettings
    from npe2 import PluginManifest

    found = tuple(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        patch.setattr(NapariSettings, "save", lambda *args, **kwargs: None)
        do_once(patch)
        yield


@pytest.fixture
def make_napari_viewer(_asked_once, make_napari_viewer):
    """napari's own fixture, for which less is done again."""
    return make_napari_viewer


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

    It is not painted, nor its canvas drawn, unless the test asks for `drawn`.
    """
    _window.begin("drawn" in request.fixturenames)
    yield _window.viewer
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
    """The shared window is painted in this test, which looks at it or at the time that it takes."""


@pytest.fixture
def open_panel(viewer):
    """Open the Explain panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
        return panel

    return open_


@pytest.fixture
def triangle_panel(viewer, open_panel, wait):
    """The Triangle sample and a panel that is ready to run."""
    viewer.open_sample("napari-segxai", "triangle")
    panel = open_panel()
    wait(lambda: panel.run_bar.run.isEnabled())
    return panel


@pytest.fixture
def run_panel(wait):
    """Press Run and wait until the results are layers."""

    def run(panel, method: str | None = None, **params) -> None:
        if method is not None:
            panel.fields.method_box.choose(method)
        panel.fields.form.set_values(params)
        before = len(panel.viewer.layers)
        panel.run_bar.run.click()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running, 120)
        if panel.explanation is not None and not panel.run_bar.status.styleSheet():
            wait(lambda: len(panel.viewer.layers) > before and panel._all_shown())

    return run
