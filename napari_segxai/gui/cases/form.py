"""What the forms have that ask about a folder of cases; what the fields do is in the docks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFormLayout, QWidget

from napari_segxai.core.progress import Steps
from napari_segxai.gui.cases.source import SourceBox
from napari_segxai.gui.widgets.fields import device_box, section, seed_box
from napari_segxai.gui.widgets.model_box import ModelBox
from napari_segxai.gui.widgets.run_bar import RunBar

if TYPE_CHECKING:
    from napari_segxai.gui.worker import Outcome


class CasesForm(QWidget):
    """Base of the forms about a folder of cases: it makes the fields that all of them have, and every form lays them out.

    Parameters
    ----------
    beside
        Runs a task that asks no network: `Tasks.beside`.
    """

    def __init__(self, beside: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]):
        super().__init__()
        self.source = SourceBox(beside)
        self.model_box = ModelBox()
        self.seed_box = seed_box()
        self.device_box, self.no_gpu = device_box()
        self.run_bar = RunBar()

    def more(self, *ticks: QWidget) -> QWidget:
        """Return the section of what is rarely changed: these boxes, and the seed."""
        content = QWidget()
        rows = QFormLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        for tick in ticks:
            rows.addRow(tick)
        rows.addRow("seed", self.seed_box)
        return section("More", content)
