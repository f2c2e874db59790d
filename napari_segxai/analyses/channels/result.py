"""What channels matter, as a table and a record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv

if TYPE_CHECKING:
    from napari_segxai.analyses.channels.run import ChannelImportance

TABLE = "channels.csv"
SURE = (TABLE,)
"""Files of every measurement."""


def save_channels(found: ChannelImportance, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table and the record; see `ChannelImportance.save`."""

    def write(new: Path) -> dict[str, Any]:
        write_csv(new / TABLE, found.rows)
        return {"kind": "channel importance", **found.as_dict(), **found.asked}

    return save_folder(folder, write, overwrite=overwrite)
