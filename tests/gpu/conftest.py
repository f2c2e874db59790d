"""Tests on a CUDA device, skipped where there is none.

They need neither napari nor Qt, so that `scripts/gpu_check.sh` runs them on a bare machine. SEGXAI_GPU_TABLES names a
folder for what was measured on the way: how far apart both devices are, and two runs of one device.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


@pytest.fixture
def measured():
    """Writes down a row of what was measured: (table, row)."""
    folder = os.environ.get("SEGXAI_GPU_TABLES")

    def write(table: str, row: dict) -> None:
        if folder:
            with Path(folder, f"{table}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

    return write
