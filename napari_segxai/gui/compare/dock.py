"""The Compare and evaluate dock widget: several methods, one prediction, and numbers that tell how good each map is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QWidget

from napari_segxai.analyses.compare.matching import difference, digests
from napari_segxai.analyses.compare.plan import ComparisonPlan
from napari_segxai.analyses.compare.result import Comparison, drawn
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.checks.run import check_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import frame_words
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.target import Target
from napari_segxai.figures.compare import Drawn
from napari_segxai.gui import worker
from napari_segxai.gui.compare.export import CompareExport
from napari_segxai.gui.compare.form import CompareForm
from napari_segxai.gui.compare.metric_inspector import Case
from napari_segxai.gui.compare.results import CompareResults
from napari_segxai.gui.flow.curves import theme_colors
from napari_segxai.gui.models.labels_present import LabelLook
from napari_segxai.gui.script import write as script
from napari_segxai.gui.script.copying import copy_script
from napari_segxai.gui.viewer import layers, runs, watching
from napari_segxai.gui.viewer.dock_layout import HEIGHT, Sides, prefer_below, take_room
from napari_segxai.gui.viewer.grid_mode import GridView
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.lifetime import connect_until_gone, keep
from napari_segxai.gui.viewer.show_results import MAP_ALONE, show_map
from napari_segxai.gui.viewer.shown import Shown
from napari_segxai.gui.widgets.checks_box import ALL, check_costs, keep_with_layers, verdicts
from napari_segxai.gui.widgets.fields import mark_absent
from napari_segxai.gui.widgets.method_list import map_values
from napari_segxai.gui.widgets.run_bar import duration, estimate, learn_speed
from napari_segxai.io.axes import SPACE
from napari_segxai.io.joining import same_place
from napari_segxai.io.placing import on_grid_of_image
from napari_segxai.metrics.evaluation import Options

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

    from napari_segxai.core.image import Image

NAME = "Compare and evaluate (napari-segxai)"
"""What napari calls the dock."""


class CompareDock(QWidget):
    """Compare methods, or maps that are there, on one prediction.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and in which maps are shown.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__()
        prefer_below(NAME)
        self.viewer = napari_viewer
        self.fields = CompareForm(napari_viewer, self._check_costs)
        self.run_bar = self.fields.run_bar
        self.image_box, self.model_box = self.fields.image_box, self.fields.model_box
        self.cases: dict[Any, Drawn] = {}
        self._jobs: set[worker.WorkerTask] = set()
        self.results = CompareResults(napari_viewer, self._in_background)
        self.export = CompareExport(self.results, self.run_bar, self.cases, self._in_background)
        self.run_bar.save.setMenu(self.export)
        self._job: worker.WorkerTask | None = None
        self._plan: ComparisonPlan | None = None
        self._asked: dict[str, Any] = {}
        self._shown: dict[str, ref[Layer]] = {}
        self._digests: tuple[ref[Any], Any, list[str]] | None = None
        self._was_shown = False
        self.sides = Sides(self, self.fields, self.run_bar, self.results, 290)
        self._look = LabelLook(self, self._tell_present)
        self._connect()
        self.image_box.refresh()
        self._on_theme()

    def sizeHint(self) -> QSize:
        """Wide, and about half as high as a small screen."""
        return QSize(1200, HEIGHT)

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that is shown."""
        return self.results.comparison

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

    def plan(self) -> ComparisonPlan:
        """Return the comparison that the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, entry, fields = self.shown(), self.model_box.entry, self.fields
        image, slice = shown.image, shown.slice
        if self.model_box.problem:
            raise UserError(self.model_box.problem)
        if entry is None or entry.model is None:
            raise UserError("Loading the model…")
        methods, maps = fields.methods.methods(), fields.methods.maps()
        if not methods and not maps:
            raise UserError("Tick a method or a map at least.")
        if not fields.metrics.chosen():
            raise UserError("Tick a metric at least.")
        for name, layer in maps.items():
            if what := self._difference(layer, image, slice):
                way = (
                    "move the slider there, or untick it"
                    if what.startswith("explains slice")
                    else "untick it"
                )
                raise UserError(f"The map {name} {what}: {way}.")
        target = fields.target_fields
        return ComparisonPlan.make(
            entry.model,
            image,
            Target(
                fields.label_box.currentText(),
                region=fields.region_box.chosen(image),
                score=target.score_box.currentText(),  # type: ignore[arg-type]
                reduction=target.reduction_box.currentText(),  # type: ignore[arg-type]
            ),
            methods,
            maps={name: map_values(layer, image) for name, layer in maps.items()},
            truth=fields.truth_box.chosen(image),
            metrics=fields.metrics.chosen(),
            controls=fields.metrics.controls.value(),
            seed=target.seed_box.value(),
            device=fields.device_box.currentData(),
            slice=slice,
            **fields.metrics.options(),
        )

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start what the form describes."""
        fields, self._digests = self.fields, None
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        plan.shared.image.keep()
        maps = fields.methods.maps()
        asked = {
            "source": ref(self.layer),
            "methods": fields.methods.methods(),
            "maps": {name: ref(layer) for name, layer in maps.items()},
            "noise_model": fields.metrics.noise_model,
        }
        done = partial(self._on_done, plan, asked)
        self._job = worker.WorkerTask(
            partial(comparison_steps, plan), self.run_bar.report, done, viewer=ref(self.viewer)
        )
        self.run_bar.set_running("starting")
        worker.start(self._job)
        if worker.is_waiting(self._job):
            self.run_bar.show_status("waiting for another explanation to end")

    def cancel(self) -> None:
        """Stop the running job before its next pass; what it found so far is kept."""
        if self._job is not None:
            self._job.cancel()

    def _on_done(self, plan: ComparisonPlan, asked: dict[str, Any], outcome: worker.Outcome) -> None:
        self._job = None
        found = outcome.result
        kept = found is not None and bool(found.maps)
        if kept:
            self._show(plan, asked, found)
        had = self.comparison is not None
        if outcome.error is not None:
            self.run_bar.set_failed(outcome, f" {_found_until(found)}" if kept else "", result=had)
        elif outcome.cancelled:
            words = _found_until(found) if kept else "There is nothing to show yet."
            self.run_bar.set_ended(f"Cancelled. {words}", result=had)
        else:
            self.sides.fold()
            records = [explanation.record for explanation in found.explanations.values()]
            seconds = found.seconds + sum(record.seconds for record in records)
            passes = sum((Passes(**record.passes) for record in records), found.passes)
            learn_speed(plan.shared.model, plan.shared.image, plan.shared.slices[0], passes, seconds)
            count = f"{len(found.maps)} map{'s' if len(found.maps) > 1 else ''}"
            done = f"Done in {duration(seconds)} · {count} by {len(found.metrics)} metrics"
            self.run_bar.set_ended("\n".join([done, *(f"⚠ {warning}" for warning in found.warnings)]))
        self._update()

    def _show(self, plan: ComparisonPlan, asked: dict[str, Any], found: Comparison) -> None:
        self.results.stop()
        for layer in (weak() for weak in self._shown.values()):
            if layer is not None and layer in self.viewer.layers:
                layer.visible = False
        self._plan, self._asked, self._shown = plan, asked, dict(asked["maps"])
        job = plan.shared
        case = (
            job.image.name,
            frame_words(job.image.at),
            job.image.plane,
            job.slice,
            job.model.name,
            job.target.label,
        )
        self.cases[case] = drawn(found)
        default = Options()
        self.results.set_case(
            Case(job, found, plan.options.get("baseline", default.baseline), asked["source"]),
            plan.options.get("binarise", default.binarise),
        )

    # -- maps become layers -------------------------------------------------------------------------------

    def show_map(self, name: str) -> None:
        """Show the map of a row, and hide those of the other rows."""
        found = self.comparison
        if found is None or name not in found.maps:
            return
        runs.hide_older(self.viewer)
        for other, weak in self._shown.items():
            layer = weak()
            if layer is not None and layer in self.viewer.layers:
                layer.visible = other == name
        of = found.explanations.get(name)
        self.run_bar.show_legend(legend(of, MAP_ALONE) if of is not None else "")
        there = self._shown[name]() if name in self._shown else None
        if (there is None or there not in self.viewer.layers) and name in found.explanations:
            self._shown[name] = ref(show_map(self.viewer, found.explanations[name], name))

    # -- after a run --------------------------------------------------------------------------------------

    def copy_as_python(self, folder: str | Path | None = None) -> str:
        """Put a script that makes the comparison again on the clipboard; returns it. `folder`: see `copy_script`."""
        if self._plan is None:
            return ""
        asked = {name: self._asked[name] for name in ("methods", "noise_model")}
        make = partial(script.python_of_comparison, self._plan, **asked)
        return copy_script(self, self.run_bar, make, self._plan.shared.image, self._asked["source"](), folder)

    def _in_background(self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]) -> None:
        def ended(outcome: worker.Outcome) -> None:
            self._jobs.discard(job)
            done(outcome)

        job = worker.WorkerTask(make, _nothing, ended, viewer=ref(self.viewer))
        self._jobs.add(job)
        worker.start(job)

    def check(self, name: str = ALL) -> None:
        """Check how far the map of the chosen row can be trusted."""
        explanation = self._chosen_explanation()
        if self._job is not None or self.comparison is None:
            return
        if explanation is None:
            self.run_bar.show_status("Choose a row whose map was made here: checks need its record.")
            return
        job = self._plan.shared
        self._job = worker.WorkerTask(
            lambda: check_steps(explanation, job.model, job.target, name),
            self.run_bar.report,
            partial(self._on_checked, explanation),
            viewer=ref(self.viewer),
        )
        self.run_bar.set_running("starting")
        worker.start(self._job)

    def _on_checked(self, explanation: Explanation, outcome: worker.Outcome) -> None:
        self._job = None
        keep_with_layers(self.viewer, explanation.record)
        self.results.table.refresh()
        if outcome.error is not None:
            self.run_bar.set_failed(outcome, result=True)
        elif outcome.cancelled:
            self.run_bar.set_ended("Cancelled; the checks that were done are kept.")
        else:
            told = f"{verdicts(explanation.record)} · checked in {duration(outcome.seconds)}"
            self.run_bar.set_ended(f"{told}. Point at the cell to read more.")
        self._update()

    def _chosen_explanation(self) -> Explanation | None:
        found = self.comparison
        return None if found is None else found.explanations.get(self.results.table.name)

    def _check_costs(self) -> dict[str, str]:
        """Say what checks of the chosen map would cost, each and all."""
        explanation = self._chosen_explanation()
        return {} if explanation is None else check_costs(explanation, self._plan.shared)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _on_image(self) -> None:
        self.fields.region_box.set_source(self.layer)
        self.fields.truth_box.set_source(self.layer)
        self.model_box.prefer(self.image_box.image)
        self._on_model()

    def _on_model(self) -> None:
        entry, box = self.model_box.entry, self.fields.label_box
        labels = list(entry.card.labels) if entry is not None else []
        if [box.itemText(k) for k in range(box.count())] != labels:
            box.blockSignals(True)
            box.clear()
            box.addItems(labels)
            box.setCurrentIndex(1 if len(labels) > 1 else 0)
            box.blockSignals(False)
        self.fields.truth_box.set_model(entry.card if entry is not None else None)
        self.fields.metrics.set_truth(self.fields.truth_box.is_chosen)
        if self.layer is not None:
            self.model_box.ensure_loaded()
        if entry is not None:
            self.fields.methods.set_model(entry.card, entry.model)
        self._on_label()
        self._look.ask()

    def _on_label(self) -> None:
        self._digests = None
        self.fields.methods.set_maps(self._maps())
        self._update()

    def _on_truth(self) -> None:
        self.fields.metrics.set_truth(self.fields.truth_box.is_chosen)
        self._update()

    def _maps(self) -> list[tuple[Layer, str]]:
        """Return the layers that hold maps, or might, and why some of them cannot be compared here."""
        try:
            image = self.image()
        except UserError:
            return []
        out = []
        for layer in self.viewer.layers:
            role, record = layer.metadata.get("segxai_role"), layer.metadata.get("segxai")
            if role == "saliency" and record is not None:
                reason = self._difference(layer, image, record["slice"])
                shape = on_grid_of_image(layer.data, image.layer).shape
                if not reason and shape != image.spatial_shape:
                    reason = f"has shape {shape}, {image.name} has {image.spatial_shape}"
                out.append((layer, reason))
            elif role is None and layer is not self.layer and _might_be_map(layer, image):
                out.append((layer, _elsewhere(layer, image)))
        return sorted(out, key=lambda pair: bool(pair[1]))

    def _difference(self, layer: Layer, image: Image, slice: int | None) -> str:
        """Say what else the record of a map tells than what is asked about; "" without a record."""
        record, entry = layer.metadata.get("segxai"), self.model_box.entry
        if record is None:
            return ""
        data, key = self.layer.data, (frame_words(image.at), image.layer.get("letters"), image.shape)
        if self._digests is None or self._digests[0]() is not data or self._digests[1] != key:
            self._digests = (ref(data), key, digests(image))
        return difference(
            record,
            image=image.name,
            sha256=self._digests[2],
            label=self.fields.label_box.currentText(),
            slice=slice,
            axis=image.plane,
            model=None if entry is None else entry.model,
        )

    def _tell_present(self, present: tuple[str, ...]) -> None:
        mark_absent(self.fields.label_box, present)

    def _update(self) -> None:
        """Say what Run would cost, or why it cannot be pressed."""
        try:
            plan = self.plan()
        except UserError as error:
            self.fields.set_truth_note([])
            self.run_bar.set_blocked(str(error))
            return
        self.fields.set_truth_note(plan.warnings)
        job = plan.shared
        self.run_bar.set_ready(estimate(job.model, job.image, job.slices[0], plan.passes))

    def _connect(self) -> None:
        fields, target = self.fields, self.fields.target_fields
        self.image_box.changed.connect(self._on_image)
        self.image_box.moved.connect(self._on_moved)
        self.model_box.changed.connect(self._on_model)
        for part in (fields.methods, fields.metrics, fields.region_box):
            part.changed.connect(self._update)
        fields.label_box.currentIndexChanged.connect(lambda _: self._on_label())
        fields.truth_box.currentIndexChanged.connect(lambda _: self._on_truth())
        for box in (fields.device_box, target.score_box, target.reduction_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.run_bar.copy_clicked.connect(self.copy_as_python)
        self.results.wanted.connect(self.show_map)
        fields.checks_box.chosen.connect(self.check)
        connect_until_gone(
            self,
            [
                *watching.links(self.viewer),
                (self.viewer.events.theme, lambda _: self._on_theme()),
            ],
        )
        grids = [self.results.grid, self.results.inspector.grid]
        self.destroyed.connect(partial(_leave, self._running, self._jobs, grids, ref(self.viewer)))

    def _running(self) -> worker.WorkerTask | None:
        return self._job

    def _on_moved(self) -> None:
        """Another slice, or time point, is shown."""
        self.fields.methods.set_maps(self._maps())
        self._update()

    def _on_theme(self) -> None:
        theme = get_theme(self.viewer.theme)
        self.run_bar.set_accent(theme.current.as_hex())
        self.results.curves.set_colors(*theme_colors(theme.background, theme.text))
        for tree in (self.fields.methods.tree, self.fields.metrics.tree):
            tree.set_colors(*theme_colors(theme.text, theme.current))

    def showEvent(self, event: Any) -> None:
        """Offer the models that were registered while the panel was hidden."""
        self.model_box.refresh_registered()
        super().showEvent(event)
        if not self._was_shown:
            self._was_shown = True
            QTimer.singleShot(0, self._take_room)

    def _take_room(self) -> None:
        take_room(self)


def _might_be_map(layer: Layer, image: Image) -> bool:
    """Tell whether a layer without a record could hold a map of an image."""
    plain = layer._type_string == "image" and not layer.rgb and not layer.multiscale
    return plain and tuple(layer.data.shape) == image.spatial_shape


def _elsewhere(layer: Layer, image: Image) -> str:
    """Say that a layer lies at another place than an image; "" where it does not, or nobody knows."""
    own = layers.image_of_layer(layer, axes=SPACE[-layer.ndim :])
    if not image.layer or same_place(own, image):
        return ""
    return f"lies at another place than {image.name}"


def _found_until(found: Comparison) -> str:
    maps = f"{len(found.maps)} map{'s' if len(found.maps) > 1 else ''}"
    return f"The {maps} found until then can be shown" + (
        "." if found.rows else "; nothing was measured yet."
    )


def _nothing(_: object) -> None:
    pass


def _leave(
    running: Callable[[], worker.WorkerTask | None],
    others: set[worker.WorkerTask],
    grids: Sequence[GridView],
    viewer: ref[Any],
    *_: object,
) -> None:
    """Stop the jobs of a dock that is gone, and let the viewer be as it was; maps found until then are shown."""
    for job in tuple(others):
        job.abandon()
    if (job := running()) is not None:
        job.abandon()
        job.on_done = partial(_keep, viewer)
    for grid in grids:
        grid.ended = lambda: None
        grid.stop()


def _keep(viewer: ref[Any], outcome: worker.Outcome) -> None:
    if outcome.result is not None:
        for explanation in outcome.result.explanations.values():
            keep(viewer, worker.Outcome(explanation))
