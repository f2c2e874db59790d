"""A folder of results is saved as one step, whoever stops it and wherever; files of the user stay as they are."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.files.saving import audited, belongs_together, digests, full, killed_at
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.io import saving
from napari_segxai.io.held import RECORD, STAGE, look
from napari_segxai.io.saving import PLAN, check_folder, save_folder
from napari_segxai.io.tables import write_csv


@pytest.fixture(scope="module")
def results():
    """Explanations of different methods, which write different files."""
    asked = planted_model(), planted_image(), "object"
    first = sx.explain(*asked, "misure", iterations=3)
    return [first, sx.explain(*asked, "rise", masks=4), replace(first, masks={})]


def test_the_record_lists_its_files_and_their_digests(tmp_path, results):
    written = results[0].save(tmp_path / "out")
    found = digests(tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} == set(found)
    assert written[-1].name == RECORD
    record = json.loads(written[-1].read_text())
    del found[RECORD]
    assert record["files"] == found
    assert "dilation_stages.csv" in found
    assert record["kind"] == "explanation"
    assert record["method"] == "misure"


@pytest.mark.skipif(os.name != "posix", reason="Windows has folders on the disk by itself")
def test_files_are_on_the_disk_before_the_plan_is_and_the_plan_before_they_are_moved(
    tmp_path, results, monkeypatch
):
    import posix

    sync, move, done = saving._sync, os.replace, []

    def told(what: str, path: Path) -> None:
        if not path.name.startswith(".segxai-part-"):  # of a file that is being written
            done.append((what, path.relative_to(tmp_path / "out").as_posix()))

    monkeypatch.setattr(os, "fsync", posix.fsync)  # elsewhere nobody waits for the disk
    monkeypatch.setattr(saving, "_sync", lambda path: told("sync", path) or sync(path))
    monkeypatch.setattr(os, "replace", lambda path, to: told("move", path) or move(path, to))
    written = results[0].save(tmp_path / "out")
    names = {f"{STAGE}/new/{path.relative_to(tmp_path / 'out').as_posix()}" for path in written}
    plan = f"{STAGE}/{PLAN}.part"
    assert {*done[: len(names)]} == {("sync", name) for name in names}
    rest = done[len(names) :]
    assert rest[:3] == [("sync", plan), ("move", plan), ("sync", STAGE)]
    assert {*rest[3:-1]} == {("move", name) for name in names}
    assert rest[-1] == ("sync", ".")


def test_an_overwritten_result_leaves_nothing_of_the_former_one(tmp_path, results):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "saliency.nii.gz").write_text("mine too")
    users = digests(tmp_path)
    for explanation in results:
        explanation.save(tmp_path, overwrite=True)
        assert belongs_together(tmp_path, users) == explanation.record.method
    assert not (tmp_path / "dilation_stages.csv").exists() or results[-1].stage_table


def test_comparisons_sweeps_and_flows_have_records_as_well(tmp_path):
    model, image = planted_model(), planted_image()
    comparison = sx.compare(
        model, image, "object", ["rise:masks=4", "activations-x-predictions"], metrics=["pps"]
    )
    comparison.save(tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["kind"] == "comparison"
    assert {"table.csv", "rise/record.json", "rise/saliency.nii.gz"} <= set(record["files"])
    assert not set(digests(tmp_path)) - set(record["files"]) - {RECORD}
    with pytest.raises(UserError, match="already holds a comparison"):
        comparison.save(tmp_path)
    sweep = sx.sweep(model, image, "object", "rise", {"masks": [2, 4]}, metrics=["pps"])
    sweep.save(tmp_path, overwrite=True)
    assert look(tmp_path).kind == "sweep"
    assert {RECORD, "table.csv", "heat.png"} <= set(digests(tmp_path))
    assert {name.partition("/")[0] for name in digests(tmp_path) if "/" in name} == {"maps", "target"}
    assert not (tmp_path / "rise").exists()
    flow = sx.information_flow(model, image)
    layer = flow.layers[0].name
    flow.save(tmp_path, overwrite=True, tiles=[("object", layer)])
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["kind"] == "information flow"
    assert {"flow.csv", f"object_{layer}/record.json"} <= set(record["files"])
    flow.save(tmp_path, overwrite=True)
    assert not [name for name in digests(tmp_path) if "/" in name]  # the tiles went with the flow before


def test_a_file_that_no_record_lists_is_refused_whatever_its_name(tmp_path, results):
    (tmp_path / "saliency.nii.gz").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"saliency.nii.gz, but no record.json: it is incomplete"):
            results[0].save(tmp_path, overwrite=overwrite)
    assert digests(tmp_path) == {"saliency.nii.gz": hashlib.sha256(b"mine").hexdigest()}
    (tmp_path / "saliency.nii.gz").unlink()
    results[1].save(tmp_path)
    mine = tmp_path / "dilation_stages.nii.gz"
    mine.write_text("mine")
    before = digests(tmp_path)
    with pytest.raises(UserError, match="which its record does not list"):
        results[0].save(tmp_path, overwrite=True)
    assert digests(tmp_path) == before


def test_a_listed_file_that_was_changed_stays_unless_its_name_is_needed(tmp_path, results):
    results[0].save(tmp_path)
    for name in ("dilation_stages.csv", "saliency.tif"):
        (tmp_path / name).write_text("changed by hand")
    results[1].save(tmp_path, overwrite=True)
    assert (tmp_path / "dilation_stages.csv").read_text() == "changed by hand"
    assert (tmp_path / "saliency.tif").read_bytes() != b"changed by hand"
    assert not (tmp_path / "dilation_stages.nii.gz").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_forty_times_nothing_is_mixed_and_nothing_of_the_users_lost(tmp_path, results):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "saliency_old.nii.gz").write_text("mine as well")
    users = digests(folder)
    total = audited(lambda: results[1].save(tmp_path / "counted"))
    total = max(total, audited(lambda: results[0].save(tmp_path / "counted", overwrite=True)))
    results[1].save(folder)
    met = set()
    for k in range(40):
        new = results[k % 2]
        killed = killed_at(1 + k * total // 40, lambda new=new: new.save(folder, overwrite=True))
        method = belongs_together(folder, users)
        met.add((killed, method is None, (folder / STAGE / PLAN).exists()))
        check_folder(folder, overwrite=True)  # as every command does before its work
        assert not (folder / STAGE).exists()
        assert belongs_together(folder, users) is not None  # the old result is all there, or the new one
    assert {
        (True, False, False),
        (True, True, True),
    } <= met  # killed while it wrote, and while it changed places
    results[0].save(folder, overwrite=True)
    assert belongs_together(folder, users) == "misure"


def stopped(folder: Path, explanation, monkeypatch, at: int) -> None:
    """Save, and stop for good before the file number `at` is put to its place."""
    real, count = os.replace, [0]

    def replace_(source, target):
        if Path(target).parent == folder and STAGE in Path(source).parts:
            count[0] += 1
            if count[0] > at:
                raise KeyboardInterrupt
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace_)
    with pytest.raises(KeyboardInterrupt):
        explanation.save(folder, overwrite=True)
    monkeypatch.setattr(os, "replace", real)


def test_a_stopped_save_is_completed_when_the_folder_is_met_again(tmp_path, results, monkeypatch):
    results[0].save(tmp_path)
    stopped(tmp_path, results[1], monkeypatch, at=2)
    assert belongs_together(tmp_path, {}) is None
    with pytest.raises(UserError, match="already holds an explanation"):
        check_folder(tmp_path)
    assert belongs_together(tmp_path, {}) == "rise"


def test_a_stopped_save_takes_nothing_that_came_since(tmp_path, results, monkeypatch):
    results[0].save(tmp_path)
    stopped(tmp_path, results[1], monkeypatch, at=0)
    (tmp_path / "dilation_stages.csv").write_text("mine")
    (tmp_path / "prediction.png").write_text("mine")
    for _ in range(2):
        with pytest.raises(UserError, match=r"is incomplete: .* prediction.png has come in the way"):
            results[0].save(tmp_path, overwrite=True)
    assert (tmp_path / "prediction.png").read_text() == "mine"
    (tmp_path / "prediction.png").unlink()
    check_folder(tmp_path, overwrite=True)
    assert (tmp_path / "dilation_stages.csv").read_text() == "mine"
    assert look(tmp_path).kind == "explanation"


@pytest.mark.parametrize(
    "what", ["record", "plan", "link", "user's record", "list", "deep", "folder", "pipe"]
)
def test_what_a_stranger_put_into_a_folder_reaches_nothing_outside(tmp_path, results, what):
    outside, folder = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "thesis.txt").write_text("years")
    digest = hashlib.sha256(b"years").hexdigest()
    results[1].save(folder)
    record = folder / RECORD
    facts = json.loads(record.read_text())
    if what == "record":
        record.write_text(json.dumps({**facts, "files": {"../outside/thesis.txt": digest}}))
    elif what == "plan":
        (folder / STAGE / "new").mkdir(parents=True)
        names = {"../outside/thesis.txt": digest}
        (folder / STAGE / PLAN).write_text(json.dumps({"going": names, "coming": ["../outside/new.txt"]}))
    elif what == "link":
        (folder / "rise").symlink_to(outside)
        record.write_text(json.dumps({**facts, "files": {**facts["files"], "rise/thesis.txt": digest}}))
    elif what == "user's record":
        record.write_text('{"patient": 7}')
    elif what == "list":
        record.write_text("[1, 2]")
    elif what == "deep":
        record.write_text("[" * 10**5)
    elif what == "folder":
        record.unlink()
        record.mkdir()
    else:
        record.unlink()
        os.mkfifo(record)
    if what in ("plan", "link"):
        results[0].save(folder, overwrite=True)
    else:
        with pytest.raises(UserError, match=r"record.json (is not a record|lists files that lie outside)"):
            results[0].save(folder, overwrite=True)
    assert digests(outside) == {"thesis.txt": digest}


def test_a_full_disk_leaves_the_old_result_as_it_was(tmp_path, results, monkeypatch):
    results[1].save(tmp_path)
    before = digests(tmp_path)
    for name in ("_sync", "complete", "_write_plan"):
        with monkeypatch.context() as patch:
            patch.setattr(saving, name, full)
            with pytest.raises(UserError, match="No space left on device") as told:
                results[0].save(tmp_path, overwrite=True)
        assert "\n" not in str(told.value)
        assert digests(tmp_path) == before
        with monkeypatch.context() as patch:
            patch.setattr(saving, name, full)
            with pytest.raises(UserError, match="No space left on device"):
                results[0].save(tmp_path / "new" / "one")
        assert not (tmp_path / "new").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk, results, tmp_path):
    save_folder(small_disk / "old", lambda new: write_csv(new / "a.csv", [{"a": 1}]) and {"kind": "sweep"})
    before = digests(small_disk)
    with pytest.raises(UserError, match="No space left on device"):
        save_folder(
            small_disk / "old", lambda new: (new / "b").write_bytes(bytes(10**5)) and {}, overwrite=True
        )
    assert digests(small_disk) == before
    with pytest.raises(UserError, match="at least"):
        check_folder(small_disk / "new", size=10**6)
    (small_disk / "filled").write_bytes(bytes(50000))
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "more").write_bytes(bytes(50000))
    with pytest.raises(UserError, match="No space left on device"):
        check_folder(small_disk / "new")
    assert not (small_disk / "new").exists()


def test_two_programs_do_not_save_to_one_folder(tmp_path, results, monkeypatch):
    monkeypatch.setattr(saving, "PATIENCE", 0.1)

    def write(new: Path) -> dict:
        with pytest.raises(UserError, match="another program is saving"):
            results[0].save(tmp_path, overwrite=True)
        return {"kind": "sweep"}

    save_folder(tmp_path, write)
    assert look(tmp_path).kind == "sweep"


def test_a_single_file_is_replaced_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(path, [{"a": 1}])

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

    with pytest.raises(ValueError, match="no text"):
        write_csv(path, [{"a": 2}, {"a": Broken()}])
    assert list(csv.DictReader(path.open())) == [{"a": "1"}]
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
    with pytest.raises(UserError, match="cannot be written"):
        write_csv(tmp_path / "nowhere" / "table.csv", [{"a": 1}])


def test_folders_that_others_make_and_remove_meanwhile(tmp_path, monkeypatch):
    made = Path.mkdir

    def raced(path, *args, **kwargs):
        if path.name == "result" and not removed:  # another process looks whether it could write there
            removed.append(path.parent.rmdir())
        if path.name == "case" and not found:
            found.append(made(path))
        return made(path, *args, **kwargs)

    removed, found = [], []
    monkeypatch.setattr(Path, "mkdir", raced)
    written = save_folder(tmp_path / "case" / "result", lambda new: {"kind": "job of a cohort", "schema": 1})
    assert removed
    assert found
    assert all(path.is_file() for path in written)


class Windows:
    """`os` as it is there: what is only read cannot be had on the disk, and no folder can be opened."""

    name = "nt"

    def __getattr__(self, name: str):
        return getattr(os, name)

    def open(self, path: Path, flags: int) -> int:
        if path.is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os.open(path, flags)

    def fsync(self, handle: int) -> None:
        import fcntl

        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        os.fsync(handle)


@pytest.mark.skipif(os.name != "posix", reason="plays Windows")
def test_saving_where_no_folder_can_be_opened_and_what_is_read_not_synced(tmp_path, results, monkeypatch):
    monkeypatch.setattr(saving, "os", Windows())
    monkeypatch.setattr(saving, "fcntl", None)
    for one in results[:2]:
        one.save(tmp_path / "out", overwrite=True)
        assert belongs_together(tmp_path / "out", {}) == one.record.method


def test_a_save_that_is_about_to_end_is_waited_for(tmp_path):
    if saving.fcntl is None:
        pytest.skip("no locks")
    handle = os.open(tmp_path, os.O_RDONLY)
    saving.fcntl.flock(handle, saving.fcntl.LOCK_EX)
    ending = threading.Timer(0.2, os.close, [handle])
    ending.start()
    save_folder(tmp_path, lambda new: (new / "a").write_bytes(b"1") and {"kind": "sweep"}, overwrite=True)
    ending.join()
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_save_that_ends_between_two_looks_is_not_in_the_way(tmp_path):
    """Another program has taken its own folder away since it was seen."""
    saving._recover(tmp_path)
    (tmp_path / STAGE).write_text("a file of somebody")
    with pytest.raises(sx.UserError, match="is in the way"):
        saving._recover(tmp_path)
