"""Guided Grad-CAM: guided backpropagation, kept where a network layer speaks for the label.

    S(u) = CAM(u) * G(u),   CAM = max(0, Seg-Grad-CAM of a network layer), enlarged to the image;  G = guided-backprop

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, ICCV 2017 (section 3.3) with Seg-Grad-CAM (Vinogradova et al.
2020), or with Seg-HiRes-Grad-CAM (`cam`), which does not forget where the gradient was. For the segmentation of
brain tumours Zeineldin et al. 2022. Both factors are kept as further maps. Cost: 2 forward, 2 backward.

Where to look comes from the CAM, the detail from guided backpropagation, with the weaknesses of both: the detail
says what early layers saw, not what the decision rests on, and the place is as coarse as the network layer.
Believe the region, if seg-grad-cam or seg-hires-grad-cam of several layers agree on it, and never the texture
alone. A zero map says that the CAM is negative wherever the guided gradient is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps, relay
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation import seg_grad_cam, seg_hires_grad_cam
from napari_segxai.methods.gradient.guided_backprop import guided_gradient
from napari_segxai.methods.gradient.vanilla_gradient import SIGNED, over_channels
from napari_segxai.methods.registry import explainer
from napari_segxai.models.preprocessing.resample import resize

CAMS = {
    "seg-grad-cam": (seg_grad_cam.seg_grad_cam, seg_grad_cam.Options),
    "seg-hires-grad-cam": (seg_hires_grad_cam.seg_hires_grad_cam, seg_hires_grad_cam.Options),
}


@dataclass(frozen=True)
class Options:
    """Parameters of guided-grad-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose CAM says where")
    cam: Literal["seg-grad-cam", "seg-hires-grad-cam"] = option(
        "seg-grad-cam", help="gradients pooled over the layer, or kept where they were"
    )
    signed: bool = option(False, help=SIGNED)


@explainer(
    "guided-grad-cam",
    title="Guided Grad-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="which structures early layers saw, where a network layer speaks for the label",
    unit="CAM × guided gradient of the {score}",
    source="Selvaraju et al., ICCV 2017; Zeineldin et al. 2022",
    cites=("selvaraju2017", "zeineldin2022"),
    options=Options,
    passes=lambda options, size: Passes(2, 2),
)
def guided_grad_cam(question: Question, options: Options) -> Steps[Finding]:
    """Multiply the CAM of a network layer with the guided gradient."""
    run, cam_options = CAMS[options.cam]
    # What the CAM alone could show on the way is no part of this map.
    where = yield from relay(
        run(question, cam_options(layer=options.layer)), lambda step: replace(step, partial=None)
    )
    cam = resize(where.map.clamp(min=0)[None, None], question.grid, linear=True)[0, 0]
    if not bool(cam.any()):
        question.warnings.append(
            f"the CAM of {options.layer} is nowhere positive, so nothing is kept; choose another network layer."
        )
    guided = over_channels((yield from guided_gradient(question)), options.signed)[0]
    return Finding(cam * guided, maps={"cam": cam, "guided_gradient": guided}, warnings=where.warnings)
