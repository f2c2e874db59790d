"""The result of a cohort: its tables, and the way back to every case."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.jobs.job import read_done
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.cohort.tables.columns import described
from napari_segxai.analyses.cohort.tables.units import in_one_unit
from napari_segxai.analyses.explain.load import load_explanation
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.flow.load import load_flow
from napari_segxai.analyses.flow.result import KIND as FLOW
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.record import SCHEMA
from napari_segxai.core.text_table import counted
from napari_segxai.io.held import look
from napari_segxai.io.parquet import write_parquet
from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv

CASES = "cases"
"""The folder that holds a folder per case."""

TABLES = {"objects": "objects", "map": "maps", "flow": "flow", "channels": "channels"}
"""The table to which the rows of a job belong, by its kind."""

LEFT_OUT, DESCRIPTION = "left_out", "columns"


@dataclass(frozen=True)
class Cohort:
    """What a folder holds of a cohort, while it runs and afterwards.

    Attributes
    ----------
    folder : Path
        Where it lies.
    record : dict
        What was asked: model, labels, methods, cases and jobs.
    objects : list of dict
        A row per case and label: size, confidence, agreement with the truth.
    maps : list of dict
        A row per case, label and map: what the method and the metrics say.
    flow : list of dict
        A row per case, label and network layer; empty where no information flow was asked for.
    channels : list of dict
        A row per case, label, channel and way; empty where the channels were not asked about.
    missing : int
        Jobs that have not been done, or were done for another question.
    """

    folder: Path
    record: Mapping[str, Any] = field(repr=False)
    objects: list[dict[str, Any]] = field(repr=False)
    maps: list[dict[str, Any]] = field(repr=False)
    missing: int
    flow: list[dict[str, Any]] = field(default_factory=list, repr=False)
    channels: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The tables by name: objects and maps, and flow and channels where they were asked for."""
        asked = dict.fromkeys(TABLES[job["kind"]] for job in self.record["jobs"])
        return {name: getattr(self, name) for name in dict.fromkeys(("objects", "maps", *asked))}

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of what failed, each with the sentence in `error`; a case that cannot be read has one for every job."""
        return [row for row in (*self.objects, *self.maps, *self.flow, *self.channels) if row["error"]]

    def __str__(self) -> str:
        counts = {"case": len(self.record["cases"]), "object": len(self.objects), "map": len(self.maps)}
        said = ", ".join(f"{counted(count, word)}" for word, count in counts.items())
        return (
            said
            + f", {len(self.failed)} failed" * bool(self.failed)
            + f", {counted(self.missing, 'job')} to do" * bool(self.missing)
        )

    def explanation(self, case: str, label: str, map: str | None = None) -> Explanation:
        """Open the map of one case as it was saved.

        Parameters
        ----------
        case, label : str
            Which one.
        map : str, optional
            Name of the map; the first by default.

        Returns
        -------
        Explanation
            As `load_explanation` gives it.

        Raises
        ------
        UserError
            If there is none, or its arrays were not kept.
        """
        folder = self._folder_of(case)
        places = {
            (job["label"], job["map"]): job["place"] for job in self.record["jobs"] if job["kind"] == "map"
        }
        fitting = [
            (name, place) for (of, name), place in places.items() if of == label and map in (None, name)
        ]
        if not fitting:
            known = ", ".join(f"{name} of {of}" for of, name in places)
            raise UserError(f"{self.folder.name} has no map {map or ''} of {label!r}; it has {known}.")
        name, inner = fitting[0]
        place, called = folder / inner, f"the map {name} of {label} of {case}"
        own = [row for row in self.maps if (row["case"], row["label"], row["map"]) == (case, label, name)]
        if not own:
            raise UserError(f"{called} is not there yet; run the cohort again.")
        if own[0]["error"]:
            raise UserError(f"{called} could not be made ({own[0]['error']}).")
        if (
            look(place).kind != "explanation"
            and own[0].get("component")
            and not own[0].get("component_pixels")
        ):
            raise UserError(f"{called} was not made: {own[0]['warnings']}")
        if look(place).kind != "explanation":
            raise UserError(
                f"{self.folder.name} kept tables alone, and no maps: run it again with keep='all' (--keep all)."
            )
        return load_explanation(place)

    def information_flow(self, case: str) -> Flow:
        """Open the information flow of one case as it was saved.

        Parameters
        ----------
        case : str
            Which one.

        Returns
        -------
        Flow
            As `load_flow` gives it.

        Raises
        ------
        UserError
            If there is none, or its maps were not kept.
        """
        folder = self._folder_of(case)
        place = next((job["place"] for job in self.record["jobs"] if job["kind"] == "flow"), None)
        if place is None:
            raise UserError(
                f"{self.folder.name} has no information flow; run the cohort with --flow (flow=True)."
            )
        own = [row for row in self.flow if row["case"] == case]
        if not own:
            raise UserError(f"the information flow of {case} is not there yet; run the cohort again.")
        if own[0]["error"]:
            raise UserError(f"the information flow of {case} could not be made ({own[0]['error']}).")
        if look(folder / place).kind != FLOW:
            raise UserError(
                f"{self.folder.name} kept tables alone, and no maps: run it again with keep='all' (--keep all)."
            )
        return load_flow(folder / place)

    def _folder_of(self, case: str) -> Path:
        """Return where the results of a case lie."""
        folders = {one["id"]: one["folder"] for one in self.record["cases"]}
        if case not in folders:
            raise UserError(f"{self.folder.name} has no case {case!r}; {nearest(case, folders)}")
        return self.folder / CASES / folders[case]


def facts(plan: CohortPlan) -> dict[str, Any]:
    """Return what the record says of what is asked."""
    folders = plan.folders
    return {
        "kind": "cohort",
        "schema": SCHEMA,
        "created": now(),
        "versions": versions(),
        "model": facts_of_model(plan.model),
        "source": os.fspath(plan.cases.source.absolute()),
        "layout": plan.cases.layout,
        "find": dict(plan.cases.asked),
        "labels": list(plan.labels),
        "methods": {
            name: {"method": method, "parameters": given} for name, (method, given) in plan.methods.items()
        },
        "metrics": [metric.name for metric in plan.metrics],
        "keep": plan.keep,
        "parquet": plan.parquet,
        "flow": plan.flow,
        "channels": plan.channels,
        **({} if plan.target is None else {"target": plan.target.plain}),
        "seed": plan.seed,
        "threads": plan.threads,
        "device": str(plan.device),
        "cases": [
            {
                "id": case.id,
                "folder": folders[case.id],
                "images": [os.fspath(path.absolute()) for path in case.images],
                "truth": None if case.truth is None else os.fspath(case.truth.absolute()),
            }
            for case in plan.cases
        ],
        "jobs": [
            {word: getattr(job, word) for word in ("kind", "label", "map", "place", "asked")}
            for job in plan.jobs
        ],
        "left_out": [{"name": one.name, "reason": one.reason} for one in plan.cases.left_out],
    }


def collect(folder: Path, record: Mapping[str, Any]) -> Cohort:
    """Read what there is of the jobs that a record names, whatever else the folder holds."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES.values()}
    missing = 0
    for case in record["cases"]:
        for job in record["jobs"]:
            done = read_done(folder / CASES / case["folder"] / job["place"], case["id"])
            if done is None or done.asked != job["asked"]:
                missing += 1
            else:
                rows[TABLES[job["kind"]]].extend(done.rows)
    return Cohort(folder, record, missing=missing, **{name: in_one_unit(own) for name, own in rows.items()})


def save_tables(cohort: Cohort) -> None:
    """Write the tables and the record of a cohort, as one step; the folders of the cases are left alone.

    Raises
    ------
    UserError
        If they cannot be written, or parquet was asked for and pyarrow is not installed.
    """

    def write(new: Path) -> Mapping[str, Any]:
        about = {name: described(name, rows) for name, rows in cohort.tables.items()}
        for name, rows in cohort.tables.items():
            write_csv(new / f"{name}.csv", rows)
            if cohort.record["parquet"]:
                told = {
                    one["column"]: {word: one[word] for word in ("unit", "better", "meaning")}
                    for one in about[name]
                }
                write_parquet(new / f"{name}.parquet", rows, told)
        write_csv(new / f"{LEFT_OUT}.csv", cohort.record["left_out"])
        write_csv(new / f"{DESCRIPTION}.csv", [row for rows in about.values() for row in rows])
        return {key: value for key, value in cohort.record.items() if key != "files"}

    save_folder(cohort.folder, write, overwrite=True)
