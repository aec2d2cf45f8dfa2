"""The planners of a run, as the rule files use them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from umsam.planning.cases import Cases
from umsam.planning.comparison import Comparison
from umsam.planning.configuration import Settings
from umsam.planning.guard import Guard, guard
from umsam.planning.requests import Requests
from umsam.planning.stages import Pretraining, Stages
from umsam.planning.targets import Targets
from umsam.planning.weights import Weights


class Planners(NamedTuple):
    """What the rules call; each ends the run with the message of a user's mistake."""

    settings: Any
    cases: Any
    weights: Any
    comparison: Any
    stages: Any
    targets: Any
    requests: Any
    pretraining: Any


@guard
def make_planners(
    config: Mapping[str, Any],
    root: str | Path,
    promise12_sheet: Callable[[], str],
    tables_only: bool = False,
) -> Planners:
    """The planners of a run with this configuration, for the workflow in the folder `root`.

    Parameters
    ----------
    config
        What the user states.
    root
        The folder of the workflow.
    promise12_sheet
        Gives the path of PROMISE12's sheet once its checkpoint has written it.
    tables_only
        Whether a row of Table 1 that has metrics is shown although its weights are not here.
    """
    settings = Settings(config, root)
    cases, weights = Cases(settings, promise12_sheet), Weights(settings)
    comparison = Comparison(cases, weights, tables_only)
    planners = (
        settings,
        cases,
        weights,
        comparison,
        Stages(cases, weights),
        Targets(comparison),
        Requests(cases),
        Pretraining(settings),
    )
    return Planners(*map(Guard, planners))
