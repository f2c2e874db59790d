"""The Explain dock widget: choose an image, a model, a label and a method; run; see the result as layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Image as ImageLayer
from napari.utils.theme import get_theme
from qtpy.QtWidgets import (
    QFileDialog,
)

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.checks.registry import Verdict
from napari_segxai.checks.run import check_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Step, Steps
from napari_segxai.core.target import Target
from napari_segxai.gui import worker
from napari_segxai.gui.explain.form import CURRENT_SLICE, ExplainForm
from napari_segxai.gui.models.labels_present import LabelLook
from napari_segxai.gui.script import write as script
from napari_segxai.gui.script.copying import copy_script
from napari_segxai.gui.viewer import watching
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.lifetime import connect_until_gone, stop_when_gone
from napari_segxai.gui.viewer.show_results import Live, is_shown, show
from napari_segxai.gui.viewer.shown import Shown
from napari_segxai.gui.widgets.checks_box import ALL, check_costs, is_of, keep_with_layers
from napari_segxai.gui.widgets.fields import mark_absent
from napari_segxai.gui.widgets.method_box import why_not
from napari_segxai.gui.widgets.run_bar import duration, estimate, learn_speed, summary
from napari_segxai.gui.widgets.saving import may_write
from napari_segxai.methods.registry import Method

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.core.image import Image


class ExplainDock(ExplainForm):
    """Explain why a network drew a label.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and to which results are added.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        self.explanation: Explanation | None = None
        self._explained: ExplanationPlan | None = None
        self._evidence = ""
        self._job: worker.WorkerTask | None = None
        self._asked: ref[ImageLayer] | None = None
        self._to_show: list[Any] = []
        self._live = Live(napari_viewer)
        self._look = LabelLook(self, self._tell_present)
        self._connect()
        self.image_box.refresh()
        self._on_method()
        self._on_theme()

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def layer(self) -> ImageLayer | None:
        """The chosen image layer."""
        return self.image_box.layer

    @property
    def method(self) -> Method:
        """The chosen method."""
        return self.method_box.method

    def image(self) -> Image:
        """Return the chosen layer as an image, at the time point that is shown.

        Raises
        ------
        UserError
            If there is none, or it is no image.
        """
        return self.shown().image

    def shown(self) -> Shown:
        """Return what of the chosen layer is explained, where the viewer is."""
        entry = self.model_box.entry
        return self.image_box.shown(entry.card if entry is not None else None)

    def question(self, region: Any = None) -> ExplanationPlan:
        """Return the job that the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, entry = self.shown(), self.model_box.entry
        if self.model_box.problem:
            raise UserError(self.model_box.problem)
        if entry is None or entry.model is None:
            raise UserError("Loading the model…")
        every = self.slice_box.currentText() != CURRENT_SLICE
        target = Target(
            self.label_box.currentText(),
            region=region,
            score=self.score_box.currentText(),  # type: ignore[arg-type]
            reduction=self.reduction_box.currentText(),  # type: ignore[arg-type]
        )
        return ExplanationPlan.make(
            entry.model,
            shown.image,
            target,
            self.method.name,
            seed=self.seed_box.value(),
            device=self.device_box.currentData(),
            slice=None if every else shown.slice,
            **self.form.values(),
        )

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start explaining what the form describes."""
        layer = self.layer
        try:
            job = self.question(self.region_box.chosen(self.image()))
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        job.image.keep()
        self._asked = ref(layer)

        evidence: list[str] = []

        def make() -> Steps[Explanation]:
            explanation = yield from explanation_steps(job)
            evidence.append(explanation.evidence())  # in the thread: it may be large
            return explanation

        self._live.clear()
        done = partial(self._on_done, job, evidence)
        self._job = worker.WorkerTask(make, self._on_step, done, self._on_look, ref(self.viewer))
        self.run_bar.set_running("starting")
        worker.start(self._job)
        if worker.is_waiting(self._job):
            self.run_bar.show_status("waiting for another explanation to end")

    def cancel(self) -> None:
        """Stop the running job before its next pass; what it found so far is kept."""
        if self._job is not None:
            self._job.cancel()

    def _on_step(self, step: Step) -> None:
        self.run_bar.report(step)

    def _on_look(self, explanation: Explanation) -> None:
        """Show what there is so far."""
        self._live.show(explanation)

    def _on_done(self, job: ExplanationPlan, evidence: list[str], outcome: worker.Outcome) -> None:
        self._job = None
        explanation, error = outcome.result, outcome.error
        if error is None and explanation is not None and not outcome.cancelled:
            record = explanation.record
            learn_speed(job.model, job.image, job.slices[0], Passes(**record.passes), record.seconds)
        if explanation is not None:
            self._live.clear()
            self.explanation, self._explained = explanation, job
            self._evidence = "".join(evidence)
            self.checks_box.tell([])
            self.run_bar.show_legend(legend(explanation))
            self._show(explanation)
        if error is not None:
            kept = " What was found until then is shown." if explanation is not None else ""
            self.run_bar.set_failed(outcome, kept, result=explanation is not None)
        elif outcome.cancelled:
            kept = (
                "the partial result is shown" if explanation is not None else "there was nothing to show yet"
            )
            self.run_bar.set_ended(f"Cancelled; {kept}.", result=explanation is not None)
        else:
            self.run_bar.set_ended(summary(explanation, self._evidence))
        self._update()

    def _show(self, explanation: Explanation) -> None:
        """Add the layers of an explanation, one per turn of the event loop."""
        self._to_show = show(self.viewer, explanation, self._closed)

    def _on_removed(self) -> None:
        """Let go of a result whose layers are gone: it may be large, and nothing shows it any more."""
        if self.explanation is None or self._job is not None or not self._all_shown():
            return
        if not is_shown(self.viewer, self.explanation):
            self.explanation = self._explained = None
            self.checks_box.tell([])
            self.run_bar.set_forgotten("The layers of the result were removed.")

    def _all_shown(self) -> bool:
        """Whether every layer of the last result has been added."""
        return not self._to_show

    # -- after a run ------------------------------------------------------------------------------------

    def check(self, name: str = ALL) -> None:
        """Check how far the last result can be trusted."""
        explanation, job = self.explanation, self._explained
        if explanation is None or self._job is not None:
            return

        def make() -> Steps[list[Verdict]]:
            return check_steps(explanation, job.model, job.target, name)

        self._job = worker.WorkerTask(
            make, self._on_step, partial(self._on_checked, explanation), viewer=ref(self.viewer)
        )
        self.run_bar.set_running("starting")
        worker.start(self._job)
        if worker.is_waiting(self._job):
            self.run_bar.show_status("waiting for another job to end")

    def _on_checked(self, explanation: Explanation, outcome: worker.Outcome) -> None:
        self._job = None
        keep_with_layers(self.viewer, explanation.record)
        self.checks_box.tell(explanation.record.trust)
        if outcome.error is not None:
            self.run_bar.set_failed(outcome, result=True)
        elif outcome.cancelled:
            self.run_bar.set_ended("Cancelled; the checks that were done are kept.")
        else:
            self.run_bar.set_ended(
                f"{summary(explanation, self._evidence)}\nChecked in {duration(outcome.seconds)}."
            )
        self._update()

    def _check_costs(self) -> dict[str, str]:
        """Say what the checks of the last result would cost, each and all."""
        return check_costs(self.explanation, self._explained)

    def copy_as_python(self, folder: str | Path | None = None) -> str:
        """Put a script that makes the last result again on the clipboard; returns it. `folder`: see `copy_script`."""
        if self.explanation is None or self._explained is None:
            return ""
        make = partial(script.python_of, self.explanation, self._explained)
        return copy_script(self, self.run_bar, make, self._explained.image, self._asked(), folder)

    def run_again(self) -> None:
        """Run with the settings of the selected result, or of the last run."""
        active = self.viewer.layers.selection.active
        record = active.metadata.get("segxai") if active is not None else None
        if record is None and self.explanation is not None:
            record = self.explanation.record.as_dict()
        if record is not None:
            self.set_record(record)
            self.run()

    def set_record(self, record: dict[str, Any]) -> None:
        """Set the form to what a record says; what the session does not know stays as it is."""
        for index, entry in enumerate(self.model_box.entries):
            if entry.card.name == record["model"]["name"]:
                self.model_box.combo.setCurrentIndex(index)
        self.label_box.setCurrentText(record["target"]["label"])
        self.method_box.choose(record["method"])
        self.form.set_values(record["parameters"])
        self.score_box.setCurrentText(record["target"]["score"])
        self.reduction_box.setCurrentText(record["target"]["reduction"])
        self.seed_box.setValue(record["seed"])

    def save(self, folder: str | Path | None = None) -> None:
        """Write the last result to a folder, which is asked for when not given."""
        if self.explanation is None:
            return
        chosen = folder or QFileDialog.getExistingDirectory(self, "Save the explanation in a folder")
        if not chosen:
            return
        overwrite = may_write(self, self.run_bar, {Path(chosen): ""})
        if overwrite is None:
            return
        try:
            written = self.explanation.save(chosen, overwrite=overwrite)
            self.run_bar.show_status(f"Wrote {len(written)} files to {chosen}.")
        except UserError as error:
            self.run_bar.show_status(str(error), error=True)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _on_image(self) -> None:
        self.region_box.set_source(self.layer)
        self.model_box.prefer(self.image_box.image)
        self._on_model()

    def _on_model(self) -> None:
        entry = self.model_box.entry
        labels = list(entry.card.labels) if entry is not None else []
        if [self.label_box.itemText(k) for k in range(self.label_box.count())] != labels:
            self.label_box.blockSignals(True)
            self.label_box.clear()
            self.label_box.addItems(labels)
            self.label_box.setCurrentIndex(1 if len(labels) > 1 else 0)
            self.label_box.blockSignals(False)
        if self.layer is not None:
            self.model_box.ensure_loaded()
        if entry is not None and entry.model is not None:
            reasons = {m.name: why_not(m, entry.card, entry.model) for m in self._methods}
            self.method_box.set_reasons(reasons)
            self.form.set_layers(self._layer_names())
        self._update()
        self._look.ask()

    def _layer_names(self) -> list[str]:
        entry = self.model_box.entry
        if entry is None or entry.model is None or not entry.model.has_layers:
            return []
        return [layer.name for layer in entry.model.network_layers()]

    def _on_method(self) -> None:
        method = self.method
        self.summary.setText(method.summary)
        self.form.set_method(method, self._layer_names())
        self.parameters.setText(f"Parameters ({len(method.parameters)})")
        self.preset_box.blockSignals(True)
        self.preset_box.clear()
        self.preset_box.addItems(["defaults", *method.presets])
        self.preset_box.blockSignals(False)
        self._update()

    def _on_preset(self, name: str) -> None:
        self.form.reset()
        self.form.set_values(self.method.presets.get(name, {}))

    def _tell_present(self, present: tuple[str, ...]) -> None:
        mark_absent(self.label_box, present)

    def _update(self) -> None:
        """Say what Run would cost, or why it cannot be pressed."""
        try:
            image, entry = self.image(), self.model_box.entry
            if entry is not None:
                flat = entry.card.spatial_dims == 2 and image.spatial_dims == 3
                self.inputs.setRowVisible(self.slice_box, flat)
            job = self.question()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        self.run_bar.set_ready(estimate(job.model, job.image, job.slices[0], job.passes))

    def _connect(self) -> None:
        self.image_box.changed.connect(self._on_image)
        self.image_box.moved.connect(self._update)
        self.region_box.changed.connect(self._update)
        self.model_box.changed.connect(self._on_model)
        self.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        self.preset_box.currentTextChanged.connect(self._on_preset)
        self.reset.clicked.connect(lambda: self.preset_box.setCurrentIndex(0) or self.form.reset())
        self.form.changed.connect(self._update)
        for box in (self.label_box, self.slice_box, self.device_box, self.score_box, self.reduction_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.run_bar.copy_clicked.connect(self.copy_as_python)
        self.run_bar.again_clicked.connect(self.run_again)
        self.run_bar.save_clicked.connect(lambda: self.save())
        self.checks_box.chosen.connect(self.check)
        # The viewer outlives the dock, and a closing viewer outlives neither: everything is undone at the end.
        links = [
            (self.viewer.events.theme, lambda _: self._on_theme()),
            (self.viewer.layers.selection.events.active, lambda _: self._on_active()),
            *watching.links(self.viewer),
            (self.viewer.layers.events.removed, lambda _: self._on_removed()),
        ]
        connect_until_gone(self, links)
        self._closed = {"closed": False}
        stop_when_gone(self, self._closed, self._running, self.viewer)

    def _on_active(self) -> None:
        """Show the verdicts of the selected result; those of the last one while another layer is selected."""
        active = self.viewer.layers.selection.active
        last = self.explanation.record if self.explanation is not None else None
        held = active.metadata.get("segxai") if active is not None else None
        of_a_result = held is not None and active.metadata.get("segxai_role") not in ("prediction", "so far")
        if of_a_result and (last is None or not is_of(held, last)):
            self.checks_box.tell(held.get("trust", []), of=active.name)
        else:
            self.checks_box.tell(last.trust if last is not None else [])

    def _on_theme(self) -> None:
        self.run_bar.set_accent(get_theme(self.viewer.theme).current.as_hex())

    def _running(self) -> worker.WorkerTask | None:
        return self._job

    def showEvent(self, event: Any) -> None:
        """Offer the models that were registered while the panel was hidden."""
        self.model_box.refresh_registered()
        super().showEvent(event)
