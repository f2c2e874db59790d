"""Between the image grid and the model grid: turning, slicing, resampling, padding, and all the way back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card
from torch import nn

import napari_segxai as sx
from napari_segxai.core import orientation
from napari_segxai.models.card import make_card
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.preprocessing.resample import resize

ORDERS = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for codes in itertools.product(*axes)
]
SHAPE = (6, 7, 9)


def oblique() -> np.ndarray:
    """RAS+, turned a little about every axis, with three spacings and an origin."""
    a, b = np.deg2rad((12, -9))
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([1.5, 2, 3])
    affine[:3, 3] = (-20, 31, 7)
    return affine


def phantom() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def stored(codes: str, array: np.ndarray | None = None) -> sx.Image:
    """The phantom as a file would hold it with these axis codes."""
    array = phantom() if array is None else array
    turn = orientation.reorientation("RAS", codes)
    return sx.Image(
        orientation.apply(array, turn), affine=orientation.apply_to_affine(oblique(), array.shape, turn)
    )


def to_world(affine: np.ndarray, index) -> np.ndarray:
    return affine[:3, :3] @ index + affine[:3, 3]


# ---------------------------------------------------------------- orientation


def test_there_are_48_orders():
    assert len(set(ORDERS)) == 48


@pytest.mark.parametrize("grid", [{"multiple": 4}, {"size": [5, 8, 10]}, {"spacing": [2, 2, 2]}])
@pytest.mark.parametrize("wanted", ["RAS", "PIR", None])
def test_all_storage_orders_give_the_same_tensor_and_maps_at_the_same_place(grid, wanted):
    fields = card(3, grid=grid, orientation=wanted, intensity=[{"zscore": True}])
    model = sx.load_model(LinearHead(3), card=fields)
    tensor = model.prepare(stored("RAS")).tensor
    values = torch.from_numpy(np.random.default_rng(1).normal(size=tensor.shape[2:]).astype(np.float32))
    reference = None
    for codes in ORDERS:
        image = stored(codes)
        prepared = model.prepare(image)
        assert torch.equal(prepared.tensor, tensor), codes
        placed = prepared.placement
        back = placed.to_image(placed.from_grid(values, linear=True))
        assert back.shape == image.spatial_shape
        turned = orientation.apply(back, orientation.reorientation(codes, "RAS"))
        reference = turned if reference is None else reference
        np.testing.assert_array_equal(turned, reference)
        # ... and that place is the same one in the world.
        corner = np.unravel_index(back.argmax(), back.shape)
        brightest = np.unravel_index(reference.argmax(), reference.shape)
        np.testing.assert_allclose(to_world(image.affine, corner), to_world(oblique(), brightest), atol=1e-9)


def test_the_network_sees_the_orientation_on_the_card():
    array = np.zeros(SHAPE, np.float32)
    array[-1] = 1  # the rightmost sagittal slice
    for codes in ("RAS", "LPS", "SAL"):
        tensor = {
            wanted: sx.load_model(LinearHead(3), card=card(3, orientation=wanted))
            .prepare(stored(codes, array))
            .tensor[0, 0]
            for wanted in ("RAS", "LPS", "SAR")
        }
        assert tensor["RAS"][-1].all()
        assert tensor["LPS"][0].all()
        assert tensor["SAR"][..., -1].all()
        assert all(t.sum() == array.sum() for t in tensor.values())


def test_an_image_without_an_affine_is_left_in_its_order_and_that_is_told():
    model = sx.load_model(LinearHead(3), card=card(3, orientation="LPS"))
    prepared = model.prepare(sx.Image(phantom()))
    np.testing.assert_array_equal(prepared.tensor[0, 0], phantom())
    assert any("taken to be LPS" in note for note in prepared.notes)


# ---------------------------------------------------------------- native, size, spacing


@pytest.mark.parametrize("codes", ["RAS", "PSL", "ILA"])
def test_the_native_grid_comes_back_exactly_with_its_padding(codes):
    image = stored(codes)
    placed = place(make_card(card(3, orientation="RAS", grid={"multiple": 8})), image)
    assert placed.resampled_shape == SHAPE
    assert placed.shape == (8, 8, 16)
    raw = placed.to_grid(placed.turned(image.channels_first().copy()).copy())
    padded = placed.pad(raw, torch.full((1, 1, 1, 1, 1), -5.0))
    np.testing.assert_array_equal(padded[0, 0, :6, :7, :9], phantom())
    assert (padded[0, 0, 6:] == -5).all()
    assert (padded[0, 0, :, 7:] == -5).all()
    assert (padded[0, 0, :, :, 9:] == -5).all()
    np.testing.assert_array_equal(placed.to_image(placed.from_grid(padded[0, 0], linear=True)), image.array)
    mask = image.array > 0
    kept = placed.mask_to_grid(mask)
    assert kept.sum() == mask.sum()
    np.testing.assert_array_equal(placed.to_image(placed.from_grid(kept, linear=False)) > 0.5, mask)


def test_padding_is_the_background_as_the_network_gets_it():
    image = sx.Image(np.full((5, 5), 300, np.int16))
    steps = [{"scale_shift": [0.01, 1]}]
    air = sx.load_model(
        LinearHead(), card=card(grid={"multiple": 4}, background_value=-1000, intensity=steps)
    )
    assert torch.unique(air.prepare(image).tensor).tolist() == pytest.approx([-9, 4])
    darkest = sx.load_model(LinearHead(), card=card(grid={"multiple": 4}, intensity=steps))
    assert torch.unique(darkest.prepare(image).tensor).tolist() == pytest.approx([4])


def test_sizes():
    volume = stored("SPL")
    shape = lambda **grid: place(make_card(card(3, orientation="RAS", grid=grid)), volume).shape
    assert shape() == SHAPE
    assert shape(size=[10, 4, 9]) == (10, 4, 9)
    assert shape(spacing=[3, 2, 1]) == (3, 7, 27)
    assert shape(spacing=[3, 2, 1], multiple=8) == (8, 8, 32)
    assert shape(spacing=[1000, 1000, 1000]) == (1, 1, 1)


def test_spacing_needs_millimetres():
    model = sx.load_model(LinearHead(), card=card(grid={"spacing": [1, 1]}))
    with pytest.raises(sx.UserError, match="pixel size in mm"):
        model.prepare(sx.Image(np.ones((8, 8))))
    assert model.prepare(
        sx.Image(np.ones((8, 8)), spacing=(2, 0.5), units="mm")
    ).placement.resampled_shape == (
        16,
        4,
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("side", [13, 40, 64])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_ramp_comes_back_as_the_ramp(ndim, side, axis):
    shape = (32, 27, 30)[:ndim]
    ramp = np.arange(shape[axis], dtype=np.float32).reshape([-1 if k == axis else 1 for k in range(ndim)])
    image = sx.Image(np.broadcast_to(ramp, shape))
    placed = place(make_card(card(ndim, grid={"size": [side] * ndim})), image)
    grid = placed.to_grid(np.ascontiguousarray(placed.turned(image.channels_first())))
    assert grid.shape == (1, 1, *[side] * ndim)
    back = placed.from_grid(grid[0, 0], linear=True)
    inside = tuple(slice(4, -4) if k == axis else slice(None) for k in range(ndim))
    np.testing.assert_allclose(back[inside], image.array[inside], atol=0.05)  # of a pixel


def test_small_details_are_not_skipped_when_2d_images_shrink():
    array = np.zeros((64, 64), np.float32)
    array[::2] = 1
    placed = place(make_card(card(grid={"size": [16, 16]})), sx.Image(array))
    grid = placed.to_grid(array[None])
    np.testing.assert_allclose(grid[0, 0, 2:-2], 0.5, atol=0.05)


def test_nearest_interpolation_invents_no_values():
    array = np.random.default_rng(0).integers(0, 5, (10, 10)).astype(np.float32) ** 3
    placed = place(make_card(card(grid={"size": [7, 16], "interpolation": "nearest"})), sx.Image(array))
    assert set(placed.to_grid(array[None]).unique().tolist()) <= set(array.ravel().tolist())


def test_resizing_keeps_the_corners_of_the_grid():
    cells = torch.tensor([[[0.0, 10.0]]])[..., None].expand(1, 1, 2, 2)
    out = resize(cells, (4, 2), linear=True)
    assert out[0, 0, :, 0].tolist() == [0, 2.5, 7.5, 10]


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("size", [[5, 4], [13, 11], [40, 50]])
def test_a_single_pixel_does_not_vanish_and_stays_where_it_is(size):
    shape = (20, 22)
    placed = place(make_card(card(grid={"size": size})), sx.Image(np.zeros(shape)))
    for at in itertools.product(range(shape[0]), range(shape[1])):
        mask = np.zeros(shape, bool)
        mask[at] = True
        cells = placed.mask_to_grid(mask).nonzero().numpy()
        assert len(cells)
        center = (np.array(at) + 0.5) / shape * size  # in cells of the model grid
        reach = np.maximum(0.5, 0.5 * np.array(size) / shape) + 1e-9
        assert (np.abs(cells + 0.5 - center) <= reach).all()


def test_a_thin_line_does_not_vanish():
    mask = np.zeros((40, 40), bool)
    mask[3] = True
    placed = place(make_card(card(grid={"size": [5, 5]})), sx.Image(np.zeros((40, 40))))
    assert placed.mask_to_grid(mask).nonzero()[:, 0].unique().tolist() == [0]
    assert placed.mask_to_grid(mask).sum() == 5
    assert not placed.mask_to_grid(np.zeros((40, 40), bool)).any()


# ---------------------------------------------------------------- 2D models on volumes


def displayed(image: sx.Image) -> np.ndarray:
    """The image as napari shows it."""
    return orientation.apply(image.array, image.to_display)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL", "IPL", "PSR", "ARI"])
@pytest.mark.parametrize("wanted", [None, "IPL", "SPL", "PIL", "LIP", "RSA", "ASR"])
def test_a_2d_model_gets_the_slice_that_napari_shows(codes, wanted):
    image = stored(codes)
    model = sx.load_model(LinearHead(), card=card(2, orientation=wanted))
    codes_wanted = wanted or "IPL"
    axis = next(k for k, pair in enumerate(("IS", "PA", "LR")) if codes_wanted[0] in pair)  # of the display
    shown = np.moveaxis(displayed(image), axis, 0)
    assert model.slices(image) == len(shown)
    rest = [code for k, code in enumerate("IPL") if k != axis]
    for index in range(len(shown)):
        seen = shown[index]
        first, second = codes_wanted[1:]
        if first not in dict(zip("LRPAIS", "RLAPSI", strict=True))[rest[0]] + rest[0]:
            seen = seen.T
            rest_now = rest[::-1]
        else:
            rest_now = rest
        seen = seen[:: 1 if first == rest_now[0] else -1, :: 1 if second == rest_now[1] else -1]
        np.testing.assert_array_equal(model.prepare(image, index).tensor[0, 0], seen)


def test_slices_of_a_layer_count_along_its_own_first_axis():
    array = phantom()
    file = stored("RAS")
    # A layer shows its array as it is, whatever the axes mean in the world.
    layer = sx.Image(array, affine=file.affine, layer={"scale": (1, 1, 1)})
    model = sx.load_model(LinearHead(), card=card(2))
    # Axial slices lie along the third axis here.
    assert model.slices(layer) == 9
    for index in (0, 3, 8):
        np.testing.assert_array_equal(
            model.prepare(layer, index).tensor[0, 0], array[::-1, ::-1, index].T
        )  # rows to posterior, columns to the left
    plain = sx.Image(array)
    assert model.slices(plain) == 6
    np.testing.assert_array_equal(model.prepare(plain, 4).tensor[0, 0], array[4])


@pytest.mark.parametrize("codes", ["RAS", "LIP"])
def test_a_slice_is_written_back_to_its_place(codes):
    image = stored(codes)
    placed = place(make_card(card(2, grid={"multiple": 16})), image, 2)
    out = np.full(image.spatial_shape, -1.0, np.float32)
    values = torch.arange(16 * 16.0).view(16, 16)
    placed.to_image(placed.from_grid(values, linear=True), out)
    shown = orientation.apply(out, image.to_display)
    np.testing.assert_array_equal(shown[2], values[:7, :6])
    assert (np.delete(shown, 2, 0) == -1).all()


def test_predicting_one_slice_and_every_slice():
    class Bright(nn.Module):
        def forward(self, x):
            return torch.cat([0.5 - x, x - 0.5], 1)

    model = sx.load_model(Bright(), card=card(2))
    for codes in ("RAS", "SAL"):
        image = stored(codes)
        every = model.predict(image)
        np.testing.assert_array_equal(every, image.array > 0.5)
        one = orientation.apply(model.predict(image, slice=5), image.to_display)
        np.testing.assert_array_equal(one[5], displayed(image)[5] > 0.5)
        assert not np.delete(one, 5, 0).any()


def test_wrong_dimensions_and_slices_are_told():
    volume, picture = stored("RAS"), sx.Image(np.zeros((8, 8)))
    with pytest.raises(sx.UserError, match="takes 3D volumes"):
        place(make_card(card(3)), picture)
    with pytest.raises(sx.UserError, match="name the slice"):
        place(make_card(card(2)), volume)
    for wrong in (-1, 9):
        with pytest.raises(sx.UserError, match=f"slice {wrong} is outside image; it has slices 0 to 8"):
            place(make_card(card(2)), volume, wrong)


# ---------------------------------------------------------------- maps at low resolution


def test_a_native_map_lies_rightly_in_the_world():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    image = sx.Image(np.zeros((8, 8, 8)), affine=affine)
    placed = place(make_card(card(3, orientation="RAS")), image)
    native = placed.native_affine((4, 4, 2), affine)
    # The first cell covers voxels 0 and 1 (along z 0 to 3): their centres lie at 10 and 12 mm.
    np.testing.assert_allclose(to_world(native, (0, 0, 0)), (11, 21, 33))
    np.testing.assert_allclose(to_world(native, (3, 3, 1)), (23, 33, 41))
    # The corners of the two grids coincide.
    np.testing.assert_allclose(to_world(native, (-0.5, -0.5, -0.5)), to_world(affine, (-0.5, -0.5, -0.5)))
    np.testing.assert_allclose(to_world(native, (3.5, 3.5, 1.5)), to_world(affine, (7.5, 7.5, 7.5)))


def test_padding_and_resampling_count_for_a_native_map():
    affine = np.eye(4)
    image = sx.Image(np.zeros((6, 10, 8)), affine=affine)
    padded = place(make_card(card(3, orientation="RAS", grid={"multiple": 4})), image)
    assert padded.shape == (8, 12, 8)
    native = padded.native_affine((2, 3, 2), affine)
    np.testing.assert_allclose(to_world(native, (0, 0, 0)), (1.5, 1.5, 1.5))  # 4 voxels per cell
    np.testing.assert_allclose(to_world(native, (1, 2, 1)), (5.5, 9.5, 5.5))
    sized = place(make_card(card(3, orientation="RAS", grid={"size": [12, 5, 8]})), image)
    native = sized.native_affine((3, 5, 2), affine)
    np.testing.assert_allclose(np.diag(native), (2, 2, 4, 1))  # 6 / 3, 10 / 5, 8 / 2 voxels per cell
    np.testing.assert_allclose(to_world(native, (0, 0, 0)), (0.5, 0.5, 1.5))


def test_a_native_map_has_one_place_whatever_the_storage_order():
    fields = make_card(card(3, orientation="LPS", grid={"multiple": 4}))
    # The cell (k, 0, 1) of the model grid, in LPS.
    cell, native_shape = np.array([1, 0, 1]), (2, 2, 3)
    places = []
    for codes in ORDERS:
        image = stored(codes)
        placed = place(fields, image)
        native = placed.native_affine(native_shape, image.affine)
        marked = np.zeros(native_shape)
        marked[tuple(cell)] = 1
        back = orientation.apply(marked, orientation.invert(placed.turn))
        places.append(to_world(native, np.argwhere(back)[0]))
    np.testing.assert_allclose(places, np.broadcast_to(places[0], (48, 3)), atol=1e-9)


def test_the_native_map_of_an_explanation_and_the_enlarged_one_agree():
    class Coarse(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.AvgPool3d(4), nn.Upsample(scale_factor=4)

        def forward(self, x):
            x = self.up(self.down(x))
            return torch.cat([-x, x], 1)

    array = np.zeros((16, 16, 16), np.float32)
    array[8:12, 4:8, 8:12] = 1
    image = stored("PSL", array)
    model = sx.load_model(Coarse(), card=card(3, orientation="RAS"))
    ex = sx.explain(model, image, sx.Target("object", region="image"), "seg-hires-grad-cam", layer="down")
    assert ex.native.shape == (4, 4, 4)
    cell = np.unravel_index(ex.native.argmax(), ex.native.shape)
    np.testing.assert_allclose(
        to_world(ex.native_affine, cell), to_world(oblique(), (9.5, 5.5, 9.5)), atol=1e-6
    )
    center = np.argwhere(ex.map > 0.99 * ex.map.max()).mean(0)
    np.testing.assert_allclose(to_world(image.affine, center), to_world(ex.native_affine, cell), atol=1e-3)


def test_a_card_without_orientation_is_said_for_volumes_that_have_one():
    network = torch.nn.Conv3d(1, 2, 1)
    fields = {"name": "mine", "labels": ["background", "object"], "spatial_dims": 3}
    array = np.random.default_rng(0).random((4, 5, 6), np.float32)
    scan, plain = sx.Image(array, affine=np.diag([-1.0, -1, 1, 1])), sx.Image(array)
    told = lambda image, **more: [
        note
        for note in sx.load_model(network, card={**fields, **more}).prepare(image).notes
        if "orient" in note
    ]
    [note] = told(scan)
    assert "sees the volume as napari shows it (IPL); write `orientation` in the card" in note
    assert told(plain) == []
    assert told(scan, orientation="LPS") == []
