#!/usr/bin/env bash
# Set up what the commands need: system libraries for Qt and OpenGL, a virtual environment, pinned packages.
# usage: setup.sh PYTHON VENV
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2

packages=(xvfb xauth libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0
          libxcb-shape0 libxcb-xinerama0 libxkbcommon-x11-0 libegl1 libgl1 libopengl0 libgl1-mesa-dri
          libdbus-1-3 libfontconfig1 fonts-dejavu-core)

if command -v dpkg-query >/dev/null; then
    missing=()
    for name in "${packages[@]}"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q "ok installed" || missing+=("$name")
    done
    "$python" -c "import ensurepip, venv" 2>/dev/null || missing+=(python3-venv)
    if [ ${#missing[@]} -gt 0 ]; then
        if [ "$(id -u)" = 0 ]; then as_root=""
        elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo"
        else
            echo "Please install as root, then try again: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        $as_root apt-get update -qq
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
elif ! command -v xvfb-run >/dev/null; then
    echo "Please install Xvfb, and the libraries that Qt 6 needs for X11 and OpenGL." >&2
    exit 1
fi

"$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" || {
    echo "Python 3.11 to 3.13 is needed; name one with: make PYTHON=python3.12 ..." >&2
    exit 1
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade "pip>=25.1"
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[all,cohort,concepts]" --group dev
