"""The list of metrics, and their parameters."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.compare.plan import METRICS, WITH_NOISE, WITH_TRUTH
from napari_segxai.analyses.compare.result import ARROWS
from napari_segxai.core.options import parameters
from napari_segxai.gui.widgets.parameter_form import ParameterForm
from napari_segxai.gui.widgets.tick_tree import TickTree
from napari_segxai.metrics.evaluation import Options
from napari_segxai.metrics.registry import Metric, all_metrics

HEIGHT = 130

AT_FIRST = (*METRICS, "dice-over-threshold", *WITH_TRUTH, *WITH_NOISE)

LACKS = {
    "truth": "needs a truth: choose a Labels layer",
    "noise model": "needs a noise model: name the file that u-noise saved as its weights",
}


class MetricList(QWidget):
    """Metrics by family, their parameters, and the random orders that are run beside the maps.

    Parameters
    ----------
    controls, options
        Whether random orders, and whether a noise model and parameters, are offered.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None, *, controls: bool = True, options: bool = True):
        super().__init__(parent)
        self.tree = TickTree()
        self.tree.setFixedHeight(HEIGHT)
        for metric in all_metrics():
            text = metric_words(metric)
            self.tree.add(
                metric.family, metric.name, text, metric_tip(metric), ticked=metric.name in AT_FIRST
            )
        self.controls = QSpinBox(self)
        self.controls.setRange(0, 9)
        self.controls.setValue(1)
        self.controls.setToolTip(
            "Random orders of the pixels that are also measured by insertion and deletion. A map that is no better than a random order says nothing."
        )
        self.noise = QLineEdit(self)
        self.noise.setPlaceholderText("file of u-noise, for ANA and SRM")
        self.noise.setClearButtonEnabled(True)
        self.noise.setMinimumWidth(60)
        self.noise.setToolTip(
            "The file that u-noise saved as its weights, trained for this model and label: how much noise it still adds "
            "behind a map is what ANA and SRM measure."
        )
        browse = QToolButton(self)
        browse.setText("…")
        browse.setToolTip("Choose the file.")
        browse.clicked.connect(lambda: self._browse())
        file = QHBoxLayout()
        file.addWidget(self.noise, 1)
        file.addWidget(browse)
        self.form = ParameterForm()
        self.form.set_parameters(parameters(Options))
        rows = QFormLayout()
        self.controls.setVisible(controls)
        if controls:
            rows.addRow("random orders", self.controls)
        if options:
            rows.addRow("noise model", file)
        for part in (self.noise, browse, self.form):
            part.setVisible(options)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.tree)
        layout.addLayout(rows)
        layout.addWidget(self.form)
        self._truth = False
        self._set_reasons()
        self.noise.textChanged.connect(lambda _: self._on_noise())
        self.tree.changed.connect(self.changed)
        self.form.changed.connect(self.changed)
        self.controls.valueChanged.connect(lambda _: self.changed.emit())

    def set_truth(self, known: bool) -> None:
        """Grey out what needs a truth where there is none."""
        self._truth = known
        self._set_reasons()

    @property
    def noise_model(self) -> str | None:
        """The file of the noise model."""
        return self.noise.text().strip() or None

    def chosen(self) -> list[str]:
        """Return the names of the ticked metrics for which everything is given, the usual ones first."""
        names = [str(name) for name in self.tree.ticked()]
        usual = [name for name in AT_FIRST if name in names]
        return usual + [name for name in names if name not in AT_FIRST]

    def options(self) -> dict[str, Any]:
        """Return the noise model, if any, and the parameters that are not the default."""
        noise = {} if self.noise_model is None else {"noise_model": self.noise_model}
        return {**noise, **self.form.changed_values()}

    def _set_reasons(self) -> None:
        lacking = {"truth": not self._truth, "noise model": self.noise_model is None}
        for metric in all_metrics():
            reasons = [LACKS[need] for need in metric.needs if lacking.get(need)]
            self.tree.set_reason(metric.name, reasons[0] if reasons else "")

    def _on_noise(self) -> None:
        self._set_reasons()
        self.changed.emit()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open what u-noise saved", "", "weights (*.safetensors)")
        if path:
            self.noise.setText(path)


def metric_words(metric: Metric) -> str:
    """Return a metric's title with its unit and an arrow to where it is better."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return metric.title + unit + ARROWS[metric.better]


def metric_tip(metric: Metric) -> str:
    """Say what a metric measures."""
    better = f"{metric.better} is better" if metric.better else "neither higher nor lower is better"
    return f"{metric.title}: {metric.summary}; {better}.\n{metric.source}"
