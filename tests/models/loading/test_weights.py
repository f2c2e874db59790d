"""Weights as training tools save them: wrapped, prefixed, beside other objects; and what fits nothing."""

from __future__ import annotations

import argparse
import functools
import pathlib
import pickle
import types
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.models import unet, write_folder
from helpers.networks import card
from safetensors.torch import save_file
from torch import nn

import napari_segxai as sx
from napari_segxai.core.errors import reason_of
from napari_segxai.models.loading.weight_shapes import shapes_of
from napari_segxai.models.loading.weights import fitting_state, load_weights


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))


def prefixed(prefix: str, seed: int = 0) -> dict:
    return {prefix + key: value for key, value in network(seed).state_dict().items()}


class Wrapped(nn.Module):
    """Holds the network one level deeper."""

    def __init__(self):
        super().__init__()
        self.model = network(5)


NNUNET = {
    "network_weights": network().state_dict(),
    "optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-2}]},
    "logging": {"dice": [np.float32(0.5), np.float64(0.25)], "n": np.int64(3)},
    "_best_ema": np.float64(0.5),
    "init_args": {"plans": {"a": [1, 2]}, "device": torch.device("cpu")},
}
LIGHTNING = {
    "state_dict": {**prefixed("net."), "loss.weight": torch.ones(2)},
    "hyper_parameters": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/tmp/x")),
    "callbacks": {"best": {"path": pathlib.Path("/tmp/y")}},
    "extra": types.SimpleNamespace(a=1),
    "random": np.arange(3),
}


class Stranger:
    """No tensor, and of a module that is not known to be harmless."""


class SettingsDict(dict):
    """A dictionary of another library."""


BESIDE = {
    "state_dict": prefixed("net."),
    "hyper_parameters": {"optimizer": functools.partial(torch.optim.Adam, lr=0.1), "net": network()},
    "message_hub": {"log": Stranger(), "settings": SettingsDict(a=SettingsDict(b=[1]))},
    "queue": deque([1.0], maxlen=3),
    "counts": defaultdict(int, a=1),
    "version": torch.__version__,
}
"""What hydra templates, mmengine and others leave beside weights."""


@pytest.mark.parametrize(
    "saved",
    [
        {"model_state_dict": network().state_dict(), "epoch": 3},
        {"state_dict": prefixed("module.")},
        {"model": prefixed("_orig_mod.module.")},
        {"model": prefixed("net."), "optimizer": {"state": {}}},
        {"whatever": {"weights": prefixed("a.b.c.")}},
        prefixed("module.net."),
        {**network().state_dict(), "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
        {key: v for key, v in network().state_dict().items() if "num_batches" not in key},
        NNUNET,
        LIGHTNING,
        BESIDE,
        {**prefixed("module."), "n_averaged": torch.tensor(3)},  # torch's AveragedModel
        {**network().state_dict(), "loss.weight": torch.ones(2), "val_metrics.sum": torch.ones(1)},
        {"module": prefixed("_orig_mod."), "class_weights": torch.ones(2), "ds_version": "0.17"},
    ],
    ids=range(14),
)
@pytest.mark.parametrize("old_format", [False, True])
def test_weights_are_found_under_wrappers_and_prefixes(tmp_path, saved, old_format):
    path, module = tmp_path / "w.pth", network(9)
    if old_format:
        if saved is BESIDE:
            pytest.skip("torch wrote the source of networks beside them, which its reader does not take")
        torch.save(saved, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(saved, path)
    assert load_weights(module, path) == ""
    for key, value in network().state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(module.state_dict()[key], value), key


def test_a_prefix_that_the_file_lacks_is_put_before(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pth")
    module = Wrapped()
    load_weights(module, tmp_path / "w.pth")
    assert torch.equal(module.model[0].weight, network()[0].weight)


def test_a_second_head_for_training_alone_is_left_out_and_that_is_said(tmp_path):
    own = network().state_dict()
    saved = {"model": {**own, "aux_classifier.4.weight": torch.zeros(21, 2, 1, 1)}}
    assert shapes_of(saved).outputs == 2
    state, said = fitting_state(saved, own, tmp_path / "a.pth")
    assert state.keys() == own.keys()
    assert said == "aux_classifier in a.pth, a head for training alone, was left out."


def test_of_several_that_fit_the_trained_ones_are_taken_and_that_is_said(tmp_path):
    (tmp_path / "model.yaml").write_text(
        yaml.safe_dump(
            card(
                architecture="torch.nn:Conv2d",
                arguments={"in_channels": 1, "out_channels": 2, "kernel_size": 1},
                weights="w.pth",
            )
        )
    )
    torch.manual_seed(0)
    plain, averaged = nn.Conv2d(1, 2, 1).state_dict(), nn.Conv2d(1, 2, 1).state_dict()
    torch.save({"ema_state_dict": averaged, "state_dict": plain}, tmp_path / "w.pth")
    model = sx.load_model(tmp_path)
    assert torch.equal(model.module.weight, plain["weight"])
    [note] = sx.explain(
        model, np.ones((8, 8), np.float32), sx.Target("object", "image"), "vanilla-gradient"
    ).record.warnings[:1]
    assert "'state_dict' were taken" in note
    assert "'ema_state_dict' fit" in note
    torch.save({"ema_state_dict": plain, "state_dict": plain}, tmp_path / "w.pth")
    assert not sx.load_model(tmp_path).notes  # nothing to choose between


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("ema.model.", "model.", "second"),
        ("model.", "ema_model.", "first"),
        ("teacher.", "student.", "second"),
        ("net_a.", "net_b.", "first"),
    ],
)
def test_two_networks_of_one_mapping_are_told_by_their_prefixes(first, second, taken):
    saved = {"state_dict": {**prefixed(first), **prefixed(second, 1), "loss.weight": torch.ones(2)}}
    found, said = fitting_state(saved, network().state_dict(), Path("w.pth"))
    want = network(0 if taken == "first" else 1).state_dict()
    assert all(torch.equal(found[key], want[key]) for key in want)
    kept, left = (first, second) if taken == "first" else (second, first)
    assert f"'state_dict.{kept[:-1]}' were taken; 'state_dict.{left[:-1]}' fit" in said


class Tied(nn.Module):
    """Uses one convolution twice, under two names; and makes a buffer by itself."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1)
        self.again = self.first
        self.head = nn.Conv2d(1, 2, 1)
        self.register_buffer("index", torch.arange(3), persistent=False)

    def forward(self, x):
        return self.head(self.again(self.first(x)))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_one_tensor_of_two_names_is_there_under_one_of_them(tmp_path, prefix):
    torch.manual_seed(1)
    saved = Tied()
    state = {prefix + name: value for name, value in saved.state_dict().items()}
    for gone in ("first", "again"):
        kept = {name: value for name, value in state.items() if f"{gone}." not in name}
        save_file(kept, tmp_path / "w.safetensors")
        module = Tied()
        assert load_weights(module, tmp_path / "w.safetensors") == ""
        assert torch.equal(module.again.weight, saved.first.weight)
        assert module.again is module.first
    save_file(
        {name: value for name, value in kept.items() if "first." not in name}, tmp_path / "w.safetensors"
    )
    with pytest.raises(sx.UserError, match=r"lacks 'again\.bias'"):
        load_weights(Tied(), tmp_path / "w.safetensors")


def test_a_buffer_that_the_network_makes_by_itself_may_have_been_saved(tmp_path):
    torch.save({**Tied().state_dict(), "index": torch.arange(3)}, tmp_path / "w.pth")
    assert load_weights(Tied(), tmp_path / "w.pth") == ""
    torch.save({**Tied().state_dict(), "other": torch.arange(3)}, tmp_path / "w.pth")
    with pytest.raises(sx.UserError, match="holds the unknown 'other'"):
        load_weights(Tied(), tmp_path / "w.pth")


def test_a_part_of_a_network_that_is_called_like_a_loss_is_no_loss(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.loss = nn.Conv2d(1, 2, 1)

    saved = Odd()
    torch.save({"net": saved.state_dict()}, tmp_path / "w.pth")
    module = Odd()
    load_weights(module, tmp_path / "w.pth")
    assert torch.equal(module.loss.weight, saved.loss.weight)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "_fsdp_wrapped_module." + key.replace("0.", "0._fsdp_wrapped_module."),
        lambda key: key.replace("0.", "0._checkpoint_wrapped_module."),
        lambda key: key.replace("0.", "0.module."),
        lambda key: "model._orig_mod." + key.replace("0.", "0._orig_mod."),
    ],
)
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: [state, {"step": 3}]])
def test_wrappers_of_parts_and_lists_are_looked_through(change, wrap):
    own = network().state_dict()
    saved = {change(key): value for key, value in own.items()}
    found, said = fitting_state(wrap(saved), own, Path("w.pth"))
    assert found.keys() == own.keys()
    assert not said
    plain, _ = fitting_state(
        wrap(own), saved, Path("w.pth")
    )  # the network itself may hold them, and the file not
    assert plain.keys() == saved.keys()


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"epoch": 3, "lr": [0.1]}, ["no state dict", "'epoch', 'lr'"]),
        ({"a\x1b[31m": 3}, ["no state dict", r"'a\\x1b[31m'".replace("\\\\", "\\")]),
        ([torch.ones(2)], ["no state dict", "a list"]),
        ({"net": {"c.weight": torch.ones(2)}, "step": 1}, ["'net' of the file", "'c.weight'", "'step'"]),
        ({"model": network(), "x": Stranger()}, ["Stranger", "never unpickled", "state_dict()"]),
        (
            {"model": network(), "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
            ["Sequential", "never unpickled"],
        ),
        ({"n": defaultdict(int, a=1)}, ["no state dict", "'n'"]),
        (Wrapped(), ["Wrapped", "never unpickled"]),
        (
            {k: v.to(torch.complex64) for k, v in network().state_dict().items()},
            ["complex numbers", "'0.weight'"],
        ),
    ],
    ids=range(9),
)
def test_what_does_not_fit_is_answered_with_what_was_found(tmp_path, saved, words):
    path = tmp_path / "w.pth"
    torch.save(saved, path)
    with pytest.raises(sx.UserError) as caught:
        load_weights(network(), path)
    said = str(caught.value)
    assert "\x1b" not in said
    assert "\n" not in said
    for word in [str(path), *words]:
        assert word in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("\x1b[1m\x1b[31m\n\x1b[0m  bad \x1b[31mshape\x1b[0m\nmore"), "bad shape"),
        (ValueError("╭─ Error ─────╮\n│ no such key │\n╰─────────────╯"), "Error"),
        (
            RuntimeError("Error(s) in loading state_dict for X:\n\tsize mismatch for a"),
            "Error(s) in loading state_dict for X: size mismatch for a",
        ),
        (RuntimeError("it is not one. This is an internal error. If you are"), "it is not one"),
        (RuntimeError("expected 3.5 channels, e.g. A"), "expected 3.5 channels, e.g. A"),
        (KeyError("x"), "KeyError: 'x'"),
        (EOFError(), "EOFError"),
        (
            RuntimeError(
                "The following operation failed in the TorchScript interpreter.\nTraceback\nRuntimeError: no."
            ),
            "RuntimeError: no",
        ),
    ],
    ids=range(8),
)
def test_what_foreign_code_raises_becomes_one_sentence(error, said):
    assert reason_of(error) == said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("head.bias"), ["lacks 'head.bias'", "1 missing, 0 unknown"]),
        (lambda s: s.update(extra=torch.zeros(2)), ["holds the unknown 'extra'", "0 missing, 1 unknown"]),
        (lambda s: s.update({"head.bias": torch.zeros(7)}), ["'head.bias' has shape (7,)", "has (2,)"]),
        (lambda s: s.update({"head.bias": torch.full((2,), torch.nan)}), ["not finite"]),
    ],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "best.pt"])
def test_weights_that_do_not_fit(tmp_path, change, words, name):
    state = unet().state_dict()
    change(state)
    folder = write_folder(tmp_path / "m", state, weights=name)
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(folder)
    for word in words:
        assert word in str(caught.value)
    if "finite" not in words[0]:
        assert str(folder / name) in str(caught.value)


def test_missing_damaged_and_strange_weights(tmp_path):
    folder = write_folder(tmp_path / "m")
    weights = folder / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    with pytest.raises(sx.UserError, match=r"weights\.safetensors: the weights are missing"):
        sx.load_model(folder)
    for content in (b"", b"text", whole[: len(whole) // 2], pickle.dumps({"a": 1})):
        weights.write_bytes(content)
        with pytest.raises(sx.UserError, match=r"weights\.safetensors: cannot be read as weights \(.+\)"):
            sx.load_model(folder)
    folder = write_folder(tmp_path / "n", {"epoch": 3, "net": [1]}, weights="w.pt")
    with pytest.raises(sx.UserError, match=r"w\.pt: holds no state dict of tensors"):
        sx.load_model(folder)
    for content in (b"", b"text", b"\x80\x02}q\x00.", whole):
        (folder / "w.pt").write_bytes(content)
        with pytest.raises(sx.UserError, match=r"w\.pt: "):
            sx.load_model(folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"featurs": [2, 4]}, "featurs"),
        ({"features": [2]}, "two levels"),
        ({"spatial_dims": 4}, "KeyError: 4"),
        ({"in_channels": -1}, "negative dimension"),
    ],
)
def test_arguments_that_the_network_does_not_take(tmp_path, arguments, words):
    folder = write_folder(tmp_path / "m", arguments=arguments)
    with pytest.raises(sx.UserError, match=r"model\.yaml: .*UNet does not take these arguments") as caught:
        sx.load_model(folder)
    assert words in str(caught.value)
