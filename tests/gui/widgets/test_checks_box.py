"""Trust checks in the Explain widget, driven in a real napari window."""

from __future__ import annotations

import json

import pytest
from helpers.docks import choose, use_network
from helpers.networks import PatchSwitch, patch_of, planted_image

from napari_segxai.checks.registry import all_checks
from napari_segxai.gui.explain.dock import ExplainDock
from napari_segxai.gui.viewer.kept import kept_results

EVERY = [check.name for check in all_checks()]


@pytest.fixture
def checked(wait):
    """Choose a check in the menu and wait until the verdicts are there."""

    def run(panel, title: str) -> None:
        pick(panel, title)
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running)

    return run


@pytest.fixture
def small_panel(viewer, open_panel, wait):
    """A panel with a planted image and a network of few layers, ready to run."""
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    use_network(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
    return panel


def pick(panel, title: str) -> None:
    menu = panel.fields.checks_box.menu
    menu.aboutToShow.emit()
    [action] = [action for action in menu.actions() if action.text().startswith(title)]
    action.trigger()


def of(viewer, role: str) -> list:
    return [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == role]


def test_all_checks_of_the_last_result_with_progress_and_a_line_each(
    viewer, small_panel, run_panel, checked, wait, tmp_path
):
    panel, box = small_panel, small_panel.fields.checks_box
    assert not box.button.isEnabled()
    assert box.isHidden()
    run_panel(panel, "seg-grad-cam")
    run_panel(panel, "seg-hires-grad-cam")
    assert box.button.isEnabled()
    assert box.button.isVisible()
    assert box.button.window() is not box.button  # it lies in the dock
    box.menu.aboutToShow.emit()
    texts = [action.text() for action in box.menu.actions() if action.text()]
    assert len(texts) == 1 + len(EVERY)
    assert all("forward" in text or "no passes" in text for text in texts)
    notes = []
    report = panel.run_bar.report
    panel.run_bar.report = lambda step: (notes.append(step.note), report(step))
    checked(panel, "All checks")
    assert notes
    assert panel.run_bar.run.text() == "Run"
    assert not box.isHidden()
    assert [line.text()[0] for line in box.lines] == [
        {True: "✓", False: "⚠", None: "○"}[row["passed"]] for row in panel.explanation.record.trust
    ]
    for line, row in zip(box.lines, panel.explanation.record.trust, strict=True):
        assert row["sentence"] in line.text()
    assert [row["check"] for row in panel.explanation.record.trust] == EVERY
    # the layers of this explanation hold the verdicts, those of the other do not
    held = {layer.name.split(" · ")[1]: layer.metadata["segxai"]["trust"] for layer in of(viewer, "saliency")}
    assert held == {"seg-grad-cam": [], "seg-hires-grad-cam": panel.explanation.record.trust}
    panel.save(tmp_path)
    wait(lambda: "Wrote" in panel.run_bar.status.text())
    assert len(json.loads((tmp_path / "record.json").read_text())["trust"]) == len(EVERY)
    # a new result has not been checked
    run_panel(panel, "seg-grad-cam")
    assert box.isHidden()
    assert box.lines == []


def test_cancelling_keeps_what_was_checked_and_the_network_as_it_was(slow_panel, wait, run_panel):
    panel, network = slow_panel, slow_panel.network
    network.delay = 0
    run_panel(panel, "input-x-gradient")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.delay = 0.03
    choose(panel, "rise", masks=50)  # the form may change: the last result is checked
    pick(panel, "All checks")
    wait(lambda: any(row["check"] == "noised-image" for row in panel.explanation.record.trust))
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    done = [row["check"] for row in panel.explanation.record.trust]
    assert done == EVERY[: len(done)]
    assert len(done) < len(EVERY)
    assert len(panel.fields.checks_box.lines) == len(done)
    assert "Cancelled" in panel.run_bar.status.text()
    for name, value in network.state_dict().items():
        assert (value == before[name]).all()
    assert panel.run_bar.run.isEnabled()


def test_a_stopped_explanation_says_why_it_cannot_be_checked(slow_panel, wait):
    panel = slow_panel
    choose(panel, "rise", masks=4000)
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.progress.value() > 5)
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    pick(panel, "All checks")
    wait(lambda: not panel.run_bar.is_running)
    assert "stopped before its end" in panel.run_bar.status.text()
    assert panel.fields.checks_box.isHidden()


def test_the_verdicts_are_the_last_of_the_selected_result(viewer, triangle_panel, run_panel, checked, qtbot):
    panel, box = triangle_panel, triangle_panel.fields.checks_box
    source = viewer.layers.selection.active
    run_panel(panel, "seg-grad-cam")
    checked(panel, "Masked input")
    checked(panel, "More than the prediction")
    checked(panel, "Masked input")  # takes the place of its last verdict
    texts = [line.text() for line in box.lines]
    assert ["More than" in texts[0], "Masked" in texts[1], len(texts)] == [True, True, 2]
    run_panel(panel, "seg-hires-grad-cam")
    old, new = (
        viewer.layers[name] for name in ("saliency #1 · seg-grad-cam", "saliency #2 · seg-hires-grad-cam")
    )
    assert box.lines == []

    def shown() -> list[str]:
        return [line.text() for line in box.lines]

    def rows(layer) -> list[str]:
        return [row["sentence"] for row in layer.metadata["segxai"]["trust"]]

    def select(layer) -> None:
        viewer.layers.selection.active = layer

    width = panel.minimumSizeHint().width()
    select(old)
    assert not box.isHidden()
    assert len(rows(old)) == len(shown()) == 2
    assert all(any(sentence in line for line in shown()) for sentence in rows(old))
    assert "selected" in box.fold.text()
    assert old.name in box.fold.toolTip()
    assert panel.minimumSizeHint().width() <= max(width, 330)  # the dock does not grow for it
    select(new)  # not checked yet
    assert box.isHidden()
    select(old)
    checked(panel, "Masked input")  # the last result is checked, and told of
    assert len(shown()) == 1
    assert rows(new)[0] in shown()[0]
    assert "selected" not in box.fold.text()
    select(new)
    assert rows(new)[0] in shown()[0]
    select(old)
    assert len(shown()) == 2
    for other in (source, *of(viewer, "prediction")):  # no result of its own: the last one counts
        select(other)
        assert len(shown()) == 1
        assert "selected" not in box.fold.text()
    kept_results(viewer).forget(panel.kind)
    again = ExplainDock(viewer)  # one that has run nothing itself, and is left nothing
    qtbot.addWidget(again)
    select(new)
    assert len(again.fields.checks_box.lines) == 1
    select(source)
    assert again.fields.checks_box.isHidden()
