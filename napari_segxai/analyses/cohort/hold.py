"""Holding the folder of a cohort: one run writes to it at a time, or one for each of its parts."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from napari_segxai.core.errors import UserError
from napari_segxai.io.held import is_newer, look

try:
    import fcntl
except ImportError:  # Windows; there two runs of one folder are not told of each other
    fcntl = None  # type: ignore[assignment]

LOCK = ".segxai-running"

WORKERS = ".segxai-workers-"
"""How the names of folders begin in which SLURM jobs have their keys and what they say, while they run."""


@contextlib.contextmanager
def held_alone(folder: Path, shard: tuple[int, int]) -> Generator[Callable[[], None]]:
    """While open, no other run of the whole, or of the same part, writes to the folder.

    Yields
    ------
    callable
        Raises `UserError` if the folder was removed or exchanged since: what is written there then is held by nobody.

    Raises
    ------
    UserError
        If another run holds it, or the folder holds something else, or what a newer version wrote.
    """
    held = look(folder) if folder.is_dir() else None
    if held is not None and held.kind not in ("", "cohort"):
        raise UserError(f"{folder} holds {held.words}; name another folder for the cohort.")
    if held is not None and is_newer(held.record):
        raise UserError(
            f"{folder} holds a cohort of a newer version of this program, which this one would replace; update napari-segxai, or "
            "name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: the folder of the cohort cannot be made ({error.strerror}); name another one."
        ) from None
    parts = [LOCK] if shard == (1, 1) else [LOCK, f"{LOCK}-{shard[0]}-{shard[1]}"]
    with contextlib.ExitStack() as stack:
        files = [(folder / name, stack.enter_context(_open(folder, name))) for name in parts]
        alone = False
        for number, (_, file) in enumerate(files):
            if fcntl is None:
                continue
            shared = len(parts) > 1 and number == 0  # parts of one run stand beside each other
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another run is writing to {folder}; wait for it, or name another folder."
                ) from None
            except OSError:  # a file system without locks
                continue
            alone = len(parts) == 1

        def check() -> None:
            for path, file in files:
                if not _is_same(path, file):
                    raise UserError(
                        f"{folder} was removed or exchanged while the cohort was written to it; run it again."
                    )

        check()  # between making it and holding it
        if alone:  # these are of a run that was killed
            for left in folder.glob(f"{WORKERS}*"):
                shutil.rmtree(left, ignore_errors=True)
        yield check


def _open(folder: Path, name: str) -> IO[str]:
    try:
        return (folder / name).open("a")
    except OSError as error:
        raise UserError(
            f"{folder / name}: cannot be written ({error.strerror}); name another folder for the cohort."
        ) from None


def _is_same(path: Path, file: IO[str]) -> bool:
    if os.name == "nt":  # where a file that is open cannot be removed, nor a folder that holds one
        return path.exists()
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
