"""What a file of weights or of a network is, told from its first bytes and its table of contents, not from its name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

Kind = Literal["empty", "safetensors", "TorchScript", "torch.export", "torch", "unknown"]

PICKLE = b"\x80"
"""How a file of torch.save before torch 1.6 begins."""


def kind_of(path: Path) -> Kind:
    """Tell what wrote a file; "torch" is torch.save, of weights, of a network or of anything else.

    Nothing in the file is run or unpickled.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        return "empty"
    # Eight bytes of the header's length, then the header, which is JSON.
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if start.startswith(PICKLE):
        return "torch"
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError):
        return "unknown"
    if names & {"constants.pkl", "model.json"}:
        return "TorchScript"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "torch.export"
    return "torch" if "data.pkl" in names else "unknown"
