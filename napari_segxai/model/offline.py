"""While a stranger's network is built, nothing is fetched."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HUBS = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Offline(OSError):
    """Something wanted to reach the network."""


@contextmanager
def offline() -> Iterator[None]:
    """Tell hub libraries that there is no network, and refuse every connection of this thread."""
    before = {name: os.environ.get(name) for name in HUBS}
    os.environ.update(dict.fromkeys(HUBS, "1"))
    hub = sys.modules.get("huggingface_hub.constants")
    was_offline = bool(getattr(hub, "HF_HUB_OFFLINE", before["HF_HUB_OFFLINE"] in ("1", "ON", "YES", "TRUE")))
    if hub is not None:
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # it read the environment when it was imported
    thread, connect, look_up = threading.get_ident(), socket.socket.connect, socket.getaddrinfo

    def refuse() -> None:
        if threading.get_ident() == thread:
            raise Offline(
                "a network is built without the internet; its weights come from the file beside the card"
            )

    def no_connect(self: socket.socket, address: Any) -> None:
        refuse()
        connect(self, address)

    def no_look_up(*args: Any, **kwargs: Any) -> Any:
        refuse()
        return look_up(*args, **kwargs)

    socket.socket.connect, socket.getaddrinfo = no_connect, no_look_up  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = connect, look_up  # type: ignore[method-assign]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        hub = sys.modules.get("huggingface_hub.constants")
        if hub is not None:
            hub.HF_HUB_OFFLINE = was_offline  # type: ignore[attr-defined]
