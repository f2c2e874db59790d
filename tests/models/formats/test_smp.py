"""Folders that segmentation-models-pytorch saved, read without it; tests/peers opens the networks."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import napari_segxai as sx
from napari_segxai.models.formats.smp import IMAGENET, card_of, handles
from napari_segxai.models.partial_card import CardIncomplete

DATA = Path(__file__).parents[2] / "data" / "smp"


@pytest.fixture
def folder(tmp_path):
    """A copy of the U-Net."""
    return Path(shutil.copytree(DATA / "unet", tmp_path / "nuclei"))


def change(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_a_folder_says_and_what_it_asks(folder):
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(folder)
    assert set(caught.value.missing) == {"labels", "intensity", "activation"}
    partial = caught.value.partial
    assert partial.known["channels"] == ["intensity"]
    assert partial.known["architecture"] == "segmentation_models_pytorch:Unet"
    assert partial.known["arguments"]["encoder_weights"] is None
    assert "_model_class" not in partial.known["arguments"]
    card = partial.completed(partial.suggested)
    assert (card.labels, card.activation) == (("background", "label 1", "label 2"), "softmax")


@pytest.mark.parametrize(
    ("changed", "asked", "known"),
    [
        ({"classes": 1}, {"labels", "intensity"}, {"activation": "sigmoid"}),
        ({"classes": 1, "activation": "sigmoid"}, {"labels", "intensity"}, {"activation": "sigmoid", "values": "probabilities"}),
        ({"activation": "softmax2d"}, {"labels", "intensity"}, {"activation": "softmax", "values": "probabilities"}),
        ({"activation": "logsoftmax"}, {"labels", "intensity"}, {"activation": "softmax"}),
    ],
)  # fmt: skip
def test_what_the_activation_tells(folder, changed, asked, known):
    change(folder, **changed)
    partial = card_of(folder)
    assert set(partial.asked) == asked
    assert {key: partial.known.get(key) for key in ("activation", "values") if key in partial.known} == known
    assert len(partial.suggested["labels"]) == max(2, changed.get("classes", 3))


def test_colours_have_the_intensities_of_imagenet_as_a_suggestion_alone(folder):
    change(folder, in_channels=3)
    partial = card_of(folder / "config.json")
    assert partial.known["channels"] == ["red", "green", "blue"]
    assert partial.suggested["intensity"] == IMAGENET
    assert "intensity" not in partial.known


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_model_class": "UNet"}, "_model_class is 'UNet', no network of SMP; did you mean 'Unet'"),
        ({"_model_class": "os.system"}, "no network of SMP"),
        ({"activation": "argmax2d"}, "activation is 'argmax2d', after which there are neither logits"),
        ({"classes": 0}, "classes is 0; it needs a whole number"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(folder, changed, said):
    change(folder, **changed)
    assert handles(folder)
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(folder)
    assert said in str(caught.value)


def test_missing_weights_are_named(folder):
    with pytest.raises(sx.UserError, match=r"has no model\.safetensors"):
        sx.load_model(folder, card=card_of(folder).suggested)


@pytest.mark.skipif(find_spec("segmentation_models_pytorch") is not None, reason="the package is installed")
def test_the_package_that_is_needed_is_named(folder):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(sx.UserError, match=r'is not installed; run: pip install "napari-segxai\[smp\]"'):
        sx.load_model(folder, card=card_of(folder).suggested)
