"""Planning needs nothing but the standard library, jsonschema and yaml."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
ALLOWED = {"umsam", "jsonschema", "yaml"}
# Imports every module of the package, plans with it, and lists the top-level names that umsam
# imported.
PROBE = """
import builtins, importlib, json, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.append(str(root / "workflow_scripts"))
names, real = set(), builtins.__import__
def record(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {}).get("__name__", "").split(".")[0] == "umsam":
        names.add(name.split(".")[0])
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = record
for path in sorted((root / "workflow_scripts/umsam/planning").glob("*.py")):
    importlib.import_module(f"umsam.planning.{path.stem}")
from umsam.planning.planners import make_planners
planners = make_planners({}, root, lambda: "data/promise12/samples.tsv")
planners.targets.everything(None)
planners.comparison.notes_on_rows()
print(json.dumps(sorted(names - sys.stdlib_module_names)))
"""


def test_planning_imports_the_standard_library_jsonschema_and_yaml_alone():
    command = [sys.executable, "-c", PROBE, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout))
    assert imported <= ALLOWED
    assert imported >= {"umsam", "jsonschema", "yaml"}  # the probe sees imports
