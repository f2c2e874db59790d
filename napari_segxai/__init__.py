"""Explain image segmentation networks: in scripts, on the command line, and in napari.

Public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "Box": "napari_segxai.targets",
    "Component": "napari_segxai.targets",
    "Explanation": "napari_segxai.explanation",
    "Flow": "napari_segxai.flow",
    "Image": "napari_segxai.image",
    "OutOfMemory": "napari_segxai.engine.memory",
    "Point": "napari_segxai.targets",
    "SegmentationModel": "napari_segxai.model",
    "Target": "napari_segxai.targets",
    "UserError": "napari_segxai.errors",
    "allow_package": "napari_segxai.model.trust",
    "image_of_layer": "napari_segxai.gui.layers",
    "Comparison": "napari_segxai.comparison",
    "Sweep": "napari_segxai.sweeping",
    "channel_importance": "napari_segxai.channels",
    "channel_importance_steps": "napari_segxai.channels",
    "compare": "napari_segxai.comparing",
    "compare_steps": "napari_segxai.comparing",
    "evaluate": "napari_segxai.evaluating",
    "list_metrics": "napari_segxai.comparing",
    "sweep": "napari_segxai.sweeping",
    "explain": "napari_segxai.explaining",
    "Interrupted": "napari_segxai.engine.passes",
    "explain_all": "napari_segxai.explaining",
    "explain_all_steps": "napari_segxai.explaining",
    "explain_steps": "napari_segxai.explaining",
    "check": "napari_segxai.trust.checking",
    "check_steps": "napari_segxai.trust.checking",
    "list_checks": "napari_segxai.trust.checking",
    "causal_check": "napari_segxai.flowing",
    "causal_check_steps": "napari_segxai.flowing",
    "information_flow": "napari_segxai.flowing",
    "information_flow_steps": "napari_segxai.flowing",
    "join_channels": "napari_segxai.joining",
    "load_model": "napari_segxai.model",
    "list_methods": "napari_segxai.explaining",
    "list_models": "napari_segxai.model",
    "read_image": "napari_segxai.io",
    "read_region": "napari_segxai.io.results",
    "register_model": "napari_segxai.model",
    "residual_picture": "napari_segxai.metrics.topology",
    "save_picture": "napari_segxai.io.compare_files",
}

__all__ = [*_PLACES, "__version__"]

if TYPE_CHECKING:
    from napari_segxai.channels import channel_importance as channel_importance
    from napari_segxai.channels import channel_importance_steps as channel_importance_steps
    from napari_segxai.comparing import compare as compare
    from napari_segxai.comparing import compare_steps as compare_steps
    from napari_segxai.comparing import list_metrics as list_metrics
    from napari_segxai.comparison import Comparison as Comparison
    from napari_segxai.engine.memory import OutOfMemory as OutOfMemory
    from napari_segxai.engine.passes import Interrupted as Interrupted
    from napari_segxai.errors import UserError as UserError
    from napari_segxai.evaluating import evaluate as evaluate
    from napari_segxai.explaining import explain as explain
    from napari_segxai.explaining import explain_all as explain_all
    from napari_segxai.explaining import explain_all_steps as explain_all_steps
    from napari_segxai.explaining import explain_steps as explain_steps
    from napari_segxai.explaining import list_methods as list_methods
    from napari_segxai.explanation import Explanation as Explanation
    from napari_segxai.flow import Flow as Flow
    from napari_segxai.flowing import causal_check as causal_check
    from napari_segxai.flowing import causal_check_steps as causal_check_steps
    from napari_segxai.flowing import information_flow as information_flow
    from napari_segxai.flowing import information_flow_steps as information_flow_steps
    from napari_segxai.image import Image as Image
    from napari_segxai.io import read_image as read_image
    from napari_segxai.io.compare_files import save_picture as save_picture
    from napari_segxai.io.results import read_region as read_region
    from napari_segxai.metrics.topology import residual_picture as residual_picture
    from napari_segxai.model import SegmentationModel as SegmentationModel
    from napari_segxai.model import list_models as list_models
    from napari_segxai.model import load_model as load_model
    from napari_segxai.model import register_model as register_model
    from napari_segxai.model.trust import allow_package as allow_package
    from napari_segxai.sweeping import Sweep as Sweep
    from napari_segxai.sweeping import sweep as sweep
    from napari_segxai.targets import Box as Box
    from napari_segxai.targets import Component as Component
    from napari_segxai.targets import Point as Point
    from napari_segxai.targets import Target as Target
    from napari_segxai.trust.checking import check as check
    from napari_segxai.trust.checking import check_steps as check_steps
    from napari_segxai.trust.checking import list_checks as list_checks


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
