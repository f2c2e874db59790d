"""The Compare and evaluate dock widget: several methods, one prediction, and numbers that tell how good each map is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.utils.theme import get_theme

from napari_segxai.analyses.compare.again import model_facts, plan_again
from napari_segxai.analyses.compare.load import load_comparison
from napari_segxai.analyses.compare.matching import Difference, difference, digests
from napari_segxai.analyses.compare.plan import ComparisonPlan
from napari_segxai.analyses.compare.result import Comparison, drawn
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.checks.run import check_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import frame_words
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import counted
from napari_segxai.figures.compare import Drawn
from napari_segxai.gui.compare.export import CompareExport
from napari_segxai.gui.compare.form import CompareForm
from napari_segxai.gui.compare.metric_inspector import Case
from napari_segxai.gui.compare.results import CompareResults
from napari_segxai.gui.dock import Dock, Request
from napari_segxai.gui.script import write as script
from napari_segxai.gui.viewer import layers, runs
from napari_segxai.gui.viewer.dock_layout import prefer_below
from napari_segxai.gui.viewer.grid_mode import GridView
from napari_segxai.gui.viewer.kept import kept_results
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.lifetime import when_gone
from napari_segxai.gui.viewer.opened import layers_opened
from napari_segxai.gui.viewer.show_results import MAP_ALONE, map_layers, show_map
from napari_segxai.gui.viewer.theme import theme_colors
from napari_segxai.gui.widgets.checks_box import ALL, check_costs, keep_with_layers, verdicts
from napari_segxai.gui.widgets.method_list import map_values
from napari_segxai.gui.widgets.run_bar import duration
from napari_segxai.io.axes import SPACE
from napari_segxai.io.joining import same_place
from napari_segxai.io.placing import on_grid_of_image
from napari_segxai.metrics.evaluation import Options

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.core.image import Image
    from napari_segxai.gui.script.files import ScriptFiles
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

NAME = "Compare and evaluate (napari-segxai)"
"""What napari calls the dock."""


class CompareDock(Dock):
    """Compare methods, or maps that are there, on one prediction.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and in which maps are shown.
    """

    fields: CompareForm
    kind = "comparison"

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        prefer_below(NAME)
        self.cases: dict[Any, Drawn] = kept_results(self.viewer).gathered(self.kind)
        self._shown: dict[str, Callable[[], Layer | None]] = {}
        self._digests: tuple[ref[Any], Any, list[str]] | None = None
        self.results = CompareResults(self.viewer, self.tasks.in_background)
        self.set_up(CompareForm(self.viewer, self._check_costs), self.results, width=290)
        self.export = CompareExport(self.results, self.run_bar, self.cases, self.write, self.ready)
        self.run_bar.save.setMenu(self.export)
        self._connect()
        self.refresh()

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that is shown."""
        return self.results.comparison

    def plan(self) -> ComparisonPlan:
        """Return the comparison that the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, model, fields = self.displayed(), self.loaded_model(), self.fields
        image, slice = shown.image, shown.slice
        methods, maps = fields.methods.methods(), fields.methods.maps()
        if not methods and not maps:
            raise UserError("Tick at least one method or map.")
        if not fields.metrics.chosen():
            raise UserError("Tick at least one metric.")
        for name, layer in maps.items():
            if what := self._difference(layer, image, slice):
                way = "move the slider there, or untick it" if what.of == "slice" else "untick it"
                raise UserError(f"The map {name} {what}: {way}.")
        return ComparisonPlan.make(
            fields.truth_box.suited(model),
            image,
            self.target(fields.region_box.chosen(image)),
            methods,
            maps={name: map_values(layer, image) for name, layer in maps.items()},
            truth=fields.truth_box.chosen(image),
            metrics=fields.metrics.chosen(),
            controls=fields.metrics.controls.value(),
            seed=fields.target_fields.seed_box.value(),
            device=fields.device_box.currentData(),
            slice=slice,
            **fields.metrics.options(),
        )

    def _explanation_plan(self, plan: ComparisonPlan) -> ExplanationPlan:
        return plan.shared

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start what the form describes."""
        self._digests = None
        super().run()

    def _steps(self, request: Request) -> Steps[Comparison]:
        return comparison_steps(request.plan)

    def _form_values(self) -> dict[str, Any]:
        return {"maps": {name: ref(layer) for name, layer in self.fields.methods.maps().items()}}

    def _on_done(self, request: Request, outcome: Outcome) -> None:
        found: Comparison | None = outcome.result
        kept = self.has_found(found)
        if kept:
            self._show(request, found, request.form["maps"])
        words = _found_until(found) if kept else "There is nothing to show yet."
        failed, had = f" {words}" if kept else "", self.comparison is not None
        if self._ended_well(outcome, failed=failed, cancelled=f"Cancelled. {words}", result=had):
            self.sides.fold()
            records = [explanation.record for explanation in found.explanations.values()]
            seconds = found.seconds + sum(record.seconds for record in records)
            passes = sum((Passes(**record.passes) for record in records), found.passes)
            self._learn_speed(request.plan, passes, seconds)
            what = f"{counted(len(found.maps), 'map')} by {counted(len(found.metrics), 'metric')}"
            done = f"Done in {duration(seconds)} · {what}"
            self.run_bar.set_ended("\n".join([done, *(f"⚠ {warning}" for warning in found.warnings)]))

    @staticmethod
    def has_found(result: Comparison | None) -> bool:
        """Tell whether there is a map."""
        return result is not None and bool(result.maps)

    @classmethod
    def leave(cls, request: Request, viewer: Any, outcome: Outcome) -> None:
        """Add the maps that were found until the dock was closed; the next dock shows the table."""
        if cls.has_found(outcome.result):
            for explanation in outcome.result.explanations.values():
                layers.add_layers(viewer, runs.new_run(viewer, explanation))
        super().leave(request, viewer, outcome)

    def _show(
        self,
        request: Request,
        found: Comparison,
        shown: Mapping[str, Callable[[], Layer | None]],
        *,
        choose: bool = True,
    ) -> None:
        """Show a comparison.

        Parameters
        ----------
        shown
            The layers of its maps that are in the viewer.
        choose
            Whether its first map is chosen, and shown.
        """
        self.results.stop()
        for layer in (weak() for weak in self._shown.values()):
            if layer is not None and layer in self.viewer.layers:
                layer.visible = False
        self.request, self._shown = request, dict(shown)
        plan, shared = request.plan, request.plan.shared
        case = (
            shared.image.name,
            frame_words(shared.image.at),
            shared.image.plane,
            shared.slice,
            shared.model.name,
            shared.target.label,
        )
        self.cases[case] = drawn(found)
        default = Options()
        self.results.set_case(
            Case(shared, found, plan.options.get("baseline", default.baseline), request.source),
            plan.options.get("binarize", default.binarize),
            choose=choose,
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

    def _script(self) -> Callable[[ScriptFiles], str]:
        return partial(script.python_of_comparison, self.request.plan)

    # -- what was opened --------------------------------------------------------------------------------

    def _load(self, folder: str) -> tuple[Comparison, Image, Mapping[str, Any]]:
        found = load_comparison(folder)
        return found, found.image, model_facts(found)

    def _plan_again(self, found: Comparison, model: SegmentationModel) -> ComparisonPlan:
        return plan_again(found, model)

    def _hold(self, request: Request, found: Comparison) -> None:
        plan = request.plan
        self.fields.label_box.setCurrentText(plan.shared.model.labels[found.label])
        shown = {**request.form.get("maps", {}), **map_layers(self.viewer, found.explanations)}
        was_opened = (folder := request.form.get("folder")) is not None
        if was_opened:
            shown |= layers_opened(self.viewer, self.kind, folder)
        given = {name: layer for name, layer in shown.items() if name in plan.maps}
        self._show(replace(request, form={"maps": given}), found, shown, choose=was_opened)
        self.sides.fold()

    def check(self, name: str = ALL) -> None:
        """Check how far the map of the chosen row can be trusted."""
        explanation = self._chosen_explanation()
        if self.tasks.running is not None or self.comparison is None:
            return
        if explanation is None:
            self.run_bar.show_status("Choose a row whose map was made here: checks need its record.")
            return
        shared = self.request.plan.shared
        self._start(
            lambda: check_steps(explanation, shared.model, shared.target, name),
            partial(self._on_checked, explanation),
        )

    def _on_checked(self, explanation: Explanation, outcome: Outcome) -> None:
        keep_with_layers(self.viewer, explanation.record)
        self.results.table.refresh()
        if self._ended_well(outcome, cancelled="Cancelled; the checks that were done are kept."):
            told = f"{verdicts(explanation.record)} · checked in {duration(outcome.seconds)}"
            self.run_bar.set_ended(f"{told}. Point at the cell to read more.")

    def _chosen_explanation(self) -> Explanation | None:
        found = self.comparison
        return None if found is None else found.explanations.get(self.results.table.name)

    def _check_costs(self) -> dict[str, str]:
        """Return what each check of the chosen map would cost, and what all of them would cost."""
        explanation = self._chosen_explanation()
        return {} if explanation is None else check_costs(explanation, self.request.plan.shared)

    # -- keeping the form true ----------------------------------------------------------------------------

    def _on_others(self) -> None:
        self.fields.offer_regions(self.layer)
        self.fields.metrics.set_truth(self.fields.truth_box.is_chosen)
        self._on_label()

    def _set_model(self, card: ModelCard | None, model: SegmentationModel | None) -> None:
        self.fields.metrics.set_truth(self.fields.truth_box.is_chosen)
        if card is not None:
            self.fields.methods.set_model(card, model)
        self._offer_maps()

    def _offer_maps(self) -> None:
        self._digests = None
        self.fields.methods.set_maps(self._maps())

    def _on_label(self) -> None:
        self._offer_maps()
        self._update()

    def _on_truth(self) -> None:
        self.fields.metrics.set_truth(self.fields.truth_box.is_chosen)
        self._update()

    def _maps(self) -> list[tuple[Layer, str]]:
        """Return the layers that hold maps or might hold maps, each with the reason why it cannot be compared here."""
        try:
            image = self.image()
        except UserError:
            return []
        out = []
        for layer in self.viewer.layers:
            role, record = layer.metadata.get("segxai_role"), layer.metadata.get("segxai")
            if role == "saliency" and record is not None:
                what = self._difference(layer, image, record["slice"])
                reason = "" if what is None else what.words
                shape = on_grid_of_image(layer.data, image.layer).shape
                if not reason and shape != image.spatial_shape:
                    reason = f"has shape {shape}, {image.name} has {image.spatial_shape}"
                out.append((layer, reason))
            elif role is None and layer is not self.layer and _might_be_map(layer, image):
                out.append((layer, _elsewhere(layer, image)))
        return sorted(out, key=lambda pair: bool(pair[1]))

    def _difference(self, layer: Layer, image: Image, slice: int | None) -> Difference | None:
        """Tell how the record of a map differs from what is asked; None if the layer has no record."""
        record = layer.metadata.get("segxai")
        if record is None:
            return None
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
            model=self.model_if_loaded,
        )

    def _cost(self) -> str:
        notes: Sequence[str] = ()
        try:
            plan = self.plan()
            notes = plan.warnings
            return self.estimate(plan, plan.passes)
        finally:
            self.fields.set_truth_note(notes)

    def _connect(self) -> None:
        fields = self.fields
        for part in (fields.methods, fields.metrics):
            part.changed.connect(self._update)
        fields.label_box.currentIndexChanged.connect(lambda _: self._on_label())
        fields.truth_box.currentIndexChanged.connect(lambda _: self._on_truth())
        self.results.wanted.connect(self.show_map)
        fields.checks_box.chosen.connect(self.check)
        when_gone(self, partial(_leave, [self.results.grid, self.results.inspector.grid]))

    def _on_moved(self) -> None:
        """Another slice, or time point, is shown."""
        self.fields.methods.set_maps(self._maps())
        self._update()

    def _on_theme(self) -> None:
        super()._on_theme()
        theme = get_theme(self.viewer.theme)
        self.results.curves.set_colors(*theme_colors(theme.background, theme.text))
        for tree in (self.fields.methods.tree, self.fields.metrics.tree):
            tree.set_colors(*theme_colors(theme.text, theme.current))


def _might_be_map(layer: Layer, image: Image) -> bool:
    """Tell whether a layer without a record could hold a map of an image."""
    plain = layer._type_string == "image" and not layer.rgb and not layer.multiscale
    return plain and tuple(layer.data.shape) == image.spatial_shape


def _elsewhere(layer: Layer, image: Image) -> str:
    """Say that a layer lies at another place than an image; "" if it does not, or if that is not known."""
    own = layers.image_of_layer(layer, axes=SPACE[-layer.ndim :])
    if not image.layer or same_place(own, image):
        return ""
    return f"lies at another place than {image.name}"


def _found_until(found: Comparison) -> str:
    measured = "." if found.rows else "; nothing was measured yet."
    return f"The {counted(len(found.maps), 'map')} found until then can be shown{measured}"


def _leave(grids: Sequence[GridView]) -> None:
    """Restore the viewer when a dock is gone that showed its maps in a grid."""
    for grid in grids:
        grid.ended = lambda: None
        grid.stop()
