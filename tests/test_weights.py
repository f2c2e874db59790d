"""Weights as training tools save them: wrapped, prefixed, beside other objects; and what fits nothing."""

from __future__ import annotations

import argparse
import pathlib
import types
from collections import defaultdict

import numpy as np
import pytest
import torch
import yaml
from networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.model.weights import load_weights


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
    ],
    ids=range(10),
)
@pytest.mark.parametrize("old_format", [False, True])
def test_weights_are_found_under_wrappers_and_prefixes(tmp_path, saved, old_format):
    path, module = tmp_path / "w.pth", network(9)
    if old_format:
        if saved is NNUNET or saved is LIGHTNING:
            pytest.skip("the format before torch 1.6 is not looked into")
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


class Stranger:
    """No tensor, and of a module that is not known to be harmless."""


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"epoch": 3, "lr": [0.1]}, ["no state dict", "'epoch', 'lr'"]),
        ({"a\x1b[31m": 3}, ["no state dict", r"'a\\x1b[31m'".replace("\\\\", "\\")]),
        ([torch.ones(2)], ["no state dict", "a list"]),
        ({"net": {"c.weight": torch.ones(2)}, "step": 1}, ["'net' of the file", "'c.weight'", "'step'"]),
        ({"state_dict": prefixed("net."), "x": Stranger()}, ["Stranger", "never unpickled", "state_dict()"]),
        ({"n": defaultdict(int, a=1)}, ["cannot be read as weights", "SETITEM"]),
        (Wrapped(), ["Wrapped", "never unpickled"]),
        (
            {k: v.to(torch.complex64) for k, v in network().state_dict().items()},
            ["complex numbers", "'0.weight'"],
        ),
    ],
    ids=range(8),
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
