"""The class that a card names, and building it from the card's arguments."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Any

from torch import nn

from napari_segxai.core.errors import UserError, number, reason_of
from napari_segxai.core.memory import machine_memory
from napari_segxai.models.introspection.dispatch import DispatchMode
from napari_segxai.models.loading.offline import Offline, Sealed, offline, sealed
from napari_segxai.models.loading.own_code import import_own, own_modules
from napari_segxai.models.loading.untrusted_code import UntrustedCode, file_of, is_private, needs_yes, spec_of

FETCHES = re.compile(r"pretrain|download|(^|_)hub(_|$)|(^|_)weights(_|$)|checkpoint|ckpt|(^|_)urls?(_|$)")
"""Names of arguments with which a constructor fetches or reads weights."""

READS = re.compile(r"(^|_)(path|dir|folder|repo|repo_id|file|filename|cache_dir)(_|$)")
"""Names of arguments that tell a constructor a place, if their value is text."""

SWITCHES = re.compile(r"^init_weights$|checkpoint")
"""Of `FETCHES`, names that also stand for something harmless, if their value is true."""

LARGEST = 1 << 20
"""The largest whole number among the arguments of a network."""

SPARE = 100_000_000
"""Numbers that a constructor may make beyond `TIMES` those in the file of its weights."""

TIMES = 16

PLAIN = {
    "torchvision.models.segmentation": "napari_segxai.models.zoo.torchvision",
    "transformers": "napari_segxai.models.zoo.transformers",
}
"""Modules whose networks are made by functions, or of objects, and where those of the same names are made of plain arguments."""

TENSOR = 20_000
"""Numbers that a tensor counts for beyond its own, as making it takes time."""


def check_trust(place: str, card: Path, code: Path | None = None, *, beside: bool = True) -> None:
    """Raise `UntrustedCode` if importing the architecture needs the user's yes.

    Parameters
    ----------
    place
        "package.module:Class".
    card
        The file of the model card.
    code
        The folder in which its module is looked for first; that of the card by default.
    beside
        Whether it is looked for there at all; not where a format says which installed library made its networks.

    Raises
    ------
    UntrustedCode
        Naming the module and the file that would run.
    UserError
        If there is no such package, or it is one from which no network may come.
    """
    module, where = place.partition(":")[0], f"{card}: architecture {place!r}"
    if is_private(place):
        raise UserError(f"{where} is private: no part of it may begin with an underscore.")
    local = file_beside(module, code or card.parent) if beside else None
    if local is not None:
        raise UntrustedCode(where, module, local, beside=True, own=code is not None)
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise UserError(f"{where} is part of Python, which has no networks.")
    if spec_of(module) is None:
        raise UserError(f"{where}: there is no package {top!r}; install it or correct the name.")
    if needs_yes(module):
        raise UntrustedCode(where, module, file_of(module))


@contextmanager
def opened(
    place: str, card: Path, *, trust: bool, code: Path | None = None, beside: bool = True
) -> Generator[tuple[type[nn.Module], bool]]:
    """Import the class that a card names, without the internet; while open, what lies beside its file can be imported.

    Parameters
    ----------
    place
        "package.module:Class".
    card
        The file of the model card.
    trust
        Whether the user said yes to a module that is not known to hold networks.
    code, beside
        As of `check_trust`.

    Yields
    ------
    tuple
        The class, and whether the user had to say yes to it.

    Raises
    ------
    UserError
        If it cannot be imported, or is not a network.
    UntrustedCode
        If the module needs a yes and `trust` is False.
    """
    try:
        check_trust(place, card, code, beside=beside)
    except UntrustedCode:
        if not trust:
            raise
        own_code = True
    else:
        own_code = False
    where = f"{card}: architecture {place!r}"
    name, _, qualname = place.partition(":")
    folder = code or card.parent
    local = file_beside(name, folder) if beside else None
    with offline(), nullcontext() if local is None else own_modules(local, folder, name):
        try:
            module = importlib.import_module(name) if local is None else import_own(local, name, folder)
            found = _plain_network(name, qualname) if local is None else None
            found = found or _walk(module, qualname)
        except (Exception, SystemExit) as error:  # an ImportError, or whatever the code raises
            raise UserError(f"{where}: {reason_of(error)}.") from error
        # Only a network may be built: a card must not be able to call any other function of a package. A file beside it, to whose code
        # the user said yes, may have a function of its own that makes the network.
        makes = (
            local is not None
            and own_code
            and inspect.isfunction(found)
            and found.__module__ == module.__name__
        )
        if not makes and not (isinstance(found, type) and issubclass(found, nn.Module)):
            near = difflib.get_close_matches(qualname, _networks_in(module), n=1) if found is None else []
            raise UserError(
                f"{where} is not a torch.nn.Module class" + (f"; did you mean {near[0]!r}?" if near else ".")
            )
        yield found, own_code


def build(
    place: str,
    arguments: Mapping[str, Any],
    card: Path,
    *,
    trust: bool,
    numbers: int,
    code: Path | None = None,
    beside: bool = True,
) -> tuple[nn.Module, str]:
    """Import the class that a card names and make a network of it, without the internet.

    Parameters
    ----------
    place
        "package.module:Class".
    arguments
        Of its constructor.
    card
        The file of the model card.
    trust
        Whether the user said yes to a module that is not known to hold networks.
    numbers
        In the file of its weights, about: a network far larger than that is not built.
    code, beside
        As of `check_trust`.

    Returns
    -------
    module
        The network, with random weights.
    said
        What was done to its arguments, in words; empty in most cases.

    Raises
    ------
    UserError
        If it cannot be imported, is not a network, or does not take the arguments.
    UntrustedCode
        If the module needs a yes and `trust` is False.
    """
    with opened(place, card, trust=trust, code=code, beside=beside) as (found, own_code):
        return made(found, place, arguments, card, numbers=numbers, own_code=own_code)


def made(
    found: type[nn.Module],
    place: str,
    arguments: Mapping[str, Any],
    card: Path,
    *,
    numbers: int,
    own_code: bool,
) -> tuple[nn.Module, str]:
    """Make a network of a class that `opened` has imported, and still holds open; see `build`."""
    emptied = harmless_defaults(found)
    given = {**emptied, **arguments}
    if not own_code:
        _check_arguments(arguments, card)

    def called(values: Mapping[str, Any]) -> Any:
        try:
            with (
                _Bounded(min(TIMES * numbers + SPARE, _affordable())),
                nullcontext() if own_code else sealed(),
            ):
                return found(**values)
        except UserError as error:
            raise UserError(f"{card}: {error}") from None
        except (Offline, Sealed) as error:
            raise UserError(f"{card}: {place} with these arguments is not built: {error}.") from error
        except (Exception, SystemExit) as error:  # whatever the constructor of a network raises
            raise UserError(f"{card}: {place} does not take these arguments: {reason_of(error)}.") from error

    if own_code:  # which may read what it likes; what it would fetch by default, it cannot
        try:
            network, emptied = called(arguments), {}
        except UserError as first:
            try:
                network = called(given)
            except UserError:
                raise first from None
    else:
        network = called(given)
    if not isinstance(network, nn.Module):
        raise UserError(f"{card}: {place} returned a {type(network).__name__}, not a torch.nn.Module.")
    names = ", ".join(name for name in emptied if name not in arguments)
    return network, left_empty(names)


def left_empty(names: str) -> str:
    """Say which arguments were emptied by which weights would have been fetched; "" for none."""
    return f"{names} left empty, as the weights come from the file beside the card." if names else ""


def file_beside(module: str, folder: Path) -> Path | None:
    """Return the file in a folder that holds the architecture, if there is one."""
    place = folder / module.replace(".", "/")
    return next(
        (path for path in (place.with_name(f"{place.name}.py"), place / "__init__.py") if path.is_file()),
        None,
    )


def _networks_in(module: Any) -> list[str]:
    """Return the names of the networks that a module holds."""
    return [
        name for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, nn.Module)
    ]


def _walk(module: Any, qualname: str) -> Any:
    """Return the class, or a function of a module; on the way to a class lie classes alone."""
    found = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
        if not isinstance(found, type):
            return found if part == qualname and inspect.isfunction(found) else None
    return found


def _plain_network(module: str, name: str) -> Any:
    """Return the network of this name that is made of plain arguments; None where there is no other than the module's own."""
    return getattr(importlib.import_module(PLAIN[module]), name, None) if module in PLAIN else None


def _check_arguments(arguments: Mapping[str, Any], card: Path) -> None:
    """Refuse arguments that would fetch or read weights, or that no network has."""
    for name, value in _items(arguments):
        if would_fetch(name, value):
            raise UserError(
                f"{card}: the argument {name} is {value!r}, with which the network would fetch or read other weights; "
                f"write `{name}: {'false' if value is True else 'null'}`: its weights come from the file beside the card."
            )
        if isinstance(value, str) and re.search(r"[/\\:~]", value):
            raise UserError(
                f"{card}: the argument {name} is {value!r}, which names a file or a place in the internet; a network "
                "is built only from numbers and plain names."
            )
        if isinstance(value, int | float) and not abs(value) <= LARGEST:
            raise UserError(
                f"{card}: the argument {name} is {number(value)}; a number of a network is at most {LARGEST}."
            )


def harmless_defaults(network: Callable[..., Any]) -> dict[str, Any]:
    """Return emptied values for the arguments that would fetch weights if they were left out."""
    try:
        parameters = inspect.signature(network).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        p.name: False if p.default is True else None for p in parameters if would_fetch(p.name, p.default)
    }


def would_fetch(name: str, value: Any) -> bool:
    """Tell whether a constructor would fetch or read weights with this argument."""
    # torchvision's weights are members of enums
    text, name = isinstance(value, Enum) or (isinstance(value, str) and value != ""), name.lower()
    if FETCHES.search(name):
        return text or (value is True and not SWITCHES.search(name))
    return text and READS.search(name) is not None


def _affordable() -> int:
    """Return how many numbers half of this machine's memory holds: a file of weights with holes in it can claim any size."""
    return machine_memory() // 8 or sys.maxsize


def _items(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the names and values of arguments, also of those inside lists and mappings."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _items(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _items(inner, name)
    else:
        yield name, value


class _Bounded(DispatchMode):
    """Refuses tensors that are, all together, larger than a network of these weights can be."""

    def __init__(self, most: int):
        super().__init__()
        self.most = self.left = most

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        first = args[0] if args else None
        if isinstance(first, list | tuple) and all(isinstance(n, int) for n in first):
            self._take(math.prod(first))  # torch.empty and its kind, by their size
        elif isinstance(first, int | float):
            self._take(int(max(a for a in args if isinstance(a, int | float))))  # torch.arange and its kind
        return func(*args, **(kwargs or {}))

    def _take(self, numbers: int) -> None:
        self.left -= numbers + TENSOR
        if self.left < 0:
            raise UserError(
                f"with these arguments the network would hold more than {self.most:.2g} numbers, more than its file "
                "of weights, or this machine, can hold."
            )
