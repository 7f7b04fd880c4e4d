#!/bin/bash
# What `run.sh` needs on a machine without network, below build/gpu: pure wheels and those of Python 3.12 on x86-64, and some rows of the corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
TO=build/gpu
rm -rf "$TO"
mkdir -p "$TO/wheels"
names=(
  llmcompressor compressed-tensors loguru pydantic pydantic-core annotated-types typing-inspection typing-extensions
  lazy-loader constriction tenacity datasets dill multiprocess xxhash aiohttp aiosignal aiohappyeyeballs attrs frozenlist
  multidict propcache yarl requests charset-normalizer urllib3 nvidia-ml-py cola-ml cola-plum-dispatch optree pytreeclass
)
for name in "${names[@]}"; do
  pinned=$(grep -i "^${name//[-_]/[-_]}==" requirements.lock || true)
  [ -n "$pinned" ] || { echo "not in requirements.lock: $name" >&2; continue; }
  "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform linux_x86_64 --platform any \
    --dest "$TO/wheels" "$pinned" || echo "no wheel: $pinned" >&2
done
"$PYTHON" - "$TO/rows.npy" <<'PYTHON'
import sys

import numpy as np

from gengap import models

np.save(sys.argv[1], models.get("ladder-4.5m").train_rows()[:2000])
PYTHON
du -sh "$TO"
