"""The Information flow dock widget: every label at every network layer, from the input to the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme

from napari_segxai.analyses.flow.again import ablation_of, plan_again
from napari_segxai.analyses.flow.api import causal_check_steps
from napari_segxai.analyses.flow.load import load_flow
from napari_segxai.analyses.flow.plan import FlowPlan, ablation_passes
from napari_segxai.analyses.flow.result import KIND, Flow
from napari_segxai.analyses.flow.run import flow_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Step, Steps
from napari_segxai.core.text_table import counted
from napari_segxai.gui.dock import Dock, Request
from napari_segxai.gui.flow.export import ExportMenu
from napari_segxai.gui.flow.form import FlowForm
from napari_segxai.gui.flow.results import FlowResults
from napari_segxai.gui.script import write as script
from napari_segxai.gui.viewer import layers
from napari_segxai.gui.viewer.dock_layout import prefer_below
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.runs import LONGEST, shortened
from napari_segxai.gui.viewer.show_results import MAP_ALONE, show
from napari_segxai.gui.viewer.theme import theme_colors
from napari_segxai.gui.widgets.errors_window import ErrorsWindow
from napari_segxai.gui.widgets.run_bar import duration
from napari_segxai.methods.registry import options_as_dict

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.core.image import Image
    from napari_segxai.gui.script.files import ScriptFiles
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

NAME = "Information flow (napari-segxai)"
"""What napari calls the dock."""


class FlowDock(Dock):
    """Show where in a network, layer by layer, the evidence for each label lies.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and to which tiles are added.
    """

    fields: FlowForm
    kind = KIND

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        prefer_below(NAME)
        self.flow: Flow | None = None
        self._to_show: list[Any] = []
        self._making = 0
        self.results = FlowResults()
        self.set_up(FlowForm(self.viewer), self.results, width=290)
        self.errors = ErrorsWindow(self, self.viewer, self.tasks, self._plan_of_one, self.fields.truth_box)
        self.export = ExportMenu(self.results, self.run_bar, self.write, self.ready)
        self.run_bar.save.setMenu(self.export)
        self._connect()
        self._on_method()
        self.refresh()

    # -- what is chosen ---------------------------------------------------------------------------------

    def plan(self, *, with_region: bool = True) -> FlowPlan:
        """Return the flow that the form describes, checked.

        Parameters
        ----------
        with_region
            Whether the chosen region is read.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, model, fields = self.displayed(), self.loaded_model(), self.fields
        image, labels = shown.image, fields.label_list.ticked()
        model.require(("network layers",))
        if not labels:
            raise UserError("Tick at least one label.")
        chosen = fields.layer_picker.chosen()
        if chosen == []:
            raise UserError("Tick at least one network layer.")
        target = fields.target_fields
        region = fields.region_box.chosen(image) if with_region else None
        error = self.errors.asked(labels[0], region) if len(labels) == 1 else None
        of_error = {} if error is None else {"error": error.error, "component": error.number}
        return FlowPlan.make(
            fields.truth_box.suited(model),
            image,
            labels,
            method=fields.method_box.currentData(),
            layers=chosen,
            region=region,
            **of_error,
            truth=fields.truth_box.chosen(image),
            score=target.score_box.currentText(),
            reduction=target.reduction_box.currentText(),
            against=target.against,
            boundary=target.boundary,
            slice=shown.slice,
            seed=target.seed_box.value(),
            device=fields.device_box.currentData(),
            routes=fields.routes_box.isChecked(),
            **fields.form.values(),
        )

    def _plan_of_one(self) -> ExplanationPlan:
        """Return what is asked of the one label whose errors are listed; raises a UserError where there are several."""
        if len(self.fields.label_list.ticked()) > 1:
            raise UserError("Tick one label only: errors are listed for one label at a time.")
        return self.plan(with_region=False).first

    def _explanation_plan(self, plan: FlowPlan) -> ExplanationPlan:
        return plan.first

    # -- running ------------------------------------------------------------------------------------------

    def _steps(self, request: Request) -> Steps[Flow]:
        return flow_steps(request.plan)

    def causal_check(self) -> None:
        """Start measuring what the prediction loses without each network layer."""
        flow = self.flow
        if flow is not None and not self.run_bar.is_running:
            ablation = self.fields.ablation_box.currentData()
            self._start(lambda: causal_check_steps(flow, ablation), self._on_checked, "causal check")

    def _start(
        self, make: Callable[[], Steps[Any]], done: Callable[[Outcome], None], *args: Any, **options: Any
    ) -> None:
        def ended(outcome: Outcome) -> None:
            done(outcome)
            self.fields.causal.setEnabled(self.flow is not None)

        self.fields.causal.setEnabled(False)
        super()._start(make, ended, *args, **options)

    def _on_done(self, request: Request, outcome: Outcome) -> None:
        flow: Flow = outcome.result
        if self._ended(outcome, "; there is nothing to show" if self.flow is None else ""):
            self._learn_speed(request.plan, flow.passes, flow.seconds)
            self._show(request, flow)
            what = f"{counted(len(flow.labels), 'label')} at {counted(len(flow.layers), 'network layer')}"
            self.run_bar.set_ended(f"Done in {duration(flow.seconds)} · {what}")

    def _show(self, request: Request, flow: Flow) -> None:
        self.flow, self.request = flow, request
        self.results.set_flow(flow)
        self.sides.fold()
        self._follow()
        windowed = request.plan.first.model.windows is not None
        cost = self.estimate(request.plan, Passes(ablation_passes(flow.layers, windowed=windowed)))
        self.fields.causal.setToolTip(
            "Measure what the prediction loses when a network layer, or only its skip connection, is ablated.\n"
            f"At most {cost} for each kind of ablation."
        )

    def _on_checked(self, outcome: Outcome) -> None:
        if self._ended(outcome, "; the numbers are as before"):
            self.results.refresh()
            self.run_bar.set_ended(f"Causal check done in {duration(outcome.seconds)}")

    def _ended(self, outcome: Outcome, kept: str) -> bool:
        """Say how a task ended; return whether it has a result."""
        return self._ended_well(outcome, cancelled=f"Cancelled{kept}.", result=self.flow is not None)

    # -- what was opened --------------------------------------------------------------------------------

    def _load(self, folder: str) -> tuple[Flow, Image, Mapping[str, Any]]:
        flow = load_flow(folder)
        return flow, flow.image, flow.facts["model"]

    def _plan_again(self, flow: Flow, model: SegmentationModel) -> FlowPlan:
        flow.plan = plan_again(flow, model)
        return flow.plan

    def _hold(self, request: Request, flow: Flow) -> None:
        fields = self.fields
        fields.label_list.tick(flow.labels)
        fields.method_box.choose(flow.method)
        fields.form.set_values(options_as_dict(flow.options))
        fields.routes_box.setChecked(request.plan.routes)
        self._show(request, flow)
        fields.causal.setEnabled(True)

    def _asked_again(self, request: Request) -> FlowPlan:
        """Return the plan with the causal check, if one was made since."""
        ablation = ablation_of(self.flow)
        return replace(request.plan, causal=ablation is not None, ablation=ablation or "mean")

    # -- tiles become layers ----------------------------------------------------------------------------

    def show_tile(self, label: str, layer: str) -> None:
        """Make a tile a layer of the viewer; the worker thread brings its map to the image grid."""
        flow = self.flow

        def make() -> Steps[Explanation]:
            yield Step(0, 1, f"{label} at {layer}")
            return flow.explanation(label, layer)

        def done(outcome: Outcome) -> None:
            self._making -= 1
            if outcome.result is not None:
                self.run_bar.show_legend(legend(outcome.result, MAP_ALONE))
                self._to_show = show(
                    self.viewer,
                    outcome.result,
                    self.tasks.is_closed,
                    about=f"{shortened(label, LONGEST)} at {shortened(layer, LONGEST)}",
                    roles=MAP_ALONE,
                )
            elif outcome.error is not None and not self.run_bar.is_running:
                self.run_bar.set_failed(outcome, result=True)

        self._making += 1
        self.in_background(make, done)

    def _all_shown(self) -> bool:
        """Whether every tile that was clicked has become a layer."""
        return not self._making and not self._to_show

    def _script(self) -> Callable[[ScriptFiles], str]:
        return partial(script.python_of_flow, self.flow)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _set_model(self, card: ModelCard | None, model: SegmentationModel | None) -> None:
        fields = self.fields
        fields.label_list.set_labels(list(card.labels) if card is not None else [])
        if model is not None:
            known = model.has_layers
            fields.layer_picker.set_layers(*((model.example_layers, model.outline) if known else ((), ())))

    def _tell_present(self, present: tuple[str, ...]) -> None:
        self.fields.label_list.set_present(present)

    def _on_method(self) -> None:
        fields = self.fields
        method = fields.method_box.method
        fields.summary.setText(method.summary)
        fields.form.set_method(method, without=("layer", "intermediates"))
        count = len(fields.form.values())
        fields.parameters.setText(f"Parameters ({count})")
        fields.parameters.setVisible(count > 0)
        self._update()

    def _connect(self) -> None:
        fields = self.fields
        fields.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        for part in (fields.label_list, fields.layer_picker, fields.form):
            part.changed.connect(self._update)
        fields.truth_box.currentIndexChanged.connect(lambda _: self._update())
        fields.routes_box.toggled.connect(lambda _: self._update())
        fields.causal.clicked.connect(self.causal_check)
        fields.errors.clicked.connect(lambda: self.errors.open(self.layer, self.card))
        self.errors.chosen.connect(fields.region_box.choose)
        self.results.wanted.connect(self.show_tile)
        dims = self.viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            self.follow((event, lambda _: self._follow()))

    def _follow(self) -> None:
        """Show in the tiles the plane that the viewer shows."""
        source = self.request.source() if self.request is not None else None
        if self.flow is None or source is None or source not in self.viewer.layers:
            return
        if self.flow.image.spatial_dims == 3:
            self.results.grid.set_plane(
                *layers.shown_plane(source, self.viewer, self.flow.image.layer["spatial"])
            )

    def _on_theme(self) -> None:
        super()._on_theme()
        theme = get_theme(self.viewer.theme)
        self.results.curves.set_colors(*theme_colors(theme.background, theme.text))
