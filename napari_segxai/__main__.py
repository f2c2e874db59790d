"""`python -m napari_segxai` is the command line."""

import os
import sys

# Python puts the working folder first, where a stranger's yaml.py would be taken for the library.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from napari_segxai.cli.app import app

app()
