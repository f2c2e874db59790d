"""The cases of a cohort, in every layout that users have."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.cohorts import made_empty as made

import napari_segxai as sx


def said(cases: sx.Cases) -> list[tuple]:
    root = cases.source if cases.source.is_dir() else cases.source.parent
    short = lambda path: None if path is None else path.relative_to(root).as_posix()
    return [(c.id, tuple(map(short, c.images)), short(c.truth), c.group, c.subject) for c in cases]


def left(cases: sx.Cases) -> dict[str, str]:
    return {one.name: one.reason for one in cases.left_out}


def test_nnunet(tmp_path):
    made(
        tmp_path,
        *(f"imagesTr/BRATS_{k}_{c:04d}.nii.gz" for k in (2, 10) for c in range(2)),
        "imagesTr/BRATS_11_0000.nii.gz",
        "imagesTr/._BRATS_2_0000.nii.gz",
        "imagesTs/BRATS_3_0000.nii.gz",
        "imagesTs/BRATS_3_0001.nii.gz",
        "labelsTr/BRATS_2.nii.gz",
        "labelsTr/BRATS_99.nii.gz",
    )
    facts = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "tumour": 1},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    found = sx.find_cases(tmp_path)
    assert found.layout == "nnunet"
    assert found.channels == ("T1", "FLAIR")
    assert said(found) == [
        ("BRATS_2", ("imagesTr/BRATS_2_0000.nii.gz", "imagesTr/BRATS_2_0001.nii.gz"), "labelsTr/BRATS_2.nii.gz", "training", "BRATS_2"),
        ("BRATS_3", ("imagesTs/BRATS_3_0000.nii.gz", "imagesTs/BRATS_3_0001.nii.gz"), None, "test", "BRATS_3"),
        ("BRATS_10", ("imagesTr/BRATS_10_0000.nii.gz", "imagesTr/BRATS_10_0001.nii.gz"), None, "training", "BRATS_10"),
    ]  # fmt: skip
    assert left(found) == {
        "BRATS_11": "has no channel 0001 (FLAIR)",
        "BRATS_99.nii.gz": "is a truth without an image",
    }
    assert str(
        found
    ) == f"{tmp_path.name}: 3 cases, 1 with truth, 1 of test, 2 of training, 2 left out".replace(
        "1 of test, 2 of training", "2 of training, 1 of test"
    )
    one = sx.find_cases(tmp_path, channels=["flair"])
    assert [case.images[0].name for case in one] == [f"BRATS_{k}_0001.nii.gz" for k in (2, 3, 10)]
    assert left(one)["BRATS_11"] == "has no channel 0001 (FLAIR)"
    with pytest.raises(sx.UserError, match=r"has no channel 'CT'; dataset.json names T1, FLAIR"):
        sx.find_cases(tmp_path, channels=["CT"])


def test_the_decathlon(tmp_path):
    made(
        tmp_path,
        "imagesTr/la_003.nii.gz",
        "imagesTr/._la_003.nii.gz",
        "labelsTr/la_003.nii.gz",
        "imagesTs/la_001.nii.gz",
    )
    (tmp_path / "dataset.json").write_text(
        json.dumps({"modality": {"0": "MRI"}, "labels": {"0": "background"}})
    )
    assert said(sx.find_cases(tmp_path)) == [
        ("la_001", ("imagesTs/la_001.nii.gz",), None, "test", "la_001"),
        ("la_003", ("imagesTr/la_003.nii.gz",), "labelsTr/la_003.nii.gz", "training", "la_003"),
    ]


@pytest.mark.parametrize("names", [{"0": "T1", "2": "T2"}, {"a": "T1"}, ["T1"]])
def test_a_dataset_json_that_numbers_otherwise(tmp_path, names):
    made(tmp_path, "imagesTr/a_0000.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": names}))
    with pytest.raises(sx.UserError, match=r"dataset.json: `channel_names` has to"):
        sx.find_cases(tmp_path)


def test_bids(tmp_path):
    made(
        tmp_path,
        "dataset_description.json",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_FLAIR.nii.gz",
        "derivatives/manual/sub-01/anat/sub-01_desc-manual_dseg.nii.gz",
        "derivatives/manual/sub-02/ses-2/anat/sub-02_ses-2_space-T1w_dseg.nii.gz",
        "derivatives/brain/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tgroup\nsub-01\t31\tpatient\nsub-02\t44\tcontrol\n"
    )
    found = sx.find_cases(tmp_path)
    assert (found.layout, found.channels) == ("bids", ("T1w",))
    assert [(c.id, c.group, c.subject, c.truth and c.truth.name) for c in found] == [
        ("sub-01", "patient", "sub-01", "sub-01_desc-manual_dseg.nii.gz"),
        ("sub-02_ses-1", "control", "sub-02", None),
        ("sub-02_ses-2", "control", "sub-02", "sub-02_ses-2_space-T1w_dseg.nii.gz"),
    ]
    both = sx.find_cases(tmp_path, channels=["T1w", "flair"], truth="mask")
    assert [(c.id, len(c.images), c.truth and c.truth.name) for c in both] == [
        ("sub-01", 2, "sub-01_desc-brain_mask.nii.gz"),
        ("sub-02_ses-2", 2, None),
    ]
    assert left(both) == {"sub-02_ses-1": "has no FLAIR"}
    with pytest.raises(sx.UserError, match="no image ends in _CT; there are FLAIR, T1w"):
        sx.find_cases(tmp_path, channels=["CT"])
    made(tmp_path, "derivatives/other/sub-01/anat/sub-01_desc-other_dseg.nii.gz")
    doubtful = sx.find_cases(tmp_path)
    assert doubtful[0].truth is None
    assert "several could be it" in left(doubtful)["sub-01"]


def test_truths_of_bids_lie_in_the_space_of_their_image(tmp_path):
    """A truth on a template's grid is of another image, however alike the names are."""
    made(
        tmp_path,
        *(f"sub-{k}/anat/sub-{k}_T1w.nii.gz" for k in ("01", "02", "03")),
        "derivatives/a/sub-01/anat/sub-01_dseg.nii.gz",
        "derivatives/a/sub-01/anat/sub-01_space-MNI152NLin6Asym_res-2_dseg.nii.gz",
        "derivatives/a/sub-02/anat/sub-02_space-orig_dseg.nii.gz",
        "derivatives/a/sub-02/anat/sub-02_space-T2w_dseg.nii.gz",
        "derivatives/a/sub-03/anat/sub-03_space-MNI152NLin6Asym_dseg.nii.gz",
    )
    found = sx.find_cases(tmp_path, "bids")
    assert [c.truth and c.truth.name for c in found] == [
        "sub-01_dseg.nii.gz",
        "sub-02_space-orig_dseg.nii.gz",
        None,
    ]
    assert left(found) == {
        "sub-03": "is taken without truth: what there is lies in another space (sub-03_space-MNI152NLin6Asym_dseg.nii.gz)"
    }


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_tables_that_a_spreadsheet_saved_as_unicode(tmp_path, encoding):
    made(tmp_path, "größe.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz")
    text = "id\timage\tgroup\nÄ\tgröße.nii.gz\tKöln\n"
    (tmp_path / "cases.txt").write_bytes(text.encode(encoding))
    people = "participant_id\tgroup\nsub-01\tKöln\n".encode(encoding)
    (tmp_path / "participants.tsv").write_bytes(people)
    if encoding == "utf-16-le":  # without a mark
        for source, layout in ((tmp_path / "cases.txt", "auto"), (tmp_path, "bids")):
            with pytest.raises(sx.UserError, match="save it as CSV in UTF-8"):
                sx.find_cases(source, layout)
        return
    assert said(sx.find_cases(tmp_path / "cases.txt")) == [("Ä", ("größe.nii.gz",), None, "Köln", "Ä")]
    assert sx.find_cases(tmp_path, "bids")[0].group == "Köln"


def test_pairs_of_folders(tmp_path):
    made(
        tmp_path,
        "images/a.png",
        "images/b_img.png",
        "images/c.png",
        "masks/a.png",
        "masks/b_mask.tif",
        "masks/d.png",
    )
    found = sx.find_cases(tmp_path)
    assert found.layout == "pairs"
    assert said(found) == [
        ("a", ("images/a.png",), "masks/a.png", "", "a"),
        ("b_img", ("images/b_img.png",), "masks/b_mask.tif", "", "b_img"),
        ("c", ("images/c.png",), None, "", "c"),
    ]
    assert left(found) == {"d.png": "is a truth without an image"}
    elsewhere = sx.find_cases(tmp_path / "images", truth=tmp_path / "masks")
    assert [case.truth for case in elsewhere] == [case.truth for case in found]
    with pytest.raises(sx.UserError, match="is not a folder; name the one that holds the truths"):
        sx.find_cases(tmp_path / "images", truth="nowhere")


def test_one_folder(tmp_path):
    made(
        tmp_path,
        "1.nii.gz",
        "1_seg.nii.gz",
        "2.nii.gz",
        "10.hdr",
        "10.img",
        "x_label.nii",
        "notes.txt",
        ".hidden.png",
    )
    found = sx.find_cases(tmp_path)
    assert said(found) == [
        ("1", ("1.nii.gz",), "1_seg.nii.gz", "", "1"),
        ("2", ("2.nii.gz",), None, "", "2"),
        ("10", ("10.hdr",), None, "", "10"),
    ]
    assert left(found) == {"x_label.nii": "is a truth without an image"}


def test_files_that_all_end_like_truths_are_images(tmp_path):
    assert len(sx.find_cases(made(tmp_path, "a_seg.png", "b_seg.png"))) == 2


def test_a_folder_per_case(tmp_path):
    made(
        tmp_path,
        *(
            f"BraTS_{k}/BraTS_{k}_{word}.nii.gz"
            for k in (1, 2)
            for word in ("flair", "t1", "t1ce", "t2", "seg")
        ),
        "BraTS_3/BraTS_3_t1.nii.gz",
        "empty/readme.txt",
    )
    with pytest.raises(
        sx.UserError, match=r"each folder holds several images \(.*flair.*\); name the channels"
    ):
        sx.find_cases(
            made(tmp_path / "two", *(f"p{k}/p{k}_{word}.nii.gz" for k in (1, 2) for word in ("t1", "flair")))
        )
    found = sx.find_cases(tmp_path, channels=["T1ce", "t2"])
    assert found.layout == "folders"
    assert said(found) == [
        (f"BraTS_{k}", (f"BraTS_{k}/BraTS_{k}_t1ce.nii.gz", f"BraTS_{k}/BraTS_{k}_t2.nii.gz"), f"BraTS_{k}/BraTS_{k}_seg.nii.gz", "", f"BraTS_{k}")
        for k in (1, 2)
    ]  # fmt: skip
    assert left(found)["BraTS_3"] == "has no T1ce, t2"
    assert left(found)["empty"] == "holds no image"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table(tmp_path, delimiter):
    made(tmp_path, "a.nii", "deep/b.nii", "b2.nii", "b3.nii", "t.nii")
    rows = [
        ["ID", "image_1", "Image_0", "truth", "group", "subject"],
        ["../x", "deep/b.nii", "a.nii", "t.nii", "A", "p1"],
        ["=cmd", "b2.nii", str(tmp_path / "a.nii"), "", "", "p1"],
        ["gone", "b2.nii", "nothing.nii", "", "", ""],
        ["none", "", "a.nii", "", "", ""],
        ["half", "b3.nii", "a.nii", "nothing.nii", "", ""],
        [],
    ]
    path = tmp_path / "cases.csv"
    path.write_text("\ufeff" + "\n".join(delimiter.join(row) for row in rows), encoding="utf-8")
    found = sx.find_cases(path)
    assert said(found) == [
        ("../x", ("a.nii", "deep/b.nii"), "t.nii", "A", "p1"),
        ("=cmd", ("a.nii", "b2.nii"), None, "", "p1"),
        ("half", ("a.nii", "b3.nii"), None, "", "half"),
    ]
    assert left(found) == {
        "gone": "names a file that is not there (nothing.nii)",
        "none": "names no image_1",
        "half": "is taken without truth: there is no file nothing.nii",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column `image`"),
        ("picture,truth\na,b", "has no column `image`"),
        ("image,image\na,b", "two columns have one name"),
        (
            "image\nnot there.png",
            r"holds no case that could be read \(looked for layout 'table'\); .* names a file that is not there",
        ),
        ("image\n" + "\0", "holds no case|is not a table"),
    ],
)
def test_tables_that_are_none(tmp_path, text, words):
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(sx.UserError, match=words):
        sx.find_cases(path)


def test_two_cases_of_one_id(tmp_path):
    made(tmp_path, "a.png", "a.tif", "a1.png", "a01.png")
    with pytest.raises(sx.UserError, match=r"a.png and a.tif would both be case 'a'"):
        sx.find_cases(tmp_path)
    (tmp_path / "cases.csv").write_text("id,image\na1,a.png\na01,a.tif\na1,a1.png\n")
    with pytest.raises(sx.UserError, match="would both be case 'a1'"):
        sx.find_cases(tmp_path / "cases.csv")


def test_what_is_no_cohort(tmp_path):
    (tmp_path / "none").mkdir()
    made(tmp_path, "one.nii")
    for path, words in (
        ("nowhere", "is not there; name a folder of images or a CSV file"),
        ("none", "holds no case that could be read"),
        ("one.nii", "is one file; name a folder of images, or a table"),
    ):
        with pytest.raises(sx.UserError, match=words):
            sx.find_cases(tmp_path / path)
    with pytest.raises(sx.UserError, match="layout 'nnUnet'"):
        sx.find_cases(tmp_path, "nnUnet")
    with pytest.raises(sx.UserError, match="name each channel once"):
        sx.find_cases(tmp_path, channels=["t1", "T1"])


def test_files_of_a_case_are_its_channels(tmp_path):
    folder = tmp_path / "imagesTr"
    folder.mkdir()
    for k in range(2):
        nib.save(
            nib.Nifti1Image(np.full((4, 5, 6), k, np.float32), np.diag([1, 2, 3, 1])),
            folder / f"c_{k:04d}.nii.gz",
        )
    image = sx.find_cases(tmp_path)[0].read()
    assert image.channels == 2
    assert image.spatial_shape == (4, 5, 6)
    np.testing.assert_array_equal(image.channels_first()[:, 0, 0, 0], [0, 1])


@pytest.mark.parametrize(
    "text", [b"{", b"\xff\xfe{", b"[" * 100_000, b'{"channel_names": {"' + b"9" * 5000 + b'": "T1"}}']
)
def test_a_broken_dataset_json_is_named(tmp_path, text):
    made(tmp_path, "imagesTr/a_0000.nii.gz")
    (tmp_path / "dataset.json").write_bytes(text)
    with pytest.raises(sx.UserError, match=r"dataset\.json"):
        sx.find_cases(tmp_path)


def test_channels_inside_one_file_cannot_be_chosen(tmp_path):
    made(tmp_path, "imagesTr/a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "FLAIR", "1": "T1w"}}))
    with pytest.raises(sx.UserError, match="channels inside"):
        sx.find_cases(tmp_path, channels=["T1w"])


def test_files_that_would_be_the_same_case_are_told(tmp_path):
    made(
        tmp_path / "n", "imagesTr/a_0000.nii", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii", "labelsTr/a.nii.gz"
    )
    assert left(sx.find_cases(tmp_path / "n")) == {
        "a_0000.nii.gz": "would be the same as a_0000.nii",
        "a.nii.gz": "would be the same as a.nii",
    }
    made(tmp_path / "b", "sub-01/anat/sub-01_ce-gad_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz")
    found = sx.find_cases(tmp_path / "b")
    assert [case.id for case in found] == ["sub-01"]
    assert list(left(found)) == ["sub-01_ce-gad_T1w.nii.gz"]


def test_folders_called_sub_are_not_bids_by_their_name_alone(tmp_path):
    found = sx.find_cases(made(tmp_path, "sub-01/sub-01_t1.nii.gz", "sub-01/sub-01_seg.nii.gz"))
    assert said(found) == [("sub-01", ("sub-01/sub-01_t1.nii.gz",), "sub-01/sub-01_seg.nii.gz", "", "sub-01")]


def test_channels_with_hyphens(tmp_path):
    made(tmp_path, "p1/scan_T1-ce.nii.gz", "p1/scan_T1.nii.gz")
    assert [p.name for p in sx.find_cases(tmp_path, channels=["T1-ce", "T1"])[0].images] == [
        "scan_T1-ce.nii.gz",
        "scan_T1.nii.gz",
    ]
    with pytest.raises(sx.UserError, match="list of words"):
        sx.find_cases(tmp_path, channels="T1")


def test_the_images_are_not_their_own_truths(tmp_path):
    made(tmp_path, "a.png", "b.png")
    with pytest.raises(sx.UserError, match="holds the images"):
        sx.find_cases(tmp_path, truth=tmp_path)


def test_hostile_tables(tmp_path):
    made(tmp_path, "a.png", "b.png", "sub-01/anat/sub-01_T1w.nii")
    table = tmp_path / "cases.csv"
    table.write_text(f"image,id\n~nobody-of-this-name/a.png,2\nb.png,{'9' * 5000}\na.png,{'7' * 5000}\n")
    found = sx.find_cases(table)
    assert [case.id[0] for case in found] == ["7", "9"]
    assert left(found) == {"2": "names a file that is not there (~nobody-of-this-name/a.png)"}
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-01\t" + "A" * 200_000)
    with pytest.raises(sx.UserError, match=r"participants\.tsv"):
        sx.find_cases(tmp_path, "bids")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_not_text_is_left_out(tmp_path):
    made(tmp_path, "a.png", os.fsdecode(b"b\xff.png"))
    found = sx.find_cases(tmp_path)
    assert [case.id for case in found] == ["a"]
    assert "not UTF-8" in left(found)["b?"]


def test_many_files_are_matched_once(tmp_path, monkeypatch):
    from napari_segxai.io.cases import pairs

    calls = []
    monkeypatch.setattr(pairs, "stem", lambda path: calls.append(path) or path.stem)
    made(tmp_path, *(f"c{k}.png" for k in range(50)), *(f"c{k}_seg.png" for k in range(50)))
    found = sx.find_cases(tmp_path)
    assert all(case.truth is not None for case in found)
    assert len(calls) < 500


def test_a_folder_that_cannot_be_looked_into_is_left_out(tmp_path, monkeypatch):
    made(tmp_path / "f", "a/a_img.nii.gz", "b/b_img.nii.gz")
    made(tmp_path / "bids", "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    iterdir = Path.iterdir

    def refused(path):
        if path.name == "a" or path.parts[-2:] == ("sub-1", "anat"):
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    for name, left, stays in (("f", "a", "b"), ("bids", "sub-1", "sub-2")):
        found = sx.find_cases(tmp_path / name)
        assert [case.id for case in found] == [stays]
        assert [(one.name, one.reason) for one in found.left_out] == [
            (left, "cannot be looked into (Permission denied)")
        ]
