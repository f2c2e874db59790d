"""The one question that holds everything up: whether code of a stranger, or of one's own, may run."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_segxai.core.errors import plain
from napari_segxai.gui.widgets.fields import tip
from napari_segxai.models.loading.untrusted_code import UntrustedCode


def is_allowed(parent: QWidget, check: Callable[[], None]) -> bool | None:
    """Ask before a network's code is run, where that needs a yes.

    Parameters
    ----------
    check
        Raises `UntrustedCode` where it does.

    Returns
    -------
    bool or None
        Whether the user had to say yes, and did; False where no yes is needed, None for a no.

    Raises
    ------
    UserError
        As `check`.
    """
    try:
        check()
    except UntrustedCode as untrusted:
        return True if says_yes(parent, untrusted) else None
    return False


def says_yes(parent: QWidget, untrusted: UntrustedCode) -> bool:
    """Ask whether a file may run."""
    answer = QMessageBox.question(
        parent,
        "Run code of this model?",
        tip(f"This model runs {untrusted.runs}\n\n{plain(str(untrusted.path))}\n\nDo you trust this file?"),
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
        QMessageBox.StandardButton.No,  # pressing Enter without reading must not mean yes
    )
    return answer == QMessageBox.StandardButton.Yes
