"""The Sweep parameters dock widget: one method, a grid of parameter values, and what comes of each combination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.utils.theme import get_theme

from napari_segxai.analyses.compare.again import model_facts
from napari_segxai.analyses.sweep.again import plan_again
from napari_segxai.analyses.sweep.load import load_sweep
from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.analyses.sweep.run import planned_sweep_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import counted
from napari_segxai.gui.dock import Dock, Request
from napari_segxai.gui.opened_result import of_what_is_meant
from napari_segxai.gui.script import write as script
from napari_segxai.gui.sweep.form import SweepForm
from napari_segxai.gui.sweep.results import SweepResults, words_of
from napari_segxai.gui.viewer import runs
from napari_segxai.gui.viewer.dock_layout import prefer_below
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.viewer.opened import layers_opened
from napari_segxai.gui.viewer.show_results import MAP_ALONE, map_layers, show_map
from napari_segxai.gui.viewer.theme import theme_colors
from napari_segxai.gui.widgets.run_bar import duration
from napari_segxai.gui.widgets.saving import choose_folder, saving_steps
from napari_segxai.methods.registry import options_as_dict

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.core.image import Image
    from napari_segxai.gui.script.files import ScriptFiles
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.methods.registry import Method
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

NAME = "Sweep parameters (napari-segxai)"
"""What napari calls the dock."""


class SweepDock(Dock):
    """Run one method with every combination of the values of one or two of its parameters.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and in which maps are shown.
    """

    fields: SweepForm
    kind = "sweep"

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        prefer_below(NAME)
        self._shown: dict[int, ref[Layer]] = {}
        self._form_of: Method | None = None
        self.results = SweepResults()
        self.set_up(SweepForm(self.viewer), self.results, width=310)
        self._connect()
        self.fields.method_box.choose("misure")
        self.refresh()

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def sweep(self) -> Sweep | None:
        """The sweep that is shown."""
        return self.results.sweep

    def plan(self) -> SweepPlan:
        """Return the sweep that the form describes, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        shown, model, fields = self.displayed(), self.loaded_model(), self.fields
        grid = fields.grid_box.grid()
        if not fields.metrics.chosen():
            raise UserError("Tick at least one metric.")
        return SweepPlan.make(
            model,
            shown.image,
            self.target(fields.region_box.chosen(shown.image)),
            (fields.method.name, fields.form.changed_values()),
            grid,
            metrics=fields.metrics.chosen(),
            seed=fields.target_fields.seed_box.value(),
            device=fields.device_box.currentData(),
            slice=shown.slice,
            **fields.metrics.options(),
        )

    def _explanation_plan(self, plan: SweepPlan) -> ExplanationPlan:
        return plan.comparison.shared

    # -- running ------------------------------------------------------------------------------------------

    def _steps(self, request: Request) -> Steps[Sweep]:
        return planned_sweep_steps(request.plan)

    def _on_done(self, request: Request, outcome: Outcome) -> None:
        found: Sweep | None = outcome.result
        kept = self.has_found(found)
        if kept:
            self._hide_maps()
            self.request, self._shown = request, {}
            self.results.set_sweep(found)
        had = self.sweep is not None
        nothing = "No map was ready" + (", all is as before." if had else ".")
        words = _found_until(found) if kept else nothing
        failed = f" {words}" if kept else ""
        if self._ended_well(outcome, failed=failed, cancelled=f"Cancelled. {words}", result=had):
            self.sides.fold()
            records = [explanation.record for explanation in found.comparison.explanations.values()]
            passes = sum((Passes(**record.passes) for record in records), found.comparison.passes)
            self._learn_speed(request.plan, passes, outcome.seconds)
            self.run_bar.set_ended(
                f"Done in {duration(outcome.seconds)} · {counted(len(records), 'combination')}"
            )

    @staticmethod
    def has_found(result: Sweep | None) -> bool:
        """Tell whether there is a map."""
        return result is not None and bool(result.comparison.maps)

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

    def _script(self) -> Callable[[ScriptFiles], str]:
        return partial(script.python_of_sweep, self.request.plan)

    @of_what_is_meant
    def save(self, folder: str | Path | None = None) -> None:
        """Write the table and the heat maps; the user is asked for the folder if none is given."""
        if self.sweep is None:
            return
        where = choose_folder(self, self.run_bar, folder, "Save the sweep in a folder")
        if where is not None:
            make = partial(saving_steps, self.sweep, where[0], overwrite=where[1])
            self.write(make)

    # -- what was opened --------------------------------------------------------------------------------

    def _load(self, folder: str) -> tuple[Sweep, Image, Mapping[str, Any]]:
        found = load_sweep(folder)
        return found, found.comparison.image, model_facts(found.comparison)

    def _plan_again(self, found: Sweep, model: SegmentationModel) -> SweepPlan:
        return plan_again(found, model)

    def _hold(self, request: Request, found: Sweep) -> None:
        plan, fields = request.plan, self.fields
        fields.label_box.setCurrentText(plan.comparison.shared.model.labels[found.comparison.label])
        fields.method_box.choose(found.method)
        fields.grid_box.set_grid({name: ", ".join(map(_text, values)) for name, values in found.grid.items()})
        options = options_as_dict(next(iter(plan.comparison.explanations.values())).options)
        fields.form.set_values({name: options[name] for name in found.fixed})
        names = list(found.comparison.maps)
        shown = map_layers(self.viewer, found.comparison.explanations)
        if (folder := request.form.get("folder")) is not None:
            shown |= layers_opened(self.viewer, self.kind, folder)
        self._hide_maps()
        self._shown = {names.index(name): layer for name, layer in shown.items() if name in names}
        self.request = request
        self.results.set_sweep(found)
        self.sides.fold()

    # -- keeping the form true ----------------------------------------------------------------------------

    def _set_model(self, card: ModelCard | None, model: SegmentationModel | None) -> None:
        if card is not None:
            self.fields.form.set_layers(self.network_layers())

    def _on_method(self) -> None:
        self.fields.grid_box.set_method(self.fields.method)

    def _on_grid(self) -> None:
        """Offer the parameters that are not swept; values that were set stay set."""
        fields = self.fields
        names = {p.name for p in fields.method.parameters} - set(fields.grid_box.names)
        if fields.method is not self._form_of or names != set(fields.form.values()):
            values = fields.form.changed_values()
            fields.form.set_method(fields.method, self.network_layers(), without=fields.grid_box.names)
            if fields.method is self._form_of:
                fields.form.set_values(values)
            self._form_of = fields.method
        self._update()

    def _cost(self) -> str:
        plan = self.plan()
        count = counted(len(plan.comparison.explanations), "combination")
        return f"{count}: {self.estimate(plan, plan.passes)}"

    def _connect(self) -> None:
        fields = self.fields
        fields.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        fields.grid_box.changed.connect(self._on_grid)
        for part in (fields.form, fields.metrics):
            part.changed.connect(self._update)
        fields.label_box.currentIndexChanged.connect(lambda _: self._update())
        self.run_bar.save_clicked.connect(lambda: self.save())
        self.results.wanted.connect(self.show_cell)

    def _on_theme(self) -> None:
        super()._on_theme()
        theme = get_theme(self.viewer.theme)
        self.fields.metrics.tree.set_colors(*theme_colors(theme.text, theme.current))


def _text(value: Any) -> str:
    """Return a value as one would type it."""
    return "auto" if value is None else str(value)


def _found_until(found: Sweep) -> str:
    maps = counted(len(found.comparison.maps), "map")
    measured = "." if found.comparison.rows else "; no metric was measured yet."
    return f"The {maps} found until then can be shown{measured}"
