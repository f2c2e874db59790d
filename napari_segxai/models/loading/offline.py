"""While a stranger's network is built, nothing is fetched; if nobody said yes to its code, nothing is written or started either."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

HUBS = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

REACHES = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.")
STARTS = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.spawn",
    "os.startfile",
    "pty.",
)
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
           "shutil.", "tempfile.")  # fmt: skip
"""Beginnings of the names of audit events."""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

OPENS = "napari_segxai.models.loading.architecture"
"""The module that builds networks."""

_closed = threading.local()


class Offline(OSError):
    """Something tried to open a network connection."""


class Sealed(OSError):
    """A constructor tried to read or write a file, or to start a program."""


@contextmanager
def offline() -> Generator[None]:
    """Tell hub libraries that there is no network, and refuse every connection of this thread."""
    before = {name: os.environ.get(name) for name in HUBS}
    os.environ.update(dict.fromkeys(HUBS, "1"))
    hub = sys.modules.get("huggingface_hub.constants")
    was_offline = bool(getattr(hub, "HF_HUB_OFFLINE", before["HF_HUB_OFFLINE"] in ("1", "ON", "YES", "TRUE")))
    if hub is not None:
        vars(hub)["HF_HUB_OFFLINE"] = True  # it read the environment when it was imported
    try:
        with _refusing("offline"):
            yield
    finally:
        # Emptied, not taken away: models are built beside the window's thread, and who goes through the environment there
        # would miss what has gone meanwhile. Empty is as good as unset for these libraries.
        os.environ.update({name: value or "" for name, value in before.items()})
        hub = sys.modules.get("huggingface_hub.constants")
        if hub is not None:
            vars(hub)["HF_HUB_OFFLINE"] = was_offline


@contextmanager
def sealed() -> Generator[None]:
    """Refuse this thread to write files, to read files of the working folder, and to start programs.

    Modules of libraries that are imported meanwhile may do so.
    """
    with _refusing("sealed"):
        yield


@contextmanager
def _refusing(what: str) -> Generator[None]:
    _watch()
    before = getattr(_closed, what, False)
    setattr(_closed, what, True)
    try:
        yield
    finally:
        setattr(_closed, what, before)


@cache
def _watch() -> None:
    """Listen to Python's audit events, from now until the process ends: a hook cannot be taken away."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if getattr(_closed, "offline", False) and event.startswith(REACHES) and event != "socket.__new__":
        raise Offline(
            "a network is built without the internet; its weights come from the file beside the card"
        )
    if (
        not getattr(_closed, "sealed", False)
        or not event.startswith((*STARTS, *CHANGES, "open"))
        or _importing()
    ):
        return
    if event.startswith(STARTS):
        raise Sealed("it would start a program, which building a network has no need of")
    if event.startswith(CHANGES) or (event == "open" and _is_written(*arguments)):
        raise Sealed("it would write files, which building a network has no need of")
    if event == "open" and isinstance(arguments[0], str | bytes) and not os.path.isabs(arguments[0]):
        raise Sealed(
            "it would read a file of the working folder; its weights come from the file beside the card"
        )


def _importing() -> bool:
    """Tell whether a library is being imported, by what was begun in `sealed`: some look for a folder for what they keep."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") != OPENS:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _is_written(path: object, mode: object, flags: int) -> bool:
    named = isinstance(path, str | bytes) and os.fsdecode(path) != os.devnull
    return named and bool(flags & WRITES)
