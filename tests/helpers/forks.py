"""A function or a script in a process of its own, without the seconds that a new interpreter takes."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

TESTS = f"{Path(__file__).parents[1]}{os.sep}"


class Fork:
    """Runs a function in a fork of this process; what it prints goes to a file, or to one and warnings to another."""

    def __init__(self, run: Callable[[], object], output: Path, errors: Path | None = None):
        self.output = output
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        status = 99
        try:
            with output.open("w") as file, (errors or Path(os.devnull)).open("w") as other:
                other = other if errors else file
                os.dup2(file.fileno(), 1)
                os.dup2(other.fileno(), 2)
                sys.stdout, sys.stderr = file, other
                try:
                    run()
                    status = 0
                except SystemExit as end:
                    if isinstance(end.code, str):
                        print(end.code)
                    status = end.code if isinstance(end.code, int) else int(end.code is not None)
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(status)

    def wait(self) -> int:
        """Return its exit status, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def said(self) -> str:
        return self.output.read_text()


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def be_new(*arguments: str, paths: Sequence[Path] = ()) -> None:
    """In a fork, do what `python ARGUMENTS` does with `paths` as PYTHONPATH: nothing of this project is imported yet.

    What others made, torch above all, is there already.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] == "napari_segxai" or (file.startswith(TESTS) and name != __name__):
            del sys.modules[name]
    torch.set_num_threads(1)  # threads of OpenMP do not come along
    warnings.showwarning = _show_warning  # not to pytest, which keeps them
    warnings.resetwarnings()
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.path[:0] = map(str, paths)
    kind, *rest = arguments
    sys.argv = [kind, *rest]
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = [kind, *rest[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(rest[0], vars(main))
    else:
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")
