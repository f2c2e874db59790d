"""What the docks have that explain an image of the viewer: an image, a model, a region, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtWidgets import QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.target import Region, Target
from napari_segxai.gui.models.labels_present import PresentLabels
from napari_segxai.gui.opened_result import OpenedResult, Stamp, of_what_is_meant, planned
from napari_segxai.gui.run_dock import RunDock
from napari_segxai.gui.script.copying import copy_script
from napari_segxai.gui.viewer.displayed import DisplayedImage
from napari_segxai.gui.viewer.opened import image_layer_of
from napari_segxai.gui.widgets.fields import mark_absent, offer_labels
from napari_segxai.gui.widgets.run_bar import estimate, learn_speed

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image as ImageLayer

    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.core.image import Image
    from napari_segxai.gui.script.files import ScriptFiles
    from napari_segxai.gui.viewer.kept import Kept
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class Request:
    """What a run was asked; it is kept with the result, so that a script can be written of it.

    Attributes
    ----------
    plan
        The checked plan of the analysis.
    source
        The image layer; it may be gone by now, or, of a result that was opened, have never been there.
    form
        Other values of the form, which the plan does not hold.
    notes
        What the task leaves beside its result.
    """

    plan: Any
    source: Callable[[], ImageLayer | None]
    form: Mapping[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class Dock(RunDock):
    """Base of the four docks that explain an image of the viewer.

    A dock builds its form and its results, hands them to `set_up`, connects what it alone has, and calls `refresh`.
    It says which kind of result it makes, and overrides `plan`, `_steps`, `_on_done`, `_script`, `_hold`, what concerns
    results that were opened, and, where it differs, the other methods in the section "what a dock overrides".

    Parameters
    ----------
    viewer
        The viewer whose layers are offered and to which results are added.

    Attributes
    ----------
    fields
        The form. It has an `image_box`, a `model_box`, a `region_box`, a `device_box`, `target_fields` and a
        `run_bar`; most have a `label_box`, some a `truth_box`.
    request
        What was asked when the shown result was made; None if no result is shown.
    opened
        The result of this kind that was opened from a folder and is selected in the viewer.
    """

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__(viewer)
        self.request: Request | None = None

    def set_up(self, fields: Any, results: QWidget | None = None, width: int = 0) -> None:
        """Lay the dock out, and connect what all docks of this kind have; see `RunDock.set_up`."""
        super().set_up(fields, results, width)
        self.image_box = fields.image_box
        self.present_labels = PresentLabels(self, self._tell_present)
        self._connect_fields()
        self.run_bar.again_clicked.connect(lambda: self.run_again())
        parts = (self.kind, self.model_box, self.run_bar, self._start, self._load, self._take)
        self.opened = OpenedResult(self, self.viewer, *parts)
        self.follow((self.viewer.layers.selection.events.active, lambda _: self._on_active()))
        self.follow((self.viewer.layers.events.removed, lambda _: self.opened.removed()))

    def refresh(self) -> None:
        """Offer what the viewer has; call it when everything is connected."""
        self.image_box.refresh()
        self._on_theme()
        self._on_active()
        self.show_kept()

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def layer(self) -> ImageLayer | None:
        """The chosen image layer."""
        return self.image_box.layer

    def image(self) -> Image:
        """Return the chosen layer as an image, at the time point that is shown.

        Raises
        ------
        UserError
            If there is none, or it is not an image.
        """
        return self.displayed().image

    def displayed(self) -> DisplayedImage:
        """Return the part of the chosen layer that is explained: the frame and slice that the viewer shows."""
        return self.image_box.displayed(self.card)

    def target(self, region: Region = None) -> Target:
        """Return the target that the form describes, in this region."""
        fields = self.fields.target_fields
        return Target(
            self.fields.label_box.currentText(),
            region=region,
            score=fields.score_box.currentText(),  # type: ignore[arg-type]
            reduction=fields.reduction_box.currentText(),  # type: ignore[arg-type]
            against=fields.against,
            boundary=fields.boundary,
        )

    # -- what a dock overrides ----------------------------------------------------------------------------

    def plan(self) -> Any:
        """Return what the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        raise NotImplementedError

    _on_partial: Callable[[Any], None] | None = None
    """Shows what a run has found so far."""

    def _steps(self, request: Request) -> Steps[Any]:
        """Return the steps of a run; they are made, and run, in the worker thread."""
        raise NotImplementedError

    def _explanation_plan(self, plan: Any) -> ExplanationPlan:
        """Return one explanation of the plan; its model, image and slice tell what a pass costs."""
        return plan

    def _form_values(self) -> dict[str, Any]:
        """Return the values of the form that the script needs and the plan does not hold."""
        return {}

    def _on_done(self, request: Request, outcome: Outcome) -> None:
        """Show what a run has found, and say how it ended."""
        raise NotImplementedError

    def _script(self) -> Callable[[ScriptFiles], str]:
        """Return a function that writes the script of the shown result; see `copy_script`."""
        raise NotImplementedError

    def _load(self, folder: str) -> tuple[Any, Image, Mapping[str, Any]]:
        """Read a result of this dock's kind from a folder; return it, its image and what it says of its model.

        It is called in the worker thread.
        """
        raise NotImplementedError

    def _plan_again(self, result: Any, model: SegmentationModel) -> Any:
        """Return the plan by which a result came about that was opened."""
        raise NotImplementedError

    def _hold(self, request: Request, result: Any) -> None:
        """Show a result that was opened, or kept, as after a run, and set the form to what it was asked, as far as that is cheap."""
        raise NotImplementedError

    def _asked_again(self, request: Request) -> Any:
        """Return the plan of what is shown, as it is run again."""
        return request.plan

    def _cost(self) -> str:
        """Return what Run would cost; raises UserError where it cannot be pressed."""
        plan = self.plan()
        return self.estimate(plan, plan.passes)

    def _set_model(self, card: ModelCard | None, model: SegmentationModel | None) -> None:
        """Offer what suits the chosen model."""

    def _on_moved(self) -> None:
        """Another slice, or time point, is shown."""
        self._update()

    def _tell_present(self, present: tuple[str, ...]) -> None:
        """Mark the labels that the model does not draw in the image."""
        mark_absent(self.fields.label_box, present)

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start what the form describes."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        self._explanation_plan(plan).image.keep()
        self._run(Request(plan, ref(self.layer), self._form_values()))

    @of_what_is_meant
    def run_again(self) -> None:
        """Run once more exactly what the selected result, if it was opened, or the shown one was asked."""
        if self.request is None or self.run_bar.is_running:
            return
        request = replace(self.request, plan=self._asked_again(self.request), notes={})
        self._explanation_plan(request.plan).image.keep()
        self._run(request)

    def _run(self, request: Request) -> None:
        def done(outcome: Outcome) -> None:
            self._on_done(request, outcome)
            if self.request is request:
                self.keep(outcome.result, request)
                self.opened.pass_over()
                self.present_labels.ask(again=True)

        leave = partial(self.leave, request)
        self._start(partial(self._steps, request), done, on_partial=self._on_partial, leave=leave)

    def estimate(self, plan: Any, passes: Passes) -> str:
        """Return what a number of passes costs with the model and image of a plan, judged by the model's last run."""
        one = self._explanation_plan(plan)
        return estimate(one.model, one.image, one.slices[0], passes, one.windows_words, one.cost_of(passes))

    def _learn_speed(self, plan: Any, passes: Passes, seconds: float) -> None:
        """Remember how long the passes of a run took, for the next estimate."""
        one = self._explanation_plan(plan)
        learn_speed(one.model, one.image, one.slices[0], passes, seconds)

    def ready(self, then: Callable[[], Any]) -> bool:
        """Tell whether the dock holds the result that is meant; see `OpenedResult.ready`."""
        return self.opened.ready(then)

    def _take(self, result: Any, model: SegmentationModel, stamp: Stamp) -> None:
        """Hold a result that was opened; raises UserError if its plan does not hold any more."""
        plan = planned(partial(self._plan_again, result, model), stamp[0])
        image = self._explanation_plan(plan).image
        layer = image_layer_of(self.viewer, image)
        if layer is not None and layer in self.image_box.sources:
            self.image_box.setCurrentIndex(self.image_box.sources.index(layer))
        source = ref(layer) if layer is not None else lambda: None
        self._hold(Request(plan, source, {"folder": stamp[0]}), result)
        self.keep(result, self.request)

    def _take_kept(self, kept: Kept) -> bool:
        """Show what a dock had that was closed, and choose its image and its model, where they are still there."""
        request, model = kept.request, self._explanation_plan(kept.request.plan).model
        layer = request.source()
        if layer is not None and layer in self.image_box.sources:
            self.image_box.setCurrentIndex(self.image_box.sources.index(layer))
        for entry in [one for one in self.model_box.entries if one.model is model]:
            self.model_box.choose(entry)
        self._hold(request, kept.result)
        self.opened.pass_over()
        return True

    def copy_as_python(self, folder: str | Path | None = None) -> str:
        """Put a script that makes the shown result, or the opened one that is selected, on the clipboard.

        Parameters
        ----------
        folder
            Where the arrays are written that the script reads and no file holds; the user is asked for it if it is not given.

        Returns
        -------
        str
            The script; "" if nothing was copied, or if an opened result has to be read before.
        """
        if not self.ready(lambda: self.copy_as_python(folder)) or self.request is None:
            return ""
        image, source = self._explanation_plan(self.request.plan).image, self.request.source()
        return copy_script(self, self.run_bar, self._script(), image, source, folder)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _connect_fields(self) -> None:
        fields = self.fields
        self.image_box.changed.connect(self._on_image)
        self.image_box.others_changed.connect(self._on_others)
        self.image_box.moved.connect(self._on_moved)
        self.model_box.changed.connect(self._on_model)
        fields.region_box.changed.connect(self._update)
        fields.target_fields.changed.connect(self._update)
        fields.device_box.currentIndexChanged.connect(lambda _: self._update())

    def _on_image(self) -> None:
        self.fields.offer_regions(self.layer)
        self.model_box.prefer(self.image_box.image)
        self._on_model()

    def _on_others(self) -> None:
        """Layers came, went or were renamed that are no images to explain: they may be regions, truths and maps."""
        self.fields.offer_regions(self.layer)
        self._update()

    def _on_model(self) -> None:
        card, fields = self.card, self.fields
        if fields.label_box is not None:
            offer_labels(fields.label_box, card.labels if card is not None else ())
        fields.target_fields.offer_against(card.labels if card is not None else ())
        if fields.truth_box is not None:
            fields.truth_box.set_model(card)
        if self.layer is not None:
            self.model_box.ensure_loaded()
        self._set_model(card, self.model_if_loaded)
        self._update()
        self.present_labels.ask()

    def _on_active(self) -> None:
        """Another layer is selected: it may be of a result that was opened."""
        meant = self.opened.select()
        self.run_bar.offer_result(meant or self.request is not None)
