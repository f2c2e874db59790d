"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path

from napari_segxai.core.errors import UserError


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` written out; the file need not exist.

    Raises
    ------
    UserError
        If no file can have this path: an empty one, a user that does not exist, a name that is too long, a null character, or a
        folder that may not be looked into.
    """
    if not os.fspath(path):
        raise UserError("a path is empty; write the name of a file or folder.")
    try:
        found = Path(path)
        if os.fspath(path).startswith("~"):
            found = found.expanduser()
        elif str(found).startswith("~"):  # what was written as ./~
            found = found.absolute()
        found.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except RuntimeError:  # of expanduser
        raise UserError(f"{path}: there is no user of this name; write the whole path.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be a file ({error.strerror}); check the path.") from None
    except ValueError:
        raise UserError(
            f"{str(path)!r}: cannot be a file (it holds a null character); check the path."
        ) from None
    return found


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a path as a record keeps it, which is opened from other folders; an address (https://...) stays as it is."""
    text = os.fspath(path)
    return text if "://" in text else os.fspath(Path(text).absolute())
