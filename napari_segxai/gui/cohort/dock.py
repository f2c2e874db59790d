"""The Cohort dock widget: every case of a folder explained and measured, and the way from a number back to its case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme

from napari_segxai.analyses.cohort.api import run_cohort_steps
from napari_segxai.analyses.cohort.load import read_cohort
from napari_segxai.analyses.cohort.outlook import Outlook, outlook
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.cohort.report.api import write_report
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.tables.frame import Frame, frames
from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Step, Steps, relay
from napari_segxai.core.text_table import counted
from napari_segxai.gui.cases.case import CaseView
from napari_segxai.gui.cases.dock import CasesDock
from napari_segxai.gui.cohort.estimate import words_of
from napari_segxai.gui.cohort.form import CohortForm
from napari_segxai.gui.cohort.results import CohortResults
from napari_segxai.gui.opened_result import choose_model, known_models
from napari_segxai.gui.script.copying import put_on_clipboard
from napari_segxai.gui.script.write import python_of_cohort
from napari_segxai.gui.viewer.dock_layout import prefer_below
from napari_segxai.gui.viewer.opened_case import CASE, pieces_of
from napari_segxai.gui.viewer.theme import theme_colors
from napari_segxai.gui.widgets.run_bar import duration, learn_speed
from napari_segxai.gui.widgets.saving import choose_file
from napari_segxai.gui.widgets.slicer import SlicerButton
from napari_segxai.io.held import look

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.gui.viewer.kept import Kept
    from napari_segxai.gui.worker import Outcome

NAME = "Cohort (napari-segxai)"
"""What napari calls the dock."""

Tables = tuple[Cohort, dict[str, Frame]]


class CohortDock(CasesDock):
    """Run every case of a folder, look at the tables while they fill, and open cases from them.

    Parameters
    ----------
    napari_viewer
        The viewer in which cases are opened.
    """

    fields: CohortForm
    kind = "cohort"

    def __init__(self, napari_viewer: napari.viewer.Viewer):
        super().__init__(napari_viewer)
        prefer_below(NAME)
        self.results = CohortResults(self.tasks.beside)
        self.set_up(CohortForm(self.tasks.beside), self.results, width=320)
        self.case = CaseView(self.viewer, self.tasks, self)
        self.slicer = SlicerButton(self.run_bar, "the selected cases")
        self.results.add_button(self.slicer)
        self._running: tuple[CohortPlan, Path, Outlook | None] | None = None
        self._connect()
        self._on_theme()
        self._on_model()
        self.show_kept()

    @property
    def cohort(self) -> Cohort | None:
        """The cohort that is shown."""
        return self.results.cohort

    # -- what is asked --------------------------------------------------------------------------------------

    def plan(self) -> CohortPlan:
        """Return what the form asks of every case, checked.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        fields = self.fields
        cases = fields.source.cases()
        model, asked = self.loaded_model(), fields.asked()
        if not asked["labels"]:
            raise UserError("Tick at least one label.")
        if not asked["methods"] and not asked.get("flow") and not asked.get("channels"):
            raise UserError("Tick at least one method.")
        if not fields.out.text():
            raise UserError("Name a folder for the results.")
        threads = self._threads() or (None if fields.where == "here" else 1)
        return CohortPlan.make(model, cases, threads=threads, **asked)

    def _threads(self) -> int | None:
        """Return with how many threads the results were computed that are there: so that they fit."""
        out = user_path(self.fields.out.text())
        kept = look(out).record.get("threads") if out.is_dir() else None
        return kept if isinstance(kept, int) and kept > 0 else None

    def _asks(self) -> tuple[Any, Callable[[], tuple[CohortPlan, Outlook]]]:
        plan, out = self.plan(), user_path(self.fields.out.text())
        key = id(plan.cases), id(plan.model), repr(plan.question), str(out)
        return key, lambda: (plan, outlook(plan, out))

    def _words(self, seen: tuple[CohortPlan, Outlook]) -> str:
        return words_of(*seen)

    # -- running --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run what the form describes, or go on with it."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.set_blocked(str(error))
            return
        fields, out = self.fields, user_path(self.fields.out.text())
        self._running = plan, out, None if self.seen is None else self.seen[1]
        asked = {**fields.asked(), **fields.place()}

        def make() -> Steps[Tables]:
            found = yield from relay(run_cohort_steps(plan.model, plan.cases, out=out, **asked), _with_tables)
            return found, frames(found)

        if self.cohort is None or self.cohort.folder != out:
            self.results.set_cohort(None)
        self._start(make, self._on_done, on_partial=self._on_partial, leave=partial(self.leave, None))

    def _on_partial(self, tables: Tables) -> None:
        cohort, made = tables
        if (
            self.cohort is None or self.cohort.folder == cohort.folder
        ):  # another one may have been opened meanwhile
            self.results.set_cohort(cohort, ended=False, made=made)
            self.keep(tables)

    def _on_done(self, outcome: Outcome) -> None:
        plan, out, seen = self._running
        self._running = None
        self._no_longer_seen()
        found: Cohort | None = None
        if outcome.result is not None:
            found, made = outcome.result
            self.results.set_cohort(found, made=made)
            self.keep(outcome.result)
        words = f" What is done is kept in {out}; Run goes on." if out.is_dir() else ""
        if self._ended_well(outcome, failed=words, cancelled=f"Cancelled.{words}", result=False):
            self.sides.fold()
            if (
                seen is not None
                and seen.passes is not None
                and not found.failed
                and self.fields.where == "here"
            ):
                learn_speed(plan.model, seen.image, seen.slice, seen.passes, outcome.seconds)
            failed = len({row["case"] for row in found.failed})
            said = f"\n⚠ {counted(failed, 'case')} failed: the red rows say why." if failed else ""
            self.run_bar.set_ended(f"Done in {duration(outcome.seconds)} · {found}{said}", result=False)

    def copy_as_python(self) -> str:
        """Put a script that runs what the form describes on the clipboard; returns it, "" where that cannot be run."""
        try:
            plan = self.plan()
        except UserError as error:
            self.run_bar.show_status(f"Nothing was copied: {error}", error=True)
            return ""
        source, fields = self.fields.source, self.fields
        text = python_of_cohort(
            plan.model,
            str(plan.cases.source),
            source.asked(),
            {**fields.asked(), **fields.place()},
            fields.out.text(),
        )
        return put_on_clipboard(text, self.run_bar)

    def _update(self) -> None:
        super()._update()
        self.run_bar.copy.setEnabled(self.run_bar.run.isEnabled())

    def write_report(self, path: str | Path | None = None, *, anonymous: bool = False) -> None:
        """Write a report of the cohort that is shown, beside what runs; the user is asked for the file if none is given."""
        cohort = self.cohort
        if cohort is None:
            return
        file = choose_file(self, path, "Write the report", "report.html", "HTML (*.html);;PDF (*.pdf)")
        if file is None:
            return

        def make() -> Steps[list[Path]]:
            yield from ()
            return write_report(cohort, file, anonymous=anonymous)

        if not self.run_bar.is_running:
            self.run_bar.show_status("Writing the report…")
        self.tasks.write_beside(make, self._on_report)

    def _on_report(self, outcome: Outcome) -> None:
        running = self.run_bar.is_running
        self.run_bar.show_written(outcome)
        if outcome.error is not None and not running:
            self._update()

    # -- 3D Slicer ------------------------------------------------------------------------------------------

    def export_to_slicer(self, folder: str | Path | None = None) -> None:
        """Write the selected cases, or the current one, for 3D Slicer; the user is asked for the folder if none is given.

        Several cases get a folder each, in the one that is chosen.
        """
        cohort, chosen = self.cohort, self.results.cases or [self.results.case]
        if cohort is None or not self._has_case(chosen[0]):
            return
        if len(chosen) == 1:
            self.slicer.write(cohort, self.tasks.write_beside, folder, parts={"": chosen[0]})
            return
        mapped = {row["case"] for row in cohort.maps if not row["error"]}
        places = {case["id"]: case["folder"] for case in cohort.record["cases"]}
        parts = {places[case]: case for case in chosen if case in mapped} or {places[chosen[0]]: chosen[0]}
        without = len(chosen) - len(parts)
        note = (
            f" {without} of the selected cases {'has' if without == 1 else 'have'} no map." if without else ""
        )
        self.slicer.write(cohort, self.tasks.write_beside, folder, parts=parts, note=note)

    def open_in_slicer(self, folder: str | Path | None = None) -> None:
        """Open the current case in a 3D Slicer that runs on this machine; it is exported to a folder first."""
        if self.cohort is not None and self._has_case(case := self.results.case):
            self.slicer.show_there(self.cohort, self.tasks.beside, folder, parts={"": case})

    def _has_case(self, case: str) -> bool:
        """Tell whether there is a case; say what is to be done where there is none."""
        if not case and not self.run_bar.is_running:
            self.run_bar.show_status("Select a case in the table or the plot.", error=True)
        return bool(case)

    # -- opening --------------------------------------------------------------------------------------------

    def _load(self, folder: str) -> Tables:
        found = read_cohort(folder)
        return found, frames(found)

    def _opened(self, found: Tables, folder: str) -> None:
        cohort, made = found
        self.results.set_cohort(cohort, made=made)
        self.keep(found)
        self.run_bar.show_status(f"{cohort.folder} was opened.")
        if not self.run_bar.is_running:
            self._set_form(cohort)

    def _take_kept(self, kept: Kept) -> bool:
        """Show a cohort again; where its model is in the list, the form asks what it was asked, and Run goes on with it."""
        cohort, made = kept.result
        self.results.set_cohort(cohort, made=made)
        if known_models(self.model_box, cohort.record["model"]):
            self._set_form(cohort)
        return True

    def _way_to_files(self) -> str:
        """A cohort is in its folder."""
        return f"; its tables and maps are in {self.cohort.folder}"

    def _set_form(self, cohort: Cohort) -> None:
        """Set the form to what an opened cohort was asked, so that Run goes on with it."""
        record, fields = cohort.record, self.fields
        fields.source.set_asked(record["source"], layout=record["layout"], **record.get("find", {}))
        fields.out.set_text(str(cohort.folder))
        try:
            choose_model(self.model_box, record["model"])
        except UserError as error:
            self.run_bar.show_status(f"{cohort.folder} was opened; {error}", error=True)
        fields.set_asked(record)
        self._update()

    # -- cases in the viewer --------------------------------------------------------------------------------

    def show_case(self, case: str, label: str = "", map: str = "") -> None:
        """Show a case: its image, truth, prediction and saved maps become layers."""
        if self.cohort is not None and case:
            cohort = self.cohort
            pieces = partial(pieces_of, cohort.folder, cohort.record, case, label, map)
            self.case.show((str(cohort.folder), case, label, map), pieces)

    def _on_active(self) -> None:
        """A layer of a case is selected in the viewer: its row is marked."""
        if self.case.is_busy:  # layers that are added are selected for a moment
            return
        active = self.viewer.layers.selection.active
        told = None if active is None else active.metadata.get(CASE)
        if (
            isinstance(told, Mapping)
            and self.cohort is not None
            and told["cohort"] == str(self.cohort.folder)
        ):
            self.results.mark(told["case"], told["label"], told["map"])

    def _on_told(self, words: str, error: bool) -> None:
        if error and not self.run_bar.is_running:
            self.run_bar.show_status(words, error=True)

    # -- keeping the form true ------------------------------------------------------------------------------

    def _connect(self) -> None:
        fields, results = self.fields, self.results
        for part in (fields.source, fields.labels, fields.methods, fields.metrics, fields.target, fields.out):
            part.changed.connect(self._update)
        for box in (fields.keep_box, fields.device_box, fields.layer_box):
            box.currentIndexChanged.connect(lambda _: self._update())
        for tick in (fields.flow, fields.causal, fields.routes, fields.channels, fields.relevance):
            tick.toggled.connect(lambda _: self._update())
        fields.more_metrics.textChanged.connect(lambda _: self._update())
        fields.seed_box.valueChanged.connect(lambda _: self._update())
        fields.where_box.currentTextChanged.connect(lambda _: self._on_where())
        self.model_box.changed.connect(self._on_model)
        results.wanted.connect(self.show_case)
        results.opening.connect(lambda: self.open())
        results.reporting.connect(lambda anonymous: self.write_report(anonymous=anonymous))
        results.pin.clicked.connect(self.case.pin)
        self.slicer.export.triggered.connect(lambda: self.export_to_slicer())
        self.slicer.open.triggered.connect(lambda: self.open_in_slicer())
        self.case.told.connect(self._on_told)
        self.follow((self.viewer.layers.selection.events.active, lambda _: self._on_active()))

    def _on_where(self) -> None:
        self.fields.workers.setEnabled(self.fields.where != "here")
        self._update()

    def _on_model(self) -> None:
        card, model = self.card, self.model_if_loaded
        if card is not None:
            self.fields.labels.set_labels(card.labels)
            self.fields.target.offer_against(card.labels)
            self.fields.methods.set_model(card, model)
        if model is not None:
            self.fields.set_layers(self.network_layers())
        if self.isVisible():
            self.model_box.ensure_loaded()
        self._update()

    def _on_theme(self) -> None:
        super()._on_theme()
        theme = get_theme(self.viewer.theme)
        text, accent = theme_colors(theme.text, theme.current)
        for tree in (self.fields.methods.tree, self.fields.metrics.tree):
            tree.set_colors(text, accent)
        self.results.set_colors(*theme_colors(theme.background, theme.text))


def _with_tables(step: Step) -> Step:
    """Let what there is so far come with its tables, made in the thread of the run."""
    if step.partial is None:
        return step
    so_far = step.partial

    def made() -> Tables:
        found = so_far()
        return found, frames(found)

    return Step(step.done, step.total, step.note, made)
