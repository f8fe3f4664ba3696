#!/usr/bin/env bash
# Make the virtual environment that the Makefile uses, from requirements/*.txt.
#
#   PYTHON=python3.12 tools/make_venv.sh [FOLDER]     (FOLDER: .venv)
#
# Where a ROS 2 is sourced, its rclpy and messages are used, else wheels of ROS 2 Jazzy. An
# environment that exists in FOLDER is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}

say() { printf 'venv: %s\n' "$*"; }
refuse() { printf 'make venv: %s\n' "$*" >&2; exit 2; }

command -v "$python" > /dev/null || refuse "$python was not found; name a Python 3.10 to 3.13 with PYTHON=, e.g. 'make venv PYTHON=python3.12'."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
  3.10 | 3.11 | 3.12 | 3.13) ;;
  *) refuse "$python is Python $version, but 3.10 to 3.13 is needed; name another with PYTHON=, e.g. 'make venv PYTHON=python3.12'." ;;
esac
"$python" -c 'import ensurepip, venv' 2> /dev/null || refuse "$python cannot make virtual environments; on Debian and Ubuntu run 'sudo apt install python3-venv' first."

options=()
if [ -n "${ROS_DISTRO:-}" ]; then
  numpy=$("$python" -c 'import rclpy, numpy; print(numpy.__version__)' 2> /dev/null) ||
    refuse "ROS 2 $ROS_DISTRO is sourced, but $python ($version) cannot import its rclpy; give the Python of the system with PYTHON=/usr/bin/python3, or use a shell without ROS."
  say "ROS 2 $ROS_DISTRO with Python $version, in $venv"
  "$python" -m venv --clear --system-site-packages "$venv"
  # Messages that ROS compiled for numpy 1 do not load under numpy 2.
  echo "numpy==$numpy" > "$venv/constraints.txt"
  options=(-c "$venv/constraints.txt")
  wheels=()
elif [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
  refuse "on $(uname -s) $(uname -m) there are no wheels of ROS 2; install ROS 2 (e.g. Jazzy), run 'source /opt/ros/jazzy/setup.bash' and try again."
else
  say "ROS 2 Jazzy from wheels with Python $version, in $venv"
  "$python" -m venv --clear "$venv"
  wheels=(-r requirements/ros.txt)
fi

install() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check "${options[@]}" "$@"; }

# The resolver of older pips (Ubuntu 22.04) gives up on these requirements.
install 'pip>=25'
say 'installing what the package, the demo and the tests need (a few minutes the first time)'
install -r requirements/base.txt "${wheels[@]}" -r requirements/demo.txt -r requirements/test.txt
say 'installing sim2real_policy from this folder'
# Not the legacy `setup.py develop`: it would put the programs where setup.cfg says, not in bin/.
install --no-deps --no-build-isolation --use-pep517 -e .
say "ready; $venv/bin/python has it all"
