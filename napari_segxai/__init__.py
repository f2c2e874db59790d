"""Explain image segmentation networks: in scripts, on the command line, and in napari.

Public names stand in `__init__.pyi`. They are loaded when they are first used, so that importing the package costs next
to nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
