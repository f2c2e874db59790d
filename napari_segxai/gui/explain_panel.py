"""The Explain dock widget: choose an image, a model, a label and a method; run; see the result as layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QMessageBox,
)

from napari_segxai.engine.passes import Passes, Step, Steps
from napari_segxai.errors import UserError
from napari_segxai.explainers.registry import Method
from napari_segxai.explaining import Job
from napari_segxai.explanation import Explanation
from napari_segxai.gui import jobs, layers, script
from napari_segxai.gui.closing import undo
from napari_segxai.gui.explain_form import CURRENT_SLICE, ExplainForm
from napari_segxai.gui.region_box import Chosen
from napari_segxai.gui.run_bar import duration, summary
from napari_segxai.targets import Target

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.image import Image


class ExplainPanel(ExplainForm):
    """Explain why a network drew a label.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and to which results are added.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        self.explanation: Explanation | None = None
        self._job: jobs.Job | None = None
        self._asked: tuple[ref[ImageLayer], Chosen, int] | None = None
        self._images: list[ref[ImageLayer]] = []
        self._to_show: list[Any] = []
        self._connect()
        self._refresh_layers()
        self._on_method()
        self._on_theme()

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def layer(self) -> ImageLayer | None:
        """The chosen image layer."""
        index = self.image_box.currentIndex()
        layer = self._images[index]() if 0 <= index < len(self._images) else None
        return layer if layer is not None and layer in self.viewer.layers else None

    @property
    def method(self) -> Method:
        """The chosen method."""
        return self._methods[self.method_box.currentIndex()]

    def image(self) -> Image:
        """Return the chosen layer as an image, at the time point that is shown.

        Raises
        ------
        UserError
            If there is none, or it is no image.
        """
        layer, entry = self.layer, self.model_box.entry
        if layer is None:
            raise UserError("Open an image first: drop a file on the window, or File > Open Sample.")
        channels = len(entry.card.channels) if entry is not None else None
        return layers.image_of_layer(layer, channels=channels, frame=layers.frame_of(layer, self.viewer))

    def question(self, region: Any = None) -> Job:
        """Return the job that the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        image, entry = self.image(), self.model_box.entry
        if self.model_box.problem:
            raise UserError(self.model_box.problem)
        if entry is None or entry.model is None:
            raise UserError("Loading the model…")
        slices = entry.model.slices(image)
        slice = None
        if slices is not None and self.slice_box.currentText() == CURRENT_SLICE:
            slice = layers.slice_of(self.layer, self.viewer)
        target = Target(
            self.label_box.currentText(),
            region=region,
            score=self.score_box.currentText(),  # type: ignore[arg-type]
            reduction=self.reduction_box.currentText(),  # type: ignore[arg-type]
        )
        return Job.make(
            entry.model,
            image,
            target,
            self.method.name,
            seed=self.seed_box.value(),
            device=self.device_box.currentData(),
            slice=slice,
            **self.form.values(),
        )

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start explaining what the form describes."""
        layer = self.layer
        try:
            chosen = self.region_box.chosen(self.image())
            job = self.question(chosen.region)
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        self._asked = (ref(layer), chosen, layers.frame_of(layer, self.viewer))

        def make() -> Steps[Explanation]:
            return job.steps()

        self._job = jobs.Job(make, self._on_step, partial(self._on_done, job))
        self.run_bar.set_running("starting")
        jobs.start(self._job)
        if jobs.is_waiting(self._job):
            self.run_bar.show_status("waiting for another explanation to end")

    def cancel(self) -> None:
        """Stop the running job before its next pass; what it found so far is kept."""
        if self._job is not None:
            self._job.cancel()

    def _on_step(self, step: Step) -> None:
        self.run_bar.report(step)

    def _on_done(self, job: Job, outcome: jobs.Outcome) -> None:
        self._job = None
        explanation, error = outcome.result, outcome.error
        if error is None and explanation is not None and not outcome.cancelled:
            cells = 1
            for n in job.model.grid_for(job.image, job.slices[0]):
                cells *= n
            record = explanation.record
            cost = Passes(**record.passes).cost
            job.model.seconds = record.seconds / max(1, cost * cells)
        if explanation is not None:
            self.explanation = explanation
            self._show(explanation)
        if error is not None:
            kept = " What was found until then is shown." if explanation is not None else ""
            text = (
                str(error)
                if isinstance(error, UserError | MemoryError)
                else f"{type(error).__name__}: {error}"
            )
            self.run_bar.set_ended(text + kept, error=True, result=explanation is not None)
            if not isinstance(error, UserError | MemoryError):
                show_error(f"napari-segxai: {text}\n\n{outcome.trace}")
        elif outcome.cancelled:
            kept = (
                "the partial result is shown" if explanation is not None else "there was nothing to show yet"
            )
            self.run_bar.set_ended(f"Cancelled; {kept}.", result=explanation is not None)
        else:
            self.run_bar.set_ended(summary(explanation))
        self._update()

    def _show(self, explanation: Explanation) -> None:
        """Add the layers of an explanation, one per turn of the event loop."""
        source = self._asked[0]() if self._asked is not None else None
        with_prediction = not layers.has_prediction(self.viewer, explanation)
        number = layers.next_number(self.viewer, explanation.title)
        waiting = self._to_show = explanation.to_layers(number, prediction=with_prediction)
        active = self.viewer.layers.selection.active
        above = source

        def add_one() -> None:
            nonlocal above
            if not waiting or self._closed["closed"]:
                if active is not None and active in self.viewer.layers:
                    self.viewer.layers.selection.active = active
                return
            [above] = layers.add_layers(self.viewer, explanation, above, [waiting.pop(0)])
            QTimer.singleShot(0, add_one)

        add_one()

    def _all_shown(self) -> bool:
        """Whether every layer of the last result has been added."""
        return not self._to_show

    # -- after a run ------------------------------------------------------------------------------------

    def copy_as_python(self) -> str:
        """Put a script that makes the last result again on the clipboard; returns it."""
        if self.explanation is None:
            return ""
        source, chosen, frame = self._asked
        layer = source()
        text = script.python_of(
            self.explanation.record.as_dict(),
            layer=layer.name if layer is not None else self.explanation.image.name,
            region=chosen.code,
            frame=frame,
        )
        QApplication.clipboard().setText(text)
        self.run_bar.show_status("The script is on the clipboard.")
        return text

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
        names = [method.name for method in self._methods]
        if record["method"] in names:
            self.method_box.setCurrentIndex(names.index(record["method"]))
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
        overwrite = False
        if (Path(chosen) / "record.json").exists():
            answer = QMessageBox.question(
                self, "Overwrite?", f"{chosen} already holds an explanation. Overwrite it?"
            )
            if answer != QMessageBox.StandardButton.Yes:
                return
            overwrite = True
        try:
            written = self.explanation.save(chosen, overwrite=overwrite)
            self.run_bar.show_status(f"Wrote {len(written)} files to {chosen}.")
        except (UserError, OSError) as error:
            self.run_bar.show_status(str(error), error=True)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _refresh_layers(self) -> None:
        """Offer the image layers that are there; keep the chosen one."""
        chosen = self.layer
        self._images = [ref(layer) for layer in self.viewer.layers if _is_source(layer)]
        self.image_box.blockSignals(True)
        self.image_box.clear()
        for weak in self._images:
            layer = weak()
            self.image_box.addItem(layer.name)
            spacing = " x ".join(f"{s:g}" for s in layer.scale)
            tip = f"{' x '.join(map(str, layer.data.shape))}, spacing {spacing}"
            self.image_box.setItemData(self.image_box.count() - 1, tip, 3)
        known = [weak() for weak in self._images]
        index = known.index(chosen) if chosen in known else len(known) - 1
        self.image_box.setCurrentIndex(index)
        self.image_box.blockSignals(False)
        self._on_image()

    def _follow_active(self) -> None:
        active = self.viewer.layers.selection.active
        known = [weak() for weak in self._images]
        if active in known and active is not self.layer:
            self.image_box.setCurrentIndex(known.index(active))

    def _on_image(self) -> None:
        self.region_box.set_source(self.layer)
        try:
            if self.layer is not None:
                self.model_box.prefer(layers.image_of_layer(self.layer))
        except UserError:
            pass  # said by _update
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
            self._offer_methods(entry.model.has_layers)
            self.form.set_layers(self._layer_names())
        self._update()

    def _layer_names(self) -> list[str]:
        entry = self.model_box.entry
        if entry is None or entry.model is None or not entry.model.has_layers:
            return []
        return [layer.name for layer in entry.model.network_layers()]

    def _offer_methods(self, has_layers: bool) -> None:
        """Grey out the methods that need network layers when the model shows none."""
        for index, method in enumerate(self._methods):
            fits = has_layers or "network layers" not in method.needs
            item = self.method_box.model().item(index)
            item.setEnabled(fits)
            item.setToolTip(
                method.summary if fits else "needs network layers, which TorchScript models do not show"
            )

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
        passes, cells = job.passes, 1
        for n in job.model.grid_for(job.image, job.slices[0]):
            cells *= n
        seconds = job.model.seconds * cells * passes.cost
        self.run_bar.set_ready(f"{passes}, {'about ' if seconds >= 1 else ''}{duration(seconds)}")

    def _connect(self) -> None:
        self.image_box.currentIndexChanged.connect(lambda _: self._on_image())
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
        # The viewer outlives the dock, and a closing viewer outlives neither: everything is undone at the end.
        events = self.viewer.layers.events
        links: list[tuple[Any, Callable[..., None]]] = [
            (events.inserted, lambda event: self._on_inserted(event.value)),
            (events.removed, lambda _: self._refresh_layers()),
            (self.viewer.layers.selection.events.active, lambda _: self._follow_active()),
            (self.viewer.events.theme, lambda _: self._on_theme()),
            (self.viewer.dims.events.current_step, lambda _: self._on_step_shown()),
        ]
        for emitter, function in links:
            emitter.connect(function)
        self._closed = {"closed": False}
        self._renaming: dict[ref[Any], Any] = {}
        self._rename = lambda _: self._refresh_layers()
        for layer in self.viewer.layers:
            layer.events.name.connect(self._rename)
        self.destroyed.connect(
            partial(undo, links, self._closed, self._running, ref(self.viewer), self._rename)
        )

    def _on_step_shown(self) -> None:
        """Another slice is shown, which may or may not lie in the image."""
        if self.inputs.isRowVisible(self.slice_box):
            self._update()

    def _on_theme(self) -> None:
        self.run_bar.set_accent(get_theme(self.viewer.theme).current.as_hex())

    def _running(self) -> jobs.Job | None:
        return self._job

    def _on_inserted(self, layer: Any) -> None:
        layer.events.name.connect(self._rename)
        self._refresh_layers()

    def showEvent(self, event: Any) -> None:
        """Offer the models that were registered while the panel was hidden."""
        self.model_box.refresh_registered()
        super().showEvent(event)

    def _show_help(self) -> None:
        method = self.method
        box = QMessageBox(self)
        box.setWindowTitle(method.title)
        box.setText(f"<h3>{method.title}</h3><p>{method.summary}</p>")
        box.setInformativeText(method.doc.strip())
        box.setModal(False)
        box.show()


def _is_source(layer: Any) -> bool:
    return isinstance(layer, ImageLayer) and "segxai_role" not in layer.metadata
