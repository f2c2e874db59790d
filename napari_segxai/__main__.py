"""`python -m napari_segxai` is the command line."""

from napari_segxai.cli import app

app()
