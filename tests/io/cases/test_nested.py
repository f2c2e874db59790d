"""Folders in folders, and tables that spreadsheets wrote."""

from __future__ import annotations

import pytest
from helpers.cohorts import made_empty as made

import napari_segxai as sx


def told(found: sx.Cases) -> list[tuple]:
    return [
        (case.id, case.group, None if case.truth is None else str(case.truth.relative_to(found.source)))
        for case in found
    ]


def reasons(found: sx.Cases) -> dict[str, str]:
    return {one.name: one.reason for one in found.left_out}


@pytest.mark.parametrize("order", ["{kind}/{part}", "{part}/{kind}"])
def test_parts_of_a_data_set_are_groups(tmp_path, order):
    place = lambda kind, part, name: f"{order.format(kind=kind, part=part)}/{name}.png"
    made(
        tmp_path, place("images", "train", "a"), place("labels", "train", "a"), place("images", "val", "b"),
        place("labels", "val", "c"), place("images", "test", "d"), "data.yaml",
    )  # fmt: skip
    made(tmp_path, place("labels", "test", "x").replace("x.png", "d.txt"))
    found = sx.find_cases(tmp_path)
    assert found.layout == "pairs"
    assert told(found) == [
        ("a", "train", place("labels", "train", "a")),
        ("b", "val", None),
        ("d", "test", None),
    ]
    assert reasons(found) == {"c.png": "is a truth without an image"}


def test_names_that_come_again_have_their_part_before_them(tmp_path):
    made(tmp_path, *(f"{kind}/{part}/1.png" for kind in ("images", "masks") for part in ("train", "val")))
    found = sx.find_cases(tmp_path)
    assert told(found) == [("train/1", "train", "masks/train/1.png"), ("val/1", "val", "masks/val/1.png")]
    assert [case.subject for case in found] == ["train/1", "val/1"]


def test_folders_of_groups_hold_folders_of_cases(tmp_path):
    for group, case in (("HGG", "Brats18_1"), ("LGG", "Brats18_2")):
        made(tmp_path, *(f"{group}/{case}/{case}_{word}.nii.gz" for word in ("t1", "flair", "seg")))
    made(tmp_path, "survival_data.csv")
    (tmp_path / "empty").mkdir()
    found = sx.find_cases(tmp_path, channels=["t1", "flair"])
    assert told(found) == [
        (f"Brats18_{k}", group, f"{group}/Brats18_{k}/Brats18_{k}_seg.nii.gz")
        for k, group in ((1, "HGG"), (2, "LGG"))
    ]
    assert [path.name for path in found[0].images] == ["Brats18_1_t1.nii.gz", "Brats18_1_flair.nii.gz"]
    assert reasons(found) == {"empty": "holds no image"}
    with pytest.raises(sx.UserError, match=r"holds several images .*name the channels"):
        sx.find_cases(tmp_path)


def test_visits_that_are_called_alike_are_told_apart(tmp_path):
    made(tmp_path, "anna/visit1/scan.nii", "anna/visit2/scan.nii", "ben/visit1/scan.nii")
    assert [case.id for case in sx.find_cases(tmp_path)] == ["anna/visit1", "anna/visit2", "ben/visit1"]


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_what_a_spreadsheet_says_of_its_delimiter(tmp_path, first):
    made(tmp_path, "a.png", "a,b.png")
    (tmp_path / "cases.csv").write_bytes(
        f"{first}image;group\na.png;x, y, z\na,b.png;\n;;\nno.png;\n".encode()
    )
    found = sx.find_cases(tmp_path / "cases.csv")
    assert [(case.id, case.group) for case in found] == [("a", "x, y, z"), ("a,b", "")]
    (tmp_path / "cases.csv").write_text("sep=;\nimage;group\n;x\n")
    with pytest.raises(sx.UserError, match="row 3 names no image"):
        sx.find_cases(tmp_path / "cases.csv")


def test_paths_that_windows_wrote(tmp_path):
    made(tmp_path, "scans/a.png", "masks/a.png", "back\\slash.png")
    (tmp_path / "cases.csv").write_text(
        "image,truth\nscans\\a.png,.\\masks\\a.png\nback\\slash.png,\nC:\\a.png,\n"
    )
    found = sx.find_cases(tmp_path / "cases.csv")
    assert [(case.id, case.truth) for case in found] == [
        ("a", tmp_path / "masks/a.png"),
        ("back\\slash", None),
    ]
    assert list(reasons(found).values()) == ["names a file that is not there (C:\\a.png)"]


def test_one_image_is_not_two_independent_cases(tmp_path):
    made(tmp_path, "a.png", "b.png", "first.png", "second.png", "third.png")
    (tmp_path / "cases.csv").write_text(
        "id,image,truth,subject\none,a.png,first.png,\ntwo,./a.png,second.png,\nsame,a.png,first.png,\nasked,a.png,third.png,anna\n"
    )
    found = sx.find_cases(tmp_path / "cases.csv")
    assert [(case.id, case.subject) for case in found] == [("asked", "anna"), ("one", "one"), ("two", "one")]
    assert reasons(found) == {
        "two": "is taken, as an image of the same subject: it has the image of one and another truth",
        "same": "has the same image and truth as one",
    }


def test_truths_that_have_the_number_of_the_first_channel(tmp_path):
    made(
        tmp_path,
        *(f"imagesTr/M_{k}_{channel:04}.nii.gz" for k in (1, 2) for channel in (0, 1)),
        "labelsTr/M_1_0000.nii.gz",
    )
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "T2"}}')
    found = sx.find_cases(tmp_path)
    assert told(found) == [("M_1", "training", "labelsTr/M_1_0000.nii.gz"), ("M_2", "training", None)]
    assert [path.name for path in found[0].images] == ["M_1_0000.nii.gz", "M_1_0001.nii.gz"]


def test_a_folder_per_patient_is_no_group(tmp_path):
    made(tmp_path / "pairs", *(f"p{k}/{kind}/scan.nii" for k in range(6) for kind in ("images", "masks")))
    made(tmp_path / "folders", *(f"p{k}/visit/scan.nii" for k in range(6)))
    for layout in ("pairs", "folders"):
        found = sx.find_cases(tmp_path / layout)
        assert found.layout == layout
        assert [(case.id, case.group, case.subject) for case in found] == [
            (f"p{k}", "", f"p{k}") for k in range(6)
        ]


def test_folders_that_are_not_looked_into_are_told(tmp_path):
    made(tmp_path / "a", "images/train/a.png", "labels/train/a.png", "labels/extra/z.png")
    assert reasons(sx.find_cases(tmp_path / "a")) == {
        "extra": "holds truths without images: images has no such folder"
    }
    made(tmp_path / "b", "images/a.png", "images/val/b.png", "labels/a.png", "labels/val/b.png")
    assert reasons(sx.find_cases(tmp_path / "b")) == {"val": "is not looked into: images holds images itself"}


def test_a_folder_of_truths_is_no_case(tmp_path):
    made(tmp_path, "t1/a.nii", "t2/a.nii", "seg/a.nii")
    with pytest.raises(
        sx.UserError, match="seg seems to hold truths, and is no case; name the folder of images"
    ):
        sx.find_cases(tmp_path)
    assert len(sx.find_cases(tmp_path, "folders")) == 3
    assert sx.find_cases(tmp_path / "t1", truth=tmp_path / "seg")[0].truth == tmp_path / "seg/a.nii"
