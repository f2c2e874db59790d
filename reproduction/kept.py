"""Results that are kept: one is used again as long as all that made it is the same, the code that ran for it included."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import Case, Row

from napari_segxai.io.names import file_name
from napari_segxai.methods.registry import all_methods
from napari_segxai.metrics.registry import all_metrics

ROOT = Path(__file__).resolve().parent.parent
CODE = tuple(str(ROOT / folder) + "/" for folder in ("napari_segxai", "reproduction"))
"""Folders of the code that makes numbers; how they are kept, in this file, makes none."""


@contextmanager
def watched(files: set[str]) -> Iterator[None]:
    """Add to a set the files of our code of which a function runs, in this thread or in one that is started meanwhile.

    What is imported does not count as run: all methods and metrics are, to be found by name.
    """

    def called(frame: Any, event: str, argument: Any) -> None:
        if (
            frame.f_code.co_flags & inspect.CO_OPTIMIZED
        ):  # a function, and not what a module or class does when it is read
            seen.add(frame.f_code.co_filename)

    all_methods(), all_metrics()  # nor what they call when they are first read

    seen: set[str] = set()
    before, of_threads = sys.gettrace(), threading.gettrace()
    threading.settrace(called)
    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(of_threads)  # ty: ignore[invalid-argument-type]
        ours = (name for name in seen if name.startswith(CODE) and name != __file__)
        files |= {str(Path(name).relative_to(ROOT)) for name in ours}


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """Return what a file of our code does, without comments and docstrings, and the files whose constants it uses."""
    path = ROOT / name
    if not path.is_file():
        return "", ()
    tree = ast.parse(path.read_bytes())
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(one.name.isupper() for one in node.names):
            found = importlib.util.find_spec(node.module or "")
            if found is not None and (found.origin or "").startswith(CODE):
                used.append(str(Path(found.origin or "").relative_to(ROOT)))
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_words(part)]  # ty: ignore[invalid-assignment]
    return ast.unparse(tree), tuple(used)


def _is_words(part: ast.stmt) -> bool:
    return (
        isinstance(part, ast.Expr)
        and isinstance(part.value, ast.Constant)
        and isinstance(part.value.value, str)
    )


def digest(files: Iterable[str]) -> str:
    """Return the digest of what files of our code do, and of those whose constants they use.

    Parameters
    ----------
    files
        Relative to the project's folder.
    """
    open_, told = list(files), {}
    while open_:
        name = open_.pop()
        if name not in told:
            told[name], used = _read(name)
            open_ += used
    return hashlib.sha256(json.dumps(sorted(told.items())).encode()).hexdigest()[:16]


def all_code() -> list[str]:
    """Return the files of the package, relative to the project's folder."""
    return [str(path.relative_to(ROOT)) for path in (ROOT / "napari_segxai").rglob("*.py")]


class Store:
    """What experiments found in every case, as JSON, used again as long as what made it is the same.

    A file holds `cases`, by key: settings, date, cpu (seconds of processor time), found, and code, which is one of the digests
    in the file's `code`, where the files stand that ran.

    Parameters
    ----------
    folder
        Gets one file per experiment, and the maps that figures are drawn of.
    work
        Folder of images and of cohorts that are not finished.
    fresh
        Whether nothing is used again.
    old
        Whether results of other code are used again as well; `other_code` counts them.
    """

    def __init__(
        self,
        folder: Path,
        work: Path | None = None,
        *,
        fresh: bool = False,
        old: bool = False,
        say: Callable[[str], None] = print,
    ):
        self.folder, self.work, self.fresh, self.old, self.say = folder, work or folder, fresh, old, say
        self.maps = folder / "maps"
        self.maps.mkdir(parents=True, exist_ok=True)
        self.drawable = {path.stem for path in self.maps.glob("*.npz")}  # file names of cases
        self.ran: dict[
            str, set[str]
        ] = {}  # by experiment: what is done once for all of its cases runs in one of them
        self.used: dict[tuple[str, str], Row] = {}  # experiment and key: date and seconds
        self.computed: set[tuple[str, str]] = set()
        self.other_code: set[tuple[str, str]] = set()

    def rows(
        self,
        experiment: str,
        case: Case,
        settings: Mapping[str, Any],
        compute: Callable[[], list[Row]],
        *,
        shown: bool = False,
    ) -> list[Row]:
        """Return the rows of a case; computed unless they are kept, and the maps too if figures show the case."""
        common = {"dataset": case.dataset, "case": case.key}
        return self.found(
            experiment,
            case.key,
            {**case.identity, **settings},
            lambda: [{**common, **row} for row in compute()],
            usable=not shown or self.old or file_name(case.key) in self.drawable,
        )

    def found(
        self,
        experiment: str,
        key: str,
        settings: Mapping[str, Any],
        compute: Callable[[], Any],
        *,
        usable: bool = True,
    ) -> Any:
        """Return what an experiment finds in a case, as JSON has it; computed unless it is kept.

        Parameters
        ----------
        settings
            What is kept has to agree in them, beside the code that ran for it.
        usable
            Whether what is kept would do.
        """
        path, one = self.folder / f"{experiment}.json", (experiment, key)
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"code": {}, "cases": {}}
        wanted, old = json.loads(json.dumps(settings)), kept["cases"].get(key)
        same_code = old is not None and digest(kept["code"].get(old["code"], ())) == old["code"]
        usable = usable and not self.fresh and old is not None and old["settings"] == wanted
        if one not in self.used and not (usable and (same_code or self.old)):
            self.say(f"{datetime.now(UTC):%H:%M:%S} {experiment}: {key}")
            ran = self.ran.setdefault(experiment, set())
            start = time.process_time()
            with watched(ran):
                told = compute()
            code, same_code = digest(ran), True
            kept["code"][code] = sorted(ran)
            kept["cases"][key] = {
                "settings": wanted,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "cpu": round(time.process_time() - start, 1),
                "code": code,
                "found": told,
            }
            needed = {case["code"] for case in kept["cases"].values()}
            kept["code"] = {name: files for name, files in kept["code"].items() if name in needed}
            text = json.dumps(kept, indent=1, default=_plain) + "\n"
            replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))
            kept = json.loads(text)
            self.computed.add(one)
        if one not in self.used and not same_code:
            self.other_code.add(one)
        self.used[one] = {name: kept["cases"][key].get(name) for name in ("date", "cpu")}
        return kept["cases"][key]["found"]

    def merge(self, other: Store) -> None:
        """Count what another store of the same folder used as used by this one."""
        self.used |= other.used
        self.computed |= other.computed
        self.other_code |= other.other_code

    def dates(self) -> list[str]:
        """The days on which what was used was computed, sorted."""
        return sorted({one["date"] for one in self.used.values()})

    def cpu(self, experiment: str | None = None) -> tuple[float, int]:
        """Seconds of processor time that took what was used, and of how many results they are not known."""
        known = [one["cpu"] for (name, _), one in self.used.items() if experiment in (None, name)]
        return sum(one for one in known if one is not None), sum(one is None for one in known)

    def keep_maps(self, case: Case, **maps: np.ndarray) -> None:
        """Keep maps for the figures, beside those of the case that are there."""
        path = self.maps / f"{file_name(case.key)}.npz"
        known = dict(np.load(path)) if path.exists() else {}
        replace_file(path, lambda part: np.savez_compressed(part, **{**known, **maps}))

    def kept_maps(self, case: Case) -> dict[str, np.ndarray]:
        """Return the maps of a case by name."""
        path = self.maps / f"{file_name(case.key)}.npz"
        return dict(np.load(path)) if path.exists() else {}


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that whoever ends the run half-way leaves the old one."""
    part = path.with_name(f"part-{path.name}")
    write(part)
    part.replace(path)


def _plain(value: Any) -> Any:
    """Return numpy's numbers as Python's, for JSON."""
    return value.item() if hasattr(value, "item") else str(value)
