"""What a report of a cohort says, section by section."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from napari_segxai.analyses.cohort.report.names import Names
from napari_segxai.analyses.cohort.report.parts import Picture, Report, Section, Table, table_of, written
from napari_segxai.analyses.cohort.report.pictures import (
    case_picture,
    chart_picture,
    gallery_picture,
    worst_objects,
)
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import StudyResult, list_studies, study
from napari_segxai.core.errors import UserError
from napari_segxai.core.references import bibtex
from napari_segxai.core.text_table import counted
from napari_segxai.methods.registry import find_method, options_as_dict
from napari_segxai.metrics.registry import find_metric
from napari_segxai.models.registry import list_models

ODD = "out-of-the-ordinary"
"""The study whose first cases are shown."""

CHARTS = 6
"""Charts of a study that are shown."""


def content_of(cohort: Cohort, *, anonymous: bool = False, seed: int = 0) -> Report:
    """Put together what a report says.

    Parameters
    ----------
    cohort
        As it was read.
    anonymous
        Whether numbers take the place of the names of cases.
    seed
        Of the studies.
    """
    names = Names(cohort, anonymous=anonymous)
    shown = names.cleaned(cohort)
    found, refused = _studies(shown, names, seed)
    return Report(
        f"{cohort.record['model']['name']}: report of a cohort",
        f"{shown}; computed {cohort.record['created'][:10]} with napari-segxai {cohort.record['versions']['napari-segxai']}",
        tuple(
            section
            for section in (
                _short(found),
                _data(shown),
                _model(shown, names),
                _asked(shown, names, anonymous=anonymous, seed=seed),
                *(_study(title, result) for title, result in found),
                _refused(refused),
                _cases(shown, found),
                _failed(shown),
                _tables(shown),
                _versions(shown),
            )
            if section is not None
        ),
        _bibtex(shown, [result.name for _, result in found]),
    )


def _studies(
    cohort: Cohort, names: Names, seed: int
) -> tuple[list[tuple[str, StudyResult]], list[dict[str, Any]]]:
    """Run every study: title and result of those that apply, averages first, and why the others do not."""
    found, refused = [], []
    for one in sorted(list_studies(), key=lambda one: (one["name"] != "averages", one["name"])):
        why = "why it says nothing"
        try:
            result = study(cohort, one["name"], seed=seed)
        except UserError as error:
            refused.append({"study": one["title"], why: names.text(str(error))})  # it may name the folder
            continue
        caveats = tuple(map(names.own, result.caveats))
        result = replace(result, sentence=names.own(result.sentence), caveats=caveats)
        if result.rows:
            found.append((one["title"], result))
        else:
            refused.append({"study": one["title"], why: result.sentence})
    return found, refused


def _short(found: list[tuple[str, StudyResult]]) -> Section | None:
    return Section("In short", tuple(result.sentence for _, result in found)) if found else None


def _data(cohort: Cohort) -> Section:
    cases = cohort.record["cases"]
    truths = sum(case.get("truth") is not None for case in cases)
    channels = sorted({len(case["images"]) for case in cases})
    subjects = len({row["subject"] for row in cohort.objects})
    facts = [
        ("Cases", len(cases)),
        ("Subjects", subjects),
        ("Cases with a truth", truths),
        ("Files per case", ", ".join(map(str, channels))),
        ("Layout", cohort.record["layout"]),
        ("Left out", len(cohort.record["left_out"])),
        ("Jobs not done yet", cohort.missing),
    ]
    groups = dict.fromkeys(row["group"] for row in cohort.objects if row.get("group"))
    facts += [
        (f"Cases of the group {name}", len({row["case"] for row in cohort.objects if row["group"] == name}))
        for name in groups
    ]
    tables = [Table("data", "The data", ("What", "Number"), tuple(facts))]
    if cohort.record["left_out"]:
        tables.append(table_of("left_out", "What belongs to no case", cohort.record["left_out"]))
    return Section("Data", tables=tuple(tables))


def _model(cohort: Cohort, names: Names) -> Section:
    model: Mapping[str, Any] = cohort.record["model"]
    facts = [
        ("Name", model["name"]),
        ("From", names.own(str(model.get("source", "")))),
        ("Labels", ", ".join(model["labels"])),
        ("Labels explained", ", ".join(cohort.record["labels"])),
        ("Labels may overlap", bool(model.get("overlapping"))),
        ("License", model.get("license") or "not said"),
        ("SHA-256 of the weights", model["sha256"]),
    ]
    return Section("Model", tables=(Table("model", "The model", ("What", "Value"), tuple(facts)),))


def _asked(cohort: Cohort, names: Names, *, anonymous: bool, seed: int) -> Section:
    record = cohort.record
    rows = []
    for name, one in record["methods"].items():
        about = {"Map": name, "Method": one["method"]}
        given = one["parameters"] or {"": ""}
        rows += [
            {**about, "Parameter": key, "Value": names.own(str(written(value)))}
            for key, value in given.items()
        ]
    general = [
        ("Metrics", ", ".join(record["metrics"]) or "none"),
        ("Seed", record["seed"]),
        ("Threads per job", record["threads"]),
        ("Device", record["device"]),
        ("Kept", "maps and tables" if record["keep"] == "all" else "tables"),
        *(
            (title, names.own(_settings(record[key])))
            for key, title in (("flow", "Information flow"), ("channels", "Channels"))
        ),
    ]
    return Section(
        "What was asked",
        (
            "IMAGES stands for the folder of the images, and MODEL for the files of the model where it is none that comes with the package.",
        ),
        tables=(
            Table("settings", "Settings", ("What", "Value"), tuple(general)),
            table_of("parameters", "Methods and all their parameters", rows),
        ),
        code=_again(record, names, anonymous=anonymous, seed=seed),
    )


def _settings(asked: Mapping[str, Any] | None) -> str:
    """Return in words what is asked of flows or channels."""
    if asked is None:
        return str(written(None))
    said = [
        f"{key}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else written(value)}"
        for key, value in asked.items()
    ]
    return "; ".join(said) or "defaults"


def _again(record: Mapping[str, Any], names: Names, *, anonymous: bool, seed: int) -> str:
    """Return the lines that do it again, on the command line and in Python."""
    built_in = {one["name"] for one in list_models()}
    source = str(record["model"].get("source", "")).removeprefix("built-in ")
    model = source if source in built_in else "MODEL"
    methods = {name: (one["method"], _changed(one)) for name, one in record["methods"].items()}
    specs = [
        ":".join([method, *(f"{key}={names.own(str(value))}" for key, value in given.items())])
        for method, given in methods.values()
    ]
    find = {
        key: names.own(value) if isinstance(value, str) else list(value)
        for key, value in record.get("find", {}).items()
    }
    flags = [
        f"--{key} {shlex.quote(value if isinstance(value, str) else ','.join(value))}"
        for key, value in find.items()
    ]
    images = f"sx.find_cases('IMAGES'{''.join(f', {key}={value!r}' for key, value in find.items())})"
    flags += [f"--label {shlex.quote(label)}" for label in record["labels"]]
    flags += [f"--methods {shlex.quote(','.join(specs))}"]
    flags += [f"--metrics {shlex.quote(','.join(record['metrics']))}"] if record["metrics"] else []
    flags += [f"--keep {record['keep']}"] if record["keep"] != "all" else []
    if record["flow"] is not None:
        flags += [f"--{name}" for name in ("causal", "routes") if record["flow"].get(name)] or ["--flow"]
    if record["channels"] is not None:
        layer = record["channels"].get("layer")
        ways = [
            f"relevance:layer={layer}" if way == "relevance" else way
            for way in record["channels"].get("how", ())
        ]
        flags += [f"--importance {shlex.quote(','.join(ways) or 'all')}"]
    for key, value in record.get("target", {}).items():
        text = ",".join(f"{one:g}" for one in value) if isinstance(value, list) else str(value)
        flags += [f"--{key}={shlex.quote(text)}"]
    flags += [f"--seed {record['seed']}", f"--device {record['device']}"]
    more = (" --anonymous" if anonymous else "") + (f" --seed {seed}" if seed else "")
    python = {
        "metrics": record["metrics"],
        "keep": record["keep"],
        "seed": record["seed"],
        "device": record["device"],
    }
    python |= {key: record[key] for key in ("flow", "channels", "target") if record.get(key) is not None}
    given = "".join(f", {key}={names.own(repr(value))}" for key, value in python.items())
    asked = names.own(repr(methods))
    return "\n".join(
        [
            f"napari-segxai cohort run IMAGES --model {model} {' '.join(flags)} --out results",
            f"napari-segxai cohort report results --out report.html{more}",
            "",
            "import napari_segxai as sx",
            f"found = sx.run_cohort({model!r}, {images if find else repr('IMAGES')}, {list(record['labels'])!r}, {asked}, out='results'{given})",
            f"sx.write_report(found, 'report.html'{', anonymous=True' * anonymous}{f', seed={seed}' * bool(seed)})",
        ]
    )


def _changed(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a method that are not as they are by default; all where it is not installed any more."""
    try:
        default = options_as_dict(find_method(one["method"]).make_options({}))
    except UserError:
        default = {}
    return {key: value for key, value in one["parameters"].items() if default.get(key, ...) != value}


def _study(title: str, result: StudyResult) -> Section:
    tables = [table_of(result.name, title, result.rows)]
    tables += [
        table_of(f"{result.name}_{name}", f"{title}: {name}", rows) for name, rows in result.tables.items()
    ]
    return Section(
        title,
        (result.sentence,),
        result.caveats,
        (*map(chart_picture, result.charts[:CHARTS]), *map(gallery_picture, result.galleries)),
        tuple(table for table in tables if table.rows),
    )


def _refused(refused: list[dict[str, Any]]) -> Section | None:
    if not refused:
        return None
    return Section("Studies that say nothing here", tables=(table_of("studies_refused", "Why", refused),))


def _cases(cohort: Cohort, found: list[tuple[str, StudyResult]]) -> Section | None:
    words, rows = worst_objects(cohort)
    if not rows:
        return None
    odd, told = [], []
    for title, result in found:
        if result.name == ODD:
            cases = list(dict.fromkeys(row["case"] for row in result.rows if "case" in row))[:3]
            odd = [
                row for case in cases for row in cohort.objects if row["case"] == case and not row["error"]
            ][:3]
            told = [f"After those, the first cases of the study {title}."] if odd else []
    picked = {(row["case"], row["label"]): row for row in (*rows, *odd)}.values()
    pictures: list[Picture | None] = [case_picture(cohort, row) for row in picked]
    lacking = (
        []
        if all(pictures)
        else [
            "Of some no picture can be drawn: their maps were not kept, or their image is not there any more."
        ]
    )
    return Section(
        "Single cases",
        (f"{words} of this cohort.", *told, *lacking),
        pictures=tuple(one for one in pictures if one is not None),
    )


def _failed(cohort: Cohort) -> Section | None:
    if not cohort.failed:
        return None
    rows = [
        {"Case": row["case"], "Label": row.get("label"), "Map": row.get("map"), "Why": row["error"]}
        for row in cohort.failed
    ]
    count = len({row["Case"] for row in rows})
    text = f"{counted(count, 'case')} failed in part or as a whole; what failed does not count above."
    return Section("What failed", (text,), tables=(table_of("failed", "What failed", rows),))


def _tables(cohort: Cohort) -> Section:
    tables = [
        table_of(name, f"The table {name}", rows, numbers=True, hidden=True)
        for name, rows in cohort.tables.items()
        if rows
    ]
    said = ", ".join(f"{table.name} ({len(table.rows)} rows)" for table in tables)
    return Section(
        "Tables",
        (f"Too long for a page; they are written beside a report where that is asked: {said}.",),
        tables=tuple(tables),
    )


def _versions(cohort: Cohort) -> Section:
    rows = tuple(cohort.record["versions"].items())
    return Section(
        "Versions", tables=(Table("versions", "Packages that computed it", ("Package", "Version"), rows),)
    )


def _bibtex(cohort: Cohort, studies: list[str]) -> str:
    """Return the entries of all that was used: methods, metrics and studies."""
    cited: dict[str, str] = {}
    for one in cohort.record["methods"].values():
        cited |= _sources(find_method, one["method"])
    for name in cohort.record["metrics"]:
        cited |= _sources(find_metric, name)
    about = {one["name"]: one for one in list_studies()}
    for name in studies:
        cited |= dict.fromkeys(about[name].get("cites", ()), "")
    return bibtex(cited)


def _sources(find: Any, name: str) -> dict[str, str]:
    """Return the keys of the papers of a method or metric; of one that names no key, its source as it says it."""
    try:
        found = find(name)
    except UserError:
        return {}
    return dict.fromkeys(found.cites, "") if found.cites else {found.name: found.source}
