"""Rebuild every file of sample_data from unpacked source packages, and write PROVENANCE.md.

    python scripts/build_samples.py --sources DIR [--out sample_data] [--train]

DIR holds one folder for each source package, with what the package unpacks to:

    deepbet/                  the wheel deepbet 1.0.2 (PyPI)
    nilearn/                  the wheel nilearn 0.14.1 (PyPI)
    selfie_segmentation/      the tarball @mediapipe/selfie_segmentation 0.1.1675465747 (npm); holds package/
    insighttoolkit5-examples/ Debian package 5.2.1-5+deb12u1; holds usr/
    dataset-fashion-mnist/    Debian package 0.0~git20200523.55506a9-1; holds usr/
    base-files/               any Debian package of that name, for the text of the Apache licence; holds usr/

Nothing is downloaded. The checksum of every source file is verified. Needs the package `tflite` in addition
to napari-segxai. The Triangle network and the one for brain tissue are trained again only with --train (about
five and seven minutes); otherwise the weights that are there stay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samples.builder import Builder
from samples.images import build_glyphs, build_head, build_mni, build_triangles
from samples.provenance import build_licenses, write_provenance
from samples.trained import build_tissue_network, build_triangle_network
from samples.translated import build_brain, build_selfie

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sources", type=Path, required=True, help="folder of the unpacked packages, see above"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "sample_data")
    parser.add_argument("--train", action="store_true", help="train the networks of this project again")
    options = parser.parse_args()

    builder = Builder(options.sources, options.out)
    build_head(builder)
    build_mni(builder)
    build_glyphs(builder)
    build_triangles(builder)
    build_brain(builder)
    build_selfie(builder)
    build_triangle_network(builder, options.train)
    build_tissue_network(builder, options.train)
    build_licenses(builder)
    write_provenance(builder)
    total = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{total:,} bytes in {options.out}")


if __name__ == "__main__":
    main()
