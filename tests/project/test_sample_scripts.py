"""The scripts that make sample_data write the model cards that lie there."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if str(SCRIPTS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("script", "card", "model"),
    [
        ("samples.translated", "BRAIN_CARD", "brain-extraction"),
        ("samples.translated", "SELFIE_CARD", "selfie"),
        ("train_triangle", "CARD", "triangle"),
        ("train_brain_tissue", "CARD", "brain-tissue"),
    ],
)
def test_a_script_writes_the_keys_of_the_card_that_is_there(scripts, script, card, model):
    written = getattr(scripts(script), card)
    there = (ROOT / "sample_data" / "models" / model / "model.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^\w+:", written, re.M) == re.findall(r"^\w+:", there, re.M)


def test_every_part_of_the_samples_can_be_imported(scripts):
    assert callable(scripts("build_samples").main)
