"""Which output of a network is explained: several that fit, objects with fields, probabilities, labels, other types."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.models import Fixed, gray
from helpers.networks import LinearHead, card
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.models.introspection.modules import first_tensor, map_tensors
from napari_segxai.models.partial_card import CardIncomplete

IMAGE = np.random.default_rng(0).random((16, 16), np.float32)
WHOLE = sx.Target("object", region="image")
Pair = namedtuple("Pair", "features logits")


@dataclass(frozen=True)
class Result:
    logits: Tensor
    name: str = "result"


@dataclass
class Slots:
    __slots__ = ("logits",)
    logits: Tensor


class ModelOutput(OrderedDict):
    """Like those of Transformers: a mapping whose items are attributes as well."""

    def __getattr__(self, name):
        return self[name]


class Plain:
    def __init__(self, logits):
        self.logits, self.me = logits, self


class Returns(nn.Module):
    """Hands (features, logits, coarse logits) to `make`."""

    def __init__(self, make):
        super().__init__()
        self.net, self.make = LinearHead(), make

    def forward(self, x: Tensor):
        features = self.net.features(x)
        logits = self.net.head(features)
        return self.make(features, logits, nn.functional.avg_pool2d(logits, 2))


def same_as_plain(model: sx.SegmentationModel) -> bool:
    plain = sx.load_model(LinearHead().eval(), card=card())
    return all(
        np.array_equal(
            sx.explain(plain, IMAGE, WHOLE, method, **params).map,
            sx.explain(model, IMAGE, WHOLE, method, **{k: f"net.{v}" for k, v in params.items()}).map,
        )
        for method, params in (("vanilla-gradient", {}), ("seg-grad-cam", {"layer": "features.0"}))
    )


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (lambda f, y, c: Result(y), {}),
        (lambda f, y, c: Result(y), {"output": "logits"}),
        (lambda f, y, c: Pair(f, y), {"output": "logits"}),
        (lambda f, y, c: Pair(f, y), {"output": 1}),
        (lambda f, y, c: Pair(f, y), {}),  # the features do not have a channel per label
        (lambda f, y, c: SimpleNamespace(features=f, masks=y), {"output": "masks"}),
        (lambda f, y, c: SimpleNamespace(features=f, masks=y), {}),
        (lambda f, y, c: Slots(y), {}),
        (lambda f, y, c: Plain(y), {}),
        (lambda f, y, c: ModelOutput(loss=None, logits=y), {"output": "logits"}),
        (lambda f, y, c: {"labels": y.argmax(1), "result": {"logits": y}}, {}),
        (lambda f, y, c: {"labels": y.argmax(1), "result": {"logits": y}}, {"output": "result"}),
        (lambda f, y, c: [f, (f, [y])], {}),
    ],
    ids=range(13),
)
def test_the_output_that_fits_is_found_in_any_object(make, fields):
    model = sx.load_model(Returns(make).eval(), card=card(**fields))
    assert model.notes == ()
    assert same_as_plain(model)


@pytest.mark.parametrize(
    ("make", "fields", "chosen"),
    [
        (lambda f, y, c: [c, y, c], {}, "1"),
        (lambda f, y, c: {"aux": -y, "out": y}, {}, "'out'"),
        (lambda f, y, c: {"fine": -y.repeat_interleave(1, 2), "logits": y}, {}, "'logits'"),
        (lambda f, y, c: {"side": (c, c), "main": y}, {}, "'main'"),
        (lambda f, y, c: {"heads": [c, y], "other": -y}, {"output": "heads"}, "'heads'.1"),
    ],
    ids=range(5),
)
def test_of_several_outputs_the_main_or_the_finest_is_taken_and_that_is_said(make, fields, chosen):
    model = sx.load_model(Returns(make).eval(), card=card(**fields))
    assert same_as_plain(model)
    warnings = sx.explain(model, IMAGE, WHOLE, "vanilla-gradient").record.warnings
    assert any(f"{chosen} was taken" in warning and "`output`" in warning for warning in warnings)


@pytest.mark.parametrize(
    "make", [lambda f, y, c: (y, -y, c), lambda f, y, c: {"a": (y, c), "b": -y}], ids=range(2)
)
def test_of_outputs_that_are_as_fine_as_each_other_one_is_asked_for(make):
    """As those of BasicUNet++ with deep supervision."""
    network = Returns(make).eval()
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(network, card=card())
    first, second = list(make(1, 2, 3)) if isinstance(make(1, 2, 3), dict) else (0, 1)
    assert f"which of its outputs is explained: {first!r} or {second!r}" in str(caught.value)
    assert list(caught.value.missing) == ["output"]
    assert same_as_plain(sx.load_model(network, card=caught.value.partial.completed({"output": first})))
    assert sx.load_model(network, card=card(output=second)).output_place[0] == second


def test_one_output_twice_needs_no_question():
    model = sx.load_model(Returns(lambda f, y, c: (y, y.clone())).eval(), card=card())
    assert model.output_place == (0,)


def test_the_one_that_the_card_names_needs_no_word():
    model = sx.load_model(Returns(lambda f, y, c: (y, c)).eval(), card=card(output=0))
    assert model.notes == ()
    assert same_as_plain(model)


@pytest.mark.parametrize("output", ["out", 3])
def test_a_field_that_is_not_there_is_answered_with_those_that_are(output):
    with pytest.raises(sx.UserError, match=r"no output .* but \['features', 'logits'\]"):
        sx.load_model(Returns(lambda f, y, c: Pair(f, y)).eval(), card=card(output=output))


def test_labels_instead_of_logits_are_refused_in_words():
    with pytest.raises(sx.UserError, match=r"labels \(whole numbers of type int64.*argmax.*logits before"):
        sx.load_model(Returns(lambda f, y, c: y.argmax(1)).eval(), card=card())


def test_tensors_are_exchanged_in_any_object():
    tensor = torch.ones(2)
    for value in (Result(tensor), Pair(1, tensor), SimpleNamespace(a=[tensor]), Plain(tensor), Slots(tensor)):
        doubled = map_tensors(value, lambda t: 2 * t)
        assert type(doubled) is type(value)
        assert first_tensor(doubled)[0] == 2
        assert first_tensor(value)[0] == 1
    assert first_tensor(lambda: tensor) is None


class Ends(nn.Module):
    """An object of 8 x 8 pixels, in logits of -8 and 8, behind a last step."""

    def __init__(self, last, outputs: int = 1, size: int = 1):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, outputs, 1), last
        self.up = nn.Upsample(scale_factor=size, mode="bilinear")
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([-8.0, 8.0])[-outputs:].view(-1, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([8.0, -8.0])[-outputs:])

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.last(self.conv(x)))


SQUARE = np.zeros((24, 24), np.float32)
SQUARE[4:12, 4:12] = 2


@pytest.mark.parametrize(
    ("network", "activation"),
    [
        (Ends(nn.Sigmoid()), "sigmoid"),
        (Ends(nn.Sigmoid(), 2), "sigmoid"),
        (Ends(nn.Sigmoid(), 2), "softmax"),
        (Ends(nn.Softmax(1), 2), "softmax"),
        (Ends(nn.Softmax(1), 2, 1), "softmax"),
    ],
)
def test_probabilities_of_which_the_card_says_nothing_are_asked_for(network, activation):
    model = sx.load_model(network.eval(), card=card(activation=activation))
    for ask in (
        lambda m: m.predict(sx.Image(SQUARE)),
        lambda m: sx.explain(m, SQUARE, "object", "vanilla-gradient"),
        lambda m: sx.information_flow(m, SQUARE),
    ):
        with pytest.raises(sx.UserError, match=r"only values from 0 to 1.*`values: probabilities`"):
            ask(model)
    said = sx.load_model(network.eval(), card=card(activation=activation, values="probabilities"))
    assert np.count_nonzero(said.predict(sx.Image(SQUARE))) == 64
    # Who says that these are logits is believed.
    assert (
        sx.load_model(network.eval(), card=card(activation=activation, values="logits"))
        .predict(sx.Image(SQUARE))
        .any()
    )


def test_logits_that_lie_in_0_to_1_on_the_example_alone_are_logits():
    conv = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()
    model = sx.load_model(conv, card=card(activation="sigmoid"))  # the example lies in 0..1
    assert model.values_in_doubt
    assert np.array_equal(model.predict(sx.Image(IMAGE - 0.5)), IMAGE > 0.5)
    assert not model.values_in_doubt


@pytest.mark.parametrize(
    ("change", "name"),
    [(nn.Module.double, "float64"), (nn.Module.half, "float16"), (nn.Module.bfloat16, "bfloat16")],
)
def test_networks_of_another_type_are_told_the_remedy(change, name):
    network = change(LinearHead().eval())
    with pytest.raises(sx.UserError, match=rf"weights of type {name}.*\.float\(\)"):
        sx.load_model(network, card=card())
    sx.load_model(network.float(), card=card())


class Inside(LinearHead):
    """Computes in another type by itself."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.dtype))


@pytest.mark.parametrize(("dtype", "alike"), [(torch.float64, 0.999999), (torch.bfloat16, 0.95)])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("vanilla-gradient", {}),
        ("seg-grad-cam", {"layer": "features"}),
        ("seg-score-cam", {"layer": "features"}),
        ("rise", {"masks": 40}),
    ],
)
def test_networks_that_turn_their_input_to_another_type_run(dtype, alike, method, params):
    plain = sx.explain(sx.load_model(LinearHead().eval(), card=card()), IMAGE, WHOLE, method, **params).map
    found = sx.explain(sx.load_model(Inside(dtype).eval(), card=card()), IMAGE, WHOLE, method, **params).map
    assert np.corrcoef(found.ravel(), plain.ravel())[0, 1] >= alike


Output = namedtuple("Output", "features logits")
LOGITS = LinearHead()


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda y: {"out": y}, None),
        (lambda y: {"aux": -y, "out": y}, "out"),
        (lambda y: (y, -y), 0),
        (lambda y: [-y, y], -1),
        (lambda y: (torch.tensor([1, 2]), [y]), None),
        (lambda y: Output(-y, y), 1),
        (lambda y: {"outer": {"inner": y}}, "outer"),
    ],
)
def test_outputs_in_dicts_and_tuples(wrap, output):
    reference = sx.load_model(LOGITS, card=card())
    model = sx.load_model(Fixed(lambda x: wrap(LOGITS(x))), card=card(output=output))
    np.testing.assert_array_equal(model.predict(gray()), reference.predict(gray()))
    tensor = torch.rand(2, 1, 8, 8)
    assert torch.equal(model.logits(tensor), LOGITS(tensor))


def test_probabilities_become_their_logits():
    reference = sx.load_model(LOGITS, card=card())
    model = sx.load_model(Fixed(lambda x: LOGITS(x).softmax(1)), card=card(values="probabilities"))
    tensor = torch.rand(2, 1, 8, 8)
    expected = reference.probabilities(LOGITS(tensor))
    torch.testing.assert_close(model.probabilities(model.logits(tensor)), expected)
    sigmoid = sx.load_model(
        Fixed(lambda x: LOGITS(x).sigmoid()), card=card(values="probabilities", activation="sigmoid")
    )
    torch.testing.assert_close(sigmoid.logits(tensor), LOGITS(tensor), atol=1e-4, rtol=1e-4)
    certain = sx.load_model(
        Fixed(lambda x: torch.cat([x * 0, x * 0 + 1], 1)), card=card(values="probabilities")
    )
    assert torch.isfinite(certain.logits(tensor)).all()


def test_one_sigmoid_channel():
    one = Fixed(lambda x: LOGITS(x)[:, 1:])
    model = sx.load_model(one, card=card(activation="sigmoid"))
    tensor = torch.rand(2, 1, 8, 8)
    s = LOGITS(tensor)[:, 1:]
    torch.testing.assert_close(model.logits(tensor), torch.cat([-s, s], 1))
    torch.testing.assert_close(model.probabilities(model.logits(tensor)).sum(1), torch.ones(2, 8, 8))
    np.testing.assert_array_equal(
        model.predict(gray()), one(torch.from_numpy(gray().array)[None, None])[0, 0] > 0
    )


def test_many_sigmoid_channels_without_a_background():
    network = Fixed(lambda x: torch.cat([x - 0.5, -x - 0.5, 2 * x - 2], 1))
    fields = card(labels=["background", "a", "b", "c"], activation="sigmoid")
    model = sx.load_model(network, card=fields)
    out = network(torch.from_numpy(gray().array)[None, None])[0].detach()
    np.testing.assert_array_equal(model.predict(gray()), out > 0)
    assert (out > 0).sum(0).unique().tolist() == [0, 1, 2]


def test_labels():
    model = sx.load_model(LinearHead(labels=3), card=card(labels=["background", "liver", "1"]))
    assert [model.label_index(label) for label in ("liver", 1, np.int64(2), "2", "1")] == [1, 1, 2, 2, 2]
    for wrong in ("lever", -1, 3, "-1", "²", 1.5, None):
        with pytest.raises(sx.UserError, match="planted has no label "):
            model.label_index(wrong)


def test_more_than_256_labels():
    names = [f"label {k}" for k in range(300)]
    network = Fixed(lambda x: -(torch.arange(300).view(1, -1, 1, 1) - x).abs())
    predicted = sx.load_model(network, card=card(labels=names)).predict(sx.Image(np.full((4, 4), 299.0)))
    assert predicted.dtype == np.uint16
    assert (predicted == 299).all()
