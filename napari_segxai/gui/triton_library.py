"""Lets torch's compiler be imported beside the drivers of a window.

Mesa's OpenGL, in which napari draws on many machines with Linux, brings a library LLVM; triton, which comes with torch for
CUDA, holds another LLVM and shows its symbols. Imported after the window (torchvision, MONAI and transformers do so), triton
calls into Mesa's, and the process ends without a word (triton 3.7). With RTLD_DEEPBIND a library prefers its own symbols.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LIBRARY = "triton._C.libtriton"


class OwnSymbolsFirst:
    """Loads triton's library just before it is imported, so that it is bound to itself; anything else is left alone."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Bind the library, and let Python import it as always."""
        if name == LIBRARY:
            spec = PathFinder.find_spec(name, path, target)
            if spec is not None and spec.origin is not None:
                load(spec.origin)
        return None


def load(file: str) -> None:
    """Load a library that prefers its own symbols; what cannot be loaded is for Python's own import to report."""
    with suppress(OSError):
        ctypes.CDLL(file, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)


def guard() -> None:
    """Watch for triton's library in this process, once; nothing to do where libraries are bound otherwise (macOS, Windows)."""
    if hasattr(os, "RTLD_DEEPBIND") and OwnSymbolsFirst not in sys.meta_path:
        sys.meta_path.insert(0, OwnSymbolsFirst)
