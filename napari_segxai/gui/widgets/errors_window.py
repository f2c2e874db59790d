"""A window beside a dock that lists the errors of the prediction; a click shows one in the viewer and makes it the region."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.explain.error_components import ErrorComponent, ErrorComponents, error_components
from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError, plain
from napari_segxai.core.progress import Step, Steps
from napari_segxai.core.target import Region
from napari_segxai.core.text_table import counted, listed
from napari_segxai.gui.viewer.lifetime import Tasks
from napari_segxai.gui.widgets.fields import plain_label
from napari_segxai.gui.widgets.truth_box import TruthBox
from napari_segxai.gui.worker import Outcome
from napari_segxai.io.layer_data import layer_metadata, layer_transform
from napari_segxai.io.placing import on_axes_of_layer

if TYPE_CHECKING:
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard

SIZE = (350, 360)
"""Of the window, in pixels."""

COLORS = {"false-positive": "#ff4fa0", "false-negative": "#ffd23f"}


def errors_button() -> QToolButton:
    """Return the button that opens the window."""
    button = QToolButton()
    button.setText("Errors…")
    button.setToolTip(
        "List the errors of the prediction (false positives and false negatives), and ask about one of them. A truth is needed."
    )
    return button


class ErrorsWindow(QWidget):
    """Lists false positives and false negatives of one label, connected components, the largest first.

    Attributes
    ----------
    chosen
        A component was clicked: the Labels layer that holds it.

    Parameters
    ----------
    dock
        Beside which it lies, and with which it goes.
    viewer, tasks
        Where layers go, and where predicting runs.
    plan
        Returns what the dock asks now of one label; raises a UserError where it cannot ask.
    truth_box
        The list of truths of the dock, where it has one; else the window has its own.
    """

    chosen = Signal(object)

    def __init__(
        self,
        dock: QWidget,
        viewer: Viewer,
        tasks: Tasks,
        plan: Callable[[], ExplanationPlan],
        truth_box: TruthBox | None = None,
    ):
        super().__init__(dock, Qt.WindowType.Tool)
        self.setWindowTitle("Errors")
        self.viewer, self.tasks, self.plan = viewer, tasks, plan
        self.found: list[ErrorComponent] = []
        self._image: Image | None = None
        self._label, self.truth = "", None
        self._choice: Any = None
        self._shown: ErrorComponent | None = None
        self._layer: ref[Labels] | None = None
        self.truth_box = TruthBox(viewer) if truth_box is None else truth_box
        self.truth_box.setAccessibleName("Truth")
        self.list_button = QPushButton("List errors")
        self.list_button.setToolTip("Predict the image, and compare the label with the truth.")
        self.said = plain_label()
        self.said.setWordWrap(True)
        self.table = QTableWidget(0, 4)
        self.table.setAccessibleName("Errors")
        self.table.setHorizontalHeaderLabels(["error", "number", "size", "pixels"])
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setToolTip("Click an error: it is shown in the viewer and becomes the region.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        if truth_box is None:
            top = QFormLayout()
            top.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            top.addRow("Truth", self.truth_box)
            layout.addLayout(top)
        layout.addWidget(self.list_button)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.said)
        self.resize(*SIZE)
        self.list_button.clicked.connect(lambda: self.list_errors())
        self.table.itemSelectionChanged.connect(self._on_selected)

    def open(self, layer: ImageLayer | None, card: ModelCard | None) -> None:
        """Open the window for an image and a model, whose truths are offered."""
        self.truth_box.set_source(layer)
        self.truth_box.set_model(card)
        own = self.isAncestorOf(self.truth_box)
        if own and self.truth_box.count() == 2:  # "none", and the only layer that it can be
            self.truth_box.setCurrentIndex(1)
        if not self.testAttribute(Qt.WidgetAttribute.WA_Moved):
            # Over the layer controls: systems put it in the middle, where the error that is clicked lies.
            main = self.viewer.window._qt_window
            self.move(main.mapToGlobal(main.menuBar().geometry().bottomLeft()))
        self.show()
        self.raise_()

    def list_errors(self) -> None:
        """Predict in the worker thread, and list the errors of the label that the dock has chosen."""
        try:
            plan = self.plan()
            if not self.truth_box.is_chosen:
                raise UserError("Choose the truth: a Labels layer with the true labels.")
            truth = self.truth_box.chosen(plan.image)
            model = self.truth_box.suited(plan.model)
        except UserError as error:
            self.said.setText(str(error))
            return
        plan.image.keep()
        self.found = []  # those listed before lie on what may be another image
        self.table.setRowCount(0)
        self._image, self._shown = plan.image, None
        label = plan.model.labels[plan.model.label_index(plan.target.label)]

        def make() -> Steps[ErrorComponents]:
            yield Step(0, 1, "prediction")
            return error_components(model, plan.image, label, truth, slice=plan.slice, device=plan.device)

        self._label, self.truth, self._choice = label, truth, self.truth_box.choice
        self.list_button.setEnabled(False)
        self.said.setText("Predicting…")
        self.tasks.in_background(make, lambda outcome: self._listed(outcome, label, plan.image))

    def _listed(self, outcome: Outcome, label: str, image: Image) -> None:
        self.list_button.setEnabled(True)
        if outcome.error is not None:
            self.said.setText(plain(outcome.error))
            return
        self.found = found = ErrorComponents() if outcome.result is None else outcome.result
        flat = len(image.spatial_shape) == 2
        unit = f"area ({image.units}²)" if flat else f"volume ({image.units}³)"
        self.table.blockSignals(True)
        self.table.setHorizontalHeaderLabels(["error", "number", unit, "pixels" if flat else "voxels"])
        self.table.setRowCount(len(self.found))
        for row, one in enumerate(self.found):
            for column, text in enumerate((one.error, str(one.number), f"{one.size:.4g}", str(one.pixels))):
                self.table.setItem(row, column, QTableWidgetItem(text))
        self.table.clearSelection()
        self.table.blockSignals(False)
        counts = [
            counted(sum(one.error == kind for one in self.found), kind.replace("-", " ")) for kind in COLORS
        ]
        ask = " Click one to ask about it." if self.found else ""
        said = "".join(f" ⚠ {note}" for note in found.notes)
        self.said.setText(
            f"Errors of {label} against layer '{self.truth_box.currentText()}': {listed(counts)}.{ask}{said}"
        )

    def asked(self, label: str, region: Region) -> ErrorComponent | None:
        """Return the error that a region of a label is, if it is the one that is shown and its truth is still the chosen one."""
        one = self._shown
        if one is None or label != self._label or self.truth_box.choice != self._choice:
            return None
        return one if isinstance(region, np.ndarray) and np.array_equal(region, one.mask) else None

    def _on_selected(self) -> None:
        rows = {index.row() for index in self.table.selectedIndexes()}
        if len(rows) == 1 and self._image is not None:
            self.show_error(self.found[rows.pop()])

    def show_error(self, one: ErrorComponent) -> None:
        """Show one component in the viewer, centered, and make it the region."""
        assert self._image is not None
        image, self._shown = self._image, one
        mask = np.ascontiguousarray(orientation.apply(one.mask.astype(np.uint8), image.to_display))
        shown, placed = on_axes_of_layer(mask, image.layer)
        kwargs = {**layer_transform(image), **placed}
        name = f"{one.error} {one.number} · {image.name}"
        layer = self._layer() if self._layer is not None else None
        if layer is None or layer not in self.viewer.layers or layer.data.shape != shown.shape:
            layer = self.viewer.add_labels(
                np.array(shown),
                name=name,
                metadata={**layer_metadata(image), "segxai_role": "error"},
                opacity=0.7,
                **kwargs,
            )
            self._layer = ref(layer)
        else:
            layer.data, layer.name = np.array(shown), name
        from napari.utils.colormaps import DirectLabelColormap

        layer.colormap = DirectLabelColormap(color_dict={1: COLORS[one.error], None: "transparent"})
        inside = np.argwhere(np.asarray(layer.data))
        middle = inside[np.square(inside - inside.mean(0)).sum(1).argmin()]
        world = layer.data_to_world(middle)
        for axis, at in enumerate(world, start=self.viewer.dims.ndim - len(world)):
            self.viewer.dims.set_point(axis, at)
        self.viewer.scene.camera.center = tuple(
            world[k - (self.viewer.dims.ndim - len(world))] for k in self.viewer.dims.displayed
        )
        self.chosen.emit(layer)
