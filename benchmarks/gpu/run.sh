#!/bin/bash
# benchmarks/gpu/measure.py with what `collect.sh` brought: run.sh --out FOLDER [--budget SECONDS] [--device cpu --tiny]
set -euo pipefail
cd "$(dirname "$0")/../.."
export GENGAP_ROOT=$PWD HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
packages=build/gpu/packages
if [ -d build/gpu/wheels ] && [ ! -d "$packages" ]; then
  for wheel in build/gpu/wheels/*.whl; do "${PYTHON:-python3}" -m zipfile -e "$wheel" "$packages.part"; done
  mv "$packages.part" "$packages"
fi
[ -d "$packages" ] && [ -z "${GENGAP_OWN_PACKAGES:-}" ] && export PYTHONPATH=$PWD/lib:$PWD/$packages || export PYTHONPATH=$PWD/lib
exec "${PYTHON:-python3}" benchmarks/gpu/measure.py "$@"
