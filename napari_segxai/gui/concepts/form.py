"""The form of a survey, on the left of the Concepts dock. What the fields do is in dock.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from napari_segxai.core.progress import Steps
from napari_segxai.gui.cases.form import CasesForm
from napari_segxai.gui.concepts.concepts_box import ConceptsBox
from napari_segxai.gui.viewer.dock_layout import lay_out_form
from napari_segxai.gui.widgets.fields import beside as in_a_row
from napari_segxai.gui.widgets.fields import combo, plain_label
from napari_segxai.gui.widgets.method_box import MethodBox
from napari_segxai.gui.widgets.method_help import HelpButton
from napari_segxai.gui.widgets.method_parameters import MethodParameters
from napari_segxai.methods.registry import all_methods

if TYPE_CHECKING:
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.card import ModelCard

FIRST = "network-dissection"
"""The method that is chosen at first."""

ALL = ""
"""What stands for all labels."""


class ConceptsForm(CasesForm):
    """The form of a survey: its fields scroll, and the run bar stays in place below them."""

    def __init__(self, beside: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]):
        super().__init__(beside)
        self.methods = all_methods("dataset")
        self.method_box = MethodBox(self.methods, "The method that looks for concepts.", scope="dataset")
        self.method_box.choose(FIRST)
        self.help = HelpButton(lambda: self.method_box.method)
        self.summary = plain_label()
        self.summary.setWordWrap(True)
        self.summary.setMinimumWidth(60)
        self.concepts = ConceptsBox()
        self.label_box = combo("The label that is looked at.")
        self.method_parameters = MethodParameters()
        self.form = self.method_parameters.form
        bar = self.run_bar
        bar.run.setToolTip("Run the method on all cases.")
        bar.copy.setToolTip("Copy a Python script that makes the shown result again.")
        bar.again.setToolTip("Run once more what the shown result was asked.")
        bar.save.setToolTip("Write the tables, figures, maps and the record to a folder.")
        rows = {
            "Cases": self.source,
            "Model": self.model_box,
            "Method": in_a_row(self.method_box, self.help),
            "": self.summary,
            "Concepts": self.concepts,
            "Label": self.label_box,
        }
        parts = (self.method_parameters.part, self.more())
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), bar)

    def asked(self) -> dict[str, Any]:
        """Return what the form asks, as `survey` takes it, but for the model and the cases.

        Raises
        ------
        UserError
            If no folder of masks is named.
        """
        on_cases = self.method_box.method.on_cases
        concepts = {"concepts": self.concepts.asked()} if on_cases and on_cases.concepts else {}
        return {
            "method": self.method_box.method.name,
            "label": self.label_box.currentData() or None,
            **concepts,
            "seed": self.seed_box.value(),
            "device": self.device_box.currentData(),
            **self.form.values(),
        }

    def set_asked(self, record: Mapping[str, Any]) -> None:
        """Ask what the record of a survey says."""
        self.method_box.choose(record["method"])
        self.form.set_values(record["parameters"])
        if record["concepts"] is not None:
            self.concepts.set_asked(record["concepts"])
        labels = record["labels"]
        self.label_box.setCurrentIndex(
            max(0, self.label_box.findData(labels[0] if len(labels) == 1 else ALL))
        )
        self.seed_box.setValue(record["seed"])

    def offer(self, card: ModelCard | None) -> None:
        """Offer what suits the model and the method: its labels, and where concepts come from."""
        on_cases = self.method_box.method.on_cases
        one, chosen = on_cases is not None and on_cases.label, self.label_box.currentData()
        self.concepts.setEnabled(on_cases is not None and on_cases.concepts)
        labels = list(card.labels[1:]) if card is not None else []
        box = self.label_box
        box.blockSignals(True)
        box.clear()
        if not one and len(labels) > 1:
            box.addItem("all labels", ALL)
        for label in labels:
            box.addItem(label, label)
        box.setCurrentIndex(max(0, box.findData(chosen)) if box.count() else -1)
        box.blockSignals(False)
