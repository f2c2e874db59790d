"""What lies in a folder of results."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from napari_segxai.io.held import RECORD, STAGE


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def belongs_together(folder: Path, users: dict[str, str]) -> str | None:
    """Check that a folder holds what its record lists and the user's files; returns the method, or None without one."""
    found = {name: digest for name, digest in digests(folder).items() if not name.startswith(STAGE)}
    assert {name: found.pop(name, None) for name in users} == users
    if RECORD not in found:
        return None
    record = json.loads((folder / RECORD).read_text())
    del found[RECORD]
    assert found == record["files"]
    return record["method"]


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def audited(save: Callable[[], object], event: int | None = None) -> int:
    """Count what `save` asks of the file system, in this process; killed, uncatchably, before number `event`."""
    count = [0]

    def hook(name: str, args: tuple) -> None:
        if name in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and count[0] >= 0:
            count[0] += 1
            if count[0] == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    save()
    total, count[0] = count[0], -(10**9)
    return total


def killed_at(event: int, save: Callable[[], object]) -> bool:
    """Save in a process of its own that is killed before an event; tells whether it was."""
    child = os.fork()
    if not child:  # nothing of pytest's may run here, whatever happens
        try:
            audited(save, event)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
