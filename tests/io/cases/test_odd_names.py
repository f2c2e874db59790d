"""Names and tables that could be taken for something else."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from helpers.cohorts import made_empty as made

import napari_segxai as sx
from napari_segxai.io.tables import as_cell, write_csv


def found_in(root: Path, **asked) -> dict[str, tuple]:
    return {
        case.id: (*(path.name for path in case.images), case.truth and case.truth.name)
        for case in sx.find_cases(root, **asked)
    }


@pytest.mark.parametrize("has_truths", [True, False])
def test_ids_that_end_in_four_digits_are_no_channels(tmp_path, has_truths):
    made(tmp_path, *(f"imagesTr/case_{k:04}.nii.gz" for k in (1, 2, 3)))
    if has_truths:
        made(tmp_path, *(f"labelsTr/case_{k:04}.nii.gz" for k in (1, 2, 3)), "imagesTr/case_0000.nii.gz")
    found = found_in(tmp_path)
    assert len(found) == 3 + has_truths
    assert found["case_0002"] == ("case_0002.nii.gz", "case_0002.nii.gz" if has_truths else None)


def test_numbers_stay_channels_where_truths_have_none(tmp_path):
    made(tmp_path, "imagesTr/case_1_0000.png", "imagesTr/case_1_0001.png", "labelsTr/case_1.png")
    assert found_in(tmp_path) == {"case_1": ("case_1_0000.png", "case_1_0001.png", "case_1.png")}


def test_the_word_may_come_first(tmp_path):
    names = [f"{word}-{k}.nii" for word in ("volume", "segmentation") for k in (0, 12)]
    made(tmp_path / "lits", *names)
    assert found_in(tmp_path / "lits") == {
        f"volume-{k}": (f"volume-{k}.nii", f"segmentation-{k}.nii") for k in (0, 12)
    }
    made(tmp_path / "two", *(("images/" if name.startswith("v") else "labels/") + name for name in names))
    assert found_in(tmp_path / "two") == found_in(tmp_path / "lits")
    made(tmp_path / "alone", "label_1.png", "roi_2.png", "cell_3.png")
    assert set(found_in(tmp_path / "alone")) == {"label_1", "roi_2", "cell_3"}


def test_truths_of_many_files_are_told(tmp_path):
    made(tmp_path, "s0001/ct.nii.gz", "s0001/segmentations/liver.nii.gz", "s0002/ct.nii.gz")
    told = {one.name: one.reason for one in sx.find_cases(tmp_path).left_out}
    assert told == {
        "s0001": "is taken without truth: its folder segmentations is not looked into, a truth is one file"
    }


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("image,truht", "has a column `truht`; name it `truth`"),
        ("image,Groups", "has a column `groups`; name it `group`"),
        ("image,Mask", "has a column `mask`; name it `truth`"),
        ("image,image_0", "has both `image` and `image_0`"),
        ("image_0,image_2", "number them image_0, image_1"),
        ("image_1,image_2", "number them image_0, image_1"),
    ],
)
def test_columns_that_are_not_what_they_seem(tmp_path, head, words):
    made(tmp_path, "a.png", "b.png")
    (tmp_path / "cases.csv").write_text(f"{head}\na.png,b.png\n")
    with pytest.raises(sx.UserError, match=words):
        sx.find_cases(tmp_path / "cases.csv")


def test_rows_that_are_not_what_they_seem(tmp_path):
    made(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "cases.csv").write_text(
        "image,truth,age\na.png,b.png,61\nb.png,b.png,\nc.png,,7,more\n.,,\nd.png,,,\n"
    )
    found = sx.find_cases(tmp_path / "cases.csv")
    assert [case.id for case in found] == ["a", "d"]
    assert {one.name: one.reason for one in found.left_out} == {
        "b": "names one file twice",
        "row 4": "has more cells than the table has columns",
        "row 5": "names a file that is not there (.)",
    }


def test_letters_that_cannot_be_read_are_refused(tmp_path):
    made(tmp_path, "a.png", "b.png")
    (tmp_path / "cases.csv").write_bytes("image,group\na.png,München\nb.png,Mönchen\n".encode("latin-1"))
    with pytest.raises(sx.UserError, match="save it as CSV in UTF-8"):
        sx.find_cases(tmp_path / "cases.csv")


@pytest.mark.parametrize("name", ["=1+1", " =1", "\t=1", "\r=1", "＝1", "﹢1+1", "\u200b@x", "-x", "+x"])
def test_what_a_spreadsheet_takes_for_a_formula_is_marked(tmp_path, name):
    assert as_cell(name) == f"'{name}"
    path = write_csv(tmp_path / "t.csv", [{"case": name, name: 1}])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["case", f"'{name}"], [f"'{name}", "1"]]


@pytest.mark.parametrize("value", ["-1.5", "+2", "x=1", "", " ", 3, None, True])
def test_what_is_none_stays(value):
    assert as_cell(value) == value
