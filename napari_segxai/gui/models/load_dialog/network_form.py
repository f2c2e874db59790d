"""Which network the weights are of: its class, and a form made from the signature of its constructor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QInputDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.core.errors import UserError
from napari_segxai.gui.widgets.fields import beside, plain_label, tip
from napari_segxai.models.loading.catalogue import known_networks
from napari_segxai.models.loading.own_code import classes_in
from napari_segxai.models.loading.signature import Argument
from napari_segxai.models.loading.yaml_file import read_value

DEFAULT = "default: "

CHOOSE = "Choose the class of the network that was trained."


class NetworkForm(QGroupBox):
    """Asks for the class of a network and its arguments.

    Attributes
    ----------
    chosen
        Emitted with the text of another class: "package.module:Class" or "file.py:Class".
    changed
        Emitted after every change of an argument.
    """

    chosen = Signal(str)
    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__("Network", parent)
        self.box = QComboBox()
        self.box.setAccessibleName("Architecture")
        self.box.setEditable(True)
        self.box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.addItems(known_networks())
        self.box.setCurrentIndex(-1)
        self.box.completer().setFilterMode(Qt.MatchFlag.MatchContains)
        self.box.completer().setCompletionMode(self.box.completer().CompletionMode.PopupCompletion)
        self.box.lineEdit().setPlaceholderText("search, or package.module:Class")
        self.box.setToolTip(
            "The class of the network. Listed are those of installed packages that segment; any other is written package.module:Class."
        )
        self.file = QPushButton("Python file…")
        self.file.setToolTip(
            "A class in a file of yours. The file is run only after you have said yes to it."
        )
        self.note = plain_label(CHOOSE)
        self.note.setWordWrap(True)
        self._inside = QWidget()
        self._rows = QFormLayout(self._inside)
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self._inside)
        layout = QVBoxLayout(self)
        layout.addWidget(beside(self.box, self.file))
        layout.addWidget(self.note)
        layout.addWidget(scroll, 1)
        self._arguments: Sequence[Argument] = ()
        self._get: dict[str, Callable[[], str]] = {}
        self._told: frozenset[str] = frozenset()
        self._text = ""
        self.changed.connect(self._write_note)
        self.box.activated.connect(lambda _: self._tell())
        self.box.lineEdit().editingFinished.connect(self._tell)
        self.file.clicked.connect(lambda: self.browse())

    @property
    def architecture(self) -> str:
        """What was chosen: "package.module:Class" or "file.py:Class"; "" for nothing."""
        return self.box.currentText().strip()

    def choose(self, text: str) -> None:
        """Choose a class by its name."""
        self.box.setEditText(text)
        self._tell()

    def browse(self) -> None:
        """Let a file be chosen, and the class in it."""
        path, _ = QFileDialog.getOpenFileName(self, "A file that defines the network", "", "Python (*.py)")
        if not path:
            return
        try:
            names = classes_in(Path(path))
            if not names:
                raise UserError(f"{path}: defines no class.")
        except UserError as error:
            self.note.setText(f"⚠ {error}")
            return
        name = names[0]
        if len(names) > 1:
            name, taken = QInputDialog.getItem(self, "Which class?", Path(path).name, names, 0, False)
            if not taken:
                return
        self.choose(f"{path}:{name}")

    def _tell(self) -> None:
        if self.architecture != self._text:
            self._text = self.architecture
            self.set_arguments((), {})
            self.note.setText("" if self._text else CHOOSE)  # what it takes is not read yet
            self.chosen.emit(self._text)

    def set_arguments(self, arguments: Sequence[Argument], told: Mapping[str, Any]) -> None:
        """Show the arguments of the chosen class: what is required first, and filled in where the weights tell it."""
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self._arguments, self._get, self._told = arguments, {}, frozenset(told)
        order = sorted(arguments, key=lambda one: (not one.required, one.name not in told))
        for argument in order:
            self._add(argument, told)
        self._write_note()

    def _write_note(self) -> None:
        """Say which arguments were read, and which are still asked."""
        read, asked = ", ".join(sorted(self._told)), ", ".join(self.lacking)
        words = [f"Read from the weights: {read}." if read else "", f"To be told: {asked}." if asked else ""]
        if not self._arguments:
            words = ["It takes no arguments."]
        elif not read and not any(one.required for one in self._arguments):
            words = ["All arguments have defaults."]
        self.note.setText(" ".join(filter(None, words)))

    def _add(self, argument: Argument, told: Mapping[str, Any]) -> None:
        name = argument.name
        label = QLabel(f"{name} *" if argument.required else name)
        if isinstance(argument.default, bool):
            field: QWidget = QCheckBox()
            value = bool(told.get(name, argument.default))
            field.setChecked(value)  # type: ignore[attr-defined]
            self._get[name] = lambda: "true" if field.isChecked() else "false"  # type: ignore[attr-defined]
            field.toggled.connect(lambda _: self.changed.emit())  # type: ignore[attr-defined]
        else:
            line = field = QLineEdit(_as_text(told[name]) if name in told else "")
            line.setPlaceholderText("" if argument.required else DEFAULT + _as_text(argument.default))
            self._get[name] = lambda: line.text().strip()
            line.textChanged.connect(lambda _: self.changed.emit())
        kind = f" ({argument.kind})" if argument.kind else ""
        words = f"{name}{kind}\n{argument.help}".strip()
        for part in (label, field):
            part.setToolTip(tip(words))
        field.setAccessibleName(name)
        self._rows.addRow(label, field)

    @property
    def lacking(self) -> list[str]:
        """The arguments that the class needs, the weights do not tell and nobody has filled in."""
        asked = [one.name for one in self._arguments if one.required and one.name not in self._told]
        return [name for name in asked if not self._get[name]()]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that are not left at their defaults.

        Raises
        ------
        UserError
            If one is no value of YAML.
        """
        out = {}
        for argument in self._arguments:
            text = self._get[argument.name]()
            if not text:
                continue
            value = read_value(text, argument.name)
            if argument.required or value != argument.default:
                out[argument.name] = value
        return out


def _as_text(value: Any) -> str:
    """Return a value as it would be typed."""
    if isinstance(value, tuple):
        value = list(value)
    try:
        return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
    except yaml.YAMLError:
        return str(value)[:60]
