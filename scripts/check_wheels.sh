#!/usr/bin/env bash
# Build the wheel, and the sdist and a wheel from that; check that each, installed, finds its manifest and samples.
# usage: check_wheels.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(readlink -f "$(dirname "$1")")/$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m build --quiet --wheel --outdir "$work/direct" .
"$python" -m build --quiet --sdist --outdir "$work/sdist" .
mkdir "$work/unpacked" && tar -xzf "$work"/sdist/*.tar.gz -C "$work/unpacked" --strip-components=1
"$python" -m build --quiet --wheel --outdir "$work/from-sdist" "$work/unpacked"

for kind in direct from-sdist; do
    # The dependencies come from the environment; the package itself from the wheel alone.
    "$python" -m pip install --quiet --no-deps --target "$work/$kind-site" "$work/$kind"/*.whl
    (cd "$work" && PYTHONPATH="$work/$kind-site" "$python" - "$work/$kind-site" <<'PY'
import sys
from pathlib import Path

from npe2 import PluginManifest

import napari_segxai as sx

site = Path(sys.argv[1])
assert Path(sx.__file__).is_relative_to(site), sx.__file__
from napari_segxai.datasets.resources import resource

for name in ("napari.yaml", "sample_data/PROVENANCE.md", "sample_data/models/triangle/model.yaml"):
    assert resource(name).is_relative_to(site), resource(name)
manifest = PluginManifest.from_distribution("napari-segxai")
manifest.validate_imports()
model = sx.load_model("triangle")
image = sx.read_image(resource("sample_data/images/triangle_1.png"))
assert sx.explain(model, image, "triangle", method="seg-grad-cam").map.shape == image.spatial_shape
PY
    )
    echo "$kind wheel: the manifest, the samples and a first explanation are there"
done
