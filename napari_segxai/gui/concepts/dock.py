"""The Concepts dock widget: what a network has learnt, over a folder of cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer

from napari_segxai.analyses.again import model_again
from napari_segxai.analyses.concepts.again import plan_again
from napari_segxai.analyses.concepts.crops import crop_of, place_of
from napari_segxai.analyses.concepts.load import load_survey
from napari_segxai.analyses.concepts.plan import SurveyPlan
from napari_segxai.analyses.concepts.result import Survey, SurveyMap
from napari_segxai.analyses.concepts.run import survey_steps_of
from napari_segxai.analyses.concepts.sources import cases_of
from napari_segxai.analyses.concepts.units import unit_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Picture, shows
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import counted
from napari_segxai.gui.cases.case import CaseView
from napari_segxai.gui.cases.dock import CasesDock
from napari_segxai.gui.concepts.form import ConceptsForm
from napari_segxai.gui.concepts.gallery import Tile
from napari_segxai.gui.concepts.pieces import case_of, pieces_of
from napari_segxai.gui.concepts.results import CHOOSE, ConceptsResults
from napari_segxai.gui.opened_result import choose_model
from napari_segxai.gui.script.copying import put_on_clipboard
from napari_segxai.gui.script.write import python_of_survey
from napari_segxai.gui.viewer.dock_layout import prefer_below
from napari_segxai.gui.viewer.theme import theme_colors
from napari_segxai.gui.widgets.method_box import why_not
from napari_segxai.gui.widgets.run_bar import duration, estimate_on, learn_speed_on
from napari_segxai.gui.widgets.saving import choose_folder, saving_steps

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.gui.models.store import Entry
    from napari_segxai.gui.viewer.kept import Kept
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.segmentation import SegmentationModel

NAME = "Concepts (napari-segxai)"
"""What napari calls the dock."""

MOST = 60
"""Pictures that are shown at once."""


class ConceptsDock(CasesDock):
    """Ask what a network has learnt, look at units and concepts, and at where they are strongest.

    Parameters
    ----------
    napari_viewer
        The viewer in which cases are opened.
    """

    fields: ConceptsForm
    kind = "survey"

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        prefer_below(NAME)
        self.results = ConceptsResults()
        self.set_up(ConceptsForm(self.tasks.beside), self.results, width=320)
        self.case = CaseView(self.viewer, self.tasks, self)
        self._model: SegmentationModel | None = None
        """Which was asked what is shown; None where that was opened and its model not chosen since."""
        self._waiting: tuple[Entry, Callable[[], None]] | None = None
        self._cropped = 0
        self._row: Mapping[str, Any] | None = None
        self.is_cropping = False
        """Whether crops of the current row are on their way."""
        self._connect()
        self._on_theme()
        self._on_method()
        self.show_kept()

    @property
    def survey(self) -> Survey | None:
        """The survey that is shown."""
        return self.results.survey

    # -- what is asked --------------------------------------------------------------------------------------

    def _asks(self) -> tuple[Any, Callable[[], SurveyPlan]]:
        cases, model, asked = self.fields.source.cases(), self.loaded_model(), self.fields.asked()
        key = id(cases), id(model), repr(asked)
        return key, lambda: SurveyPlan.make(model, cases, **asked)

    def _words(self, seen: SurveyPlan) -> str:
        return f"{counted(len(seen.cases), 'case')} · {estimate_on(seen.model, seen.grid, seen.passes)}"

    # -- running --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run what the form describes."""
        try:
            _, make = self._asks()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        self._run(make)

    def run_again(self) -> None:
        """Ask once more what the shown survey answers."""
        survey = self.survey
        if survey is not None and not self.run_bar.is_running and self._has_model(self.run_again):
            self._run(partial(plan_again, survey, self._model))

    def _run(self, make_plan: Callable[[], SurveyPlan]) -> None:
        plans: list[SurveyPlan] = []

        def make() -> Steps[Survey]:
            plans.append(make_plan())  # which reads the first case
            return survey_steps_of(plans[0])

        on_partial, leave = partial(self._on_partial, plans), partial(self._leave_survey, plans)
        self._start(make, partial(self._on_done, plans), on_partial=on_partial, leave=leave)

    @classmethod
    def _leave_survey(cls, plans: list[SurveyPlan], viewer: Any, outcome: Outcome) -> None:
        cls.leave(plans[0].model if plans else None, viewer, outcome)

    def _on_partial(self, plans: list[SurveyPlan], survey: Survey) -> None:
        self._model = plans[0].model
        self._show(survey)

    def _show(self, survey: Survey) -> None:
        """Show a survey."""
        self.keep(survey, self._model)
        self.results.set_survey(survey)

    def _take_kept(self, kept: Kept) -> bool:
        """Show a survey again; what was asked is the model."""
        self._model, self._waiting = kept.request, None
        self.results.set_survey(kept.result)
        self.results.choose_first()
        return True

    def _on_done(self, plans: list[SurveyPlan], outcome: Outcome) -> None:
        survey: Survey | None = outcome.result
        found = survey is not None
        if found:
            self._on_partial(plans, survey)
            if self.results.row is None:
                self.results.choose_first()
        failed = " What was found until then is shown." if found else ""
        shown = "what was found until then is shown" if found else "there was nothing to show yet"
        if self._ended_well(outcome, failed=failed, cancelled=f"Cancelled; {shown}.", result=found):
            self.sides.fold()
            plan = plans[0]
            learn_speed_on(plan.model, plan.grid, Passes(**survey.record["passes"]), survey.record["seconds"])
            failed = counted(len(survey.failed), "case")
            said = f"\n⚠ {failed} failed: the table of the cases says why." if survey.failed else ""
            self.run_bar.set_ended(f"Done in {duration(survey.record['seconds'])}{said}")

    # -- after a run ----------------------------------------------------------------------------------------

    def copy_as_python(self) -> str:
        """Put a script that makes the shown survey again on the clipboard; returns it, "" where its model is not there yet."""
        survey = self.survey
        if survey is None or not self._has_model(self.copy_as_python):
            return ""
        text = python_of_survey(survey, self._model)
        return put_on_clipboard(text, self.run_bar)

    def save(self, folder: str | Path | None = None) -> None:
        """Write the shown survey to a folder, beside what runs; the user is asked for it if none is given."""
        survey = self.survey
        if survey is None:
            return
        where = choose_folder(self, self.run_bar, folder, "Save the survey in a folder")
        if where is not None:
            self.run_bar.show_status(f"Writing to {where[0]}…")
            make = partial(saving_steps, survey, where[0], overwrite=where[1])
            self.tasks.write_beside(make, self.run_bar.show_written)

    def _has_model(self, then: Callable[[], Any]) -> bool:
        """Tell whether the model is there that was asked what is shown; else it is chosen and loaded, and `then` is called."""
        survey = self.survey
        if self._model is not None or survey is None:
            return survey is not None
        try:
            entry = choose_model(self.model_box, survey.record["model"])
            if entry.model is not None:
                self._model = model_again(survey.record["model"], entry.model, "survey")
                self.keep(survey, self._model)
                return True
            if entry.problem:
                raise UserError(entry.problem)
        except UserError as error:
            self.run_bar.show_status(str(error), error=True)
            return False
        self.run_bar.show_status("Loading the model…")
        self._waiting = entry, then
        return False

    def _on_loaded(self, entry: Entry) -> None:
        """A model was loaded, or could not be: the one that is waited for?"""
        if self._waiting is not None and self._waiting[0] is entry:
            (_, then), self._waiting = self._waiting, None
            QTimer.singleShot(0, then)

    def look(self) -> None:
        """Look for the cases in which the unit of the current row is strongest; their maps join those of the survey."""
        survey, unit = self.survey, unit_of(self.results.row)
        if survey is None or unit is None or self.run_bar.is_running or not self._has_model(self.look):
            return
        model = self._model

        def make() -> Steps[tuple[SurveyMap, ...]]:
            return unit_steps(plan_again(survey, model), *unit)

        leave = partial(self._leave_looked, survey, model)
        self._start(make, partial(self._on_looked, survey), leave=leave)

    @classmethod
    def _leave_looked(cls, survey: Survey, model: SegmentationModel, viewer: Any, outcome: Outcome) -> None:
        """Let the maps that were found until the dock was closed join those of the survey."""
        if outcome.result:
            joined = replace(survey, maps=(*survey.maps, *outcome.result))
            cls.leave(model, viewer, replace(outcome, result=joined))

    def _on_looked(self, survey: Survey, outcome: Outcome) -> None:
        if outcome.result and self.survey is survey:
            self._show(replace(survey, maps=(*survey.maps, *outcome.result)))
        cancelled = "Cancelled; the cases until then are shown." if outcome.result else "Cancelled."
        if self._ended_well(outcome, cancelled=cancelled):
            self.run_bar.set_ended(f"Looked at all cases in {duration(outcome.seconds)}")

    # -- opening --------------------------------------------------------------------------------------------

    def _load(self, folder: str) -> Survey:
        return load_survey(folder)

    def _opened(self, found: Survey, folder: str) -> None:
        self._model, self._waiting = None, None
        self._show(found)
        self.results.choose_first()
        self.sides.fold()
        if self.run_bar.is_running:
            return
        self.run_bar.set_ended(f"{folder} was opened.")
        self._set_form(found.record, folder)

    def _set_form(self, record: Mapping[str, Any], folder: str) -> None:
        """Set the form to what an opened survey was asked."""
        fields = self.fields
        fields.source.set_asked(record["source"], layout=record["layout"], **record.get("find", {}))
        try:
            choose_model(self.model_box, record["model"])
        except UserError as error:
            self.run_bar.show_status(f"{folder} was opened; {error}", error=True)
        fields.set_asked(record)
        self._update()

    # -- crops, and cases in the viewer ---------------------------------------------------------------------

    def _on_row(self, row: Mapping[str, Any] | None) -> None:
        """Show where a row is strongest, without a row all pictures; crops are made in a thread of their own, since they read images."""
        self._cropped += 1
        self.is_cropping = False
        survey, gallery = self.survey, self.results.gallery
        if survey is None:
            gallery.set_tiles((), "")
            return
        maps = [one for one in survey.maps if row is not None and one.shows(row)]
        every = [picture for one in survey.galleries for picture in one.pictures]
        pictures = [one for one in every if row is None or shows(one.of, one.case, row)]
        if not maps and not pictures:
            unit = unit_of(row)
            look = "" if unit is None else f"Look for unit {unit[1]} of {unit[0]} in all cases"
            gallery.set_tiles((), _nothing(survey, row), look)
            return
        whole, said = gallery.whole, "\n".join(one.caption for one in survey.galleries if pictures)

        def make() -> Steps[tuple[list[Tile], list[str]]]:
            yield from ()
            return _tiles(survey, pictures[:MOST], maps[: max(0, MOST - len(pictures))], whole=whole)

        if row != self._row:
            gallery.set_tiles((), "Reading the images…")  # and nothing of another row
        self._row, self.is_cropping = row, True
        left = len(maps) + len(pictures) - MOST
        more = [f"The first {MOST} of {MOST + left}."] if left > 0 else []
        self.tasks.beside(make, partial(self._on_tiles, self._cropped, [said, *more]))

    def _on_tiles(self, number: int, said: list[str], outcome: Outcome) -> None:
        if number != self._cropped:
            return
        self.is_cropping = False
        tiles, failed = outcome.result or ([], [])
        if outcome.error is not None:
            failed = [str(outcome.error)]
        self.results.gallery.set_tiles(tiles, "\n".join(filter(None, [*said, *failed])))

    def show_case(
        self, case: str, name: str = "", place: tuple[int, int] | None = None, at: tuple[int, ...] = ()
    ) -> None:
        """Show a case: its image and truth, and one of its maps or a mark `at` an index, become layers; `place` is the slice that is gone to."""
        survey = self.survey
        if survey is not None and case:
            concept = (self.results.row or {}).get("concept") if name else None
            concept = concept if isinstance(concept, str) else ""
            key = survey.record["source"], case, name, str((place, at)), concept
            self.case.show(key, partial(pieces_of, survey, case, name, place, concept, at))
            self.results.chart.mark(case)

    def _on_active(self) -> None:
        """A layer of a case is selected in the viewer: its row and its points are marked."""
        active = self.viewer.layers.selection.active
        if not self.case.is_busy and active is not None and (case := case_of(active.metadata, self.survey)):
            self.results.mark(case)

    def _on_told(self, words: str, error: bool) -> None:
        if error and not self.run_bar.is_running:
            self.run_bar.show_status(words, error=True)

    # -- keeping the form true ------------------------------------------------------------------------------

    def _connect(self) -> None:
        fields, results = self.fields, self.results
        for part in (fields.source, fields.concepts, fields.form):
            part.changed.connect(self._update)
        for box in (fields.label_box, fields.device_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        fields.seed_box.valueChanged.connect(lambda _: self._update())
        fields.method_box.currentIndexChanged.connect(lambda _: self._on_method())
        self.model_box.changed.connect(self._on_model)
        self.model_box.store.changed.connect(self._on_loaded)
        self.run_bar.again_clicked.connect(lambda: self.run_again())
        self.run_bar.save_clicked.connect(lambda: self.save())
        results.chosen.connect(self._on_row)
        results.wanted.connect(self.show_case)
        results.opening.connect(lambda: self.open())
        results.pin.clicked.connect(self.case.pin)
        results.gallery.opened.connect(lambda tile: self.show_case(tile.case, tile.name, tile.place, tile.at))
        results.gallery.looked.connect(self.look)
        results.gallery.asked.connect(lambda: self._on_row(results.row))
        self.case.told.connect(self._on_told)
        self.follow((self.viewer.layers.selection.events.active, lambda _: self._on_active()))

    def _on_method(self) -> None:
        fields = self.fields
        fields.summary.setText(fields.method_box.method.summary)
        fields.method_parameters.set_method(fields.method_box.method, self.network_layers())
        fields.offer(self.card)
        self._update()

    def _on_model(self) -> None:
        fields, model = self.fields, self.model_if_loaded
        fields.offer(self.card)
        if model is not None:
            fields.method_box.set_reasons(
                {one.name: why_not(one, self.card, model) for one in fields.methods}
            )
            fields.form.set_layers(self.network_layers())
        if self.isVisible():
            self.model_box.ensure_loaded()
        self._update()

    def _on_theme(self) -> None:
        super()._on_theme()
        theme = get_theme(self.viewer.theme)
        self.results.set_colors(*theme_colors(theme.background, theme.text))


def unit_of(row: Mapping[str, Any] | None) -> tuple[str, int] | None:
    """Return the network layer and the number of the unit that a row is of; None where it is of none."""
    layer, unit = (None, None) if row is None else (row.get("layer"), row.get("unit"))
    return (layer, unit) if isinstance(layer, str) and isinstance(unit, int) else None


def _nothing(survey: Survey, row: Mapping[str, Any] | None) -> str:
    """Say why there is no picture of a row."""
    kept = list(dict.fromkeys(one.name for one in survey.maps))
    if row is None:
        return CHOOSE if kept else ""
    return f"No map is kept of this row, but of: {'; '.join(kept)}." if kept else "No maps are kept."


def _tiles(
    survey: Survey, pictures: Sequence[Picture], maps: Sequence[SurveyMap], *, whole: bool
) -> tuple[list[Tile], list[str]]:
    """Return pictures and crops of maps, and why there is none of some."""
    tiles, failed = [], []
    cases = {case.id: case for case in cases_of(survey.record)}
    for picture in pictures:
        place = None
        if picture.case and len(picture.at) == 3:
            try:
                place = place_of(cases[picture.case].read(), picture.at)
            except UserError as error:
                failed.append(str(error))
        tiles.append(Tile.of_picture(picture, place))
    for one in maps:
        try:
            tiles.append(Tile.of_crop(crop_of(one, whole=whole)))
        except UserError as error:
            failed.append(str(error))
    return tiles, list(dict.fromkeys(failed))
