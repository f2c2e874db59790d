"""What a file of weights or of a network is, told from its first bytes and its table of contents, not from its name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from napari_segxai.core.errors import UserError

Kind = Literal["empty", "safetensors", "TorchScript", "torch.export", "torch", "damaged", "unknown"]

DAMAGED = (
    "is cut off or damaged: it begins as what torch saves, and its end is missing; copy or download it again"
)
"""What is wrong with a file of the kind "damaged"."""

PICKLE = b"\x80"
"""How a file of torch.save before torch 1.6 begins."""

ARCHIVE = b"PK\x03\x04"
"""How one begins since then; its table of contents stands at its end."""

UNPACKED, SPARE = 4, 1 << 24
"""An archive becomes at most so many times as large, and so many bytes more: torch compresses code alone."""


def kind_of(path: Path) -> Kind:
    """Tell what wrote a file; "torch" is torch.save, of weights, of a network or of anything else, "damaged" an archive without its end.

    Nothing in the file is run or unpickled.

    Raises
    ------
    UserError
        If it is an archive that would become far larger than it is.
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
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return "damaged" if start.startswith(ARCHIVE) else "unknown"
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > UNPACKED * path.stat().st_size + SPARE:
        raise UserError(
            f"{path}: becomes {unpacked / 1e6:.0f} MB when it is unpacked, far more than what torch writes; save it again."
        )
    names = {entry.filename.partition("/")[2] for entry in entries}
    if names & {"constants.pkl", "model.json"}:
        return "TorchScript"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "torch.export"
    return "torch" if "data.pkl" in names else "unknown"
