"""The Sweep parameters dock widget: one method, a grid of parameter values, and what comes of each combination."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.analyses.sweep.run import planned_sweep_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Target
from napari_segxai.gui import worker
from napari_segxai.gui.compare.export import folder_steps
from napari_segxai.gui.flow.curves import theme_colors
from napari_segxai.gui.models.labels_present import LabelLook
from napari_segxai.gui.script import write as script
from napari_segxai.gui.script.copying import copy_script
from napari_segxai.gui.sweep.form import SweepForm
from napari_segxai.gui.sweep.results import SweepResults, words_of
from napari_segxai.gui.viewer import runs, watching
from napari_segxai.gui.viewer.dock_layout import HEIGHT, Sides, prefer_below, take_room
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.lifetime import connect_until_gone, stop_when_gone
from napari_segxai.gui.viewer.show_results import MAP_ALONE, show_map
from napari_segxai.gui.viewer.shown import Shown
from napari_segxai.gui.widgets.fields import mark_absent, offer_labels
from napari_segxai.gui.widgets.run_bar import duration, estimate, learn_speed
from napari_segxai.gui.widgets.saving import may_write

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

    from napari_segxai.core.image import Image
    from napari_segxai.methods.registry import Method

NAME = "Sweep parameters (napari-segxai)"
"""What napari calls the dock."""


class SweepDock(QWidget):
    """Run one method with every combination of the values of one or two of its parameters.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and in which maps are shown.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__()
        prefer_below(NAME)
        self.viewer = napari_viewer
        self.fields = SweepForm(napari_viewer)
        self.results = SweepResults()
        self.run_bar = self.fields.run_bar
        self.image_box, self.model_box = self.fields.image_box, self.fields.model_box
        self._job: worker.WorkerTask | None = None
        self._plan: SweepPlan | None = None
        self._asked: dict[str, Any] = {}
        self._shown: dict[int, ref[Layer]] = {}
        self._form_of: Method | None = None
        self._was_shown = False
        self.sides = Sides(self, self.fields, self.run_bar, self.results, 310)
        self._look = LabelLook(self, self._tell_present)
        self._connect()
        fields = self.fields
        fields.method_box.choose("misure")
        self.image_box.refresh()
        self._on_theme()

    def sizeHint(self) -> QSize:
        """Wide, and about half as high as a small screen."""
        return QSize(1200, HEIGHT)

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def sweep(self) -> Sweep | None:
        """The sweep that is shown."""
        return self.results.sweep

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

    def plan(self) -> SweepPlan:
        """Return the sweep that the form describes, checked.

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
        grid = fields.grid_box.grid()
        if not fields.metrics.chosen():
            raise UserError("Tick a metric at least.")
        target = fields.target_fields
        return SweepPlan.make(
            entry.model,
            image,
            Target(
                fields.label_box.currentText(),
                region=fields.region_box.chosen(image),
                score=target.score_box.currentText(),  # type: ignore[arg-type]
                reduction=target.reduction_box.currentText(),  # type: ignore[arg-type]
            ),
            (fields.method.name, fields.form.changed_values()),
            grid,
            metrics=fields.metrics.chosen(),
            seed=target.seed_box.value(),
            device=fields.device_box.currentData(),
            slice=shown.slice,
            **fields.metrics.options(),
        )

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start what the form describes."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        plan.comparison.shared.image.keep()
        asked = {
            "source": ref(self.layer),
            "noise_model": self.fields.metrics.noise_model,
        }
        done = partial(self._on_done, plan, asked)
        self._job = worker.WorkerTask(
            partial(planned_sweep_steps, plan), self.run_bar.report, done, viewer=ref(self.viewer)
        )
        self.run_bar.set_running("starting")
        worker.start(self._job)
        if worker.is_waiting(self._job):
            self.run_bar.show_status("waiting for another explanation to end")

    def cancel(self) -> None:
        """Stop the running job before its next pass; what it found so far is kept."""
        if self._job is not None:
            self._job.cancel()

    def _on_done(self, plan: SweepPlan, asked: dict[str, Any], outcome: worker.Outcome) -> None:
        self._job = None
        found: Sweep | None = outcome.result
        kept = found is not None and bool(found.comparison.maps)
        if kept:
            self._hide_maps()
            self._plan, self._asked, self._shown = plan, asked, {}
            self.results.set_sweep(found)
        had = self.sweep is not None
        if outcome.error is not None:
            self.run_bar.set_failed(outcome, f" {_found_until(found)}" if kept else "", result=had)
        elif outcome.cancelled:
            words = (
                _found_until(found) if kept else "No map was ready" + (", all is as before." if had else ".")
            )
            self.run_bar.set_ended(f"Cancelled. {words}", result=had)
        else:
            self.sides.fold()
            records = [explanation.record for explanation in found.comparison.explanations.values()]
            passes = sum((Passes(**record.passes) for record in records), found.comparison.passes)
            job = plan.comparison.shared
            learn_speed(job.model, job.image, job.slices[0], passes, outcome.seconds)
            self.run_bar.set_ended(f"Done in {duration(outcome.seconds)} · {len(records)} combinations")
        self._update()

    # -- maps become layers -------------------------------------------------------------------------------

    def show_cell(self, index: int) -> None:
        """Show the map of a combination, and hide those of the others."""
        if self.sweep is None or index >= len(self.sweep.comparison.explanations):
            return
        self._hide_maps()
        runs.hide_older(self.viewer)
        explanation = list(self.sweep.comparison.explanations.values())[index]
        self.run_bar.show_legend(legend(explanation, MAP_ALONE))
        there = self._shown[index]() if index in self._shown else None
        if there is not None and there in self.viewer.layers:
            there.visible = True
            return
        about = words_of(self.sweep.combinations[index])
        self._shown[index] = ref(show_map(self.viewer, explanation, about))

    def _hide_maps(self) -> None:
        for layer in (weak() for weak in self._shown.values()):
            if layer is not None and layer in self.viewer.layers:
                layer.visible = False

    # -- after a run --------------------------------------------------------------------------------------

    def copy_as_python(self, folder: str | Path | None = None) -> str:
        """Put a script that makes the sweep again on the clipboard; returns it. `folder`: see `copy_script`."""
        if self._plan is None:
            return ""
        asked, job = dict(self._asked), self._plan.comparison.shared
        source = asked.pop("source")()
        make = partial(script.python_of_sweep, self._plan, **asked)
        return copy_script(self, self.run_bar, make, job.image, source, folder)

    def save(self, folder: str | Path | None = None) -> None:
        """Write the table and the heat maps; where is asked for when not given."""
        if self.sweep is None:
            return
        folder = folder or QFileDialog.getExistingDirectory(self, "Save the sweep in a folder")
        if not folder:
            return
        overwrite = may_write(self, self.run_bar, {Path(folder): ""})
        if overwrite is None:
            return
        make = partial(folder_steps, self.sweep, Path(folder), overwrite=overwrite)
        job = worker.WorkerTask(make, lambda _: None, self.run_bar.show_written, viewer=ref(self.viewer))
        self.destroyed.connect(job.abandon)
        worker.start(job)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _on_image(self) -> None:
        self.fields.region_box.set_source(self.layer)
        self.model_box.prefer(self.image_box.image)
        self._on_model()

    def _on_model(self) -> None:
        entry, fields = self.model_box.entry, self.fields
        offer_labels(fields.label_box, list(entry.card.labels) if entry is not None else [])
        if self.layer is not None:
            self.model_box.ensure_loaded()
        if entry is not None:
            fields.form.set_layers(self._network_layers())
        self._update()
        self._look.ask()

    def _network_layers(self) -> list[str]:
        entry = self.model_box.entry
        model = entry.model if entry is not None else None
        return (
            [layer.name for layer in model.network_layers()] if model is not None and model.has_layers else []
        )

    def _on_method(self) -> None:
        self.fields.grid_box.set_method(self.fields.method)

    def _on_grid(self) -> None:
        """Offer what is not swept; what was set there stays set."""
        fields = self.fields
        names = {p.name for p in fields.method.parameters} - set(fields.grid_box.names)
        if fields.method is not self._form_of or names != set(fields.form.values()):
            values = fields.form.changed_values()
            fields.form.set_method(fields.method, self._network_layers(), without=fields.grid_box.names)
            if fields.method is self._form_of:
                fields.form.set_values(values)
            self._form_of = fields.method
        self._update()

    def _tell_present(self, present: tuple[str, ...]) -> None:
        mark_absent(self.fields.label_box, present)

    def _update(self) -> None:
        """Say what Run would cost, or why it cannot be pressed."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        job, count = plan.comparison.shared, len(plan.comparison.explanations)
        cost = estimate(job.model, job.image, job.slices[0], plan.passes)
        self.run_bar.set_ready(f"{count} combination{'s' if count > 1 else ''}: {cost}")

    def _connect(self) -> None:
        fields, target = self.fields, self.fields.target_fields
        self.image_box.changed.connect(self._on_image)
        self.image_box.moved.connect(self._update)
        self.model_box.changed.connect(self._on_model)
        fields.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        fields.grid_box.changed.connect(self._on_grid)
        for part in (fields.form, fields.metrics, fields.region_box):
            part.changed.connect(self._update)
        for box in (fields.label_box, fields.device_box, target.score_box, target.reduction_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.run_bar.copy_clicked.connect(self.copy_as_python)
        self.run_bar.save_clicked.connect(lambda: self.save())
        self.results.wanted.connect(self.show_cell)
        connect_until_gone(
            self,
            [
                *watching.links(self.viewer),
                (self.viewer.events.theme, lambda _: self._on_theme()),
            ],
        )
        stop_when_gone(self, {"closed": False}, self._running, self.viewer)

    def _running(self) -> worker.WorkerTask | None:
        return self._job

    def _on_theme(self) -> None:
        theme = get_theme(self.viewer.theme)
        self.run_bar.set_accent(theme.current.as_hex())
        self.fields.metrics.tree.set_colors(*theme_colors(theme.text, theme.current))

    def showEvent(self, event: Any) -> None:
        """Offer the models that were registered while the panel was hidden."""
        self.model_box.refresh_registered()
        super().showEvent(event)
        if not self._was_shown:
            self._was_shown = True
            QTimer.singleShot(0, self._take_room)

    def _take_room(self) -> None:
        take_room(self)


def _found_until(found: Sweep) -> str:
    maps = f"{len(found.comparison.maps)} map{'s' if len(found.comparison.maps) > 1 else ''}"
    return f"The {maps} found until then can be shown" + (
        "." if found.comparison.rows else "; no metric was measured yet."
    )
