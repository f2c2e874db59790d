"""The public names, and where they lie: what is imported when a name is first used."""

from .analyses.channels.run import channel_importance as channel_importance
from .analyses.channels.run import channel_importance_steps as channel_importance_steps
from .analyses.compare.api import compare as compare
from .analyses.compare.api import compare_steps as compare_steps
from .analyses.compare.evaluate import evaluate as evaluate
from .analyses.compare.result import Comparison as Comparison
from .analyses.compare.result import save_picture as save_picture
from .analyses.explain.api import explain as explain
from .analyses.explain.api import explain_all as explain_all
from .analyses.explain.api import explain_all_steps as explain_all_steps
from .analyses.explain.api import explain_steps as explain_steps
from .analyses.explain.api import list_methods as list_methods
from .analyses.explain.load import load_explanation as load_explanation
from .analyses.explain.result import Explanation as Explanation
from .analyses.flow.load import load_flow as load_flow
from .analyses.flow.result import Flow as Flow
from .analyses.flow.run import causal_check as causal_check
from .analyses.flow.run import causal_check_steps as causal_check_steps
from .analyses.flow.run import information_flow as information_flow
from .analyses.flow.run import information_flow_steps as information_flow_steps
from .analyses.sweep.api import sweep as sweep
from .analyses.sweep.result import Sweep as Sweep
from .checks.run import check as check
from .checks.run import check_steps as check_steps
from .checks.run import list_checks as list_checks
from .core.errors import UserError as UserError
from .core.image import Image as Image
from .core.progress import Interrupted as Interrupted
from .core.target import Box as Box
from .core.target import Component as Component
from .core.target import Point as Point
from .core.target import Target as Target
from .gui.viewer.layers import image_of_layer as image_of_layer
from .io import read_image as read_image
from .io.joining import join_channels as join_channels
from .io.regions import read_region as read_region
from .metrics.functional.topology import residual_picture as residual_picture
from .metrics.registry import list_metrics as list_metrics
from .models.inference.memory import OutOfMemory as OutOfMemory
from .models.loading.untrusted_code import allow_package as allow_package
from .models.registry import list_models as list_models
from .models.registry import load_model as load_model
from .models.registry import register_model as register_model
from .models.segmentation import SegmentationModel as SegmentationModel

__version__: str
