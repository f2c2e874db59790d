#!/usr/bin/env bash
# Check and measure everything on a CUDA device:
#
#     scripts/gpu_check.sh OUT              all of it
#     scripts/gpu_check.sh OUT tests [-k expression of pytest]
#     scripts/gpu_check.sh OUT bench [questions|methods|paths]
#
# Installs nothing: it runs with the torch that is there (PYTHON, by default python3) and needs neither napari nor Qt. What
# else the package needs and the machine lacks (see pyproject.toml) may lie in a folder that PYTHONPATH names. Tables go to
# OUT. SEGXAI_GPU=cpu tries the script itself where there is no GPU.
set -uo pipefail

out=$(realpath "${1:?usage: scripts/gpu_check.sh OUT [tests|bench|all]}")
what=${2:-all}
tests=$([[ $what == tests ]] && echo "${3:-}")
part=$([[ $what == bench ]] && echo "${3:-}")
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."
mkdir -p "$out"
beside=$(mktemp -d)
trap 'rm -r "$beside"' EXIT
# What an installation has beside the package: see pyproject.toml.
ln -s "$PWD" "$beside/napari_segxai_resources"
mkdir "$beside/napari_segxai-0.dist-info"
version=$("$python" -c "import napari_segxai; print(napari_segxai.__version__)")
printf 'Metadata-Version: 2.1\nName: napari-segxai\nVersion: %s\n' "$version" >"$beside/napari_segxai-0.dist-info/METADATA"
export PYTHONPATH="$PWD:$PWD/tests:$PWD/benchmarks:$beside${PYTHONPATH:+:$PYTHONPATH}"
export SEGXAI_GPU_TABLES=$out
status=0

if [[ $what != bench ]]; then
    # A configuration of its own: that of the project names plugins for windows.
    "$python" -m pytest -c /dev/null --rootdir . --confcutdir tests/gpu -p no:cacheprovider -q -W ignore \
        tests/gpu ${tests:+-k "$tests"} 2>&1 | tee "$out/tests.txt" || status=1
fi
if [[ $what != tests ]]; then
    "$python" benchmarks/gpu.py --device "${SEGXAI_GPU:-cuda:0}" --only "$part" --out "$out/gpu.md" || status=1
fi
exit $status
