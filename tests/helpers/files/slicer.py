"""What stands for 3D Slicer: an oblique volume, names that are hard to keep, and the functions that its scripts may call."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

NAMES = ["Größe \\alpha", "a\nSegment0_Color:=1", "c:=d 'x' \"y\" {z}", "肝臓", "|~^", "'); exit() #", "g"]
"""Of labels: letters of other languages, breaks, what ends a field, a text or a tag elsewhere."""


def oblique(*, left_handed: bool = False) -> np.ndarray:
    """An affine that is turned about two axes, with three sizes of voxels."""
    a, b = 0.3, 0.2
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    out = np.eye(4)
    out[:3, :3] = np.array(about_z) @ about_x @ np.diag([-0.7 if left_handed else 0.7, 1.3, 2.5])
    out[:3, 3] = [-31.25, 17.5, 88.125]
    return out


class _Calls:
    """Writes down what is called; only functions that Slicer has are there."""

    def __init__(self, kind: str, log: list[tuple[Any, ...]], functions: str, **more: Any):
        self._kind, self._log, self._functions, self._more = kind, log, functions.split(), more

    def __getattr__(self, name: str) -> Any:
        if name in self._more:
            return self._more[name]
        assert name in self._functions, f"{self._kind}.{name}"

        def call(*args: Any, **kwargs: Any) -> Any:
            self._log.append((self._kind, name, *args, *kwargs.items()))
            return f"id of {self._kind}" if name == "GetID" else None

        return call


def run_script(path: Path) -> list[tuple[Any, ...]]:
    """Run a script as Slicer does and return what it called, in order."""
    log: list[tuple[Any, ...]] = []

    def node(display: Any = None) -> Any:
        return SimpleNamespace(GetDisplayNode=lambda: display)

    def load_volume(file: str, properties: dict[str, Any] | None = None) -> Any:
        assert Path(file).is_file()
        log.append(("load", Path(file).name, properties))
        functions = """SetAndObserveColorNodeID AutoWindowLevelOff SetWindowLevelMinMax SetThreshold ApplyThresholdOn"""
        return node(_Calls("display", log, functions))

    def load_segmentation(file: str) -> Any:
        log.append(("load", Path(file).name, None))
        return node(_Calls("segments", log, "SetSegmentVisibility SetAllSegmentsOpacity2DFill"))

    module = ModuleType("slicer")
    module.util = SimpleNamespace(
        loadVolume=load_volume,
        loadSegmentation=load_segmentation,
        loadMarkups=lambda file: log.append(("load", Path(file).name, None)),
        setSliceViewerLayers=lambda background, foreground, foregroundOpacity, fit: log.append(("layers",)),
    )
    functions = "SetTypeToUser SetNumberOfColors SetName SetColor GetID"
    module.vtkMRMLColorTableNode = lambda: _Calls("colors", log, functions)
    module.mrmlScene = SimpleNamespace(AddNode=lambda _: None)
    before = sys.modules.get("slicer")
    sys.modules["slicer"] = module
    try:
        runpy.run_path(str(path))
    finally:
        if before is None:
            del sys.modules["slicer"]
    return log
