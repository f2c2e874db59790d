"""Explain image segmentation networks: in scripts, on the command line, and in napari.

Public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "Box": "napari_segxai.core.target",
    "Component": "napari_segxai.core.target",
    "Explanation": "napari_segxai.analyses.explain.result",
    "Flow": "napari_segxai.analyses.flow.result",
    "Image": "napari_segxai.core.image",
    "OutOfMemory": "napari_segxai.models.inference.memory",
    "Point": "napari_segxai.core.target",
    "SegmentationModel": "napari_segxai.models.network",
    "Target": "napari_segxai.core.target",
    "UserError": "napari_segxai.core.errors",
    "allow_package": "napari_segxai.models.loading.untrusted_code",
    "image_of_layer": "napari_segxai.gui.viewer.layers",
    "Comparison": "napari_segxai.analyses.compare.result",
    "Sweep": "napari_segxai.analyses.sweep.run",
    "channel_importance": "napari_segxai.analyses.channels.run",
    "channel_importance_steps": "napari_segxai.analyses.channels.run",
    "compare": "napari_segxai.analyses.compare.run",
    "compare_steps": "napari_segxai.analyses.compare.run",
    "evaluate": "napari_segxai.analyses.compare.evaluate",
    "list_metrics": "napari_segxai.analyses.compare.run",
    "sweep": "napari_segxai.analyses.sweep.run",
    "explain": "napari_segxai.analyses.explain.plan",
    "Interrupted": "napari_segxai.core.progress",
    "explain_all": "napari_segxai.analyses.explain.plan",
    "explain_all_steps": "napari_segxai.analyses.explain.plan",
    "explain_steps": "napari_segxai.analyses.explain.plan",
    "check": "napari_segxai.checks.run",
    "check_steps": "napari_segxai.checks.run",
    "list_checks": "napari_segxai.checks.run",
    "causal_check": "napari_segxai.analyses.flow.run",
    "causal_check_steps": "napari_segxai.analyses.flow.run",
    "information_flow": "napari_segxai.analyses.flow.run",
    "information_flow_steps": "napari_segxai.analyses.flow.run",
    "join_channels": "napari_segxai.io.joining",
    "load_model": "napari_segxai.models.registry",
    "list_methods": "napari_segxai.analyses.explain.plan",
    "list_models": "napari_segxai.models.registry",
    "read_image": "napari_segxai.io",
    "read_region": "napari_segxai.analyses.explain.files",
    "register_model": "napari_segxai.models.registry",
    "residual_picture": "napari_segxai.metrics.topology",
    "save_picture": "napari_segxai.analyses.compare.files",
}

__all__ = [*_PLACES, "__version__"]

if TYPE_CHECKING:
    from napari_segxai.analyses.channels.run import channel_importance as channel_importance
    from napari_segxai.analyses.channels.run import channel_importance_steps as channel_importance_steps
    from napari_segxai.analyses.compare.evaluate import evaluate as evaluate
    from napari_segxai.analyses.compare.files import save_picture as save_picture
    from napari_segxai.analyses.compare.result import Comparison as Comparison
    from napari_segxai.analyses.compare.run import compare as compare
    from napari_segxai.analyses.compare.run import compare_steps as compare_steps
    from napari_segxai.analyses.compare.run import list_metrics as list_metrics
    from napari_segxai.analyses.explain.files import read_region as read_region
    from napari_segxai.analyses.explain.plan import explain as explain
    from napari_segxai.analyses.explain.plan import explain_all as explain_all
    from napari_segxai.analyses.explain.plan import explain_all_steps as explain_all_steps
    from napari_segxai.analyses.explain.plan import explain_steps as explain_steps
    from napari_segxai.analyses.explain.plan import list_methods as list_methods
    from napari_segxai.analyses.explain.result import Explanation as Explanation
    from napari_segxai.analyses.flow.result import Flow as Flow
    from napari_segxai.analyses.flow.run import causal_check as causal_check
    from napari_segxai.analyses.flow.run import causal_check_steps as causal_check_steps
    from napari_segxai.analyses.flow.run import information_flow as information_flow
    from napari_segxai.analyses.flow.run import information_flow_steps as information_flow_steps
    from napari_segxai.analyses.sweep.run import Sweep as Sweep
    from napari_segxai.analyses.sweep.run import sweep as sweep
    from napari_segxai.checks.run import check as check
    from napari_segxai.checks.run import check_steps as check_steps
    from napari_segxai.checks.run import list_checks as list_checks
    from napari_segxai.core.errors import UserError as UserError
    from napari_segxai.core.image import Image as Image
    from napari_segxai.core.progress import Interrupted as Interrupted
    from napari_segxai.core.target import Box as Box
    from napari_segxai.core.target import Component as Component
    from napari_segxai.core.target import Point as Point
    from napari_segxai.core.target import Target as Target
    from napari_segxai.io import read_image as read_image
    from napari_segxai.metrics.topology import residual_picture as residual_picture
    from napari_segxai.models.inference.memory import OutOfMemory as OutOfMemory
    from napari_segxai.models.loading.untrusted_code import allow_package as allow_package
    from napari_segxai.models.network import SegmentationModel as SegmentationModel
    from napari_segxai.models.registry import list_models as list_models
    from napari_segxai.models.registry import load_model as load_model
    from napari_segxai.models.registry import register_model as register_model


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
