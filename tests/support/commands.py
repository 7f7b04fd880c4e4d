"""The installed command, run as a person would."""

import os
import subprocess
import sys
from pathlib import Path

from gengap.paths import project_root

GENGAP = Path(sys.executable).with_name("gengap")


def run(*arguments, root=None):
    """`gengap` with these arguments in the project at `root` (default: this checkout)."""
    environment = {**os.environ, "GENGAP_ROOT": str(root or project_root())}
    return subprocess.run([GENGAP, *arguments], capture_output=True, text=True, env=environment, check=False)
