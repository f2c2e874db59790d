"""The one question that holds everything up: whether code of a stranger, or of one's own, may run."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_segxai.core.errors import plain
from napari_segxai.gui.widgets.fields import tip
from napari_segxai.models.loading.architecture import check_trust
from napari_segxai.models.loading.untrusted_code import UntrustedCode


def is_allowed(parent: QWidget, place: str, card: Path, code: Path | None = None) -> bool | None:
    """Ask before a network's code is run, where that needs a yes.

    Parameters
    ----------
    place
        "package.module:Class".
    card
        The file of the model card, or of the weights.
    code
        The folder in which its module is looked for first; that of the card by default.

    Returns
    -------
    bool or None
        Whether the user had to say yes, and did; False where no yes is needed, None for a no.

    Raises
    ------
    UserError
        If there is no such package.
    """
    try:
        check_trust(place, card, code)
    except UntrustedCode as untrusted:
        return True if says_yes(parent, untrusted) else None
    return False


def says_yes(parent: QWidget, untrusted: UntrustedCode) -> bool:
    """Ask whether a file may run."""
    answer = QMessageBox.question(
        parent,
        "Run code of this model?",
        tip(
            f"This model runs the Python module {untrusted.module}\n\n{plain(str(untrusted.path))}\n\nDo you trust this file?"
        ),
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
        QMessageBox.StandardButton.No,  # pressing Enter without reading must not mean yes
    )
    return answer == QMessageBox.StandardButton.Yes
