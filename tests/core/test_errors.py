"""What an error says stays one printable line, whatever a stranger's file put into it."""

from __future__ import annotations

import pytest

from napari_segxai.core.errors import LONGEST, UserError, plain, reason_of


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a\nb\t c", "a b c"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07end", "red end"),
        ("nul\x00 bell\x07", "nul\ufffd bell\ufffd"),
        ("turned \u202eround, hidden\u200b", "turned \ufffdround, hidden\ufffd"),
        ("kept: é 病 µm → – …", "kept: é 病 µm → – …"),
    ],
)
def test_what_cannot_be_printed_is_replaced(given, said):
    assert plain(given) == said
    assert str(UserError(given)) == said
    assert plain(given).isprintable()


def test_what_is_too_long_keeps_its_beginning_and_its_end():
    text = "a" * LONGEST + "z" * LONGEST
    assert plain(text[:LONGEST]) == text[:LONGEST]
    said = plain(text)
    assert said.startswith("aaa")
    assert said.endswith("zzz")
    assert len(said) == LONGEST + 3


def test_another_librarys_error_is_one_sentence_that_names_an_unusual_kind():
    assert reason_of(ValueError("Wrong shape. Call reshape first.")) == "Wrong shape"
    assert reason_of(KeyError("depth")) == "KeyError: 'depth'"
    assert reason_of(RuntimeError("")) == "RuntimeError"
    assert reason_of(ImportError("no module:\n  of this name\nTraceback")) == "no module: of this name"


def test_an_error_among_its_own_causes_has_a_reason():
    first, second = RuntimeError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert reason_of(first) == "first"


def test_what_another_library_says_at_length_is_cut():
    """Some list every name that they know."""
    said = reason_of(KeyError(f"wrong name, known are {['x' * 9] * 100}"))
    assert said.startswith("KeyError: ")
    assert len(said) < 330
    assert said.endswith(" ...")
