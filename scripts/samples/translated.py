"""Two networks of other projects, translated to PyTorch: brain extraction (deepbet) and selfie segmentation (MediaPipe)."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save as pack
from torch import nn

from napari_segxai.models.card import read_card
from napari_segxai.models.zoo.linknet3d import LinkNet3d, from_deepbet
from napari_segxai.models.zoo.selfie import SelfieSegmenter
from samples.builder import Builder
from samples.sources import DEEPBET_CREDIT, MEDIAPIPE_CREDIT

BRAIN_CARD = """\
name: Brain extraction
description: >-
  Finds the brain in a T1-weighted MRI of the head. This is the first of deepbet's two networks, which deepbet
  uses to find the box around the brain; its outline is therefore coarser than deepbet's own result.
labels: [background, brain]
spatial_dims: 3
orientation: RAS
grid:
  size: [96, 96, 96]
  interpolation: nearest
intensity:
  - clip_percentiles: [0.5, 99.5]
  - rescale: [0, 1]
  - zscore: true
  - scale_shift: [0.226, 0.449]
background_value: 0
activation: softmax
architecture: napari_segxai.models.zoo.linknet3d:LinkNet3d
trained_on: >-
  T1-weighted MRI of healthy adults, by the authors of deepbet, who run it at 128x128x128. Here it is run at
  96x96x96, with 2.4 times fewer voxels.
not_for: >-
  Diagnosis or any clinical use; other sequences than T1, children, lesions, tumours, and images without a
  skull.
credit: >-
  Network and weights by the Medical Machine Learning Lab, University of Münster: Fisch et al., deepbet: Fast
  brain extraction of T1-weighted MRI using convolutional neural networks, Computers in Biology and Medicine
  179, 108845, 2024, doi 10.1016/j.compbiomed.2024.108845.
license: MIT
provenance: deepbet 1.0.2, bbox_model.pt; layers renamed, weights stored in half precision without loss
validation: >-
  Dice {dice:.3f} with the brain mask that comes with the head of the sample data (one image; that mask is
  another program's result, not drawn by hand), on that image's own grid, without deepbet's second network and
  clean-up; {dice128:.3f} at 128x128x128. The logits' softmax equals the original network's output.
"""

SELFIE_CARD = """\
name: Selfie segmentation
description: >-
  Finds people in colour photographs. A small MobileNetV3-like encoder with a decoder whose skip connections
  are weighted by gates (MediaPipe's general selfie segmentation model, 106 thousand parameters).
labels: [background, person]
spatial_dims: 2
channels: [red, green, blue]
grid:
  size: [256, 256]
  interpolation: linear
intensity:
  - divide: 255
activation: sigmoid
architecture: napari_segxai.models.zoo.selfie:SelfieSegmenter
trained_on: >-
  Photographs of people near to the camera, by Google; the package does not say which.
not_for: >-
  Telling people apart, recognising them, or decisions about them; people far from the camera. Its logits run
  into the hundreds, so that its probabilities are nearly always 0 or 1 and their gradients vanish: explain
  the logits.
credit: The MediaPipe Authors, Google LLC
license: Apache-2.0
provenance: >-
  @mediapipe/selfie_segmentation 0.1.1675465747, selfie_segmentation.tflite; translated to PyTorch, the
  weights stored in half precision as in the original
validation: >-
  No reference segmentation comes with it. Compared once with MediaPipe 0.10.21's own runtime, on the
  astronaut of scikit-image at 256x256: probabilities differ by at most 0.00006, and the masks at 0.5 are
  equal.
"""


def build_brain(builder: Builder) -> None:
    original = torch.jit.load(io.BytesIO(builder.read("deepbet")), map_location="cpu").eval()
    state = from_deepbet(original.state_dict())
    network = LinkNet3d().eval()
    network.load_state_dict(state)
    volume = torch.rand((1, 1, 64, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (network(volume).softmax(1) - original(volume)).abs().max().item()
    print(f"LinkNet3d and its original differ by at most {difference:g}")
    head = nib.as_closest_canonical(nib.load(builder.out / "images" / "t1_head.nii.gz"))
    truth = nib.as_closest_canonical(nib.load(builder.out / "images" / "t1_head_brain.nii.gz"))
    scores = [
        brain_dice(network, head.get_fdata(), np.asarray(truth.dataobj) > 0, size) for size in (96, 128)
    ]
    print(f"Dice of the brain: {scores[0]:.4f} at 96, {scores[1]:.4f} at 128")
    card = BRAIN_CARD.format(dice=scores[0], dice128=scores[1])
    save(builder, "models/brain-extraction", half(state), card, "deepbet", "MIT", DEEPBET_CREDIT)


@torch.no_grad()
def brain_dice(network: LinkNet3d, head: np.ndarray, truth: np.ndarray, size: int) -> float:
    """Return the Dice of the brain, at the head's own grid, with deepbet's way to prepare the image."""
    x = F.interpolate(torch.from_numpy(head).float()[None, None], (size,) * 3, mode="nearest-exact")
    low, high = np.percentile(x.numpy(), (0.5, 99.5))
    x = (x.clamp(low, high) - low) / (high - low)
    x = 0.226 * (x - x.mean()) / x.std() + 0.449
    found = (network(x).argmax(1, keepdim=True)).float()
    mask = F.interpolate(found, head.shape, mode="nearest-exact")[0, 0].numpy() > 0
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def build_selfie(builder: Builder) -> None:
    network = SelfieSegmenter().eval()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for layer, (weight, bias) in zip(layers, tflite_convolutions(builder.read("selfie")), strict=True):
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    credit = ("selfie", "Apache-2.0", MEDIAPIPE_CREDIT)
    save(builder, "models/selfie", half(network.state_dict()), SELFIE_CARD, *credit)


def tflite_convolutions(data: bytes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weight and bias of the convolutions of a .tflite file in their order, with PyTorch's layout."""
    import tflite

    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    operator = tflite.BuiltinOperator
    # Dense weights are (out, height, width, in), those of depthwise convolutions (1, height, width, channel).
    layouts: dict[object, tuple[int, ...]] = {
        operator.CONV_2D: (0, 3, 1, 2),
        operator.DEPTHWISE_CONV_2D: (3, 0, 1, 2),
        "Convolution2DTransposeBias": (3, 0, 1, 2),
    }
    stored: dict[int, int] = {}
    for k in range(graph.OperatorsLength()):
        step = graph.Operators(k)
        code = model.OperatorCodes(step.OpcodeIndex())
        kind: object = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind == operator.CUSTOM:
            kind = code.CustomCode().decode()
        if kind == operator.DEQUANTIZE:
            stored[step.Outputs(0)] = step.Inputs(0)
        elif kind in layouts:
            weight, bias = (
                tensor(model, graph, stored.get(index, index)) for index in step.InputsAsNumpy()[1:]
            )
            yield np.ascontiguousarray(weight.transpose(layouts[kind])), bias


def tensor(model: object, graph: object, index: int) -> np.ndarray:
    """Return a constant of the graph in single precision."""
    import tflite

    described = graph.Tensors(index)  # type: ignore[attr-defined]
    kind = {tflite.TensorType.FLOAT16: "<f2", tflite.TensorType.FLOAT32: "<f4"}[described.Type()]
    data = model.Buffers(described.Buffer()).DataAsNumpy()  # type: ignore[attr-defined]
    return np.frombuffer(data.tobytes(), kind).astype(np.float32).reshape(described.ShapeAsNumpy())


def save(
    builder: Builder, folder: str, state: dict[str, torch.Tensor], card: str, made_of: str, *credit: str
) -> None:
    """Write the weights and the card of a model."""
    weights = pack({name: value.contiguous() for name, value in state.items()}, metadata={"format": "pt"})
    what = "weights in half precision, renamed"
    builder.write(f"{folder}/weights.safetensors", weights, (made_of,), what, *credit)
    text = card.encode()
    path = builder.write(f"{folder}/model.yaml", text, (), "written for this project", "BSD-3-Clause", "-")
    read_card(path)


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict in half precision; exits if that changes any value."""
    halved = {name: value.half() for name, value in state.items()}
    for name, value in state.items():
        if not torch.equal(halved[name].float(), value.float()):
            sys.exit(f"{name} cannot be stored in half precision without loss.")
    return halved
