"""The form of a cohort, on the left of its dock. What the fields do is in dock.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from napari_segxai.analyses.cohort.plan import USUAL_WAYS, Keep
from napari_segxai.core.progress import Steps
from napari_segxai.gui.cases.form import CasesForm
from napari_segxai.gui.cases.source import PathLine
from napari_segxai.gui.cohort.question import CasesTargetFields
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

KEEP = {"all": "maps and tables", "tables": "tables only"}

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
        self.more_metrics.setPlaceholderText("more metrics, such as ips:binarize=0.2")
        self.more_metrics.setToolTip("More metrics, with their own parameters, separated by commas.")
        measured = QWidget()
        column = QVBoxLayout(measured)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.metrics)
        column.addWidget(self.more_metrics)
        self.metric_section = section("Metrics", measured)
        self.flow = QCheckBox("information flow of every case")
        self.flow.setToolTip("Adds a table: at which network layer each label emerges.")
        self.channels = QCheckBox("importance of the image channels")
        self.channels.setToolTip(
            "Adds a table: how much the prediction depends on each channel of the image."
        )
        self.causal = QCheckBox("causal check of every layer")
        self.causal.setToolTip(
            "Measures what the prediction loses when each network layer is ablated. This takes many more passes."
        )
        self.routes = QCheckBox("relevance of every layer (LRP)")
        self.routes.setToolTip(
            "Measures which share of the score comes through each network layer, and across its skip connection."
        )
        self.relevance = QCheckBox("relevance of units in")
        self.relevance.setToolTip(
            "Adds to the table of channels which share of the score comes through each unit (channel) of one network layer. The study Out of "
            "the ordinary makes its prototypes of these numbers."
        )
        self.layer_box = combo("The network layer; auto is the last main block before the last stage.")
        self.layer_box.setMinimumWidth(80)
        self.set_layers(())
        self.beyond: dict[str, dict[str, Any]] = {}
        """What an opened cohort asked of flow and channels, which the form cannot show."""
        self.out = PathLine(
            "folder of the results", "The folder for the results. A run that was stopped there is continued."
        )
        self.out.button.clicked.connect(lambda: self._browse())
        self.keep_box = combo(
            "Keep the maps of every case, to open them in the viewer, or only the tables: maps of many volumes take much disk space."
        )
        for name in get_args(Keep):
            self.keep_box.addItem(KEEP[name], name)
        self.where_box = combo(
            "Where the cases are computed. here: in napari's own process. local: in other processes on this machine. slurm: in jobs of a "
            "cluster. Or the address of a Dask scheduler, such as tls://node7:8786."
        )
        self.where_box.setEditable(True)
        self.where_box.addItems(["here", "local", "slurm"])
        self.workers = QSpinBox()
        self.workers.setRange(0, MOST_WORKERS)
        self.workers.setSpecialValueText("auto")
        self.workers.setSuffix(" workers")
        self.workers.setToolTip(
            "How many cases are computed at the same time, each in its own process or job."
        )
        self.workers.setEnabled(False)
        inner = [self.causal, self.routes]
        for tick in inner:
            tick.setEnabled(False)
            self.flow.toggled.connect(tick.setEnabled)
        self.relevance.toggled.connect(self.layer_box.setEnabled)
        ticks = (self.flow, *map(_set_in, inner), self.channels, in_a_row(self.relevance, self.layer_box))
        self.target = CasesTargetFields()
        self.target_section = section("Errors, contrast, border", self.target)
        bar = self.run_bar
        bar.run.setToolTip(
            "Explain and measure every case. Results that are already in the folder are not computed again."
        )
        bar.copy.setToolTip("Copy a Python script that runs this cohort.")
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
        parts = (self.method_section, self.metric_section, self.target_section, self.more(*ticks))
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), self.run_bar)

    @property
    def where(self) -> str:
        """Where it is to run: "here", "local", "slurm" or an address."""
        return self.where_box.currentText().strip() or "here"

    def asked(self) -> dict[str, Any]:
        """Return what the form asks of every case, as `run_cohort` takes it.

        Raises
        ------
        UserError
            If the band along the border is not two numbers.
        """
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
        if self.flow.isChecked():
            ticks = {"causal": self.causal, "routes": self.routes}
            kept = {name: value for name, value in self.beyond.get("flow", {}).items() if name not in ticks}
            given["flow"] = {
                **kept,
                **{name: True for name, tick in ticks.items() if tick.isChecked()},
            } or True
        if self.channels.isChecked() or self.relevance.isChecked():
            given["channels"] = self._channels()
        if target := self.target.asked():
            given["target"] = target
        return given

    def _channels(self) -> bool | dict[str, Any]:
        """Return what is asked of the channels: the ways of an opened cohort, or all that are usual, and relevance where it is ticked."""
        kept = dict(self.beyond.get("channels", {}))
        usual = [way for way in kept.pop("how", USUAL_WAYS) if way != "relevance"] or list(USUAL_WAYS)
        kept.pop("layer", None)
        if not self.relevance.isChecked():
            return {**kept, "how": usual} if "channels" in self.beyond else True
        layer = self.layer_box.currentData()
        how = [*(usual if self.channels.isChecked() else ()), "relevance"]
        return {**kept, "how": how, **({"layer": layer} if layer else {})}

    def set_layers(self, names: Sequence[str]) -> None:
        """Offer the network layers of the chosen model; what was chosen stays."""
        chosen = self.layer_box.currentData()
        self.layer_box.blockSignals(True)
        self.layer_box.clear()
        self.layer_box.addItem("auto", "")
        for name in names:
            self.layer_box.addItem(name, name)
        self.layer_box.setCurrentIndex(max(0, self.layer_box.findData(chosen)))
        self.layer_box.blockSignals(False)
        self.layer_box.setEnabled(self.relevance.isChecked())

    def set_asked(self, record: Mapping[str, Any]) -> None:
        """Ask what the record of a cohort says."""
        self.labels.tick(record["labels"])
        self.methods.set_methods((one["method"], one["parameters"]) for one in record["methods"].values())
        self.metrics.tree.tick(record["metrics"])
        self.more_metrics.setText(", ".join(name for name in record["metrics"] if ":" in name))
        self.keep_box.setCurrentIndex(self.keep_box.findData(record["keep"]))
        self.seed_box.setValue(record["seed"])
        self.beyond = {name: record[name] for name in ("flow", "channels") if record.get(name) is not None}
        target = record.get("target", {})
        self.target.set_asked(target)
        if "flow" in self.beyond:  # which got the contrast and the band of the target
            flow = self.beyond["flow"]
            self.beyond["flow"] = {key: flow[key] for key in flow if key not in target}
        flow, channels = (self.beyond.get(name, {}) for name in ("flow", "channels"))
        self.flow.setChecked("flow" in self.beyond)
        self.causal.setChecked(bool(flow.get("causal")))
        self.routes.setChecked(bool(flow.get("routes")))
        ways = channels.get("how", USUAL_WAYS) if "channels" in self.beyond else ()
        self.channels.setChecked(any(way != "relevance" for way in ways))
        self.relevance.setChecked("relevance" in ways)
        if (layer := channels.get("layer")) is not None:
            if self.layer_box.findData(layer) < 0:  # its model is not loaded yet
                self.layer_box.addItem(layer, layer)
            self.layer_box.setCurrentIndex(self.layer_box.findData(layer))

    def place(self) -> dict[str, Any]:
        """Return where it is to run, as `run_cohort` takes it; nothing for this process."""
        if self.where == "here":
            return {}
        return {"where": self.where, **({"workers": self.workers.value()} if self.workers.value() else {})}

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of the results")
        if path:
            self.out.set_text(path)


def _set_in(part: QWidget) -> QWidget:
    """Return a part that stands further in, since it belongs to the one above."""
    out = QWidget()
    row = QHBoxLayout(out)
    row.setContentsMargins(18, 0, 0, 0)
    row.addWidget(part)
    return out
