"""Code from outside the installed packages runs only after an explicit yes."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.errors import UserError


class UntrustedCode(UserError):
    """A model needs Python code that is not part of an installed package.

    Attributes
    ----------
    path
        The file that would run.
    """

    def __init__(self, path: Path):
        self.path = path
        super().__init__(
            f"{path}: this model would run Python code that is not part of an installed package; if you trust "
            "the file, load it with trust=True (--trust on the command line)."
        )
