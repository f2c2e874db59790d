"""What importing the reader and the writer costs."""

from __future__ import annotations

import subprocess
import sys


def test_importing_io_is_cheap():
    code = (
        "import sys, napari_segxai.io.layer_data, napari_segxai.gui.manifest.reader, napari_segxai.gui.manifest.writer\n"
        "print([m for m in ('nibabel', 'napari', 'qtpy', 'torch', 'tifffile', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
