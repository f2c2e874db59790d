"""Choosing a model: built-in, registered in this session, or from a folder or file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QMessageBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_segxai import model as model_room
from napari_segxai.engine.passes import Step, Steps
from napari_segxai.errors import UserError
from napari_segxai.gui import jobs, layers
from napari_segxai.image import Image
from napari_segxai.model import UntrustedCode, load_model
from napari_segxai.model.card import ModelCard, read_card
from napari_segxai.model.formats import builtin, folder, torchscript

if TYPE_CHECKING:
    from napari_segxai.model import SegmentationModel


@dataclass(eq=False)
class Entry:
    """A model in the list; `model` is None until it has been loaded."""

    source: Any
    card: ModelCard
    model: SegmentationModel | None = None
    trust: bool = False


class ModelBox(QWidget):
    """The list of models with a browse button and a line of facts.

    Attributes
    ----------
    changed
        Emitted when another model is chosen, and when the chosen one has been loaded.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setToolTip("The network that is explained.")
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Open a model folder (model.yaml) or a TorchScript file.")
        self.browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.browse)
        menu.addAction("Model folder…", self._browse_folder)
        menu.addAction("TorchScript file…", self._browse_file)
        self.browse.setMenu(menu)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.facts.setMinimumWidth(60)
        row = QHBoxLayout()
        row.addWidget(self.combo, 1)
        row.addWidget(self.browse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(row)
        layout.addWidget(self.facts)
        self.entries: list[Entry] = []
        self.problem = ""
        self._job: jobs.Job | None = None
        for name, path in builtin.names().items():
            self.entries.append(Entry(name, read_card(path / folder.CARD)))
        for entry in self.entries:
            self.combo.addItem(entry.card.name)
        self.refresh_registered()
        self.combo.currentIndexChanged.connect(lambda _: self._on_chosen())
        self._show_facts()

    @property
    def entry(self) -> Entry | None:
        """The chosen entry."""
        index = self.combo.currentIndex()
        return self.entries[index] if 0 <= index < len(self.entries) else None

    def refresh_registered(self) -> None:
        """Add models that were registered in the console since."""
        known = {id(entry.model) for entry in self.entries}
        for model in model_room.registered().values():
            if id(model) not in known:
                self._add(Entry(model, model.card, model))

    def prefer(self, image: Image) -> None:
        """Grey out the models that cannot take `image`, and choose one that can if the chosen one cannot."""
        fitting = [_fits(entry.card, image) for entry in self.entries]
        for index, fits in enumerate(fitting):
            item = self.combo.model().item(index)
            item.setEnabled(fits > 0)
            item.setToolTip("" if fits else f"does not take {image.name}")
        current = self.combo.currentIndex()
        if fitting and (current < 0 or not fitting[current]) and max(fitting) > 0:
            self.combo.setCurrentIndex(fitting.index(max(fitting)))

    def ensure_loaded(self) -> None:
        """Load the chosen model in the background if it is not loaded yet."""
        entry = self.entry
        if entry is None or entry.model is not None or self._job is not None:
            return
        self.problem = ""

        def make() -> Steps[SegmentationModel]:
            yield Step(0, 1, "loading the model")
            layers.warm_up()
            model = load_model(entry.source, trust=entry.trust)
            if model.has_layers:
                _ = model.outline  # lists the network layers, for which the network runs once
            return model

        def done(outcome: jobs.Outcome) -> None:
            self._job = None
            if outcome.error is not None:
                if self.entry is entry:
                    self.problem = str(outcome.error)
            elif outcome.result is not None:
                entry.model = outcome.result
            self.changed.emit()
            if self.entry is not entry:
                self.ensure_loaded()

        self._job = jobs.Job(make, lambda _: None, done)
        self.destroyed.connect(self._job.abandon)
        jobs.start(self._job)

    def open(self, path: str | Path, *, trust: bool = False) -> None:
        """Add the model folder or file at `path` and choose it.

        Raises
        ------
        UserError
            If it is no model.
        """
        path = Path(path)
        if folder.handles(path):
            card = read_card((path if path.is_dir() else path.parent) / folder.CARD)
            self._add(Entry(path, card, trust=trust))
        else:
            self._add(Entry(path, (model := load_model(path)).card, model))
        self.combo.setCurrentIndex(len(self.entries) - 1)

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.combo.addItem(entry.card.name)

    def _on_chosen(self) -> None:
        self._show_facts()
        self.problem = ""
        self.changed.emit()

    def _show_facts(self) -> None:
        entry = self.entry
        if entry is None:
            self.facts.setText("")
            return
        card = entry.card
        licence = card.licence.partition(" (")[0]
        facts = [f"{card.spatial_dims}D", ", ".join(card.channels), licence]
        self.facts.setText(" · ".join(fact for fact in facts if fact))
        about = {
            "": card.description,
            "Trained on": card.trained_on,
            "Not for": card.not_for,
            "Measured": card.validation,
            "Credit": card.credit,
            "Licence": card.licence,
        }
        lines = [f"{title}: {text}" if title else text for title, text in about.items() if text]
        tip = "".join(f"<p>{line}</p>" for line in lines)
        self.facts.setToolTip(tip)
        self.combo.setToolTip(tip or "The network that is explained.")

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a model folder")
        if path:
            self._open_asking(Path(path))

    def _browse_file(self) -> None:
        pattern = " ".join(f"*{suffix}" for suffix in torchscript.SUFFIXES)
        path, _ = QFileDialog.getOpenFileName(self, "Open a TorchScript file", "", f"TorchScript ({pattern})")
        if path:
            self._open_asking(Path(path))

    def _open_asking(self, path: Path) -> None:
        try:
            self.open(path)
            self.ensure_trusted(path)
        except UserError as error:
            self.problem = str(error)
            self.changed.emit()

    def ensure_trusted(self, path: Path) -> None:
        """Ask before code that comes with the model at `path` is run."""
        entry = self.entry
        if entry is None or entry.card.architecture is None:
            return
        try:
            folder.check_trust(entry.card.architecture, path if path.is_dir() else path.parent)
        except UntrustedCode as code:
            answer = QMessageBox.question(
                self,
                "Run code of this model?",
                f"This model runs the Python code in\n\n{code.path}\n\nDo you trust this file?",
            )
            if answer != QMessageBox.StandardButton.Yes:
                index = self.entries.index(entry)
                self.entries.pop(index)
                self.combo.removeItem(index)
                return
            entry.trust = True


def _fits(card: ModelCard, image: Image) -> int:
    """Return 0 when the model cannot take the image, else more for a better fit."""
    if card.spatial_dims > image.spatial_dims or len(card.channels) != image.channels:
        return 0
    return 2 if card.spatial_dims == image.spatial_dims else 1
