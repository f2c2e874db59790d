"""A function in a process of its own, without the seconds that a new interpreter takes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


class Fork:
    """Runs a function in a fork of this process; what it prints goes to a file."""

    def __init__(self, run: Callable[[], object], output: Path):
        self.output = output
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        status = 99
        try:
            with output.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                sys.stdout = sys.stderr = file
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
