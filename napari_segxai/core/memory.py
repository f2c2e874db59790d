"""How much memory this machine has."""

from __future__ import annotations

import os


def machine_memory() -> int:
    """Return the bytes of memory of this machine; 0 where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        try:
            import psutil
        except ImportError:
            return 0
        return psutil.virtual_memory().total
