"""The form of a cohort, on the left of its dock. What the fields do is in dock.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from napari_segxai.analyses.cohort.plan import Keep
from napari_segxai.core.progress import Steps
from napari_segxai.gui.cases.form import CasesForm
from napari_segxai.gui.cases.source import PathLine
from napari_segxai.gui.viewer.dock_layout import lay_out_form
from napari_segxai.gui.widgets.fields import beside as in_a_row
from napari_segxai.gui.widgets.fields import combo, section
from napari_segxai.gui.widgets.label_list import LabelList
from napari_segxai.gui.widgets.method_list import MethodList
from napari_segxai.gui.widgets.metric_list import MetricList

if TYPE_CHECKING:
    from napari_segxai.gui.worker import Outcome

METHODS = ("misure",)
METRICS = ("dice-explained",)
"""Ticked at first."""

KEEP = {"all": "all maps", "tables": "tables alone"}

MOST_WORKERS = 999


class CohortForm(CasesForm):
    """The form of a cohort: its fields scroll, and the run bar stays in place below them."""

    def __init__(self, beside: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]):
        super().__init__(beside)
        self.labels = LabelList()
        self.methods = MethodList()
        self.methods.tick(METHODS)
        self.method_section = section("Methods", self.methods)
        self.metrics = MetricList(controls=False, options=False)
        self.metrics.set_truth(True)  # where a case has none, the number is left empty
        self.metrics.tree.tick(METRICS)
        self.more_metrics = QLineEdit()
        self.more_metrics.setPlaceholderText("more, with parameters: ips:binarize=0.2")
        self.more_metrics.setToolTip("Metrics with parameters of their own, with commas between them.")
        measured = QWidget()
        column = QVBoxLayout(measured)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.metrics)
        column.addWidget(self.more_metrics)
        self.metric_section = section("Metrics", measured)
        self.flow = QCheckBox("information flow of every case")
        self.flow.setToolTip("Its rows become a table of their own: where in the network each label emerges.")
        self.channels = QCheckBox("importance of the channels")
        self.channels.setToolTip("What each channel is worth, in a table of its own.")
        self.beyond: dict[str, Any] = {}
        """What an opened cohort asked of flow and channels, which the form cannot show."""
        self.out = PathLine(
            "folder of the results", "Where the results go. A run that was stopped there goes on."
        )
        self.out.button.clicked.connect(lambda: self._browse())
        self.keep_box = combo(
            "All maps as they are shown in the viewer, or rows of the tables alone: maps of many volumes take much room."
        )
        for name in get_args(Keep):
            self.keep_box.addItem(KEEP[name], name)
        self.where_box = combo(
            "here: in napari's own process. local: in processes of their own on this machine. slurm: jobs of a cluster. Or the address "
            "of a Dask scheduler, such as tls://node7:8786."
        )
        self.where_box.setEditable(True)
        self.where_box.addItems(["here", "local", "slurm"])
        self.workers = QSpinBox()
        self.workers.setRange(0, MOST_WORKERS)
        self.workers.setSpecialValueText("auto")
        self.workers.setSuffix(" workers")
        self.workers.setToolTip("How many cases are done at a time, in a process or job each.")
        self.workers.setEnabled(False)
        bar = self.run_bar
        bar.run.setToolTip("Explain and measure every case; what is there already is not done again.")
        bar.copy.setToolTip("Put a script on the clipboard that makes this cohort.")
        bar.again.hide()
        bar.save.hide()
        rows = {
            "Cases": self.source,
            "Model": self.model_box,
            "Labels": self.labels,
            "Results": self.out,
            "Keep": self.keep_box,
            "Where": in_a_row(self.where_box, self.workers),
        }
        parts = (self.method_section, self.metric_section, self.more(self.flow, self.channels))
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), self.run_bar)

    @property
    def where(self) -> str:
        """Where it is to run: "here", "local", "slurm" or an address."""
        return self.where_box.currentText().strip() or "here"

    def asked(self) -> dict[str, Any]:
        """Return what the form asks of every case, as `run_cohort` takes it; raises nothing."""
        given = {
            "labels": self.labels.ticked(),
            "methods": self.methods.methods(),
            "metrics": [
                *self.metrics.chosen(),
                *filter(None, map(str.strip, self.more_metrics.text().split(","))),
            ],
            "keep": self.keep_box.currentData(),
            "seed": self.seed_box.value(),
            "device": self.device_box.currentData(),
        }
        for name, tick in (("flow", self.flow), ("channels", self.channels)):
            if tick.isChecked():
                given[name] = self.beyond.get(name, True)
        return given

    def set_asked(self, record: Mapping[str, Any]) -> None:
        """Ask what the record of a cohort says."""
        self.labels.tick(record["labels"])
        self.methods.set_methods((one["method"], one["parameters"]) for one in record["methods"].values())
        self.metrics.tree.tick(record["metrics"])
        self.more_metrics.setText(", ".join(name for name in record["metrics"] if ":" in name))
        self.keep_box.setCurrentIndex(self.keep_box.findData(record["keep"]))
        self.seed_box.setValue(record["seed"])
        self.beyond = {name: record[name] for name in ("flow", "channels") if record.get(name) is not None}
        self.flow.setChecked("flow" in self.beyond)
        self.channels.setChecked("channels" in self.beyond)

    def place(self) -> dict[str, Any]:
        """Return where it is to run, as `run_cohort` takes it; nothing for this process."""
        if self.where == "here":
            return {}
        return {"where": self.where, **({"workers": self.workers.value()} if self.workers.value() else {})}

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of the results")
        if path:
            self.out.set_text(path)
