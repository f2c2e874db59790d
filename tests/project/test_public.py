"""What others write down: public names, commands and their options."""

from __future__ import annotations

import typer.main

import napari_segxai as sx

NAMES = """
Box Comparison Component ErrorComponent Explanation Flow Image Interrupted OutOfMemory Point SegmentationModel Sweep Target UserError
allow_package causal_check causal_check_steps channel_importance channel_importance_steps check check_steps compare
compare_steps error_components evaluate export_to_slicer explain explain_all explain_all_steps explain_steps image_of_layer information_flow
information_flow_steps join_channels list_checks list_methods list_metrics list_models load_comparison load_explanation
load_flow load_model load_sweep read_image read_region save_model
Case Cases Cohort StudyResult find_cases list_studies read_cohort study run_cohort run_cohort_steps Survey load_survey plan_survey survey survey_steps write_report register_model residual_picture save_picture sweep __version__
"""

COMMANDS = {
    "compare": """
        --against --boundary --error --axes --axis --architecture --arguments --card --controls --device --frame --json --label --level --methods --metrics
        --model --noise-model --option --out --overwrite --region --seed --slice --trust --truth -o
        image
    """,
    "sweep": """
        --against --boundary --axes --axis --architecture --arguments --card --device --frame --grid --label --level --method --metrics --model
        --noise-model --option --out --overwrite --region --seed --slice --trust --truth -o image
    """,
    "errors": """
        --axes --axis --architecture --arguments --card --device --frame --json --label --level --model --most --slice --trust --truth image
    """,
    "cohort plan": "--channels --json --layout --truth source",
    "cohort run": """
        --architecture --arguments --card --causal --channels --device --flow --importance --keep --label --layout --methods --metrics --model --out
        --parquet --routes --reduction --score --seed --shard --slurm --threads --trust --truth --where --workers --against --boundary --error --components --least source
    """,
    "cohort collect": "--parquet folder",
    "cohort report": "--anonymous --key --out --seed --tables folder",
    "cohort study": "--json --out --param --seed -p folder name",
    "cohort studies": "--json",
    "metrics": "--json",
    "channels": """
        --axes --axis --architecture --arguments --card --device --frame --how --json --label --level --model --out --overwrite
        --region --repeats --seed --slice --trust image
    """,
    "checks": "--json",
    "concepts": """
        --architecture --arguments --card --channels --concepts --device --json --label --layout --method --model --out --overwrite --param --seed
        --trust --truth -p source
    """,
    "demo": "--headless --out",
    "methods": "--json",
    "models": "--json",
    "layers": "--architecture --arguments --card --image --json --trust model",
    "save-model": "--architecture --arguments --card --out --overwrite --trust model",
    "export": "--case --out --overwrite --truth result",
    "explain": """
        --against --boundary --error --truth --axes --axis --architecture --arguments --card --check --device --frame --json --label --level --method --model --out
        --overwrite --param --precision --reduction --references --region --score --seed --slice --trust -p image
    """,
    "flow": """
        --against --boundary --error
        --ablation --axes --axis --architecture --arguments --card --causal --device --frame --json --label --layers --level
        --method --model --out --overwrite --param --reduction --region --routes --score --seed --slice --tile --trust
        --truth -p image
    """,
}


def test_public_names():
    assert sorted(sx.__all__) == sorted(NAMES.split())


def test_commands_and_their_options():
    from napari_segxai.cli.app import app

    group = typer.main.get_command(app)
    listed = dict(group.commands)
    listed |= {f"cohort {name}": command for name, command in listed.pop("cohort").commands.items()}
    found = {
        name: sorted(o for p in command.params for o in (p.opts if p.opts[0].startswith("-") else [p.name]))
        for name, command in listed.items()
    }
    assert found == {name: sorted(options.split()) for name, options in COMMANDS.items()}
