"""Every public function, with every argument of another kind in turn: one sentence that names it, before the work begins."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card, planted_image, planted_model
from napari.layers import Image as ImageLayer
from PIL import Image as Picture
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app

WRONG: dict[str, Any] = {
    "object": object(),
    "text": "nothing here",
    "number": -1.5,
    "list": [None],
    "mapping": {"x": None},
    "array": np.zeros((3, 1, 2, 1, 2), np.float32),
    "empty": np.zeros(0),
    "type": np.ndarray,
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Arguments of a call that works, of every public function but those without arguments."""
    folder, samples = (tmp_path_factory.mktemp(name) for name in ("files", "samples"))
    Picture.fromarray((planted_image().array * 255).astype(np.uint8)).save(samples / "a.png")
    two = sx.Cases(samples, "folder", tuple(sx.Case(name, (samples / "a.png",)) for name in "ab"))
    model, image = planted_model(), planted_image()
    both = sx.load_model(LinearHead(inputs=2), card=card(channels=["a", "b"]))
    colors = sx.Image(np.zeros((2, 8, 8), np.float32), channel_axis=0)
    found = sx.explain(model, image, "object", "seg-grad-cam", layer="mix")
    compared = sx.evaluate(model, {"a": image.array}, image, "object", metrics=["ips"], chance=2)
    question = {"model": model, "image": image, "target": "object"}
    measured = {"metrics": ["ips"], "chance": 2}
    out = {
        "allow_package": {"name": "nowhere"},
        "causal_check": {"flow": sx.information_flow(model, image)},
        "channel_importance": {
            "model": both,
            "image": colors,
            "target": sx.Target("object", region="image"),
            "repeats": 1,
        },
        "check": {"explanation": found, "model": model, "checks": ["other-seed"]},
        "compare": {**question, "methods": ["vanilla-gradient"], "controls": 0, **measured},
        "error_components": {
            "model": model,
            "image": image,
            "label": "object",
            "truth": image.array > 0.5,
        },
        "evaluate": {
            "model": model,
            "maps": {"a": image.array},
            "image": image,
            "target": "object",
            **measured,
        },
        "explain": {**question, "method": "vanilla-gradient"},
        "explain_all": {"model": model, "image": image, "targets": ["object"], "method": "vanilla-gradient"},
        "export_to_slicer": {"result": found, "folder": folder / "slicer"},
        "find_cases": {"path": folder},
        "read_cohort": {"folder": folder},
        "study": {"cohort": folder, "name": "averages"},
        "write_report": {"cohort": folder, "out": folder / "report.html"},
        "run_cohort": {
            "model": model,
            "cases": sx.find_cases(samples),
            "methods": ["vanilla-gradient"],
            "out": folder / "out",
        },
        "survey": {"model": model, "cases": two, "method": "network-dissection", "concepts": "predicted"},
        "plan_survey": {
            "model": model,
            "cases": two,
            "method": "network-dissection",
            "concepts": "predicted",
        },
        "image_of_layer": {"layer": ImageLayer(image.array)},
        "information_flow": {"model": model, "image": image},
        "join_channels": {"images": [image, image]},
        "load_model": {"source": LinearHead(), "card": card()},
        "read_image": {"path": folder / "a.png"},
        "read_region": {"path": folder / "a.png", "image": image},
        "register_model": {"model": model},
        "residual_picture": {"proposal": image.array > 0.5, "truth": image.array > 0.5},
        "save_picture": {"cases": [compared], "path": folder / "a.png"},
        "save_model": {"model": sx.load_model("triangle"), "folder": folder / "saved"},
        "sweep": {**question, "method": "rise", "grid": {"masks": [2, 3]}, **measured},
        "Box": {"low": (1, 2), "high": (3, 4)},
        "Case": {"id": "a", "images": (folder / "a.png",)},
        "Component": {"at": (1, 2)},
        "Image": {"array": image.array},
        "Point": {"at": (1, 2)},
        "Target": {"label": "object"},
        **{
            f"load_{kind}": {"folder": folder}
            for kind in ("comparison", "explanation", "flow", "survey", "sweep")
        },
    }
    steps = [name for name in sx.__all__ if name.endswith("_steps")]
    return {**out, **{name: out[name.removesuffix("_steps")] for name in steps}}


def test_what_is_of_another_kind_is_said_by_every_public_function(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, arguments in asked.items():
        function = getattr(sx, name)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            for what, value in WRONG.items():
                if parameter.name == "progress" and what == "type":
                    continue  # it can be called, and what it says is its own
                try:
                    function(**{**arguments, parameter.name: value})
                except sx.UserError as error:
                    said = str(error)
                    assert len(said) > 20, (name, parameter.name, what, said)
                    assert " object at 0x" not in said, said
                except Exception as error:
                    pytest.fail(f"{name}({parameter.name}={what}): {type(error).__name__}: {error}")
    known = {
        *asked,
        "Cases",
        "Cohort",
        "StudyResult",
        "Comparison",
        "Explanation",
        "Flow",
        "Survey",
        "Sweep",
        "SegmentationModel",
        "ErrorComponent",
    }
    known |= {"Interrupted", "OutOfMemory", "UserError", "__version__"}
    assert {name for name in sx.__all__ if not name.startswith("list_")} == known


def test_the_sentence_names_argument_value_and_what_it_has_to_be():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    for call, words in {
        lambda: sx.check(
            found, model, target="object"
        ): "check: target is 'object'; it has to be a Target or None",
        lambda: sx.compare(
            model, image, "object", 7
        ): "methods is 7; it has to be a list, each text or a pair of",
        lambda: sx.explain(
            model, Path("a.png"), "object"
        ): "image is 'a.png'; it has to be an Image or an array",
        lambda: sx.load_model("triangle", trust="no"): "trust is 'no'; it has to be True or False",
        lambda: sx.explain(model, image, "object", seed=True): "seed is True; it has to be a whole number",
        lambda: sx.Image(image.array, spacing="thin"): "spacing is 'thin'; it has to be numbers",
        lambda: sx.Image(image.array, plane=3): "plane 3 is no axis",
    }.items():
        with pytest.raises(sx.UserError, match=words):
            call()


def test_what_is_wrong_inside_of_a_list_or_mapping_is_named():
    model, image = planted_model(), planted_image()
    for call, words in {
        lambda: sx.sweep(
            model, image, "object", "rise", {"masks": 4}
        ): "sweep: grid['masks'] is 4; it has to be a list",
        lambda: sx.join_channels(
            [image, "t2.nii.gz"]
        ): "images[1] is 't2.nii.gz'; it has to be an Image or an array",
        lambda: sx.load_explanation(""): "a path is empty",
    }.items():
        with pytest.raises(sx.UserError, match=re.escape(words)):
            call()


def test_numbers_of_numpy_and_torch_are_numbers():
    """What a user computes with numpy or torch is taken as Python's own, and the record holds plain numbers."""
    model, image = planted_model(), planted_image()
    wanted = sx.explain(model, image, "object", "rise", seed=3, masks=4, keep=0.5, normalize=False)
    found = sx.explain(
        model, image, np.int64(1), "rise", seed=np.int64(3), device=torch.device("cpu"),
        masks=torch.tensor(4), keep=np.float32(0.5), normalize=np.bool_(False),
    )  # fmt: skip
    np.testing.assert_array_equal(found.map, wanted.map)
    assert found.record.parameters == wanted.record.parameters
    assert {type(value) for value in found.record.parameters.values()} <= {int, float, bool, str, type(None)}
    losses = [sx.channel_importance(model, image, "object", repeats=n).rows for n in (2, np.int64(2))]
    assert losses[0] == losses[1]
    for options in ({"score": np.array(["dice"])}, {"tolerance": np.array([0.1, 0.2])}):
        with pytest.raises(sx.UserError, match="is a list; "):
            sx.explain(model, image, "object", "rise", **options)


def test_indices_of_numpy_and_torch_are_indices():
    """A pair of rows of whole numbers is a box, however it is held, and not an array of pixels."""
    box = sx.Target("object", sx.Box((16, 6), (20, 10))).as_dict()
    low, high = np.array([16, 6]), np.array([20, 10])
    for region in ((low, high), sx.Box(low, high), [torch.tensor([16, 6]), [20, 10]]):
        assert sx.Target("object", region).as_dict() == box
    for region in (low, torch.tensor([16, 6]), sx.Point(low), sx.Point([16, 6])):
        assert sx.Target("object", region).region == sx.Point((16, 6))
    drawn = torch.from_numpy(planted_image().array > 0.5)
    np.testing.assert_array_equal(sx.Target("object", drawn).region, drawn.numpy())


def test_an_empty_path_is_not_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = sx.explain(planted_model(), planted_image(), "object", "vanilla-gradient")
    with pytest.raises(sx.UserError, match="a path is empty"):
        found.save("")
    for line in (["explain", "a.png", "--label", "x"], ["flow", "a.png"], ["channels", "a.png"], ["demo"]):
        done = CliRunner().invoke(
            app, [*line, *(["--model", "triangle"] if line != ["demo"] else []), "--out", ""]
        )
        assert done.exit_code == 2
        assert "'--out': it is empty; name a folder for the results." in done.stderr
    assert not list(tmp_path.iterdir())
