"""A small study on the disk, and its planners without Snakemake's guard."""

from pathlib import Path
from types import SimpleNamespace

from umsam.planning.cases import Cases
from umsam.planning.comparison import Comparison
from umsam.planning.configuration import Settings
from umsam.planning.stages import Stages
from umsam.planning.targets import Targets
from umsam.planning.weights import Weights

ROOT = Path(__file__).parents[3]
ROWS = [
    ("a", "train", True),
    ("b", "train", False),
    ("c", "val", True),
    ("d", "test", True),
    ("e", "test", False),
]


def write_sheet(folder, rows=ROWS, name="samples.tsv"):
    """A sample sheet whose images exist and are empty."""
    lines = ["case\timage\tlabel\tsplit"]
    for case, split, labelled in rows:
        label = f"{case}_mask.nii" if labelled else ""
        lines.append(f"{case}\t{case}.nii\t{label}\t{split}")
        for file in filter(None, (f"{case}.nii", label)):
            (folder / file).touch()
    (folder / name).write_text("\n".join(lines) + "\n")


class Study:
    """Planners of a data set `mine` that is like the phantom."""

    def __init__(self, run=("mine",), tables_only=False, **sections):
        block = {"like": "phantom", "samples": "samples.tsv", **sections}
        self.settings = Settings({"run": list(run), "datasets": {"mine": block}}, ROOT)
        self.cases = Cases(self.settings)
        self.weights = Weights(self.settings)
        self.comparison = Comparison(self.cases, self.weights, tables_only)
        self.stages = Stages(self.cases, self.weights)
        self.targets = Targets(self.comparison)


def job(**wildcards):
    """What Snakemake passes to a function of the wildcards."""
    values = {"dataset": "mine", **wildcards}
    return SimpleNamespace(**values, items=lambda: list(values.items()))
