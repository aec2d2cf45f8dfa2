# The planners that the rules call (umsam.planning). No rule here.
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
SCRIPTS = ROOT / "workflow_scripts"
sys.path.append(str(SCRIPTS))

from umsam.planning.cases import folders_of, one_of
from umsam.planning.code_hash import script_hash
from umsam.planning.job_logs import failed_jobs
from umsam.planning.planners import make_planners
from umsam.planning.remote_files import field_of, read_remote_files
from umsam.training.variants import VARIANTS

STARTED = time.time()
code = partial(script_hash, scripts=SCRIPTS)
settings, cases, weights, comparison, stages, targets, requests, pretraining = make_planners(
    config,
    ROOT,
    promise12_sheet=lambda: checkpoints.promise12_sheet.get().output.sheet,
    tables_only=globals().get("TABLES_ONLY", False),
)
