"""The list of models: built-in, registered in this session, or opened from a folder or file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.text_table import counted
from napari_segxai.gui.models import recent
from napari_segxai.gui.models.load_dialog.dialog import LoadDialog
from napari_segxai.gui.models.load_dialog.trust import is_allowed, says_yes
from napari_segxai.gui.models.store import Entry, ModelStore
from napari_segxai.gui.viewer.displayed import DisplayedImage, displayed_image
from napari_segxai.gui.widgets.fields import plain_label, tip
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import checkpoint, torchscript
from napari_segxai.models.partial_card import CardIncomplete, PartialCard
from napari_segxai.models.registry import check_stored

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel

FOLDERS = (
    "A model folder with model.yaml, a folder of nnU-Net's results, or any other folder that holds a model."
)
FILES = "Weights that a training has saved (.pth, .ckpt, .safetensors), or a TorchScript file."


class ModelBox(QWidget):
    """The list of models with a button to load one, a line of facts, and what does not fit.

    The list is the same in all docks; what is chosen is not. A new dock begins with what was chosen last in another. Until somebody
    chooses here, a model that takes the image is chosen; afterwards only the user chooses, and what does not fit is said.

    Attributes
    ----------
    changed
        Emitted when another model is chosen, and when the chosen one has been loaded.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.store = ModelStore.shared()
        self.setAcceptDrops(True)
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.browse = QPushButton("Load model…")
        self.browse.setToolTip("Load a folder of a model, weights, a TorchScript file, or a recent model.")
        self.menu = QMenu(self.browse)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self._offer)
        self.browse.setMenu(self.menu)
        self.facts = _text()
        self.note = _text()
        self.note.setStyleSheet("color: #ffb454;")
        self.note.hide()
        row = QHBoxLayout()
        row.addWidget(self.facts, 1)
        row.addWidget(self.browse, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.combo)
        layout.addLayout(row)
        layout.addWidget(self.note)
        self._entry: Entry | None = self.store.chosen
        self._by_user = False
        self.dialog: LoadDialog | None = None  # that asks what a model's files do not say
        self._refused = ""  # why what was to be loaded is not in the list
        self._read: Callable[[int], Image] | None = None
        self._fill()
        self._tell()
        self.combo.currentIndexChanged.connect(lambda _: self._on_chosen())
        self.combo.activated.connect(lambda _: self._on_again())
        self.store.listed.connect(self._fill)
        self.store.changed.connect(self._on_loaded)

    @property
    def entries(self) -> list[Entry]:
        """The models, in the order of the list."""
        return self.store.entries

    @property
    def entry(self) -> Entry | None:
        """The chosen entry."""
        return self._entry

    @property
    def problem(self) -> str:
        """Why the chosen model could not be loaded; "" if no reason is known."""
        return self._entry.problem if self._entry is not None else ""

    @property
    def refused(self) -> str:
        """Why what was to be opened is not in the list; "" if it is."""
        return self._refused

    def refresh_registered(self) -> None:
        """Add models that were registered in the console since."""
        self.store.refresh_registered()

    def prefer(self, read: Callable[[int], Image]) -> None:
        """Grey out the models that cannot take an image; as long as nobody has chosen one, choose one that can.

        Parameters
        ----------
        read
            Returns the image for a model with this many channels; raises a UserError where it cannot be told.
        """
        self._read = read
        scores = self._gray()
        current = self.combo.currentIndex()
        if not self._by_user and max(scores, default=0) and not (current >= 0 and scores[current]):
            self.combo.setCurrentIndex(scores.index(max(scores)))
            self._by_user = False
        self._tell()

    def ensure_loaded(self) -> None:
        """Load the chosen model in the background, unless it is loaded or could not be loaded before."""
        if self._entry is not None:
            self.store.load(self._entry)

    def open(self, path: str | Path, *, trust: bool = False) -> None:
        """Add the model folder or file at `path` to the list of all docks and choose it here.

        Raises
        ------
        UserError
            If it is not a model.
        """
        entry = self.store.read(path)
        if trust:
            entry.trust, entry.failed = True, ()
        self.choose(entry)

    def choose(self, entry: Entry) -> None:
        """Choose an entry here, which is added to the list of all docks, and load it."""
        self.store.add(entry)
        self.combo.setCurrentIndex(self.entries.index(entry))
        self._by_user, self._refused, self.store.chosen = True, "", entry
        self._tell()
        self.changed.emit()  # also where it was chosen before: it may have been loaded in vain
        self.ensure_loaded()

    # -- keeping the list true ----------------------------------------------------------------------------

    def _fill(self) -> None:
        """Show the list; keep the chosen entry, or what took its place."""
        index = self.combo.currentIndex()
        self.combo.blockSignals(True)
        self.combo.clear()
        for entry in self.entries:
            self.combo.addItem(self.store.title(entry))
            self.combo.setItemData(self.combo.count() - 1, str(entry.path or ""), Qt.ItemDataRole.ToolTipRole)
        if self._entry in self.entries:
            index = self.entries.index(self._entry)
        self.combo.setCurrentIndex(max(0, min(index, len(self.entries) - 1)))
        self.combo.blockSignals(False)
        self._gray()
        if self._at() is not self._entry:
            self._entry = self._at()
            self._tell()
            self.changed.emit()

    def _at(self) -> Entry | None:
        index = self.combo.currentIndex()
        return self.entries[index] if 0 <= index < len(self.entries) else None

    def _gray(self) -> list[int]:
        """Grey out what cannot take the image; returns how well every model fits it, 0 for not at all."""
        if self._read is None:
            return []
        read, scores = cache(self._read), []  # most models take equally many channels
        for index, entry in enumerate(self.entries):
            reason, score = self._misfit(entry.card, read)
            scores.append(score)
            item = self.combo.model().item(index)
            item.setEnabled(not reason)
            item.setToolTip(tip(reason or str(entry.path or "")))
        return scores

    def _misfit(self, card: ModelCard, read: Callable[[int], Image] | None = None) -> tuple[str, int]:
        """Say why a model cannot take the image ("" if it can), and how well it fits; see `misfit`."""
        read = read or self._read
        if read is None:
            return "", 0
        try:
            image = read(len(card.channels))
        except UserError:
            return "", 0  # there is no image, or nobody knows yet what its axes are
        return misfit(card, image)

    def _on_chosen(self) -> None:
        self._entry, self._by_user, self._refused = self._at(), True, ""
        self._tell()
        self.changed.emit()

    def _on_again(self) -> None:
        """The user opened the list and took an entry, which may be the one that was chosen already: a choice, too."""
        self._by_user, self._refused, self.store.chosen = True, "", self._entry
        self._tell()
        self.ensure_loaded()

    def _on_loaded(self, entry: Entry) -> None:
        if entry is not self._entry:
            return
        untrusted, entry.untrusted = entry.untrusted, None  # it is asked once, in one dock
        if untrusted is not None and self._by_user and says_yes(self, untrusted):
            entry.trust, entry.failed = True, ()
            self.ensure_loaded()
            return
        partial, entry.incomplete = entry.incomplete, None
        if partial is not None and self._by_user and entry.path is not None and self.dialog is None:
            self._ask(entry.path, partial, trust=entry.trust)
        self._tell()
        self.changed.emit()

    def _tell(self) -> None:
        """Say what the chosen model is, and what does not fit."""
        entry = self._entry
        said = [self._refused]
        if entry is None:
            self.facts.setText("")
        else:
            card = entry.card
            seen = ", ".join(card.channels) if len(card.channels) <= 4 else f"{len(card.channels)} channels"
            several = "labels may overlap" if card.overlapping else ""
            facts = [f"{card.spatial_dims}D", seen, several, card.license.partition(" (")[0]]
            self.facts.setText(" · ".join(fact for fact in facts if fact))
            about = _about(card)
            self.facts.setToolTip(about)
            self.combo.setToolTip(about or "The network that is explained.")
            said = [self._refused or self._misfit(card)[0], *(entry.model.notes if entry.model else ())]
        self.note.setText("\n".join(f"⚠ {note}" for note in said if note))
        self.note.setVisible(any(said))

    # -- loading ------------------------------------------------------------------------------------------

    def _offer(self) -> None:
        """Fill the menu with the ways to a model."""
        self.menu.clear()
        for words, browse, tooltip in (
            ("Folder…", self._browse_folder, FOLDERS),
            ("File or weights…", self._browse_file, FILES),
        ):
            self.menu.addAction(words, browse).setToolTip(tooltip)
        models = recent.recent_models()
        if not models:
            return
        self.menu.addSection("Recent")
        for model in models:
            path = Path(model.path)
            action = self.menu.addAction(f"{model.name}  ({path.name})".replace("&", "&&"))
            action.setToolTip(tip(str(path)))
            action.triggered.connect(lambda *_, path=path: self.open_asking(path))
        self.menu.addSeparator()
        self.menu.addAction("Forget recent models", recent.forget_all)

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open the folder of a model")
        if path:
            self.open_asking(Path(path))

    def _browse_file(self) -> None:
        suffixes = dict.fromkeys((*checkpoint.SUFFIXES, *torchscript.SUFFIXES))
        pattern = " ".join(f"*{suffix}" for suffix in suffixes)
        path, _ = QFileDialog.getOpenFileName(
            self, "Open weights or a TorchScript file", "", f"Weights and networks ({pattern});;All files (*)"
        )
        if path:
            self.open_asking(Path(path))

    def dragEnterEvent(self, event: Any) -> None:
        """Take a model that is dropped here, as the window does."""
        if _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open it."""
        path = _dropped(event)
        if path is not None:
            event.acceptProposedAction()
            self.open_asking(path)

    def open_asking(self, path: Path) -> None:
        """Add the model at `path` and choose it, after the user has allowed the code that comes with it.

        Where its files do not say all, a dialog asks. What is wrong with it is said below the list; the chosen model stays.
        """
        try:
            try:
                entry = self.store.read(path)
            except CardIncomplete as incomplete:
                self._ask(path, incomplete.partial)
                return
            if not self._is_trusted(entry):
                raise UserError(f"{path} was not loaded: its code was not trusted.")
        except UserError as error:
            self._refused = str(error)
            self._tell()
            return
        self.choose(entry)

    def _is_trusted(self, entry: Entry) -> bool:
        """Ask before code that comes with a model is run; once in a session."""
        place = entry.card.architecture
        if place is None or entry.trust or entry.model is not None or entry.path is None:
            return True
        path = entry.path
        allowed = is_allowed(self, lambda: check_stored(path, place))
        entry.trust = bool(allowed)
        return allowed is not None

    def _ask(self, path: Path, partial: PartialCard, *, trust: bool = False) -> None:
        """Ask what the files of a model do not say; `trust` is whether the user has said yes to its code."""
        viewer = napari.current_viewer()
        if viewer is None:
            raise UserError(
                f"{path}: its files do not say all about the model; there is no window to ask in."
            )
        self.dialog = LoadDialog(self, viewer, path, partial, self._displayed, trust=trust)
        self.dialog.used.connect(self._on_used)
        self.dialog.destroyed.connect(self._forget_dialog)
        self.dialog.show()

    def _forget_dialog(self) -> None:
        self.dialog = None

    def _on_used(self, model: SegmentationModel, saved: str) -> None:
        """Take a model that was asked for: from the folder in which it was saved, else as it is."""
        try:
            if saved:
                self.open(saved, trust=model.trusted)
            else:
                self.choose(Entry(model, model.card, model))
        except UserError as error:
            self._refused = str(error)
            self._tell()

    def _displayed(self, card: ModelCard) -> DisplayedImage:
        """Return the image on which a model is tried: that of the dock, else the selected one."""
        widget: QWidget | None = self
        while widget is not None:
            box = getattr(widget, "image_box", None)
            if box is not None and not callable(box):
                return box.displayed(card)
            widget = widget.parentWidget()
        viewer = napari.current_viewer()
        active = None if viewer is None else viewer.layers.selection.active
        if viewer is None or active is None:
            raise UserError("Open an image first, and select its layer.")
        return displayed_image(active, viewer, card)


def _dropped(event: Any) -> Path | None:
    """Return the one file or folder that is dropped; None for anything else."""
    paths = [url.toLocalFile() for url in event.mimeData().urls()]
    return Path(paths[0]) if len(paths) == 1 and paths[0] else None


def misfit(card: ModelCard, image: Image) -> tuple[str, int]:
    """Say why a model cannot take an image, or "" if it can, and how well it fits: from 0, not at all, to 3, as a whole.

    It is 1 or 2 if the model gets the image slice by slice, or only one of its channels.
    """
    if card.spatial_dims > image.spatial_dims:
        return f"This model works on volumes; {image.name} is 2D.", 0
    wanted = len(card.channels)
    if image.channels == 1 and wanted > 1:
        return "", 0  # it is asked whether it is given in each of them
    if wanted != image.channels:
        names = f" ({', '.join(card.channels)})" if wanted <= 6 else ""
        need = f"{counted(wanted, 'channel')}{names}"
        return f"This model needs {need}; {image.name} has {image.channels}.", 0
    whole = card.spatial_dims == image.spatial_dims
    one_of_several = image.channel_axis is None and "C" in image.at
    return "", 1 + whole + (not one_of_several)


def _about(card: ModelCard) -> str:
    about = {
        "": card.description,
        "Trained on": card.trained_on,
        "Not for": card.not_for,
        "Measured": card.validation,
        "Credit": card.credit,
        "Licence": card.license,
    }
    lines = [
        f"{title}: {escape(text, quote=False)}" if title else escape(text, quote=False)
        for title, text in about.items()
        if text
    ]
    return "".join(f"<p>{line}</p>" for line in lines)


def _text() -> QLabel:
    label = plain_label()
    label.setWordWrap(True)
    label.setMinimumWidth(60)
    return label
