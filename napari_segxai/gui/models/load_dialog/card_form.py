"""What the network sees and what it draws: the keys of a model card that a user has to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QGroupBox, QLabel, QLineEdit, QPlainTextEdit, QSizePolicy, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.models.load_dialog.network_form import _as_text
from napari_segxai.gui.widgets.fields import combo, plain_label, tip
from napari_segxai.models.loading.yaml_file import read_value
from napari_segxai.models.partial_card import PartialCard

STEPS = {
    "choose how images were prepared …": None,
    "as they are": [],
    "0 to 255 becomes 0 to 1 (8 bits)": [{"divide": 255}],
    "0 to 65535 becomes 0 to 1 (16 bits)": [{"divide": 65535}],
    "image's own minimum and maximum become 0 and 1": [{"rescale": [0, 1]}],
    "percentiles 1 and 99.8 become 0 and 1": [{"percentile_range": [1, 99.8]}],
    "z-score (mean 0, standard deviation 1)": [{"zscore": True}],
    "z-score of what is not 0": [{"standardize": "nonzero"}],
    "CT window": [{"window": [-160, 240]}],
    "ImageNet (photographs)": [
        {"divide": 255},
        {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
    ],
}
"""Usual preparations of intensities; the steps are shown, and can be changed."""

OWN = "other steps, as below"

ORIENTATIONS = ("", "RAS", "LPS", "LAS", "IPL", "SPL", "kji")

FIELDS = {
    "name",
    "labels",
    "spatial_dims",
    "channels",
    "activation",
    "intensity",
    "orientation",
    "architecture",
}
"""Keys of a card that have a field of their own wherever they are asked; each other key that is asked gets a row."""

LINES = 5
"""Of the field for labels."""


class CardForm(QGroupBox):
    """Asks for what a model's files do not say, filled in with what they do.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, partial: PartialCard, parent: QWidget | None = None):
        super().__init__("What it sees and draws", parent)
        self.partial = partial
        self.name = QLineEdit()
        self.labels = QPlainTextEdit()
        self.labels.setToolTip("One name per line, in the order of the network's outputs.")
        self.labels.setFixedHeight(LINES * self.labels.fontMetrics().lineSpacing() + 12)
        self.labels.setTabChangesFocus(True)
        self.labels.setStyleSheet(
            "QPlainTextEdit { border: 1px solid #78808a; }"
        )  # napari gives it no ground
        self.count = plain_label()
        self.count.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.dims = combo("Whether the network takes pictures and slices, or volumes.")
        self.dims.addItems(["2D", "3D"])
        self.channels = QLineEdit()
        self.channels.setToolTip(
            "Names of the input channels with commas, in their order. One name in all places, such as gray, gray, gray: the network "
            "is given the one channel of an image in each of its own."
        )
        self.activation = combo(
            "softmax: a pixel has one label. sigmoid: labels are drawn each by itself, and may overlap; the background has no output."
        )
        self.activation.addItems(["softmax", "sigmoid"])
        self.recipe = combo("How intensities were prepared in training; the steps below can be changed.")
        self.recipe.addItems([*STEPS, OWN])
        self.steps = QLineEdit()
        self.steps.setPlaceholderText("steps, such as [{clip: [0, 500]}, {zscore: true}]")
        self.steps.setToolTip("Steps in their order, as on a model card; [] for none.")
        self.orientation = combo(
            "How volumes were turned in training: RAS, LPS …; empty: as napari shows them."
        )
        self.orientation.setEditable(True)
        self.orientation.lineEdit().setPlaceholderText("as napari shows them; or RAS, LPS, ...")
        self.orientation.addItems(ORIENTATIONS)
        self.spacing = QLineEdit()
        self.spacing.setPlaceholderText("as the image; or 1.5, 1.5, 2")
        self.spacing.setToolTip(
            "Size of a voxel in mm to which images were resampled in training, axis by axis."
        )
        self.window = QLineEdit()
        self.window.setPlaceholderText("whole image; or 96, 96, 96")
        self.window.setToolTip("Size of the window, where the network sees images through a sliding one.")
        self.more = QLineEdit()
        self.more.setPlaceholderText("such as {grid: {size: [256, 256]}, values: probabilities}")
        self.more.setToolTip("Any other keys of a model card, as YAML; they go over the fields above.")
        self.others = {
            key: self._row_of(key, what) for key, what in partial.asked.items() if key not in FIELDS
        }
        rows = QFormLayout(self)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for words, field in (
            ("Name", self.name), ("Labels", self.labels), ("", self.count), ("Axes", self.dims), ("Channels", self.channels),
            ("Activation", self.activation), ("Intensities", self.recipe), ("", self.steps), ("Orientation", self.orientation),
            ("Spacing (mm)", self.spacing), ("Window", self.window), *self.others.items(), ("More keys", self.more),
        ):  # fmt: skip
            if words:
                field.setAccessibleName(words)
            rows.addRow(QLabel(words), field)
        self.rows = rows
        self._known = dict(partial.known)
        self._outputs: int | None = None
        self._fill({**partial.suggested, **partial.known})
        self._first = self._texts()
        self._suggested = dict(self._first)
        for signal in (
            self.name.textChanged, self.labels.textChanged, self.dims.currentIndexChanged, self.channels.textChanged,
            self.activation.currentIndexChanged, self.steps.textChanged, self.orientation.currentTextChanged,
            self.spacing.textChanged, self.window.textChanged, self.more.textChanged,
            *(field.textChanged for field in self.others.values()),
        ):  # fmt: skip
            signal.connect(lambda *_: self._on_change())
        self.recipe.activated.connect(lambda _: self._on_recipe())
        self._on_change()

    def _row_of(self, key: str, what: str) -> QLineEdit:
        """Return a field for a key that the model's files leave open; a likely value is shown, and not taken for an answer."""
        field, likely = QLineEdit(), self.partial.suggested.get(key)
        field.setPlaceholderText(what if likely is None else f"such as {_as_text(likely)}")
        field.setToolTip(tip(what))
        return field

    def _fill(self, values: Mapping[str, Any]) -> None:
        self.name.setText(str(values.get("name", "")))
        self.labels.setPlainText("\n".join(map(str, values.get("labels", ()))))
        self.dims.setCurrentIndex(1 if values.get("spatial_dims") == 3 else 0)
        self.channels.setText(", ".join(map(str, values.get("channels", ("intensity",)))))
        self.activation.setCurrentText(str(values.get("activation", "softmax")))
        steps = self.partial.known.get("intensity")  # a suggestion is not taken for an answer here
        asked = "intensity" in self.partial.asked
        self.steps.setText(_as_text(steps) if steps is not None else "" if asked else "[]")
        self.orientation.setEditText(str(values.get("orientation") or ""))
        grid, window = values.get("grid") or {}, values.get("windows") or {}
        self.spacing.setText(_numbers_text(dict(grid).get("spacing")))
        self.window.setText(_numbers_text(dict(window).get("size")))

    def _texts(self) -> dict[str, str]:
        return {
            "name": self.name.text().strip(),
            "labels": self.labels.toPlainText().strip(),
            "spatial_dims": self.dims.currentText(),
            "channels": self.channels.text().strip(),
            "activation": self.activation.currentText(),
            "intensity": self.steps.text().strip(),
            "orientation": self.orientation.currentText().strip(),
            "spacing": self.spacing.text().strip(),
            "window": self.window.text().strip(),
        }

    def suggest(self, outputs: int | None, inputs: int | None) -> None:
        """Fit the names that are still suggestions to the numbers of outputs and channels that a network has."""
        self._outputs = outputs
        texts = self._texts()
        if outputs and texts["labels"] == self._suggested["labels"] and "labels" in self.partial.asked:
            names = ["background", *(f"label {k}" for k in range(1, max(outputs, 2)))][: max(outputs, 2)]
            self.labels.setPlainText("\n".join(names))
            if outputs == 1:
                self.activation.setCurrentText("sigmoid")
        if inputs and texts["channels"] == self._suggested["channels"] and "channels" not in self._known:
            current = [name for name in texts["channels"].split(",") if name.strip()]
            if len(current) != inputs:
                names = ["red", "green", "blue"] if (inputs, self.dims.currentText()) == (3, "2D") else []
                self.channels.setText(", ".join(names or [f"channel {k + 1}" for k in range(inputs)]))
        self._suggested = self._texts()
        self._on_change()

    def _on_recipe(self) -> None:
        if self.recipe.currentText() == OWN:
            self.steps.setFocus()
            return
        steps = STEPS[self.recipe.currentText()]
        self.steps.setText("" if steps is None else _as_text(steps))

    def _show_recipe(self) -> None:
        """Show the name of the steps that are written, or that they have none."""
        try:
            steps = read_value(self.steps.text(), "Intensities") if self.steps.text().strip() else None
        except UserError:
            steps = ...
        found = [k for k, known in enumerate(STEPS.values()) if known == steps]
        last = self.recipe.count() - 1
        self.recipe.setCurrentIndex(found[0] if found else last)

    def _on_change(self) -> None:
        self._show_recipe()
        names = self._names()
        words = f"{len(names)} label(s)"
        if self._outputs is not None:
            sigmoid = self.activation.currentText() == "sigmoid"
            fits = len(names) == self._outputs or (sigmoid and len(names) == self._outputs + 1)
            words += f", {self._outputs} output(s)" + ("" if fits else " ⚠")
        self.count.setText(words)
        volumes = self.dims.currentText() == "3D"
        self.window.setPlaceholderText(
            "whole image; or 96, 96, 96" if volumes else "whole image; or 512, 512"
        )
        self.spacing.setPlaceholderText(
            "as the image; or 1.5, 1.5, 2" if volumes else "as the image; or 0.5, 0.5"
        )
        self.changed.emit()

    def _names(self) -> list[str]:
        return [line.strip() for line in self.labels.toPlainText().splitlines() if line.strip()]

    def given(self) -> dict[str, Any]:
        """Return the keys of the card: what is asked, and what was changed.

        Raises
        ------
        UserError
            If a field cannot be read.
        """
        now, out = self._texts(), {}
        read: dict[str, Callable[[], Any]] = {
            "name": lambda: now["name"],
            "labels": self._names,
            "spatial_dims": lambda: int(now["spatial_dims"][0]),
            "channels": lambda: [part.strip() for part in now["channels"].split(",") if part.strip()],
            "activation": lambda: now["activation"],
            "intensity": lambda: read_value(now["intensity"], "Intensities"),
            "orientation": lambda: now["orientation"] or None,
        }
        for key, value in read.items():
            if key not in self._known or now[key] != self._first[key]:
                out[key] = value()
        out = {key: value for key, value in out.items() if now[key]}  # what is empty is still asked
        for key, inner, words in (("spacing", "grid", "Spacing"), ("window", "windows", "Window")):
            if now[key] != self._first[key]:
                name = "size" if key == "window" else key
                numbers = _numbers(now[key], words)
                kept = {k: v for k, v in dict(self._known.get(inner) or {}).items() if k != name}
                out[inner] = {**kept, name: numbers} if numbers else kept or None
        if text := self.more.text().strip():
            more = read_value(text, "More keys")
            if not isinstance(more, dict):
                raise UserError("More keys: write a mapping, such as {values: probabilities}.")
            out |= more
        out = {key: value for key, value in out.items() if value is not None}
        told = {key: field.text().strip() for key, field in self.others.items()}
        # "null" is an answer here
        return {**{key: read_value(text, key) for key, text in told.items() if text}, **out}


def _numbers(text: str, what: str) -> list[float]:
    if not text:
        return []
    try:
        found = [float(part) for part in text.strip("[]()").split(",")]
    except ValueError:
        raise UserError(
            f"{what}: {text!r} is no list of numbers; write one per axis, such as 1.5, 1.5, 2."
        ) from None
    return [int(n) if n == int(n) else n for n in found]


def _numbers_text(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values or ())
