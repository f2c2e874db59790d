"""The Explain dock widget: choose an image, a model, a label and a method; run; see the result as layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme

from napari_segxai.analyses.explain.again import plan_again
from napari_segxai.analyses.explain.load import load_explanation
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.checks.run import check_steps
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.gui.dock import Dock, Request
from napari_segxai.gui.explain.figures import FiguresWindow
from napari_segxai.gui.explain.form import ExplainForm
from napari_segxai.gui.opened_result import of_what_is_meant
from napari_segxai.gui.script import write as script
from napari_segxai.gui.viewer import layers, runs
from napari_segxai.gui.viewer.kept import Kept, kept_results
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.opened import FOLDERS
from napari_segxai.gui.viewer.show_results import Live, end_live, is_shown, show
from napari_segxai.gui.viewer.theme import theme_colors
from napari_segxai.gui.widgets.checks_box import ALL, check_costs, is_of, keep_with_layers
from napari_segxai.gui.widgets.errors_window import ErrorsWindow
from napari_segxai.gui.widgets.method_box import why_not
from napari_segxai.gui.widgets.run_bar import duration, summary
from napari_segxai.gui.widgets.saving import choose_folder, saving_steps
from napari_segxai.methods.registry import Method
from napari_segxai.models.inference.memory import LARGE

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.core.image import Image
    from napari_segxai.gui.script.files import ScriptFiles
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel


class ExplainDock(Dock):
    """Explain why a network drew a label.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and to which results are added.
    """

    fields: ExplainForm
    kind = "explanation"

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        self.explanation: Explanation | None = None
        self._to_show: list[Any] = []
        self._live = Live(self.viewer)
        self.figures = FiguresWindow(self)
        self.set_up(ExplainForm(self.viewer, self._check_costs))
        self.errors = ErrorsWindow(self, self.viewer, self.tasks, lambda: self.plan(with_region=False))
        self._connect()
        self._on_method()
        self.refresh()

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def method(self) -> Method:
        """The chosen method."""
        return self.fields.method_box.method

    def plan(self, *, with_region: bool = True) -> ExplanationPlan:
        """Return the explanation that the form describes, checked.

        Parameters
        ----------
        with_region
            Whether the chosen region is read, which takes time where it is drawn; the number of passes does not depend on it.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, model, fields = self.displayed(), self.loaded_model(), self.fields
        region = fields.region_box.chosen(shown.image) if with_region else None
        target = self.target(region)
        if (error := self.errors.asked(target.label, region)) is not None:
            target = replace(target, error=error.error, component=error.number)
            model = self.errors.truth_box.suited(model)
        plan = ExplanationPlan.make(
            model,
            shown.image,
            target,
            self.method.name,
            seed=fields.target_fields.seed_box.value(),
            device=fields.device_box.currentData(),
            slice=None if fields.every_slice else shown.slice,
            **fields.form.values(),
        )
        return plan if error is None else replace(plan, truth=self.errors.truth)

    # -- running ------------------------------------------------------------------------------------------

    def _run(self, request: Request) -> None:
        self._live.clear()
        super()._run(request)

    def _steps(self, request: Request) -> Steps[Explanation]:
        explanation = yield from explanation_steps(request.plan)
        request.notes["evidence"] = explanation.evidence()  # in the worker thread: it may be large
        return explanation

    def _on_partial(self, explanation: Explanation) -> None:
        """Show what there is so far."""
        self._live.show(explanation)

    def _on_done(self, request: Request, outcome: Outcome) -> None:
        explanation: Explanation | None = outcome.result
        found = explanation is not None
        if found:
            self._live.clear()
            self.explanation, self.request = explanation, request
            self.figures.set_explanation(explanation)
            self.fields.checks_box.tell([])
            self.run_bar.show_legend(legend(explanation))
            self._show(explanation)
        failed = " What was found until then is shown." if found else ""
        shown = "the partial result is shown" if found else "there was nothing to show yet"
        if self._ended_well(outcome, failed=failed, cancelled=f"Cancelled; {shown}.", result=found):
            record = explanation.record
            self._learn_speed(request.plan, Passes(**record.passes), record.seconds)
            self.run_bar.set_ended(self._summary())

    def _summary(self) -> str:
        return summary(self.explanation, self.request.notes.get("evidence", ""))

    def _show(self, explanation: Explanation) -> None:
        """Add the layers of an explanation, one per turn of the event loop."""
        self._to_show = show(self.viewer, explanation, self.tasks.is_closed)

    def _all_shown(self) -> bool:
        """Whether every layer of the last result has been added."""
        return not self._to_show

    def _on_removed(self) -> None:
        """Let go of a result whose layers are gone: it may be large, and nothing shows it any more."""
        if self.explanation is None or self.tasks.running is not None or not self._all_shown():
            return
        if not is_shown(self.viewer, self.explanation):
            self.explanation = self.request = None
            kept_results(self.viewer).forget(self.kind)
            self.figures.set_explanation(None)
            self.opened.let_go()
            self.fields.checks_box.tell([])
            self.run_bar.set_forgotten("The layers of the result were removed.")

    # -- after a run ------------------------------------------------------------------------------------

    @of_what_is_meant
    def check(self, name: str = ALL) -> None:
        """Check how far the last result can be trusted."""
        explanation = self.explanation
        if explanation is None or self.tasks.running is not None:
            return
        plan = self.request.plan
        self._start(
            lambda: check_steps(explanation, plan.model, plan.target, name),
            partial(self._on_checked, explanation),
        )

    def _on_checked(self, explanation: Explanation, outcome: Outcome) -> None:
        keep_with_layers(self.viewer, explanation.record)
        self.fields.checks_box.tell(explanation.record.trust)
        if self._ended_well(outcome, cancelled="Cancelled; the checks that were done are kept."):
            self.run_bar.set_ended(f"{self._summary()}\nChecked in {duration(outcome.seconds)}.")

    def _check_costs(self) -> dict[str, str]:
        """Return what each check of the last result would cost, and what all of them would cost."""
        return {} if self.explanation is None else check_costs(self.explanation, self.request.plan)

    @of_what_is_meant
    def show_figures(self) -> None:
        """Show the charts, pictures and tables of the last result in a window of their own."""
        if self.explanation is None:
            return
        if not self.figures.set_explanation(self.explanation):
            method = self.explanation.record.method
            self.run_bar.show_status(
                f"{method} makes no charts, pictures or tables: the layers are all that it has found."
            )
            return
        self.figures.show()
        self.figures.raise_()
        self._mark_step()

    def _path(self) -> tuple[int, list[float]] | None:
        """Return the axis of the viewer along which the images of the last result's path lie, and their steps; None without."""
        found = self.explanation
        if found is None or not found.series:
            return None
        of_path = (
            layer
            for layer in self.viewer.layers
            if layer.metadata.get("segxai_role") in found.series
            and is_of(layer.metadata["segxai"], found.record)
        )
        layer = next(of_path, None)
        steps = next((c["step"] for name, c in found.curves.items() if name.endswith("frames")), None)
        return None if layer is None or not steps else (self.viewer.dims.ndim - layer.ndim, steps)

    def _go_to_step(self, step: int) -> None:
        """Show the image of the path that is nearest to a step."""
        if (path := self._path()) is not None:
            axis, steps = path
            nearest = min(range(len(steps)), key=lambda k: abs(steps[k] - step))
            self.viewer.dims.set_current_step(axis, nearest)

    def _mark_step(self) -> None:
        """Mark the step whose image is shown in the chart."""
        if self.figures.isVisible() and (path := self._path()) is not None:
            axis, steps = path
            shown = self.viewer.dims.current_step[axis]
            self.figures.chart.mark(f"{steps[min(shown, len(steps) - 1)]:.0f}")

    def _script(self) -> Callable[[ScriptFiles], str]:
        return partial(script.python_of, self.explanation, self.request.plan)

    def run_again(self) -> None:
        """Run once more what the selected result, or the last one, was asked; of an earlier run of a dock, with its settings."""
        active = self.viewer.layers.selection.active
        record = active.metadata.get("segxai") if active is not None else None
        own = record is not None and FOLDERS not in active.metadata
        if not own or (self.explanation is not None and is_of(record, self.explanation.record)):
            super().run_again()
        else:
            self.set_record(record)
            self.run()

    def set_record(self, record: dict[str, Any]) -> None:
        """Set the form to the values of a record; what this session does not have stays as it is."""
        names = [entry.card.name for entry in self.model_box.entries]
        if record["model"]["name"] in names:
            self.model_box.combo.setCurrentIndex(names.index(record["model"]["name"]))
        elif record["model"]["path"] is not None:
            self.model_box.open(record["model"]["path"])
        self._set_form(record)

    def _set_form(self, record: Mapping[str, Any]) -> None:
        """Set what the form asks about the chosen model to the values of a record."""
        self.fields.label_box.setCurrentText(record["target"]["label"])
        self.fields.method_box.choose(record["method"])
        self.fields.form.set_values(record["parameters"])
        self.fields.target_fields.set_asked(record["target"])
        self.fields.target_fields.seed_box.setValue(record["seed"])

    def _load(self, folder: str) -> tuple[Explanation, Image, Mapping[str, Any]]:
        explanation = load_explanation(folder)
        return explanation, explanation.image, explanation.record.model

    def _plan_again(self, explanation: Explanation, model: SegmentationModel) -> ExplanationPlan:
        return plan_again(explanation, model)

    def _hold(self, request: Request, explanation: Explanation) -> None:
        self._set_form(explanation.record.as_dict())
        self.explanation, self.request = explanation, request
        self.figures.set_explanation(explanation)
        self.fields.checks_box.tell(explanation.record.trust)
        self.run_bar.show_legend(legend(explanation))

    @classmethod
    def leave(cls, request: Request, viewer: Any, outcome: Outcome) -> None:
        """Add the layers of what was found until the dock was closed; the next dock holds it as its last result."""
        if outcome.result is None:
            return
        end_live(viewer)
        layers.add_layers(viewer, runs.new_run(viewer, outcome.result))
        was_stopped = outcome.cancelled or outcome.error is not None
        kept_results(viewer).leave(cls.kind, Kept(outcome.result, request, was_stopped))

    def _take_kept(self, kept: Kept) -> bool:
        """Hold a result again while its layers are there; without them, let go of it."""
        if is_shown(self.viewer, kept.result):
            return super()._take_kept(kept)
        kept_results(self.viewer).forget(self.kind)
        return False

    @of_what_is_meant
    def save(self, folder: str | Path | None = None) -> None:
        """Write the last result to a folder; the user is asked for the folder if none is given."""
        if self.explanation is None:
            return
        where = choose_folder(self, self.run_bar, folder, "Save the explanation in a folder")
        if where is not None:
            make = partial(saving_steps, self.explanation, where[0], overwrite=where[1])
            self.write(make)

    @of_what_is_meant
    def export_to_slicer(self, folder: str | Path | None = None) -> None:
        """Write the last result for 3D Slicer; the user is asked for the folder if none is given."""
        if self.explanation is not None:
            self.fields.slicer.write(self.explanation, self.tasks.write_beside, folder)

    @of_what_is_meant
    def open_in_slicer(self, folder: str | Path | None = None) -> None:
        """Open the last result in a 3D Slicer that runs on this machine; it is exported to a folder first."""
        if self.explanation is not None:
            self.fields.slicer.show_there(self.explanation, self.tasks.beside, folder)

    def _on_theme(self) -> None:
        super()._on_theme()
        theme = get_theme(self.viewer.theme)
        self.figures.set_colors(*theme_colors(theme.background, theme.text))

    # -- keeping the form true ----------------------------------------------------------------------------

    def _set_model(self, card: ModelCard | None, model: SegmentationModel | None) -> None:
        if model is not None:
            reasons = {m.name: why_not(m, card, model) for m in self.fields.methods}
            self.fields.method_box.set_reasons(reasons)
            self.fields.form.set_layers(self.network_layers())

    def _on_method(self) -> None:
        method, fields = self.method, self.fields
        fields.summary.setText(method.summary)
        fields.method_parameters.set_method(method, self.network_layers())
        self._update()

    def _cost(self) -> str:
        image, card = self.image(), self.card
        if card is not None:
            flat = card.spatial_dims == 2 and image.spatial_dims == 3
            self.fields.inputs.setRowVisible(self.fields.slice_box, flat)
        # Through windows, a region costs less than the whole; to read a large one that is drawn takes too long here.
        windows = card is not None and card.windows is not None and math.prod(image.shape) <= LARGE
        plan = self.plan(with_region=windows)
        return self.estimate(plan, plan.passes)

    def _connect(self) -> None:
        fields = self.fields
        fields.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        fields.form.changed.connect(self._update)
        for box in (fields.label_box, fields.slice_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        self.run_bar.save_clicked.connect(lambda: self.save())
        self.figures.went.connect(self._go_to_step)
        self.follow((self.viewer.dims.events.current_step, lambda _: self._mark_step()))
        fields.figures.clicked.connect(lambda: self.show_figures())
        fields.slicer.export.triggered.connect(lambda: self.export_to_slicer())
        fields.slicer.open.triggered.connect(lambda: self.open_in_slicer())
        fields.checks_box.chosen.connect(self.check)
        fields.errors.clicked.connect(lambda: self.show_errors())
        self.errors.chosen.connect(fields.region_box.choose)
        self.follow((self.viewer.layers.events.removed, lambda _: self._on_removed()))

    def show_errors(self) -> None:
        """Open the list of errors of the chosen label."""
        self.errors.open(self.layer, self.card)

    def _on_active(self) -> None:
        """Show the verdicts of the selected result, or of the last result while the selected layer is of none."""
        super()._on_active()
        active = self.viewer.layers.selection.active
        last = self.explanation.record if self.explanation is not None else None
        held = active.metadata.get("segxai") if active is not None else None
        of_a_result = held is not None and active.metadata.get("segxai_role") not in ("prediction", "so far")
        if of_a_result and (last is None or not is_of(held, last)):
            self.fields.checks_box.tell(held.get("trust", []), of=active.name)
        else:
            self.fields.checks_box.tell(last.trust if last is not None else [])
