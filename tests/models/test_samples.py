"""The sample data: what PROVENANCE.md says of them, the networks, and the Triangle images."""

import gzip
import hashlib
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from skimage.data import astronaut
from skimage.io import imread
from skimage.transform import resize

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.datasets.triangle import load_glyphs, triangle_layout, triangle_sample
from napari_segxai.gui.manifest.samples import mni_t1
from napari_segxai.models.card import read_card
from napari_segxai.models.zoo.linknet3d import LinkNet3d
from napari_segxai.models.zoo.resnet_unet import ResNetUNet
from napari_segxai.models.zoo.selfie import SelfieSegmenter
from napari_segxai.models.zoo.unet import UNet

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"
NETWORKS = {
    "brain-extraction": (LinkNet3d, (1, 32, 64, 32), 2),
    "brain-tissue": (UNet, (1, 32, 24, 40), 4),
    "selfie": (SelfieSegmenter, (3, 256, 256), 1),
    "triangle": (UNet, (1, 112, 112), 2),
}

PLACES = {(0, 27, 7): 3, (0, -37, 12): 3, (8, -6, 20): 1, (10, -18, 8): 2, (26, 4, 2): 2, (0, -110, 60): 0}
"""Genu and splenium of the corpus callosum, lateral ventricle, thalamus, putamen, outside: MNI mm and label."""


def load(name):
    folder = SAMPLE_DATA / "models" / name
    card = read_card(folder / "model.yaml")
    network = NETWORKS[name][0](**card.arguments).eval()
    weights = load_file(folder / "weights.safetensors")
    weights = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    network.load_state_dict(weights, strict=True)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def glyphs():
    return {part: load_glyphs(SAMPLE_DATA / "glyphs.npz", part) for part in ("train", "held-out")}


# ---------------------------------------------------------------- files


def test_provenance_lists_every_file_with_its_checksum():
    text = (SAMPLE_DATA / "PROVENANCE.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|", text, re.MULTILINE))
    files = {p.relative_to(SAMPLE_DATA).as_posix(): p for p in SAMPLE_DATA.rglob("*") if p.is_file()}
    assert set(listed) == set(files) - {"PROVENANCE.md"}
    for name, path in files.items():
        if name in listed:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name], name
    assert sum(path.stat().st_size for path in files.values()) < 8e6


def test_head_is_the_unchanged_source():
    text = (SAMPLE_DATA / "PROVENANCE.md").read_text(encoding="utf-8")
    source = re.search(r"KmeansTest_T1UCharRaw.nii.gz` \| `([0-9a-f]{64})` \|$", text, re.MULTILINE)[1]
    assert hashlib.sha256((SAMPLE_DATA / "images/t1_head.nii.gz").read_bytes()).hexdigest() == source


def test_brain_mask_is_a_label_image_on_the_grid_of_the_head():
    head, mask = (nib.load(SAMPLE_DATA / "images" / f"t1_head{part}.nii.gz") for part in ("", "_brain"))
    assert mask.shape == head.shape == (128, 128, 62)
    assert np.array_equal(mask.affine, head.affine)
    assert mask.get_data_dtype() == np.uint8
    assert set(np.unique(np.asanyarray(mask.dataobj))) == {0, 1}
    assert mask.header.get_intent()[0] == "label"


def test_tissues_are_a_label_image_on_the_grid_of_the_average_brain():
    brain, tissue = (nib.load(SAMPLE_DATA / "images" / f"mni_t1{part}.nii.gz") for part in ("", "_tissue"))
    assert tissue.shape == brain.shape == (80, 96, 80)
    assert np.array_equal(tissue.affine, brain.affine)
    assert brain.get_data_dtype() == tissue.get_data_dtype() == np.uint8
    assert tissue.header.get_intent()[0] == "label"
    values, labels = np.asanyarray(brain.dataobj), np.asanyarray(tissue.dataobj)
    assert np.array_equal(values > 0, labels > 0), "background is where nothing is"
    medians = [np.median(values[labels == label]) for label in range(4)]
    assert medians == sorted(medians), "white matter is brightest in T1"
    assert (labels == 3).sum() > 50_000
    inverse = np.linalg.inv(brain.affine)
    for mm, label in PLACES.items():
        assert labels[tuple(np.round(nib.affines.apply_affine(inverse, mm)).astype(int))] == label, mm
    assert nib.aff2axcodes(brain.affine) == ("R", "A", "S")


def test_the_average_brain_opens_with_its_tissues_hidden_below():
    (tissue, below, kind), (brain, above, _) = mni_t1()
    assert kind == "labels"
    assert not below["visible"]
    assert tissue.shape == brain.shape
    for key in ("scale", "translate", "units"):
        assert below[key] == above[key]


@pytest.mark.parametrize("name", NETWORKS)
def test_cards(name):
    card = read_card(SAMPLE_DATA / "models" / name / "model.yaml")
    for key in ("description", "trained_on", "not_for", "credit", "license", "provenance", "validation"):
        assert getattr(card, key), key
    module, _, cls = card.architecture.partition(":")
    assert NETWORKS[name][0].__module__ == module
    assert NETWORKS[name][0].__name__ == cls
    assert len(card.channels) == NETWORKS[name][1][0]
    assert (card.activation == "sigmoid") == (NETWORKS[name][2] == 1)


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_fit_and_images_of_a_batch_do_not_mix(name):
    network = load(name)
    _, shape, outputs = NETWORKS[name]
    images = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    both = network(images)
    assert both.shape == (2, outputs, *shape[1:])
    assert torch.isfinite(both).all()
    for k in range(2):
        torch.testing.assert_close(network(images[k : k + 1])[0], both[k], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_module_changes_its_input(name):
    assert not any(getattr(module, "inplace", False) for module in load(name).modules())


def test_brain_extraction_finds_the_brain():
    head = nib.as_closest_canonical(nib.load(SAMPLE_DATA / "images/t1_head.nii.gz")).get_fdata()
    truth = nib.as_closest_canonical(nib.load(SAMPLE_DATA / "images/t1_head_brain.nii.gz")).get_fdata() > 0
    x = F.interpolate(torch.from_numpy(head).float()[None, None], (96, 96, 96), mode="nearest-exact")
    low, high = np.percentile(x.numpy(), (0.5, 99.5))
    x = (x.clamp(low, high) - low) / (high - low)
    x = 0.226 * (x - x.mean()) / x.std() + 0.449
    brain = load("brain-extraction")(x).argmax(1, keepdim=True).float()
    found = F.interpolate(brain, head.shape, mode="nearest-exact")[0, 0].numpy() > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93


def dice(found, truth):
    return [
        2 * ((found == k) & (truth == k)).sum() / ((found == k).sum() + (truth == k).sum()) for k in (1, 2, 3)
    ]


def test_brain_tissue_in_slabs_that_it_was_not_trained_on():
    model = sx.load_model("brain-tissue")
    assert model.card.labels == ("background", "csf and other", "grey matter", "white matter")
    brain = sx.read_image(SAMPLE_DATA / "images" / "mni_t1.nii.gz")
    truth = sx.read_image(SAMPLE_DATA / "images" / "mni_t1_tissue.nii.gz").array
    found = model.predict(brain)
    assert set(np.unique(found)) == {0, 1, 2, 3}
    slabs = np.r_[17:23, 45:51, 73:79]
    other, gray, white = dice(found[:, slabs], truth[:, slabs])
    assert other > 0.6
    assert gray > 0.85
    assert white > 0.85
    said = [float(number) for number in re.findall(r"matter ([0-9.]+[0-9])", model.card.validation)]
    assert np.allclose(said[:2], (gray, white), atol=0.005), "the card says what is measured"


def test_selfie_finds_the_astronaut():
    image = resize(astronaut(), (256, 256), anti_aliasing=True)
    person = load("selfie")(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0, 0].numpy() > 0
    assert person[30:105, 95:130].mean() > 0.95, "face"
    assert person[180:250, 60:150].mean() > 0.95, "suit"
    assert not person[:40, :40].any(), "flag"
    assert 0.35 < person.mean() < 0.65


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_unet_shapes_and_names(spatial_dims, norm):
    network = UNet(3, 4, (4, 6, 8), norm, spatial_dims).eval()
    assert network(torch.rand(2, 3, *(8, 12, 16)[:spatial_dims])).shape == (2, 4, *(8, 12, 16)[:spatial_dims])
    names = [name for name, _ in network.named_children()]
    assert names == ["encoder1", "encoder2", "bottleneck", "decoder2", "decoder1", "head"]
    assert network.multiple == 4


def test_unet_needs_two_levels():
    with pytest.raises(ValueError, match="two levels"):
        UNet(features=(8,))


def test_resnet_unet_is_seeded_and_of_its_size():
    before = torch.get_rng_state()
    first, second = (ResNetUNet(1, 3, seed=4).eval() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert 23e6 < sum(p.numel() for p in first.parameters()) < 25e6
    image = torch.rand(2, 1, 32, 64)
    with torch.no_grad():
        assert first(image).shape == (2, 3, 32, 64)
        assert torch.equal(first(image), second(image))


# ---------------------------------------------------------------- Triangle images


def test_truth_is_where_the_objects_items_are_not_black(glyphs):
    rng = np.random.default_rng(0)
    for _ in range(20):
        image, truth = triangle_sample(glyphs["train"], rng)
        assert image.shape == truth.shape == (112, 112)
        assert image.dtype == np.uint8
        assert truth.dtype == bool
        assert truth.any()
        assert (image[truth] > 0).all()
        assert (image[~truth] > 0).any(), "distractors"


def test_seeds_repeat(glyphs):
    draws = [triangle_sample(glyphs["train"], np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert np.array_equal(draws[0][0], draws[1][0])
    assert np.array_equal(draws[0][1], draws[1][1])
    assert not np.array_equal(draws[0][0], draws[2][0])


def test_shipped_triangle_images_are_their_seeds(glyphs):
    for number, seed in ((1, 2), (2, 3), (3, 1)):
        image, truth = triangle_sample(glyphs["held-out"], np.random.default_rng(seed))
        path = SAMPLE_DATA / "images" / f"triangle_{number}.png"
        assert np.array_equal(imread(path), image)
        assert np.array_equal(imread(path.with_stem(f"triangle_{number}_truth")), truth)


def test_three_items_at_right_angles_and_no_overlap():
    rng = np.random.default_rng(1)
    vertices = set()
    for _ in range(200):
        corners, others = triangle_layout(rng)
        assert corners.shape == (3, 2)
        assert 3 <= len(others) <= 5
        first, second = corners[1] - corners[0], corners[2] - corners[0]
        assert first @ second == 0
        assert np.abs(first).max() == np.abs(second).max() == 50
        vertices.add(tuple(np.sign(first + second)))
        places = np.concatenate([corners, others])
        assert places.min() >= 0
        assert places.max() <= 112 - 14
        apart = np.abs(places[:, None] - places[None]).max(axis=2)
        assert apart[~np.eye(len(places), dtype=bool)].min() >= 14
    assert len(vertices) == 4, "the right angle points in all four directions"


def test_incomplete_triangles_have_no_object(glyphs):
    image, truth = triangle_sample(glyphs["train"], np.random.default_rng(2), complete=False)
    assert image.any()
    assert not truth.any()


def test_other_sizes(glyphs):
    image, _ = triangle_sample(glyphs["train"], np.random.default_rng(0), size=224, item=28, leg=100)
    assert image.shape == (224, 224)


@pytest.mark.parametrize(
    "wrong", [{"leg": 110}, {"item": 0}, {"item": 13}, {"distractors": (5, 3)}, {"distractors": (90, 90)}]
)
def test_impossible_images_are_refused(glyphs, wrong):
    with pytest.raises(UserError):
        triangle_sample(glyphs["train"], np.random.default_rng(0), **wrong)


def test_triangle_network_on_held_out_items(glyphs):
    rng = np.random.default_rng(77)
    samples = [triangle_sample(glyphs["held-out"], rng) for _ in range(20)]
    images = torch.from_numpy(np.stack([image for image, _ in samples]))[:, None].float() / 255
    truths = np.stack([truth for _, truth in samples])
    found = load("triangle")(images).argmax(1).numpy() > 0
    both, sizes = (found & truths).sum((1, 2)), found.sum((1, 2)) + truths.sum((1, 2))
    assert (2 * both / sizes).mean() > 0.85


# ---------------------------------------------------------------- glyphs


def test_parts_of_the_glyphs_are_apart(glyphs):
    train, held_out = ({glyph.tobytes() for glyph in glyphs[part]} for part in ("train", "held-out"))
    assert train
    assert held_out
    assert not train & held_out


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder, images, labels, part="train", packed=False):
    for name, data in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        content = data if isinstance(data, bytes) else idx(data)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28))
LABELS = np.array([0, 1, 2, 8, 9, 0])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("part", "prefix"), [("train", "train"), ("held-out", "t10k")])
def test_idx_folder(tmp_path, packed, part, prefix):
    write_idx(tmp_path, IMAGES, LABELS, prefix, packed)
    assert np.array_equal(load_glyphs(tmp_path, part), IMAGES[[0, 1, 3, 5]])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx(IMAGES)[:-1], LABELS, "header promises"),
        (b"\0\0\x0b\x03" + idx(IMAGES)[4:], LABELS, "magic"),
        (b"", LABELS, "magic"),
        (IMAGES, idx(IMAGES), "magic"),
        (IMAGES, LABELS[:-1], "6 images but 5 labels"),
        (IMAGES[:, :14, :14], LABELS, "14x14"),
        (IMAGES, LABELS * 0 + 3, "no T-shirt"),
    ],
)
def test_broken_idx_folders(tmp_path, images, labels, message):
    write_idx(tmp_path, images, labels)
    with pytest.raises(UserError, match=message):
        load_glyphs(tmp_path)


def test_missing_or_unreadable_glyphs(tmp_path):
    with pytest.raises(UserError, match="neither"):
        load_glyphs(tmp_path)
    with pytest.raises(UserError, match="no such"):
        load_glyphs(tmp_path / "glyphs.npz")
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(UserError, match="unpacked"):
        load_glyphs(tmp_path)
    with pytest.raises(UserError, match="part"):
        load_glyphs(SAMPLE_DATA / "glyphs.npz", "test")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04 broken", (SAMPLE_DATA / "glyphs.npz").read_bytes()[:5000]]
)
def test_broken_sheets(tmp_path, content):
    path = tmp_path / "glyphs.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="glyph sheet"):
        load_glyphs(path)


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((3, 14, 14), np.uint8)},
        {"labels": np.zeros(2, np.uint8)},
        {"held_out": np.zeros(3, np.uint8)},
        {"held_out": None},
    ],
)
def test_sheets_with_wrong_arrays(tmp_path, change):
    arrays = {
        "images": np.zeros((3, 28, 28), np.uint8),
        "labels": np.zeros(3, np.uint8),
        "held_out": np.ones(3, bool),
    }
    arrays |= change
    np.savez(tmp_path / "glyphs.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(UserError, match="glyph sheet"):
        load_glyphs(tmp_path / "glyphs.npz")
