"""Things of one kind by their names: those of a folder, those of other installed packages, those of a script.

A folder's files register what they hold when they are imported, and nothing is imported before it is asked for. Another
package names a module of its own in its metadata, as an entry point; the module is imported then, and registers in the same way.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any, Generic, TypeVar

from napari_segxai.core.errors import UserError, nearest, plain, reason_of

T = TypeVar("T")


class PluginWarning(UserWarning):
    """Something that another package wanted to add is left out."""


class Registry(Generic[T]):
    """Things of one kind by their names.

    Parameters
    ----------
    kind : str
        What a thing is called in sentences, such as "method".
    package : str
        Name of the package whose modules register things, here and in the folders below it.
    group : str
        Group of the entry points by which other packages name modules that register things.
    """

    def __init__(self, kind: str, package: str, group: str):
        self.kind, self.package, self.group = kind, package, group
        self._things: dict[str, tuple[T, str]] = {}  # with the place of what was registered
        self._own_are_known = self._all_are_known = False
        self._lock = RLock()  # the command line has one thread, napari has several

    def add(self, name: str, thing: T, by: Callable[..., Any]) -> None:
        """Make a thing known.

        Parameters
        ----------
        name : str
            What users type.
        thing : T
            What `find` returns.
        by : callable
            The function that was registered. The same one takes its own place again, as when a cell of a notebook is run
            twice.

        Raises
        ------
        UserError
            If the name is taken, with the place of the one that has it.
        NameError, TypeError
            If its parameters cannot be described: every list of things would stop at it.
        """
        place = f"{by.__module__}.{getattr(by, '__qualname__', type(by).__qualname__)}"
        if not self._is_own(place):  # whose names are taken, whether they were asked for or not
            self._load_own()
        _, known = self._things.get(name, (None, place))
        if known != place:
            raise UserError(
                f"the name {name!r} is taken by the {self.kind} {known}; choose another for {place}."
            )
        getattr(thing, "parameters", None)
        self._things[name] = thing, place

    def all(self) -> tuple[T, ...]:
        """Return everything: what this package holds by name, and then what others have added by name."""
        self._load_all()
        order = sorted((not self._is_own(place), name) for name, (_, place) in self._things.items())
        return tuple(self._things[name][0] for _, name in order)

    def find(self, name: str) -> T:
        """Return the thing of this name.

        Raises
        ------
        UserError
            If there is none, with the nearest names.
        """
        found = self.get(name)
        if found is None:
            raise UserError(f"there is no {self.kind} {name!r}; {nearest(name, sorted(self._things))}")
        return found

    def get(self, name: str) -> T | None:
        """Return the thing of this name; None where there is none."""
        self._load_all()
        return self._things[name][0] if name in self._things else None

    def _is_own(self, place: str) -> bool:
        return place.startswith(f"{self.package}.")

    def _load_own(self) -> None:
        if not self._own_are_known:
            folder = importlib.import_module(self.package)
            for info in pkgutil.walk_packages(folder.__path__, f"{self.package}."):
                importlib.import_module(info.name)
            self._own_are_known = True

    def _load_all(self) -> None:
        with self._lock:
            if self._all_are_known:
                return
            self._load_own()
            self._all_are_known = True  # also for a plug-in that asks while it is loaded
            for entry in sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value)):
                self._load(entry)

    def _load(self, entry: EntryPoint) -> None:
        try:
            entry.load()
        except (Exception, SystemExit) as error:  # a stranger's module can raise anything
            package = f" of the package {entry.dist.name}" if entry.dist else ""
            reason = plain(reason_of(error)).rstrip(".")
            warnings.warn(
                f"the {self.kind} {entry.name!r}{package} cannot be loaded ({reason}) and is left out; mend it, or remove the "
                "package.",
                PluginWarning,
                stacklevel=2,
            )
