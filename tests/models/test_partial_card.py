"""Cards that are given in part, over what a model's own files say."""

from __future__ import annotations

from pathlib import Path

import pytest

import napari_segxai as sx
from napari_segxai.models.card import ModelCard
from napari_segxai.models.partial_card import CardIncomplete, PartialCard


def test_keys_go_before_the_stored_ones_and_a_whole_card_takes_their_place(tmp_path: Path):
    stored = sx.load_model("triangle").card
    changed = sx.load_model("triangle", card={"name": "mine"})
    assert changed.card == stored.model_copy(update={"name": "mine"})
    (tmp_path / "part.yaml").write_text("name: from a file\n")
    assert sx.load_model("triangle", card=tmp_path / "part.yaml").card.name == "from a file"
    assert sx.load_model(changed, card={"description": "x"}).card.name == "mine"
    own = {key: getattr(stored, key) for key in ("labels", "channels", "grid", "architecture", "arguments")}
    plain = ModelCard(name="plain", spatial_dims=2, **own)
    assert sx.load_model("triangle", card=plain).card is plain
    with pytest.raises(sx.UserError, match="unknown key 'nam'"):
        sx.load_model("triangle", card={"nam": "x"})


def test_what_is_not_said_is_asked_by_key():
    partial = PartialCard(
        "unet", {"name": "u", "spatial_dims": 2}, {"labels": "the names of its 2 outputs", "intensity": "how it was scaled"}
    )  # fmt: skip
    with pytest.raises(CardIncomplete, match="labels: the names of its 2 outputs") as caught:
        partial.completed({"intensity": []})
    assert caught.value.missing == {"labels": "the names of its 2 outputs"}
    assert caught.value.partial is partial
    assert partial.completed({"labels": ["background", "a"], "intensity": []}).labels == ("background", "a")
