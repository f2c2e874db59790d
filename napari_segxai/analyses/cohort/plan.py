"""Planning a cohort: what is asked of every case, and which jobs that makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from napari_segxai.analyses.case_names import check_names
from napari_segxai.analyses.cohort.jobs.measured import Measured, read_metrics
from napari_segxai.analyses.cohort.jobs.questions import (
    CasesTarget,
    MapAsked,
    check_methods,
    maps_of,
    read_cases_target,
)
from napari_segxai.analyses.cohort.jobs.relevances import relevance_layer
from napari_segxai.analyses.compare.plan import Methods, names_of, read_method
from napari_segxai.analyses.explain.plan import HIGHEST_SEED
from napari_segxai.analyses.flow.plan import check_asked as check_flow
from napari_segxai.analyses.provenance import versions
from napari_segxai.core.arguments import check_types, whole_number
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.record import digest_of
from napari_segxai.engine.others import by_chance, others_of
from napari_segxai.io.cases.case import Case, Cases
from napari_segxai.io.names import file_names
from napari_segxai.io.parquet import need_parquet
from napari_segxai.methods.registry import find_method, options_as_dict
from napari_segxai.metrics.channel_spoiling import Way
from napari_segxai.metrics.channel_spoiling import check_asked as check_channels
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

Keep = Literal["all", "tables"]
"""all: the maps of every job, as `Explanation.save` writes them. tables: rows alone."""


USUAL_WAYS = (*get_args(Way), "ability")
"""How the channels of a case are examined by default."""

WAYS = (*USUAL_WAYS, "relevance")
"""All ways; `relevance` is about the channels of a network layer."""

MOST_THREADS = 1024
"""Threads of a job at most."""

Kind = Literal["objects", "map", "flow", "channels"]
"""To measure the objects of a case; to make and measure one map of one label; its information flow; the importance of its channels."""


@dataclass(frozen=True)
class Job:
    """One thing to do for a case.

    Attributes
    ----------
    kind
        What: see `Kind`.
    label, map
        The label, and the name of the map; both "" for all kinds but "map", which are of all labels together.
    place
        Its folder, in that of the case.
    asked
        Digest of all that is asked, but for the case itself.
    """

    kind: Kind
    label: str
    map: str
    place: str
    asked: str

    @property
    def title(self) -> str:
        """What it does, for people."""
        return f"{self.map} of {self.label}" if self.kind == "map" else self.kind


@dataclass(frozen=True)
class CohortPlan:
    """What is asked of every case; it has been checked as far as that goes without reading an image.

    Attributes
    ----------
    model : SegmentationModel
        The network.
    cases : Cases
        The images.
    labels : tuple of str
        What is explained in each.
    methods : mapping of str to (str, dict)
        Method and parameters by the name of the map.
    metrics : tuple of Measured
        What is measured of every map.
    keep : {"all", "tables"}
        What is kept.
    seed : int
        Seed of everything random.
    threads : int
        With how many threads of the CPU torch computes a job: sums depend on it in their last digits.
    device : torch.device
        Where it is computed.
    flow : mapping or None
        What is asked of the information flow of every case, as `information_flow` takes it; None without one.
    channels : mapping or None
        What is asked of the channels of every case: `how`, `repeats`, and for `relevance` the network `layer`; None where nothing is.
    parquet : bool
        Whether the tables are written as parquet, too.
    target : CasesTarget or None
        What is asked of every label beyond where it is drawn.
    """

    model: SegmentationModel
    cases: Cases
    labels: tuple[str, ...]
    methods: Mapping[str, tuple[str, dict[str, Any]]]
    metrics: tuple[Measured, ...]
    keep: Keep
    seed: int
    threads: int
    device: torch.device
    flow: Mapping[str, Any] | None = None
    channels: Mapping[str, Any] | None = None
    parquet: bool = False
    target: CasesTarget | None = None

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        cases: Cases,
        labels: Sequence[str | int] | None = None,
        methods: Methods = ("misure",),
        *,
        metrics: Sequence[str] = (),
        keep: Keep = "all",
        seed: int = 0,
        threads: int | None = None,
        device: str | torch.device = "auto",
        flow: bool | Mapping[str, Any] | None = False,
        channels: bool | Mapping[str, Any] | None = False,
        parquet: bool = False,
        target: Mapping[str, Any] | None = None,
    ) -> CohortPlan:
        """Check what is asked.

        Parameters
        ----------
        threads
            Those that torch has in this process by default.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        if keep not in get_args(Keep):
            raise UserError(f"keep {keep!r} is unknown; {nearest(keep, get_args(Keep))}")
        if isinstance(labels, str) or isinstance(methods, str) or isinstance(metrics, str):
            raise UserError("labels, methods and metrics are lists of names, such as ['liver'].")
        if parquet:
            need_parquet()
        if len(cases.cases) == 0:
            raise UserError(f"{cases.source}: holds no case.")
        asked_target = read_cases_target(target, model, cases)
        held = None if asked_target is None else asked_target.against
        positions = (
            [k for k in range(1, len(model.labels)) if model.labels[k] != held]
            if labels is None
            else [model.label_index(one) for one in labels]
        )
        names = tuple(model.labels[k] for k in dict.fromkeys(positions))
        asked_flow, asked_channels = _asked(flow), _asked(channels)
        if not names or (not methods and asked_flow is None and asked_channels is None):
            raise UserError("name at least one label and one method.")
        if asked_flow is not None:
            if asked_target is not None:
                if asked_target.error is not None:
                    raise UserError(
                        f"the maps are asked about each {asked_target.error}, but the information flow of a cohort is about the labels; "
                        "leave the flow out, or ask it of one case: information_flow(..., error=...)."
                    )
                asked_flow |= asked_target.of_flows
            layers = check_flow(model, **asked_flow)
            asked_flow = {**asked_flow, "layers": [layer.name for layer in layers]}
        if asked_channels is not None:
            asked_channels = _check_ways(model, asked_channels)
        specs = [
            read_method(spec) for spec in (methods.values() if isinstance(methods, Mapping) else methods)
        ]
        maps = list(methods) if isinstance(methods, Mapping) else names_of(specs)
        read = {}
        for name, (method, parameters) in zip(maps, specs, strict=True):
            options = find_method(method, "image").make_options(parameters)
            model.require(find_method(method).needs_of(options))
            read[name] = method, options_as_dict(options)
        check_methods(asked_target, names, read)
        check_names(model, cases)
        return cls(
            model, cases, names, read, read_metrics(metrics), keep,
            whole_number(seed, "seed", 0, HIGHEST_SEED),
            torch.get_num_threads() if threads is None else whole_number(threads, "threads", 1, MOST_THREADS),
            choose_device(device), asked_flow, asked_channels, parquet, asked_target,
        )  # fmt: skip

    @property
    def question(self) -> dict[str, Any]:
        """What `make` takes beside model, cases and device, as plain values: another process makes the same plan of it."""
        return {
            "labels": list(self.labels),
            "methods": {name: (method, dict(given)) for name, (method, given) in self.methods.items()},
            "metrics": [metric.name for metric in self.metrics],
            "keep": self.keep,
            "seed": self.seed,
            "threads": self.threads,
            "flow": self.flow,
            "channels": self.channels,
            "target": None if self.target is None else self.target.plain,
        }

    @property
    def maps(self) -> dict[str, MapAsked]:
        """What is made of every label, by the name of the map."""
        return maps_of(self.target, self.methods)

    @property
    def jobs(self) -> list[Job]:
        """What is done for every case, in this order."""
        labels, maps = file_names(self.labels), file_names(self.maps)
        shared = {
            "model": self.model.sha256,
            "card": self.model.card.model_dump(mode="json"),
            "version": versions()["napari-segxai"],
            "keep": self.keep,
            "threads": self.threads,
            "device": self.device.type,
        }
        out = [Job("objects", "", "", "objects", digest_of({**shared, "labels": self.labels}))]
        for label in self.labels:
            for name, one in self.maps.items():
                method = one.method, one.parameters
                metrics = [metric.name for metric in self.metrics]
                asked = {**shared, "label": label, "method": method, "metrics": metrics, "seed": self.seed}
                if self.target is not None:
                    asked |= {"target": self.target.plain, "component": one.component}
                out.append(Job("map", label, name, f"maps/{labels[label]}/{maps[name]}", digest_of(asked)))
        wholes: dict[Kind, Mapping[str, Any] | None] = {"flow": self.flow, "channels": self.channels}
        for kind, own in wholes.items():
            if own is not None:
                asked = {**shared, "labels": self.labels, kind: own, "seed": self.seed}
                out.append(Job(kind, "", "", kind, digest_of(asked)))
        return out

    @property
    def folders(self) -> dict[str, str]:
        """Where the results of every case lie: a folder by its id."""
        return file_names(case.id for case in self.cases)

    def key(self, case: Case, job: Job) -> str:
        """Return what tells whether a result is that of this job: it changes when a file that it reads does, or what is asked."""
        read = [case, *(self.others(case) if job.kind == "channels" else ())]
        files = [path for one in read for path in (*one.images, *([] if one.truth is None else [one.truth]))]
        return digest_of(
            {
                "files": [_state(path) for path in files],
                "group": case.group,
                "subject": case.subject,
                "asked": job.asked,
            }
        )

    def others(self, case: Case) -> list[Case]:
        """Return the cases whose channels take the place of this one's: those after it in an order by chance, of other subjects.

        Twice as many as are needed, since some may lie on another grid. A case that comes to the cohort changes few of them.
        """
        if self.channels is None or "between" not in self.channels["how"]:
            return []
        return others_of(case, self._order, 2 * self.channels["repeats"])

    @cached_property
    def _order(self) -> list[Case]:
        return by_chance(self.cases, self.seed)

    def shard(self, number: int, count: int) -> list[Case]:
        """Return every `count`-th case, from the `number`-th (1, 2, ...) on."""
        return list(self.cases)[number - 1 :: count]


def _check_ways(model: SegmentationModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked of the channels, with the network layer whose channels carry relevance.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    layer = given.get("layer")
    own = {name: value for name, value in given.items() if name != "layer"}
    asked = check_channels(WAYS, len(model.card.channels), own, USUAL_WAYS)
    check_types("channels", {"layer": layer}, {"layer": str | None})
    if "relevance" in asked["how"]:
        return {**asked, "layer": relevance_layer(model, layer)}
    if layer is not None:
        raise UserError("channels: layer is that of the way 'relevance'; name it in how, or leave layer out.")
    return asked


def _asked(given: bool | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is asked beyond the defaults; None where nothing is."""
    if isinstance(given, Mapping):
        return dict(given)
    return {} if given else None


def _state(path: Path) -> list[Any]:
    """Return name, size and time of a file, or of all in a folder (Zarr)."""
    if path.is_dir():
        held = sorted(one for one in path.rglob("*") if one.is_file())
        return [str(path.absolute()), *([one.relative_to(path).as_posix(), *_facts(one)] for one in held)]
    return [str(path.absolute()), *_facts(path)]


def _facts(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:  # what is gone is said when it is read
        return []
    return [found.st_size, found.st_mtime_ns]
