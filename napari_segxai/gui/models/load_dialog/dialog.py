"""The dialog: it asks, tells live whether the weights fit, shows a trial prediction, and saves the model as a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.core.errors import UserError, ended, plain
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui.models.load_dialog.card_form import CardForm
from napari_segxai.gui.models.load_dialog.network_form import NetworkForm
from napari_segxai.gui.models.load_dialog.trial import Trial
from napari_segxai.gui.models.load_dialog.trust import is_allowed, says_yes
from napari_segxai.gui.viewer.displayed import DisplayedImage
from napari_segxai.gui.viewer.lifetime import Tasks, when_gone
from napari_segxai.gui.widgets.fields import Words
from napari_segxai.gui.worker import Outcome
from napari_segxai.models.formats import checkpoint
from napari_segxai.models.loading.architecture import check_trust
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.registry import load_model
from napari_segxai.models.saving import save_model

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

SIZE = (900, 640)
"""In pixels: it has to fit a screen of 1280x800."""

PAUSE = 400
"""Milliseconds after a change before it is tried."""


@dataclass(frozen=True)
class Asked:
    """What the forms say."""

    architecture: str
    arguments: dict[str, Any]
    card: dict[str, Any]


class LoadDialog(QDialog):
    """Asks what the files of a model do not say.

    Attributes
    ----------
    used
        The user takes the model: the model, and the folder in which it was saved, "" for none.

    Parameters
    ----------
    dock
        Above which it lies, and with which it goes.
    viewer
        Where the trial is shown.
    path
        The file or folder of the model.
    partial
        What its files say.
    displayed
        Returns the image on which a model is tried.
    trust
        Whether the user has said yes to the code that comes with a model that is no file of weights.
    """

    used = Signal(object, str)

    def __init__(
        self,
        dock: QWidget,
        viewer: Viewer,
        path: Path,
        partial: PartialCard,
        displayed: Callable[[ModelCard], DisplayedImage],
        *,
        trust: bool = False,
    ):
        super().__init__(dock, Qt.WindowType.Window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Load model: {path.name}")
        self.viewer, self.path, self.partial, self.displayed = viewer, path, partial, displayed
        self.tasks = Tasks(viewer)
        when_gone(self, self.tasks.end)
        self.is_weights = checkpoint.handles(path)
        self.model: SegmentationModel | None = None
        self.fitted: checkpoint.Fitted | None = None
        self._trusted: set[str] = {""} if trust else set()  # architectures; "" for that which files name
        self._asked = 0  # counts changes: only the answer to the last one is heard
        self.trial = Trial(viewer)
        self.network, self.form = NetworkForm(), CardForm(partial)
        self.network.setVisible(self.is_weights)
        self.said = Words(4, grows=False)
        self.said.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setWordWrap(True)
        self.legend.hide()
        self.try_button = _button("Try", "Predict the image of the dock, and show the labels in the viewer.")
        self.form_button = _button("Back to the form", "Show the form again.")
        self.save_button = _button(
            "Save as model folder…",
            "Write card and weights, so that it opens by itself from now on, and use it.",
        )
        self.use_button = _button("Use", "Take the model into the list of models, until napari is closed.")
        self.cancel_button = _button("Cancel", "Close, and leave nothing behind.")
        right = QScrollArea()
        right.setWidgetResizable(True)
        right.setFrameShape(QScrollArea.Shape.NoFrame)
        right.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        right.setWidget(self.form)
        self.forms = QWidget()
        forms, buttons = QHBoxLayout(self.forms), QHBoxLayout()
        forms.setContentsMargins(0, 0, 0, 0)
        forms.addWidget(self.network, 1)
        forms.addWidget(right, 1)
        buttons.addWidget(self.try_button)
        buttons.addWidget(self.form_button)
        buttons.addStretch(1)
        for button in (self.save_button, self.use_button, self.cancel_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.forms, 1)
        layout.addWidget(self.said)
        layout.addWidget(self.legend)
        layout.addLayout(buttons)
        self._size = QSize(SIZE[0] if self.is_weights else SIZE[0] // 2, SIZE[1])
        self.resize(self._size)
        self.form_button.hide()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE)
        self._timer.timeout.connect(self._check)
        self.network.chosen.connect(self._on_architecture)
        self.network.changed.connect(lambda: self._later(refit=True))
        self.form.changed.connect(lambda: self._later(refit=False))
        self.try_button.clicked.connect(lambda: self.try_out())
        self.form_button.clicked.connect(lambda: self.fold(False))
        self.save_button.clicked.connect(lambda: self.browse_and_save())
        self.use_button.clicked.connect(lambda: self._take(""))
        self.cancel_button.clicked.connect(self.reject)
        self._enable()
        known = dict(partial.known)
        if self.is_weights and known.get("architecture"):
            self.network.choose(str(known["architecture"]))
        elif self.is_weights:
            self.said.setText("Choose the architecture: the class of the network that was trained.")
        else:
            self._later(refit=True)

    # -- what is asked ------------------------------------------------------------------------------------

    def asked(self) -> Asked:
        """Return what the forms say.

        Raises
        ------
        UserError
            If a field cannot be read.
        """
        return Asked(self.network.architecture, self.network.arguments(), self.form.given())

    def _on_architecture(self, architecture: str) -> None:
        """Read the signature of another class, after a yes where it is a stranger's."""
        self._later(refit=True)
        self._timer.stop()
        if not architecture:
            return
        try:
            place, code = checkpoint.located(architecture)
            if architecture not in self._trusted:
                allowed = is_allowed(self, lambda: check_trust(place, self.path, code))
                if allowed is None:
                    raise UserError(f"{architecture} was not run: its code was not trusted.")
                if allowed:
                    self._trusted.add(architecture)
        except UserError as error:
            self._say(f"⚠ {error}")
            return
        trust = architecture in self._trusted

        def make() -> Steps[Any]:
            yield Step(0, 1, "reading the signature")
            arguments = checkpoint.signature(self.path, place, trust=trust, code=code)
            return arguments, checkpoint.told_arguments(self.path, arguments)

        def done(outcome: Outcome) -> None:
            if outcome.result is None:
                self._say(f"⚠ {_reason(outcome)}")
                return
            self.network.set_arguments(*outcome.result)
            self._check()

        self._say(f"Reading what {place} takes …")
        self._ask(make, done)

    def _later(self, *, refit: bool) -> None:
        """Try what the forms say, a moment after the last change."""
        self.model = None
        self._asked += 1
        if refit:
            self.fitted = None
        self._enable()
        self._timer.start()

    def _ask(self, make: Callable[[], Steps[Any]], done: Callable[[Outcome], None]) -> None:
        """Run something in the worker thread; its answer is heard if nothing was changed since."""
        self._asked += 1
        number = self._asked

        def heard(outcome: Outcome) -> None:
            if number == self._asked and not self.tasks.is_closed():
                done(outcome)

        if self.tasks.in_background(make, heard):
            self._say(f"{self.said.text()} (waits until what runs has ended)".strip())

    def _check(self) -> None:
        """Find out in the worker thread whether the weights fit, and whether the model is whole."""
        self._timer.stop()
        if self.is_weights and not self.network.architecture:
            self._say("Choose the architecture: the class of the network that was trained.")
            return
        try:
            asked = self.asked()
            place, code = checkpoint.located(asked.architecture) if self.is_weights else ("", None)
        except UserError as error:
            self._say(f"⚠ {error}")
            return
        trust, before = asked.architecture in self._trusted, self.fitted
        path, partial, weights = self.path, self.partial, self.is_weights

        def make() -> Steps[Any]:
            yield Step(0, 1, "trying whether the weights fit")
            if not weights:
                return None, _or_error(lambda: load_model(path, card=asked.card, trust=trust))
            fitted = before or checkpoint.fit(path, place, asked.arguments, trust=trust, code=code)
            yield Step(0, 1, "trying whether network and card fit")
            given = {**asked.card, "architecture": place}

            def whole() -> SegmentationModel:
                model = checkpoint.with_card(path, fitted, partial.completed(given))
                model.trusted = trust
                model.architecture = None if code is None else asked.architecture
                return model

            return fitted, _or_error(whole)

        def done(outcome: Outcome) -> None:
            if outcome.result is None:
                lacking = ", ".join(self.network.lacking)
                still = f"Still asked: {lacking}, of which the weights tell nothing." if lacking else ""
                self._say(still or f"⚠ {_reason(outcome)}")
                return
            self.fitted, found = outcome.result
            words = []
            if self.fitted is not None:
                shapes = self.fitted.shapes
                facts = [f"{shapes.outputs} output(s)"] if shapes.outputs else []
                facts += [f"{shapes.inputs} input channel(s)"] if shapes.inputs else []
                words.append("✓ The weights fit" + (f": {', '.join(facts)}." if facts else "."))
                words += [ended(note) for note in self.fitted.notes]
                if before is None:
                    self.form.blockSignals(True)
                    self.form.suggest(shapes.outputs, shapes.inputs)
                    self.form.blockSignals(False)
            if isinstance(found, UntrustedCode) and not trust and says_yes(self, found):
                self._trusted.add(asked.architecture)
                self._check()
                return
            if isinstance(found, Exception):
                words.append(f"⚠ {_missing(found) or plain(str(found))}")
            else:
                self.model = found
                if self.fitted is None:
                    words.append("✓ The model opens.")
                    words += [ended(note) for note in found.notes]
                words.append("Try it on the image before you use it.")
            self._say(" ".join(words))
            self._enable()

        self._say(
            "Trying whether the weights fit …" if self.fitted is None else "Trying whether the card fits …"
        )
        self._ask(make, done)

    def _say(self, text: str) -> None:
        self.said.setText(text)
        if self.layout() is not None:
            self.layout().activate()  # a long text needs its room at once

    def _enable(self) -> None:
        whole = self.model is not None
        self.try_button.setEnabled(whole)
        self.use_button.setEnabled(whole)
        self.save_button.setEnabled(self.model is not None and self.model.card.architecture is not None)

    # -- what is done with the model ----------------------------------------------------------------------

    def try_out(self) -> None:
        """Predict the image in the worker thread, and show the labels as a layer."""
        model = self.model
        if model is None:
            return
        try:
            shown = self.displayed(model.card)
            model.prepare_check(shown.image, shown.slice)
        except UserError as error:
            self._say(f"⚠ {error}")
            return
        shown.image.keep()

        def make() -> Steps[tuple[np.ndarray, tuple[float, float], list[str]]]:
            yield Step(0, 1, "trial prediction")
            prepared = model.prepare(shown.image, shown.slice)
            seen, notes = prepared.tensor, [note for note in prepared.notes if note not in model.notes]
            return (
                model.predict(shown.image, slice=shown.slice),
                (seen.min().item(), seen.max().item()),
                notes,
            )

        def done(outcome: Outcome) -> None:
            self._enable()
            if outcome.result is None:
                self._say(f"⚠ {_reason(outcome)}")
                return
            prediction, (least, most), notes = outcome.result
            said = self.trial.show(prediction, shown.image, model)
            noted = "".join(f" ⚠ {ended(note)}" for note in notes)
            self._say(f"{said} The network saw values from {least:.3g} to {most:.3g}.{noted}")
            self.legend.setText(self.trial.legend)
            self.fold(True)

        self.try_button.setEnabled(False)
        self._say("Predicting …")
        self._ask(make, done)

    def fold(self, folded: bool) -> None:
        """Leave the form aside, so that the trial is seen; or show it again."""
        if folded == self.forms.isHidden():
            return
        if folded:
            self._size = self.size()
        self.forms.setVisible(not folded)
        self.form_button.setVisible(folded)
        self.legend.setVisible(folded)
        if folded:
            self.layout().activate()
            self.resize(self.width(), self.minimumSizeHint().height())
        else:
            self.resize(self._size)

    def browse_and_save(self) -> None:
        """Ask where the model folder goes, and write it."""
        folder = QFileDialog.getExistingDirectory(self, "An empty or new folder for the model")
        if folder:
            self.save(Path(folder))

    def save(self, folder: Path) -> None:
        """Write a model folder in the worker thread; a folder in it has the model's name where the folder holds other files."""
        model = self.model
        if model is None:
            return
        if folder.is_dir() and any(folder.iterdir()):
            folder = folder / "".join(c if c.isalnum() or c in "-_ ." else "_" for c in model.name).strip(
                " ."
            )

        def make() -> Steps[Path]:
            yield Step(0, 1, "saving the model")
            return save_model(model, folder)

        def done(outcome: Outcome) -> None:
            if outcome.result is None:
                self._say(f"⚠ {_reason(outcome)}")
                return
            self._take(str(outcome.result))

        self._say("Saving …")
        self._ask(make, done)

    def _take(self, folder: str) -> None:
        if self.model is not None:
            self.used.emit(self.model, folder)
            self.accept()

    def done(self, result: int) -> None:
        """Close, with the trial gone."""
        self.tasks.end()
        self.trial.remove()
        super().done(result)


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setAutoDefault(False)  # Enter in a field tells that field
    return button


def _or_error(make: Callable[[], SegmentationModel]) -> SegmentationModel | UserError:
    try:
        return make()
    except UserError as error:
        return error


def _missing(error: Exception) -> str:
    """Say what is still asked, by the fields of the form; "" for any other error."""
    missing = getattr(error, "missing", None)
    if not missing:
        return ""
    return "Still asked: " + "; ".join(f"{key} ({what})" for key, what in missing.items()) + "."


def _reason(outcome: Outcome) -> str:
    error = outcome.error
    if error is None:
        return "it was stopped."
    return plain(str(error)) if isinstance(error, UserError) else plain(f"it cannot be loaded: {error!r}.")
