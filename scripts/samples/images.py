"""The images of the samples, and the sheet of glyphs that Triangle images are made of."""

from __future__ import annotations

import gzip
import io

import nibabel as nib
import numpy as np
import train_brain_tissue
from PIL import Image

from napari_segxai.datasets.triangle import CLASSES, load_glyphs, read_idx_folder, triangle_sample
from samples.builder import Builder
from samples.sources import FASHION_CREDIT, FASHION_DATA, ITK_CREDIT, MNI_CREDIT, NILEARN_DATA

GLYPHS = {"train": 150, "held-out": 40}
"""Items of every class on the glyph sheet."""
SEEDS = {1: 2, 2: 3, 3: 1}
"""Seed of every Triangle image. The network is right about the first two and wrong about the third."""


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
