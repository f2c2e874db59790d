"""The Information flow dock widget: every label at every network layer, from the input to the output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import (
    QWidget,
)

from napari_segxai.analyses.flow.plan import FlowPlan, ablation_passes
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.run import causal_check_steps, flow_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Step, Steps
from napari_segxai.gui import worker
from napari_segxai.gui.flow.curves import theme_colors
from napari_segxai.gui.flow.export import ExportMenu
from napari_segxai.gui.flow.form import FlowForm
from napari_segxai.gui.flow.results import FlowResults
from napari_segxai.gui.models.labels_present import LabelLook
from napari_segxai.gui.script import write as script
from napari_segxai.gui.script.copying import copy_script
from napari_segxai.gui.viewer import layers, watching
from napari_segxai.gui.viewer.dock_layout import HEIGHT, Sides, prefer_below, take_room
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.lifetime import connect_until_gone, stop_when_gone
from napari_segxai.gui.viewer.runs import LONGEST, shortened
from napari_segxai.gui.viewer.show_results import MAP_ALONE, show
from napari_segxai.gui.viewer.shown import Shown
from napari_segxai.gui.widgets.run_bar import duration, estimate, learn_speed

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image as ImageLayer

    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.core.image import Image

NAME = "Information flow (napari-segxai)"
"""What napari calls the dock."""


class FlowDock(QWidget):
    """Show where in a network, layer by layer, the evidence for each label lies.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and to which tiles are added.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__()
        prefer_below(NAME)
        self.viewer = napari_viewer
        self.flow: Flow | None = None
        self.fields = FlowForm(napari_viewer)
        self.results = FlowResults()
        self.run_bar = self.fields.run_bar
        self.image_box, self.model_box = self.fields.image_box, self.fields.model_box
        self.form = self.fields.form
        self._job: worker.WorkerTask | None = None
        self._asked: dict[str, Any] = {}
        self._to_show: list[Any] = []
        self._making = 0
        self._was_shown = False
        self.export = ExportMenu(self.results, self.run_bar, self._in_background)
        self.run_bar.save.setMenu(self.export)
        self.sides = Sides(self, self.fields, self.run_bar, self.results, 290)
        self._look = LabelLook(self, self.fields.label_list.set_present)
        self._connect()
        self._on_method()
        self.image_box.refresh()
        self._on_theme()

    def sizeHint(self) -> QSize:
        """Wide, and about half as high as a small screen."""
        return QSize(1200, HEIGHT)

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def layer(self) -> ImageLayer | None:
        """The chosen image layer."""
        return self.image_box.layer

    def image(self) -> Image:
        """Return the chosen layer as an image, at the time point that is shown."""
        return self.shown().image

    def shown(self) -> Shown:
        """Return what of the chosen layer is explained, where the viewer is."""
        entry = self.model_box.entry
        return self.image_box.shown(entry.card if entry is not None else None)

    def plan(self) -> FlowPlan:
        """Return the flow that the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, entry, fields = self.shown(), self.model_box.entry, self.fields
        image = shown.image
        if self.model_box.problem:
            raise UserError(self.model_box.problem)
        if entry is None or entry.model is None:
            raise UserError("Loading the model…")
        if not entry.model.has_layers:
            entry.model.find_layer("bottleneck")  # raises, saying why
        if not fields.label_list.ticked():
            raise UserError("Tick a label at least.")
        chosen = fields.layer_picker.chosen()
        if chosen == []:
            raise UserError("Tick a network layer at least.")
        target = fields.target_fields
        return FlowPlan.make(
            entry.model,
            image,
            fields.label_list.ticked(),
            method=fields.method_box.currentData(),
            layers=chosen,
            region=fields.region_box.chosen(image),
            truth=fields.truth_box.chosen(image),
            score=target.score_box.currentText(),
            reduction=target.reduction_box.currentText(),
            slice=shown.slice,
            seed=target.seed_box.value(),
            device=fields.device_box.currentData(),
            **fields.form.values(),
        )

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start what the form describes."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        plan.first.image.keep()
        asked = {
            "source": ref(self.layer),
            "layers": self.fields.layer_picker.chosen(),
            "truth": plan.truth,
        }
        self._start(partial(flow_steps, plan), partial(self._on_done, plan, asked), "starting")

    def causal_check(self) -> None:
        """Start measuring what the prediction loses without each network layer."""
        flow = self.flow
        if flow is not None and not self.run_bar.is_running:
            ablation = self.fields.ablation_box.currentData()
            self._start(lambda: causal_check_steps(flow, ablation), self._on_checked, "causal check")

    def cancel(self) -> None:
        """Stop the running job before its next pass."""
        if self._job is not None:
            self._job.cancel()

    def _start(
        self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None], note: str
    ) -> None:
        self._job = worker.WorkerTask(make, self._on_step, done, viewer=ref(self.viewer))
        self.run_bar.set_running(note)
        self.fields.causal.setEnabled(False)
        worker.start(self._job)
        if worker.is_waiting(self._job):
            self.run_bar.show_status("waiting for another explanation to end")

    def _on_step(self, step: Step) -> None:
        self.run_bar.report(step)

    def _on_done(self, plan: FlowPlan, asked: dict[str, Any], outcome: worker.Outcome) -> None:
        flow = outcome.result
        if self._ended(outcome, "; there is nothing to show" if self.flow is None else ""):
            first = plan.first
            learn_speed(first.model, first.image, first.slices[0], flow.passes, flow.seconds)
            self.flow, self._asked = flow, asked
            self.results.set_flow(flow)
            self.sides.fold()
            self._follow()
            labels = f"{len(flow.labels)} label{'s' if len(flow.labels) > 1 else ''}"
            self.run_bar.set_ended(
                f"Done in {duration(flow.seconds)} · {labels} at {len(flow.layers)} network layers"
            )
            passes = Passes(ablation_passes(flow.layers))
            cost = estimate(first.model, first.image, first.slices[0], passes)
            self.fields.causal.setToolTip(
                "What does the prediction lose when a network layer, or its skip connection alone, is taken away?\n"
                f"At most {cost} for each kind of ablation."
            )
        self._update()

    def _on_checked(self, outcome: worker.Outcome) -> None:
        if self._ended(outcome, "; the numbers are as before"):
            self.results.retell()
            self.run_bar.set_ended(f"Causal check done in {duration(outcome.seconds)}")
        self._update()

    def _ended(self, outcome: worker.Outcome, kept: str) -> bool:
        """Say how a job ended; return whether it has a result."""
        self._job = None
        had = self.flow is not None
        if outcome.error is not None:
            self.run_bar.set_failed(outcome, result=had)
        elif outcome.cancelled:
            self.run_bar.set_ended(f"Cancelled{kept}.", result=had)
        self.fields.causal.setEnabled(had or outcome.result is not None)
        return outcome.error is None and not outcome.cancelled

    # -- tiles become layers ----------------------------------------------------------------------------

    def show_tile(self, label: str, layer: str) -> None:
        """Make a tile a layer of the viewer; its map is brought to the image grid in the worker."""
        flow = self.flow

        def make() -> Steps[Explanation]:
            yield Step(0, 1, f"{label} at {layer}")
            return flow.explanation(label, layer)

        def done(outcome: worker.Outcome) -> None:
            self._making -= 1
            if outcome.result is not None:
                self.run_bar.show_legend(legend(outcome.result, MAP_ALONE))
                self._to_show = show(
                    self.viewer,
                    outcome.result,
                    self._closed,
                    about=f"{shortened(label, LONGEST)} at {shortened(layer, LONGEST)}",
                    roles=MAP_ALONE,
                )
            elif outcome.error is not None and not self.run_bar.is_running:
                self.run_bar.set_failed(outcome, result=True)

        self._making += 1
        self._in_background(make, done)

    def _all_shown(self) -> bool:
        """Whether every tile that was clicked has become a layer."""
        return not self._making and not self._to_show

    def _in_background(self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]) -> None:
        job = worker.WorkerTask(make, lambda _: None, done, viewer=ref(self.viewer))
        self.destroyed.connect(job.abandon)
        worker.start(job)
        if worker.is_waiting(job) and not self.run_bar.is_running:
            self.run_bar.show_status("waiting for another explanation to end")

    # -- after a run --------------------------------------------------------------------------------------

    def copy_as_python(self, folder: str | Path | None = None) -> str:
        """Put a script that makes the flow again on the clipboard; returns it. `folder`: see `copy_script`."""
        if self.flow is None:
            return ""
        asked = dict(self._asked)
        source = asked.pop("source")()
        make = partial(script.python_of_flow, self.flow, **asked)
        return copy_script(self, self.run_bar, make, self.flow.image, source, folder)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _on_image(self) -> None:
        self.fields.region_box.set_source(self.layer)
        self.fields.truth_box.set_source(self.layer)
        self.model_box.prefer(self.image_box.image)
        self._on_model()

    def _on_model(self) -> None:
        entry, fields = self.model_box.entry, self.fields
        fields.label_list.set_labels(list(entry.card.labels) if entry is not None else [])
        fields.truth_box.set_model(entry.card if entry is not None else None)
        if self.layer is not None:
            self.model_box.ensure_loaded()
        model = entry.model if entry is not None else None
        if model is not None:
            known = model.has_layers
            fields.layer_picker.set_layers(*((model.example_layers, model.outline) if known else ((), ())))
        self._update()
        self._look.ask()

    def _on_method(self) -> None:
        fields = self.fields
        method = fields.method_box.method
        fields.summary.setText(method.summary)
        fields.form.set_method(method, without=("layer", "intermediates"))
        count = len(fields.form.values())
        fields.parameters.setText(f"Parameters ({count})")
        fields.parameters.setVisible(count > 0)
        self._update()

    def _update(self) -> None:
        """Say what Run would cost, or why it cannot be pressed."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        first = plan.first
        self.run_bar.set_ready(estimate(first.model, first.image, first.slices[0], plan.passes))

    def _connect(self) -> None:
        fields, target = self.fields, self.fields.target_fields
        self.image_box.changed.connect(self._on_image)
        self.image_box.moved.connect(self._update)
        self.model_box.changed.connect(self._on_model)
        fields.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        for part in (fields.label_list, fields.layer_picker, fields.region_box, fields.form):
            part.changed.connect(self._update)
        for box in (fields.truth_box, fields.device_box, target.score_box, target.reduction_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.run_bar.copy_clicked.connect(self.copy_as_python)
        fields.causal.clicked.connect(self.causal_check)
        self.results.wanted.connect(self.show_tile)
        dims = self.viewer.dims.events
        connect_until_gone(
            self,
            [
                *watching.links(self.viewer),
                (self.viewer.events.theme, lambda _: self._on_theme()),
                *(
                    (event, lambda _: self._follow())
                    for event in (dims.current_step, dims.order, dims.ndisplay)
                ),
            ],
        )
        self._closed = {"closed": False}
        stop_when_gone(self, self._closed, self._running, self.viewer)

    def _running(self) -> worker.WorkerTask | None:
        return self._job

    def _follow(self) -> None:
        """Cut the tiles where the viewer is."""
        source = self._asked["source"]() if self._asked else None
        if self.flow is None or source is None or source not in self.viewer.layers:
            return
        if self.flow.image.spatial_dims == 3:
            self.results.grid.set_plane(
                *layers.shown_plane(source, self.viewer, self.flow.image.layer["spatial"])
            )

    def _on_theme(self) -> None:
        theme = get_theme(self.viewer.theme)
        self.run_bar.set_accent(theme.current.as_hex())
        self.results.curves.set_colors(*theme_colors(theme.background, theme.text))

    def showEvent(self, event: Any) -> None:
        """Offer the models that were registered while the panel was hidden."""
        self.model_box.refresh_registered()
        super().showEvent(event)
        if not self._was_shown:
            self._was_shown = True
            QTimer.singleShot(0, self._take_room)

    def _take_room(self) -> None:
        take_room(self)
