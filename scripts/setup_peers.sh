#!/usr/bin/env bash
# Set up a virtual environment with the tools that this project is compared with, beside the project.
# usage: setup_peers.sh PYTHON VENV
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade "pip>=25.1"
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --constraint constraints-peers.txt \
    --editable . pytest SimpleITK captum grad-cam monai torchcam torchvision \
    segmentation-models-pytorch transformers dynamic-network-architectures zennit
