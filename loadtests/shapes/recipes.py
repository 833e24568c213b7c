"""Instances of the WfCommons recipes, by the package `wfcommons` in an environment of its own: it brings SciPy and more."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "wfcommons>=1.6,<2"
RECIPES = {"blast": 60, "bwa": 120, "epigenomics": 120, "montage": 200, "seismology": 120, "srasearch": 100}
"""Recipes and the numbers of tasks that are asked for; the recipes round them to what their patterns allow."""

_MAKE = """
import random, sys
from pathlib import Path
import numpy
from wfcommons import WorkflowGenerator
from wfcommons.wfchef import recipes
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
for spec in sys.argv[3:]:
    name, tasks = spec.split("=")
    random.seed(seed)
    numpy.random.seed(seed)
    recipe = getattr(recipes, name.capitalize() + "Recipe").from_num_tasks(int(tasks))
    WorkflowGenerator(recipe).build_workflow().write_json(folder / (name + ".json"))
"""


def make(folder: Path, seed: int, recipes: Sequence[str]) -> list[Path]:
    """One instance of each recipe as WfFormat. Raises subprocess.CalledProcessError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace" / "wfcommons"
    python = cache / "bin" / "python"
    if not (cache / "ready").exists():
        print("installing wfcommons, once ...", file=sys.stderr)
        venv.create(cache, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
        (cache / "ready").touch()
    specs = [f"{name}={RECIPES[name]}" for name in recipes]
    subprocess.run(
        [python, "-c", _MAKE, str(folder), str(seed), *specs],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    return [folder / f"{name}.json" for name in recipes]
