"""What a window keeps of its jobs, and what happens when it is closed in the middle of one."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
from helpers.docks import Slow, choose, use_model, use_network
from helpers.networks import card, patch_of, planted_image
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.gui import worker


@pytest.fixture
def made(monkeypatch):
    """Weak references to every explanation that is made, partial ones included."""
    refs, real = [], Explanation.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        refs.append(weakref.ref(self))

    monkeypatch.setattr(Explanation, "__init__", init)
    return refs


def alive(refs) -> int:
    gc.collect()
    return sum(ref() is not None for ref in refs)


@pytest.fixture
def panel(slow_panel):
    slow_panel.network.delay = 0
    return slow_panel


@pytest.mark.usefixtures("drawn")
def test_many_jobs_leave_nothing_when_their_layers_are_removed(panel, viewer, wait, made):
    choose(panel, "rise", masks=2)
    for k in range(3):
        panel.run_bar.run.click()
        wait(lambda: not panel.run_bar.is_running and panel._all_shown())
        assert panel.explanation is made[-1](), k
        for layer in viewer.layers:  # software that draws dozens of layers over one another is slow
            layer.visible = False
    assert alive(made) == 1  # the dock keeps the last one, to save it
    panel.check("restates-prediction")
    wait(lambda: not panel.run_bar.is_running)
    for layer in [layer for layer in viewer.layers if "segxai" in layer.metadata]:
        viewer.layers.remove(layer)
    wait(lambda: not alive(made))
    assert panel.explanation is None
    assert not panel.run_bar.save.isEnabled()
    assert "removed" in panel.run_bar.status.text()
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running and panel._all_shown())
    assert panel.run_bar.save.isEnabled()


@pytest.mark.usefixtures("drawn")
def test_jobs_that_failed_or_were_cancelled_leave_nothing_either(panel, viewer, wait, made):
    choose(panel, "rise", masks=4000)
    panel.network.delay = 0.03
    for _ in range(2):
        panel.run_bar.run.click()
        wait(lambda: panel.run_bar.progress.value() > 0 and bool(made))
        panel.run_bar.run.click()
        wait(lambda: not panel.run_bar.is_running and panel._all_shown())
    viewer.layers.clear()
    wait(lambda: not alive(made))


@pytest.mark.parametrize("moment", ["a step", "a look", "cancelling", "layers"])
def test_a_viewer_is_closed_in_the_middle_of_a_job(own_viewer, wait, moment):
    viewer = own_viewer
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    network = Slow(patch_of(2))
    network.delay = 0.02
    use_network(panel, network, wait, grid={"size": [32, 32]})
    choose(panel, "rise", masks=30 if moment == "layers" else 4000)
    show, looked = panel._live.show, []
    panel._live.show = lambda *args: looked.append(show(*args))
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.progress.value() > 0)
    if moment == "a look":
        wait(lambda: bool(looked))
    elif moment == "cancelling":
        panel.run_bar.run.click()
    elif moment == "layers":  # the first layer of the result is there, the others wait for their turn
        shown, real = [], panel._show
        panel._show = lambda explanation: shown.append(real(explanation))
        while not shown:
            QApplication.processEvents()
    viewer.close()
    count = len(viewer.layers)
    wait(lambda: worker._running is None)  # what is raised in a slot meanwhile fails the test
    assert len(viewer.layers) == count


@pytest.mark.usefixtures("drawn")
def test_the_wide_docks_keep_their_last_result_alone(viewer, wait, monkeypatch):
    refs = []
    for kind in (Flow, Comparison, Explanation):

        def init(self, *args, real=kind.__init__, **kwargs):
            real(self, *args, **kwargs)
            refs.append(weakref.ref(self))

        monkeypatch.setattr(kind, "__init__", init)
    viewer.add_image(planted_image().array, name="planted")
    for name in ("Information flow", "Compare and evaluate", "Sweep parameters"):
        refs.clear()
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", name)
        network = Slow(patch_of(2))
        network.delay = 0
        use_model(
            panel, sx.load_model(network, card=card(name=f"slow {id(network)}", grid={"size": [32, 32]}))
        )
        if name.startswith("Sweep"):
            panel.fields.method_box.choose("seg-xres-cam")
        wait(lambda panel=panel: panel.run_bar.run.isEnabled())
        made = []
        for _ in range(2):
            panel.run_bar.run.click()
            wait(lambda panel=panel: not panel.run_bar.is_running)
            made.append(len(refs))
        assert made[1] == 2 * made[0] > 0
        first, last = refs[: made[0]], refs[made[0] :]
        wait(lambda first=first: not alive(first))
        assert alive(last)
        viewer.window.remove_dock_widget(panel)


LEFT_ALONE = """
import time
from qtpy.QtCore import QCoreApplication

app = QCoreApplication([])
from napari_segxai.gui import worker

began = []

def loads_a_model():
    yield from ()
    began.append(True)
    time.sleep(0.5)

worker.start(worker.WorkerTask(loads_a_model, print, print))
while not began:
    app.processEvents()
"""


def test_a_process_that_ends_while_a_model_loads_waits_for_it():
    # in a process of its own: it would be aborted
    done = subprocess.run([sys.executable, "-c", LEFT_ALONE], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
