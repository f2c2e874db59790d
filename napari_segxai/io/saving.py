"""A folder of results is saved as one step: all of it is there with a record that lists it, or nothing has changed.

Everything is written to a hidden folder beside its place first. Then a plan is put there, which says what goes and what
comes. From then on the save counts: the old record goes, then the files that it listed, then the new files are moved to
their places and the new record comes last. Whoever is stopped in between leaves a folder without a record; the plan
is carried out when the folder is met again. What was stopped before its plan was whole is swept away, and the folder is
as it was. Files that no record lists belong to the user: they are neither removed nor replaced.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.record import as_json
from napari_segxai.io.held import RECORD, STAGE, Held, file_digest, is_file, is_inside, is_within, look

try:
    import fcntl
except ImportError:  # Windows; there two programs that save to one folder are not told of each other
    fcntl = None  # type: ignore[assignment]


PATIENCE = 2.0
"""Seconds that are waited for another program that saves to the same folder: one that was stopped may be about to end."""

PLAN = "plan.json"


def save_folder(
    folder: str | Path, write: Callable[[Path], Mapping[str, Any]], *, overwrite: bool = False
) -> list[Path]:
    """Save a folder of results as one step.

    Parameters
    ----------
    folder
        Made if it is not there.
    write
        Fills an empty folder and returns what the record says, `kind` among it.
    overwrite
        Whether results that are there are replaced; a user's other files never are.

    Returns
    -------
    list of Path
        What was written, the record last.

    Raises
    ------
    UserError
        If the folder holds results already and `overwrite` is False, a file of the user is in the way, or something
        cannot be written. Then the folder is as it was before.
    """
    folder = user_path(folder)
    check_folder(folder, overwrite=overwrite)
    with _errors(folder), _made(folder), _alone(folder):
        stage = folder / STAGE
        new = stage / "new"
        ready = False
        try:
            shutil.rmtree(stage, ignore_errors=True)
            new.mkdir(parents=True)
            names = [*complete(new, write(new)), RECORD]
            for name in names:
                _sync(new / name)
            held = look(folder)
            _refuse_conflicts(folder, held, names)
            _write_plan(stage, folder, held, names)
            ready = True
        finally:
            if not ready:
                shutil.rmtree(stage, ignore_errors=True)
        _carry_out(folder)
    return [folder / name for name in names]


def complete(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Write the record of a folder that was just filled: it lists all files and their digests; returns their names."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: file_digest(folder / name) for name in names}
    (folder / RECORD).write_text(as_json({**facts, "files": files}) + "\n", encoding="utf-8")
    return names


def check_folder(
    folder: str | Path, *, overwrite: bool = False, names: Sequence[str] = (), size: int = 0
) -> None:
    """Refuse, before the work begins, a folder to which results could not be saved; an interrupted save is completed or removed.

    Parameters
    ----------
    folder
        Where results are to go.
    overwrite
        Whether results that are there may be replaced.
    names
        Files that are written in any case.
    size
        Bytes that are needed at least.

    Raises
    ------
    UserError
        If the folder is a file, cannot be written to, holds a result and `overwrite` is False, or a file of the user
        is in the way.
    """
    if "\0" in str(folder):
        raise UserError(f"{str(folder)!r} is not the name of a folder; name another one.")
    folder = user_path(folder)
    with _errors(folder):
        if folder.is_dir():
            if os.path.lexists(folder / STAGE):
                with _alone(folder):
                    _recover(folder)
            held = look(folder)
            if held.kind and not overwrite:
                raise UserError(
                    f"{folder} already holds {held.words}; choose another folder, or replace it with --overwrite (in "
                    "Python: overwrite=True)."
                )
            _refuse_conflicts(folder, held, names)
        for each in (folder, *folder.parents):
            if os.path.lexists(each) and not each.is_dir():
                raise UserError(f"{each} is a file, not a folder; name another folder for the results.")
        with _made(folder, keep=False):
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(4096))
                file.flush()
            free = shutil.disk_usage(folder).free
        if free < size:
            raise UserError(
                f"{folder}: the results need at least {_megabytes(size)}, but only {_megabytes(free)} are free there; free "
                "some space or choose another place."
            )


def check_file(path: str | Path) -> None:
    """Refuse, before the work begins, a file that could not be written at its end.

    Raises
    ------
    UserError
        If it is a folder, belongs to a result, or cannot be written.
    """
    path = user_path(path)
    with _errors(path):
        if path.is_dir():
            raise UserError(f"{path} is a folder, not a file; name another file.")
        if path.exists():
            held = _held(path.parent)
            if held.kind and (path.name == RECORD or path.name in held.files):
                raise UserError(f"{path} is a file of {held.words}; name another file.")
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(4096))
            file.flush()


def ready_folder(folder: str | Path) -> Path:
    """Return a folder for files that a user asked for, which is made where it is not there.

    Raises
    ------
    UserError
        If it is a file, holds a result, or cannot be made.
    """
    folder = user_path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; name another folder.")
    with _errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    held = _held(folder)
    if held.kind:
        raise UserError(f"{folder} holds {held.words}, whose files are left alone; name another folder.")
    return folder


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """Give a path beside `path` to write to; only when all is written does it take the place of `path`.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    path = user_path(path)
    with _errors(path):
        # a name that the next save finds again: what was stopped leaves nothing for ever
        beside = path.with_name(f".segxai-part-{path.name}")
        beside.unlink(missing_ok=True)
        try:
            yield beside
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


# -- steps -----------------------------------------------------------------------------------------------------


def _write_plan(stage: Path, folder: Path, held: Held, names: Sequence[str]) -> None:
    """Say what goes and what comes, in one step."""
    going = {name: file_digest(folder / name) for name in names if is_file(folder / name)}
    root = folder.resolve()
    for name, digest in held.files.items():
        there = name not in going and is_file(folder / name) and is_within(root, name)
        # a file that was changed since, and whose name is not needed, has become the user's
        if there and file_digest(folder / name) == digest:
            going[name] = digest
    if held.kind:
        going[RECORD] = file_digest(folder / RECORD)
    unfinished = stage / f"{PLAN}.part"
    unfinished.write_text(json.dumps({"going": going, "coming": list(names)}), encoding="utf-8")
    _sync(unfinished)
    os.replace(unfinished, stage / PLAN)
    _sync(stage)


def _carry_out(folder: Path) -> None:
    """Do what the plan says; what was done already is left out, so that it can be begun again at any time."""
    stage = folder / STAGE
    plan = json.loads((stage / PLAN).read_text(encoding="utf-8"))
    going, coming = plan["going"], plan["coming"]
    for name in sorted(going, key=_order):
        old, moved = folder / name, name in coming and not is_file(stage / "new" / name)
        if not moved and is_file(old) and file_digest(old) == going[name]:
            old.unlink()
    for parent in sorted({parent for name in going for parent in PurePosixPath(name).parents}, reverse=True):
        if parent.parts:
            with contextlib.suppress(OSError):  # not empty: something of the user lies there
                (folder / parent).rmdir()
    for name in sorted(coming, key=_order, reverse=True):
        source, target = stage / "new" / name, folder / name
        if not is_file(source):
            continue
        if os.path.lexists(target):
            raise UserError(
                f"{folder} is incomplete: saving to it was stopped, and {name} has come in the way since; move it away."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    _sync(folder)
    (stage / PLAN).unlink()
    shutil.rmtree(stage, ignore_errors=True)


def _recover(folder: Path) -> None:
    """Complete a save whose plan was whole when it was stopped; sweep away any other."""
    stage = folder / STAGE
    if not os.path.lexists(stage):
        return  # another program has just ended its own save
    if stage.is_symlink() or not stage.is_dir():
        raise UserError(f"{stage} is in the way; move it away.")
    if is_file(stage / PLAN) and _is_ours(folder):
        _carry_out(folder)
    else:
        shutil.rmtree(stage, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Tell whether a plan keeps to its folder: somebody else may have put it there."""
    try:
        plan = json.loads((folder / STAGE / PLAN).read_text(encoding="utf-8"))
        names = [*plan["going"], *plan["coming"]]
        going = all(isinstance(digest, str) for digest in plan["going"].values())
        root, new = folder.resolve(), Path(STAGE, "new")
        inside = [is_inside(n) and is_within(root, n) and is_within(root / new, n) for n in names]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return False
    return going and all(inside)


def _refuse_conflicts(folder: Path, held: Held, names: Sequence[str]) -> None:
    """Refuse to write over what no record lists."""
    if not held.listed:  # a record without a list: what carries the name of a result is one
        return
    root = folder.resolve()
    for name in names:
        path = folder / name
        if (name == RECORD and held.kind) or (name in held.files and is_file(path) and is_within(root, name)):
            continue
        above = [folder / parent for parent in PurePosixPath(name).parents if parent.parts]
        blocked = [p for p in above if os.path.lexists(p) and not p.is_dir()]
        if blocked or os.path.lexists(path) or not is_within(root, name):
            there = (blocked[0] if blocked else path).relative_to(folder)
            which = (
                "which its record does not list"
                if held.kind
                else f"but no {RECORD}: it is incomplete, or not ours"
            )
            raise UserError(
                f"{folder} holds {there}, {which}; what no record lists is never replaced: move it away or choose another "
                "folder."
            )


def _order(name: str) -> tuple[bool, int, str]:
    """Put records first, that of the folder itself before all others."""
    path = PurePosixPath(name)
    return path.name != RECORD, len(path.parts), name


# -- small things ----------------------------------------------------------------------------------------------


def _held(folder: Path) -> Held:
    """Return what a folder holds of ours; a record of another program is none of our business."""
    try:
        return look(folder)
    except UserError:
        return Held()


@contextlib.contextmanager
def _errors(path: Path) -> Generator[None]:
    """Say in a sentence what the file system refuses."""
    try:
        yield
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"{path} cannot be written ({reason}); free some space or choose another place that may be written to."
        ) from None


@contextlib.contextmanager
def _made(folder: Path, *, keep: bool = True) -> Generator[None]:
    """Make a folder and those above it; those that were made are removed again unless they are to stay."""
    made: list[Path] = []
    try:
        _make(folder, made)
        yield
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            for each in reversed(made):
                with contextlib.suppress(OSError):
                    each.rmdir()


def _make(folder: Path, made: list[Path], tries: int = 20) -> None:
    """Make a folder and those above it, while other processes may make and remove the same; those that were made are added to `made`."""
    for each in (*reversed(folder.parents), folder):
        try:
            if not each.exists():
                each.mkdir()
                made.append(each)
        except FileExistsError:
            if not each.is_dir():
                raise
        except FileNotFoundError:  # one above it, which another process had made, has been removed by that
            if not tries:
                raise
            return _make(folder, made, tries - 1)
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold a folder while it is saved to; the hold ends with the process, however that ends."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise UserError(
                        f"another program is saving to {folder}; wait, or choose another folder."
                    ) from None
                time.sleep(0.02)
                continue
            except OSError:
                pass  # a file system without locks
            break
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    """Have a file or folder on the disk before what comes next."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        # There only what may be written to can be had on the disk.
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB"


def least_size(image: Image, maps: int = 1) -> int:
    """Return how many bytes maps of an image take at least: maps compress to a quarter, hardly ever to less."""
    return math.prod(image.spatial_shape) * maps
