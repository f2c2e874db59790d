"""A file of torch.save, read without running anything that it names: what is no tensor, number or word becomes an empty object."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

INERT = (
    "_codecs",
    "argparse",
    *(
        f"builtins.{kind}"
        for kind in ("bool", "bytearray", "dict", "float", "int", "list", "set", "str", "tuple")
    ),
    "collections",
    "datetime",
    "lightning",
    "lightning_fabric",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "types.SimpleNamespace",
    "typing",
)
"""Whose objects training tools leave beside weights (numbers of a log, hyperparameters, paths); they are not worth a word."""

DICTIONARIES = re.compile(r"(dict|cfgnode|munch|box)$", re.IGNORECASE)
"""How classes are called that are dictionaries: settings of a training lie in them."""

MOST_NAMES = 1000
"""So many names of a file before torch 1.6 are met, one at a time."""


class Ignored:
    """Stands for an object beside the weights: takes whatever it is given and does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> Ignored:
        """Return an empty object, whatever it is made of."""
        return object.__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object):
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass


class _Emptied:
    """Stands for a kind of dictionary: a plain one, into which torch's reader puts what it held."""

    def __new__(cls, *_args: object, **_kwargs: object) -> Any:
        return OrderedDict()


class _Listed:
    """The same for a queue."""

    def __new__(cls, *_args: object, **_kwargs: object) -> Any:
        return []


class ForeignObjects(Exception):
    """The file cannot be read for objects of other libraries.

    Parameters
    ----------
    names
        Of their classes and functions.
    """

    def __init__(self, names: Iterable[str]):
        super().__init__()
        self.names = sorted(names)


def read_torch_file(path: Path) -> tuple[Any, list[str]]:
    """Read what torch.save wrote; nothing that it names is imported or called.

    Returns
    -------
    saved, foreign
        What was saved, with an `Ignored` in place of every object of another library than torch; and the names of those that no
        training tool leaves.

    Raises
    ------
    ForeignObjects
        If such an object is in the way.
    Exception
        Whatever torch raises for a damaged file.
    """
    try:
        names = set(get_unsafe_globals_in_checkpoint(str(path)))
    except ValueError:  # the format before torch 1.6, which is not looked into
        names = set()
    while True:
        foreign = sorted(name for name in names if not is_inert(name))
        try:
            with safe_globals([(_stand_in(name), name) for name in names]):
                return torch.load(path, map_location="cpu", weights_only=True), foreign
        except Exception as error:
            named = re.search(r"GLOBAL ([\w.]+) was not an allowed", str(error))
            # torch leaves "builtins." out.
            met = "" if named is None else named[1] if "." in named[1] else f"builtins.{named[1]}"
            if met and met not in names and len(names) < MOST_NAMES:
                names.add(met)
            elif foreign:
                raise ForeignObjects(foreign) from error
            else:
                raise


def is_inert(name: str) -> bool:
    """Tell whether an object of this class is one of those that training tools leave."""
    return any(name == one or name.startswith(one + ".") for one in INERT)


def _stand_in(name: str) -> Any:
    if name == "collections.deque":
        return _Listed
    return _Emptied if DICTIONARIES.search(name) and not name.startswith("builtins.") else Ignored
