"""What a model takes for an image: numbers, channels, volumes, time points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.models import gray
from helpers.networks import LinearHead, card, planted_image, planted_model

import napari_segxai as sx


def test_values_that_are_not_finite_are_counted_replaced_and_reported():
    image = planted_image()
    array = image.array.copy()
    array[0, :3] = np.nan
    array[1, 0], array[1, 1] = np.inf, -np.inf
    clean = array.copy()
    clean[~np.isfinite(array)] = low = array[np.isfinite(array)].min()
    kept = array.copy()
    ex = sx.explain(planted_model(), sx.Image(array), "object", "rise", masks=20)
    assert ex.record.warnings == [f"5 values that are not finite (NaN or infinity) were replaced by {low:g}."]
    assert np.isfinite(ex.map).all()
    np.testing.assert_array_equal(
        ex.map, sx.explain(planted_model(), sx.Image(clean), "object", "rise", masks=20).map
    )
    np.testing.assert_array_equal(array, kept)


def test_numbers_too_large_for_the_network_count_as_infinite():
    array = gray().array.astype(np.float64)
    array[2, 2] = -1.7e308
    prepared = sx.load_model(LinearHead(), card=card()).prepare(sx.Image(array))
    assert torch.isfinite(prepared.tensor).all()
    assert prepared.notes[0].startswith("1 values")


def test_an_image_of_nan_is_refused():
    with pytest.raises(sx.UserError, match="no finite value"):
        planted_model().predict(sx.Image(np.full((8, 8), np.nan)))


@pytest.mark.parametrize("kind", ["u1", "i2", ">i4", "f2", ">f4", "f8", "?"])
def test_every_kind_of_number_is_taken(kind):
    array = (np.random.default_rng(0).random((16, 20)) * 2).astype(kind)
    model = sx.load_model(LinearHead(), card=card())
    np.testing.assert_array_equal(model.prepare(sx.Image(array)).tensor[0, 0], array.astype(np.float32))


def test_read_only_arrays_are_taken_without_a_warning(recwarn):
    array = gray().array
    array.setflags(write=False)
    planted_model().predict(sx.Image(array))
    assert not [w for w in recwarn if "writable" in str(w.message)]


class Turned(torch.nn.Module):
    """A network that turns the channels round before another."""

    def __init__(self, inner: torch.nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.flip(1))


def test_a_network_that_takes_channels_in_another_order_than_the_image():
    """As after a training on what OpenCV reads; explanations have the order of the image."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)
    )
    names = ["red", "green", "blue"]
    steps = [{"divide": 255}, {"normalize": {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}}]
    model = sx.load_model(
        network, card=card(channels=names, intensity=steps, network_channels=["blue", "green", "red"])
    )
    wrapped = sx.load_model(Turned(network), card=card(channels=names, intensity=steps))
    image = sx.Image(np.random.default_rng(0).integers(0, 255, (16, 20, 3)).astype(np.uint8), channel_axis=2)
    np.testing.assert_array_equal(model.predict(image), wrapped.predict(image))
    plain = sx.load_model(network, card=card(channels=names, intensity=steps))
    target = sx.Target("object", region="image")
    for method, options in (
        ("vanilla-gradient", {"signed": True}),
        ("input-x-gradient", {}),
        ("lrp", {}),
        ("seg-grad-cam", {"layer": "1"}),
        ("rise", {"masks": 20}),
    ):
        own = sx.explain(model, image, target, method, **options)
        inner = {"layer": "inner.1"} if "layer" in options else options
        np.testing.assert_allclose(
            own.map,
            sx.explain(wrapped, image, target, method, **inner).map,
            rtol=1e-4,
            atol=1e-6,
            err_msg=method,
        )
        assert not np.allclose(own.map, sx.explain(plain, image, target, method, **options).map, rtol=1e-3)
    assert [layer.name for layer in model.network_layers()] == [
        layer.name for layer in plain.network_layers()
    ]
    with pytest.raises(
        sx.UserError, match="network_channels names each of these channels once: red, green, blue"
    ):
        sx.load_model(network, card=card(channels=names, network_channels=["red", "green", "green"]))


def test_channels():
    model = sx.load_model(LinearHead(inputs=3), card=card(channels=["red", "green", "blue"]))
    rgb = np.random.default_rng(0).random((16, 20, 3)).astype(np.float32)
    predicted = model.predict(sx.Image(rgb, channel_axis=-1))
    assert predicted.shape == (16, 20)
    np.testing.assert_array_equal(model.predict(sx.Image(np.moveaxis(rgb, -1, 0), channel_axis=0)), predicted)
    expected = (
        "planted needs 3 channel(s) (red, green, blue), but gray has 1; join images of one channel each "
        "(sx.join_channels, or name a file per channel); if it was trained on gray images, given in each channel, say so: "
        "card={'channels': ['gray', 'gray', 'gray']}, or --card."
    )
    for attempt in (
        lambda image: model.predict(image),
        lambda image: sx.explain(model, image, "object", "rise"),
    ):
        with pytest.raises(sx.UserError) as caught:
            attempt(sx.Image(gray().array, name="gray"))
        assert str(caught.value) == expected
    with pytest.raises(sx.UserError, match=r"if its axis 0 holds channels, say so with channel_axis=0\."):
        model.predict(np.moveaxis(rgb, -1, 0))
    with pytest.raises(
        sx.UserError, match=r"needs 1 channel\(s\) \(intensity\), but image has 3; give one of its channels"
    ):
        planted_model().predict(sx.Image(rgb, channel_axis=2))


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 10, 11)])
def test_predicting_volumes(shape):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    three = sx.load_model(LinearHead(3), card=card(3))
    expected = three.module(torch.from_numpy(volume)[None, None]).argmax(1)[0]
    np.testing.assert_array_equal(three.predict(sx.Image(volume)), expected)
    two = sx.load_model(LinearHead(2), card=card(2))
    expected = two.module(torch.from_numpy(volume)[:, None]).argmax(1)
    np.testing.assert_array_equal(two.predict(sx.Image(volume)), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sx.Image(np.zeros(5)), "1 spatial axes"),
        (lambda: sx.Image(np.zeros((2, 3, 4, 5))), "4 spatial axes"),
        (lambda: sx.Image(np.zeros((0, 4))), "no pixel"),
        (lambda: sx.Image(np.array([["a"]])), "numbers, not <U1"),
        (lambda: sx.Image(np.zeros((3, 3), complex)), "complex"),
        (lambda: sx.Image(np.zeros((3, 3)), channel_axis=2), "channel_axis 2 is outside"),
        (lambda: sx.Image(np.zeros((3, 3)), affine=np.eye(4)), "three spatial axes"),
        (lambda: sx.Image(np.zeros((3, 3, 3)), affine=np.zeros((4, 4))), "singular"),
        (lambda: sx.Image(np.zeros((3, 3)), spacing=(1,)), "spacing"),
        (lambda: sx.Image(np.zeros((3, 3)), spacing=(0, 1)), "positive"),
        (lambda: sx.Image(np.zeros((3, 3)), spacing=(1, float("nan"))), "positive"),
    ],
)
def test_images_that_are_none(make, words):
    with pytest.raises(sx.UserError, match=r"^image: ") as caught:
        make()
    assert words in str(caught.value)


def test_time_points():
    series = np.random.default_rng(0).normal(size=(3, 16, 20, 2)).astype(np.float32)
    image = sx.Image(series, time_axis=0, channel_axis=3)
    model = sx.load_model(LinearHead(inputs=2), card=card(channels=["a", "b"]))
    with pytest.raises(sx.UserError, match=r"3 time points; choose one with image\.frame"):
        model.predict(image)
    frame = image.frame(2)
    assert (frame.channel_axis, frame.time_axis, frame.spatial_shape) == (2, None, (16, 20))
    np.testing.assert_array_equal(frame.channels_first()[1], series[2, ..., 1])
    with pytest.raises(sx.UserError, match="time point 3 is outside 0 to 2"):
        image.frame(3)


def test_a_model_of_gray_images_is_given_the_one_channel_in_each_of_its_own():
    network, image = LinearHead(inputs=3), gray()
    model = sx.load_model(network, card=card(channels=["gray"] * 3))
    colours = sx.load_model(network, card=card(channels=["red", "green", "blue"]))
    joined = sx.join_channels([image] * 3)
    np.testing.assert_array_equal(model.predict(image), colours.predict(joined))
    target = sx.Target(model.labels[1], region="image")
    found = sx.explain(model, image, target, "vanilla-gradient")
    np.testing.assert_array_equal(found.map, sx.explain(colours, joined, target, "vanilla-gradient").map)
    assert found.map.shape == image.array.shape
    notes = " ".join(model.prepare(model.with_its_channels(image)).notes) + " ".join(
        model.prepare(joined).notes
    )
    assert "trained on gray images" not in notes  # nor for a gray picture that is saved in colours
    colored = sx.join_channels([image, image, sx.Image(1 - image.array)])
    (said,) = [note for note in model.prepare(colored).notes if "trained on gray images" in note]
    assert "give a gray image" in said
    assert said in sx.explain(model, colored, target, "vanilla-gradient").record.warnings
    assert not any("trained on gray images" in note for note in colours.prepare(colored).notes)
    assert not sx.load_model(network, card=card(channels=["gray", "gray", "flair"])).card.repeats_channel
    with pytest.raises(
        sx.UserError, match=r"if it was trained on gray images, .*'channels': \['gray', 'gray', 'gray'\]"
    ):
        colours.predict(image)


def test_a_path_in_place_of_an_image_is_answered_with_what_reads_it():
    model = sx.load_model(LinearHead(), card=card())
    for ask in (model.predict, lambda image: sx.explain(model, image, model.labels[1])):
        with pytest.raises(sx.UserError, match=r"sx\.read_image reads a file"):
            ask("cells.tif")
