"""The napari reader and writers, through napari's own model and plugin machinery; no window is opened."""

from __future__ import annotations

import copy

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from npe2 import DynamicPlugin, PluginManager, PluginManifest

from napari_segxai.core.errors import UserError
from napari_segxai.datasets.resources import resource
from napari_segxai.gui.manifest.reader import get_reader, read_volumes
from napari_segxai.gui.manifest.writer import write_image, write_labels
from napari_segxai.io import read_image
from napari_segxai.io.layer_data import layer_from_image, layer_metadata, layer_transform
from napari_segxai.io.layer_image import image_from_layer

SHAPE = (5, 6, 7)
PLUGIN = "napari-segxai"


def oblique(degrees=20.0):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    affine[:3, 3] = (60, -70, 11)
    return affine


AFFINES = {
    "straight": np.array([[0, 0, -2.0, 9], [1.5, 0, 0, -8], [0, -3, 0, 7], [0, 0, 0, 1]]),
    "oblique": oblique(),
    "hardly oblique": oblique(1e-6),
    "sheared": oblique() @ np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
}


def save(path, data, affine=None):
    image = nib.Nifti1Image(data, AFFINES["straight"] if affine is None else affine)
    image.header.set_sform(image.affine, code=1)
    nib.save(image, path)
    return str(path)


def intensities(shape=SHAPE, dtype=np.float32):
    return np.random.default_rng(1).normal(scale=300, size=shape).astype(dtype)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture(autouse=True, scope="module")
def plugin():
    """Register our manifest as it lies in the installation, unless napari has found it by itself."""
    manager = PluginManager.instance()
    manager.discover()
    if PLUGIN in manager:
        yield
        return
    manifest = PluginManifest.from_file(resource("napari.yaml"))
    with DynamicPlugin(PLUGIN, manifest=manifest, plugin_manager=manager):
        yield


def test_the_manifest_is_valid():
    manifest = PluginManifest.from_file(resource("napari.yaml"))
    assert manifest.name == PLUGIN
    for command in manifest.contributions.commands:
        if command.id.rpartition(".")[2] in ("read", "write_image", "write_labels"):
            assert callable(command.exec)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII.GZ"])
def test_world_coordinates(tmp_path, viewer, name, ending):
    """Napari's own world coordinates are -(S, A, R) mm of the file."""
    affine = AFFINES[name]
    path = save(tmp_path / f"a{ending}", intensities(), affine)
    (layer,) = viewer.open(path, plugin=PLUGIN)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert tuple(layer.axis_labels) == ("I", "P", "L")
    image = read_image(path)
    rng = np.random.default_rng(0)
    for _ in range(25):
        index = rng.integers(0, layer.data.shape)
        voxel = np.array(image.index_from_display(index))
        ras = nib.affines.apply_affine(nib.load(path).affine, voxel)
        np.testing.assert_allclose(layer.data_to_world(index), -ras[::-1], atol=1e-4)
        assert layer.data[tuple(index)] == image.array[tuple(voxel.astype(int))]
    assert np.allclose(layer.affine.affine_matrix, np.eye(4)) == (name not in ("oblique", "sheared"))


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("frames", [0, 3])
def test_open_edit_save(tmp_path, viewer, name, kind, frames):
    shape = (*SHAPE, frames) if frames else SHAPE
    data = intensities(shape) if kind == "image" else np.random.default_rng(1).integers(0, 4, shape, np.uint8)
    path = save(tmp_path / "a.nii.gz", data, AFFINES[name])
    (layer,) = viewer.open(path, plugin=PLUGIN)
    assert layer._type_string == kind
    assert layer.ndim == (4 if frames else 3)
    layer.data = np.where(layer.data == layer.data.max(), 3, layer.data).astype(data.dtype)
    out = tmp_path / "b.nii.gz"
    assert layer.save(str(out), plugin=PLUGIN) == [str(out)]
    before, after = nib.load(path), nib.load(out)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.dataobj, np.where(data == data.max(), 3, data))
    for field in set(before.header) - {"intent_code", "scl_slope", "scl_inter"}:
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    assert after.header["intent_code"] == (1002 if kind == "labels" else 0)


def test_labels_drawn_over_an_image(tmp_path, viewer):
    """Labels that copy the transform, or the metadata too, are saved where the image lies."""
    path = save(tmp_path / "a.nii.gz", intensities(), AFFINES["oblique"])
    (layer,) = viewer.open(path, plugin=PLUGIN)
    drawn = np.zeros(layer.data.shape, np.int64)
    drawn[1, 2, 3] = 7
    ras = -np.array(layer.data_to_world((1, 2, 3)))[::-1]
    transform = {key: getattr(layer, key) for key in ("scale", "translate", "affine", "units", "axis_labels")}
    for k, metadata in enumerate(({}, copy.deepcopy(layer.metadata))):
        labels = viewer.add_labels(drawn, metadata=metadata, **transform)
        out = str(tmp_path / f"{k}.nii")
        labels.save(out, plugin=PLUGIN)
        written = nib.load(out)
        assert written.get_data_dtype() == np.uint8
        voxel = np.argwhere(np.asarray(written.dataobj) == 7)[0]
        np.testing.assert_allclose(nib.affines.apply_affine(written.affine, voxel), ras, atol=1e-4)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    # napari's own "new labels" button
    viewer.layers.selection = {layer}
    viewer._new_labels()
    assert viewer.layers[-1].save(str(tmp_path / "new.nii"), plugin=PLUGIN)


def test_results_are_saved_on_the_grid_of_the_file(tmp_path, viewer):
    path = save(tmp_path / "a.nii.gz", intensities(dtype=np.int16), AFFINES["oblique"])
    raw = nib.load(path)
    raw.header["cal_max"] = 700
    nib.save(raw, path)
    (layer,) = viewer.open(path, plugin=PLUGIN)
    image = image_from_layer(layer.data, layer.as_layer_data_tuple()[1])
    saliency = np.random.default_rng(0).normal(size=layer.data.shape).astype(np.float32)
    metadata = {**layer_metadata(image), "segxai": {"method": "seg-grad-cam"}}
    shown = viewer.add_image(saliency, metadata=metadata, **layer_transform(image))
    shown.save(str(tmp_path / "b.nii.gz"), plugin=PLUGIN)
    out = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(out.affine, nib.load(path).affine)
    assert out.header["cal_max"] == 0
    np.testing.assert_array_equal(layer_from_image(read_image(tmp_path / "b.nii.gz"))[0], saliency)


def test_several_files_and_kinds(tmp_path, viewer):
    scan = save(tmp_path / "t1.nii", intensities())
    seg = save(tmp_path / "t1_seg.nii.gz", np.arange(210, dtype=np.int16).reshape(SHAPE))
    moving = save(tmp_path / "bold.nii", intensities((*SHAPE, 3)))
    vector = save(tmp_path / "vector.nii", intensities((*SHAPE, 1, 3)))
    rgb = save(
        tmp_path / "rgb.nii",
        np.zeros(SHAPE, [(c, "u1") for c in "RGB"]),
    )
    layers = viewer.open([scan, seg, moving, vector, rgb], plugin=PLUGIN)
    assert [layer._type_string for layer in layers] == ["image", "labels", *["image"] * 5]
    assert [layer.ndim for layer in layers] == [3, 3, 4, 3, 3, 3, 3]
    assert layers[-1].rgb
    assert layers[3].name == "vector [0]"
    assert viewer.layers.extent.units is not None  # all units agree
    assert len(viewer.open([scan, moving], plugin=PLUGIN, stack=True)) == 2
    out = str(tmp_path / "channel.nii")
    layers[4].save(out, plugin=PLUGIN)
    np.testing.assert_array_equal(
        np.squeeze(nib.load(out).dataobj), np.asarray(nib.load(vector).dataobj)[..., 0, 1]
    )


def test_which_files_are_ours(tmp_path):
    assert get_reader("a.nii") is read_volumes
    assert get_reader(["a.nii", "b.NII.GZ", "c.mgz"]) is read_volumes
    assert get_reader(["a.nii", "b.png"]) is None
    assert get_reader([]) is None
    assert get_reader("a.gz") is None
    (tmp_path / "folder.nii").mkdir()
    assert get_reader(str(tmp_path / "folder.nii")) is None
    (tmp_path / "radiance.hdr").write_text("#?RADIANCE\n")
    assert get_reader(str(tmp_path / "radiance.hdr")) is None
    (tmp_path / "disk.img").write_bytes(bytes(512))
    assert get_reader(str(tmp_path / "disk.img")) is None
    nib.save(nib.Nifti1Pair(intensities(), np.eye(4)), tmp_path / "pair.img")
    assert get_reader(str(tmp_path / "pair.img")) is read_volumes
    assert get_reader(tmp_path / "pair.hdr") is read_volumes


def test_a_bad_file_leaves_the_viewer_alive(tmp_path, viewer):
    good = save(tmp_path / "good.nii", intensities())
    (tmp_path / "bad.nii").write_text("hello " * 100)
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "good.nii").read_bytes())
    viewer.open(good, plugin=PLUGIN)
    for name in ("bad.nii", "cut.nii.gz"):
        with pytest.raises(UserError, match=name):
            viewer.open(str(tmp_path / name), plugin=PLUGIN)
        assert len(viewer.layers) == 1
    viewer.open(good, plugin=PLUGIN)
    viewer.dims.set_point(0, 0)
    assert len(viewer.layers) == 2


def test_writers_refuse_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="whole numbers"):
        write_labels(str(tmp_path / "a.nii"), np.full(SHAPE, 0.5), {"name": "x"})
    with pytest.raises(UserError, match="cannot be written"):
        write_image(str(tmp_path / "no" / "a.nii"), np.zeros(SHAPE), {"name": "x"})


def test_layer_data_tuples_and_multiscale(tmp_path):
    layer = ImageLayer(
        [np.ones((8, 8, 8)), np.ones((4, 4, 4))], multiscale=True, name="pyramid", scale=(2, 1, 1)
    )
    data, meta, _ = layer.as_layer_data_tuple()
    write_image(str(tmp_path / "a.nii"), data, meta)
    out = nib.load(tmp_path / "a.nii")
    assert out.shape == (8, 8, 8)
    assert out.header.get_zooms() == (1, 1, 2)
    color = ImageLayer(np.zeros((8, 9, 3), np.uint8), rgb=True)
    write_image(str(tmp_path / "b.nii"), *color.as_layer_data_tuple()[:2])
    assert nib.load(tmp_path / "b.nii").shape == (9, 8, 1)
    turned = ImageLayer(np.zeros((3, 4, 5)), rotate=(10, 20, 30), shear=(0.1, 0.2, 0.3), translate=(1, 2, 3))
    write_image(str(tmp_path / "c.nii"), *turned.as_layer_data_tuple()[:2])
    out = nib.load(tmp_path / "c.nii")
    for index in ((0, 0, 0), (2, 3, 4), (1, 0, 3)):
        ras = nib.affines.apply_affine(out.affine, index[::-1])
        np.testing.assert_allclose(-ras[::-1], turned.data_to_world(index), atol=1e-4)
