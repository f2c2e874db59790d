"""Handing files to a 3D Slicer that runs on this machine, by its web server.

The standard library's client is used because it knows no proxies: names of files never leave the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_segxai.core.errors import UserError

PORT = 2016
"""At which Slicer's module Web Server answers, unless its user has changed it."""

ANSWER, LOADING = 3.0, 120.0
"""Seconds to wait for its version, and for a file."""

NOT_THERE = (
    "no 3D Slicer answers on this machine: start it, press Start Server in its module Web Server, and try again; or run "
    "open_in_slicer.py in its Python console."
)

KINDS = {".seg.nrrd": "SegmentationFile", ".mrk.json": "MarkupsFile", ".nii.gz": "VolumeFile"}
"""What Slicer calls a file, by its ending."""


def is_running(port: int = PORT) -> bool:
    """Tell whether Slicer's web server answers on this machine."""
    try:
        return "applicationName" in _asked("GET", "/slicer/system/version", ANSWER, port)
    except UserError:
        return False


def load_files(paths: Sequence[Path], port: int = PORT) -> None:
    """Have Slicer load files, one after the other.

    Parameters
    ----------
    paths
        Their names end as in `KINDS`.
    port
        Of the web server, on this machine.

    Raises
    ------
    UserError
        If it does not answer, or cannot load one of them.
    """
    if not is_running(port):
        raise UserError(NOT_THERE)
    for path in paths:
        kind = next(kind for ending, kind in KINDS.items() if path.name.endswith(ending))
        way = f"/slicer/mrml?localfile={quote(str(path.absolute()), safe='')}&filetype={kind}"
        told = _asked("POST", way, LOADING, port)
        if told.get("success") is False or told.get("loadedNodeIDs") == []:
            raise UserError(f"3D Slicer could not load {path.name}: {told.get('message', 'it says no more')}")


def _asked(verb: str, way: str, seconds: float, port: int) -> dict[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(verb, way)
        answer = connection.getresponse()
        text = answer.read(1 << 20)
        told = json.loads(text)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"3D Slicer did not answer as its web server does ({error}); see its log.") from None
    finally:
        connection.close()
    if not isinstance(told, dict):
        raise UserError("3D Slicer did not answer as its web server does; see its log.")
    return told if answer.status == 200 else {"success": False, **told}
