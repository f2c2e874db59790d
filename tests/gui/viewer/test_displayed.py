"""What the viewer shows of a layer is what is explained: frame, channels, place, slice; whatever the axes and transforms."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import displayed_image, frame_of
from napari_segxai.io.layer_data import index_to_world, layers_from_image
from napari_segxai.models.card import ModelCard
from napari_segxai.models.preprocessing.framed import place

SIZES = {"T": 5, "C": 2, "Z": 4, "Y": 9, "X": 7, "P": 3}

ORDERS = ["YX", "ZYX", "CYX", "TYX", "TZYX", "TCZYX", "CTYX", "TCYX", "YXC", "CZYX", "ZYXC", "TZCYX", "PTCYX"]


def card(dims=2, channels=1, **more):
    return ModelCard(
        name="net",
        labels=("no", "yes"),
        spatial_dims=dims,
        channels=tuple(f"c{k}" for k in range(channels)),
        **more,
    )


def transforms(letters):
    n = len(letters)
    steps = np.linspace(0.5, 2, n)
    turn = np.eye(n)
    if n >= 2:
        k = n - 3 if letters.endswith("XC") else n - 2
        c, s = np.cos(0.4), np.sin(0.4)
        turn[k : k + 2, k : k + 2] = [[c, -s], [s, c]]
    shift = np.eye(n + 1)
    shift[:n, n] = np.arange(n) - 2.0
    shift[:n, :n] = np.diag(np.linspace(1, 3, n))
    return {
        "none": {},
        "scale": {"scale": steps, "translate": -steps},
        "flipped": {"scale": np.where(np.arange(n) == n - 1, -1.0, 1.0)},
        "rotate": {"rotate": turn, "scale": steps},
        "affine": {"affine": shift},
    }


def numbers(letters, dtype):
    shape = [SIZES[c] for c in letters]
    values = np.arange(np.prod(shape)).reshape(shape)
    return values.astype(dtype) if dtype != np.uint8 else (values * 7 % 251).astype(np.uint8)


def seen(layer):
    """What napari shows, whichever way round."""
    return np.asarray(layer._data_view)


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("letters", ORDERS)
def test_the_frame_and_the_slice_that_are_shown_are_explained(letters, labeled):
    channels = 2 if "C" in letters else 1
    if not labeled and letters in ("TYX", "PTCYX"):
        pytest.skip("nothing tells time from depth, or a position")
    kinds, viewer = itertools.cycle((np.uint8, np.int16, np.float32)), ViewerModel()
    orders = [tuple(np.roll(range(len(letters)), roll)) for roll in range(len(letters))]
    # nobody looks at an image along time or channels
    orders = [order for order in orders if {letters[k] for k in order[-2:]} <= set("ZYX")]
    for name, transform in transforms(letters).items():
        values = numbers(letters, dtype := next(kinds))
        viewer.layers.clear()
        layer = ImageLayer(values, axis_labels=tuple(letters.lower()) if labeled else None, **transform)
        viewer.add_layer(layer)
        for order in orders:
            viewer.dims.order = order
            for axis, size in enumerate(values.shape):
                viewer.dims.set_current_step(axis, size - 2)
            found = displayed_image(layer, viewer, card(2, channels))
            plane = found.image.channels_first()
            if found.image.spatial_dims == 3:
                plane = np.take(plane, found.slice, found.image.plane + 1)
            shows = seen(layer)  # of one channel
            same = [np.array_equal(mine, shows) or np.array_equal(mine.T, shows) for mine in plane]
            assert any(same), (letters, name, dtype, order)
            spatial = layer.scale[list(found.image.layer["spatial"])]
            np.testing.assert_allclose(found.image.spacing, np.abs(spatial))
            # where a pixel of the image lies in the world, by its own transform, and by the layer
            point = [s - 1 for s in found.image.spatial_shape]
            index = np.zeros(len(letters))
            index[list(found.image.layer["spatial"])] = point
            where = np.asarray(layer.data_to_world(index))[list(found.image.layer["spatial"])]
            n = found.image.spatial_dims
            matrix = index_to_world(found.image.layer, n)
            np.testing.assert_allclose(matrix[:n, :n] @ point + matrix[:n, n], where, atol=1e-9)


def test_colours_and_their_time_points():
    values = np.broadcast_to(np.arange(5, dtype=np.uint8)[:, None, None, None], (5, 9, 7, 3)).copy()
    viewer, layer = ViewerModel(), ImageLayer(values, rgb=True, axis_labels=("t", "y", "x"))
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 3)
    image = displayed_image(layer, viewer, card(2, 3)).image
    assert (image.channels, image.spatial_shape) == (3, (9, 7))
    assert set(image.array.ravel()) == {3}
    viewer, layer = ViewerModel(), ImageLayer(values, rgb=True)
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 3)
    stack = displayed_image(layer, viewer, card(2, 3))
    assert (stack.image.spatial_dims, stack.slice) == (3, 3)


def test_labels_of_the_viewer_count_where_the_layer_has_none():
    viewer, layer = ViewerModel(), ImageLayer(numbers("TYX", np.float32))
    viewer.add_layer(layer)
    viewer.dims.axis_labels = ("t", "y", "x")
    viewer.dims.set_current_step(0, 2)
    image = displayed_image(layer, viewer, card()).image
    assert image.spatial_shape == (9, 7)
    np.testing.assert_array_equal(image.array, layer.data[2])


def test_a_channel_that_is_shown_is_taken_by_a_model_of_one_channel():
    viewer, layer = ViewerModel(), ImageLayer(numbers("CTYX", np.int16), axis_labels=("c", "t", "y", "x"))
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(1, 4)
    found = displayed_image(layer, viewer, card())
    np.testing.assert_array_equal(found.image.array, layer.data[1, 4])
    assert "channel 1" in found.notes[0]
    assert found.image.layer["at"] == {0: 1, 1: 4}


def test_what_cannot_be_told_is_asked():
    viewer, layer = ViewerModel(), ImageLayer(np.zeros((4, 4, 9, 7)), name="film")
    viewer.add_layer(layer)
    with pytest.raises(UserError, match="the axes of film can be CZYX or ZCYX; choose"):
        displayed_image(layer, viewer, card(2, 4))
    with pytest.raises(UserError, match="CZYX or ZCYX"):
        sx.image_of_layer(layer, channels=4)
    viewer.dims.set_current_step(0, 3)
    image = displayed_image(layer, viewer, card(2, 4), axes="TCYX").image
    assert (image.channels, image.spatial_shape, image.layer["at"]) == (4, (9, 7), {0: 3})
    assert sx.image_of_layer(layer, axes="CTYX", frame=2).layer["at"] == {1: 2}
    for wrong in ("TCY", "TTYX", "TCQX", "CCYX", "TTTX"):
        with pytest.raises(UserError, match=r"axes .* do not fit film") if wrong != "TTYX" else _fine():
            sx.image_of_layer(layer, axes=wrong, frame=(0, 0) if wrong == "TTYX" else 0)


class _fine:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_a_place_outside_the_layer_is_said():
    viewer, layer = (
        ViewerModel(),
        ImageLayer(numbers("TYX", np.uint8), axis_labels=("t", "y", "x"), name="film"),
    )
    viewer.add_layer(layer)
    viewer.add_layer(ImageLayer(np.zeros((20, 9, 7)), name="longer"))
    viewer.dims.set_current_step(0, 15)
    with pytest.raises(UserError, match="time point that is shown lies outside film"):
        displayed_image(layer, viewer, card())


@pytest.mark.parametrize("roll", [0, 1, 2])
def test_a_volume_with_orientation_keeps_the_plane_of_the_card(roll, tmp_path):
    values = np.random.default_rng(0).random((6, 7, 5)).astype(np.float32)
    image = sx.Image(values, affine=np.diag([2.0, 3, 4, 1]), name="head")
    data, meta, _ = layers_from_image(image)[0]
    viewer, layer = ViewerModel(), ImageLayer(data, **meta)
    viewer.add_layer(layer)
    viewer.dims.order = tuple(np.roll(range(3), roll))
    for axis in range(3):
        viewer.dims.set_current_step(axis, axis + 1)
    for orientation, plane in (("IPL", 0), ("PIL", 1), ("LIP", 2)):
        found = displayed_image(layer, viewer, card(orientation=orientation))
        assert (found.image.plane, found.slice) == (plane, plane + 1)
        assert found.other_plane == (viewer.dims.not_displayed[0] != plane)
        word = ("axial", "coronal", "sagittal")[plane]
        assert f"{word} slice {plane + 1}" in " ".join(found.notes)
        assert ("⚠" in " ".join(found.notes)) == found.other_plane
        # the network sees the same as from the file
        file = place(card(orientation=orientation), image, found.slice).turned(image.array)
        mine = place(card(orientation=orientation), found.image, found.slice).turned(found.image.array)
        np.testing.assert_array_equal(file, mine)
    free = displayed_image(layer, viewer, card())  # a card that does not say which plane
    assert free.image.plane == viewer.dims.not_displayed[0]
    assert not free.other_plane
    same = place(card(), image.across(free.image.plane), free.slice).turned(image.array)
    shows = seen(layer)
    assert np.array_equal(same, shows) or np.array_equal(same.T, shows)
    with pytest.raises(UserError, match="across axis 0 of head"):
        place(card(orientation="IPL"), image.across(1), 2)


def test_four_sequences_in_the_fourth_axis_of_a_file_are_channels_of_a_model_that_takes_four(tmp_path):
    import nibabel as nib

    values = np.random.default_rng(0).random((8, 10, 12, 4)).astype(np.float32)
    path = tmp_path / "four.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 3, 4, 1])), path)
    file = sx.read_image(path)
    data, meta, _ = layers_from_image(file)[0]
    viewer, layer = ViewerModel(), ImageLayer(data, **meta)
    viewer.add_layer(layer)
    image = displayed_image(layer, viewer, card(3, 4)).image
    assert (image.channels, image.spatial_shape) == (4, (12, 10, 8))
    viewer.dims.set_current_step(0, 2)
    film = displayed_image(layer, viewer, card(3, 1)).image
    np.testing.assert_array_equal(film.array, data[2])
    assert film.affine is not None
    assert film.layer["at"] == {0: 2}
    assert file.with_channels(4).channels == 4
    assert file.with_channels(3) is file
    # a layer that says itself that it is time is time
    named = ImageLayer(np.zeros((4, 12, 10, 8)), axis_labels=("t", "z", "y", "x"))
    assert sx.image_of_layer(named, channels=4).channels == 1


def lazy(counted, blocks=50):
    import dask.array as da

    def block(block_info=None):
        place = block_info[None]["chunk-location"][0] if block_info else 0
        counted.append((place, threading.get_ident()))
        return np.full((1, 4, 8, 8), place, np.float32)

    return da.map_blocks(
        block, chunks=((1,) * blocks, (4,), (8,), (8,)), dtype=np.float32, meta=np.empty((0,) * 4, np.float32)
    )


def test_of_a_lazy_series_one_block_is_read_when_it_is_needed():
    counted = []
    viewer, layer = ViewerModel(), ImageLayer(lazy(counted), contrast_limits=(0, 60))
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 7)
    counted.clear()
    image = displayed_image(layer, viewer, card(3)).image
    assert (image.spatial_shape, image.dtype, image.is_read) == ((4, 8, 8), np.float32, False)
    assert not counted
    assert set(image.array.ravel()) == {7}
    _ = image.array, image.sha256
    assert [place for place, _ in counted] == [7]


def pyramid(base=64, levels=3):
    values = np.arange(base * base, dtype=np.float32).reshape(base, base)
    return [values[:: 2**k, :: 2**k] for k in range(levels)]


@pytest.mark.parametrize(
    ("size", "level"), [((16, 16), 2), ((30, 20), 1), ((60, 64), 0), ((100, 100), 0), (None, 0)]
)
def test_the_level_of_a_pyramid_fits_the_model_and_is_said(size, level):
    viewer = ViewerModel()
    layer = ImageLayer(pyramid(), multiscale=True, scale=(0.5, 0.5), units=("mm", "mm"))
    viewer.add_layer(layer)
    found = displayed_image(layer, viewer, card(grid={"size": size} if size else {}))
    assert found.image.spatial_shape == (64 >> level, 64 >> level)
    assert f"Level {level}" in found.notes[0]
    assert found.image.spacing == (0.5 * 2**level,) * 2
    # the middle of the first pixel of a level lies in the middle of the fine pixels that it stands for
    matrix = index_to_world(found.image.layer, 2)
    np.testing.assert_allclose(matrix[:2, 2], 0.5 * (2**level - 1) / 2)


def test_the_level_of_a_pyramid_by_spacing():
    viewer = ViewerModel()
    layer = ImageLayer(pyramid(), multiscale=True, scale=(500, 500), units=("um", "um"))
    viewer.add_layer(layer)
    found = displayed_image(layer, viewer, card(grid={"spacing": (1.0, 1.5)}))
    assert found.image.layer["level"] == 1


def test_frames_are_counted_as_image_of_layer_takes_them():
    viewer, layer = (
        ViewerModel(),
        ImageLayer(numbers("PTCYX", np.int16), axis_labels=("position", "t", "c", "y", "x")),
    )
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 4)
    assert frame_of(layer, viewer) == (2, 4)
    image = sx.image_of_layer(layer, channels=2, frame=(2, 4))
    np.testing.assert_array_equal(image.array, layer.data[2, 4])
    with pytest.raises(UserError, match="has to hold 2 numbers"):
        sx.image_of_layer(layer, channels=2, frame=(1, 2, 3))
    with pytest.raises(UserError, match="outside 0 to 4"):
        sx.image_of_layer(layer, channels=2, frame=(1, 5))


def test_alpha_is_left_out_for_a_model_of_three_channels():
    values = np.random.default_rng(0).integers(0, 255, (40, 40, 4), np.uint8)
    for data in (values, lazy_of(values)):
        viewer = ViewerModel()
        layer = viewer.add_layer(ImageLayer(data, rgb=True))
        found = displayed_image(layer, viewer, card(channels=3))
        np.testing.assert_array_equal(found.image.array, values[..., :3])
        assert found.notes == ("The alpha channel is left out.",)
        assert displayed_image(layer, viewer, card(channels=4)).image.channels == 4


def lazy_of(values):
    import dask.array as da

    return da.from_array(values)


def test_labels_of_a_layer_that_is_gone_do_not_count_for_a_picture():
    viewer = ViewerModel()
    viewer.add_layer(ImageLayer(np.zeros((4, 5, 3)), axis_labels=("y", "x", "c")))
    viewer.layers.clear()
    layer = viewer.add_layer(ImageLayer(np.zeros((4, 5))))
    assert displayed_image(layer, viewer, 1).image.shape == (4, 5)


def test_what_a_job_has_is_not_changed_by_painting():
    values = np.ones((4, 5), np.float32)
    viewer = ViewerModel()
    image = displayed_image(viewer.add_layer(ImageLayer(values)), viewer, 1).image
    image.keep()
    values[:] = 0
    assert image.array.all()
    assert image.frame(0).array.all()
    assert image.across(None).sha256 == sx.Image(np.ones((4, 5), np.float32)).sha256
