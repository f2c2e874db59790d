"""Packages that only some users need: imported when they are used, and named where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from napari_segxai.core.errors import UserError, torchvision_misfit


def need(module: str, extra: str, what: str) -> ModuleType:
    """Import a module that an extra brings.

    Parameters
    ----------
    module : str
        Its full name, such as "sklearn.linear_model".
    extra : str
        The extra of this package that brings it, such as "cohort".
    what : str
        What it is needed for, as the beginning of a sentence: "the report".

    Returns
    -------
    ModuleType
        The module.

    Raises
    ------
    UserError
        If it is not installed, or cannot be imported because torchvision does not fit torch.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a package can raise anything while it is imported
        if (misfit := torchvision_misfit(error)) is not None:
            raise UserError(f"{what} needs {module.partition('.')[0]}: {misfit}.") from None
        if not isinstance(error, ModuleNotFoundError):
            raise
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise  # it is there, and lacks something itself
        raise UserError(
            f'{what} needs the package {error.name}, which is not installed; run: pip install "napari-segxai[{extra}]"'
        ) from None
