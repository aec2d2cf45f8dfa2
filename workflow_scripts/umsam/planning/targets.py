"""What Snakemake's targets ask for, and which cases and methods the figures show."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.planning.comparison import Comparison
from umsam.planning.figures import PRODUCTS, SUFFIXES
from umsam.planning.wildcards import Wildcards

OURS = "Ours"
SHOWN_IN_FIG2 = ("K-means (intensity)", "K-means (DINO)", OURS, "FullySup")


class Targets:
    """The products of the data sets of a run."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.cases = comparison, comparison.cases
        self.settings = comparison.settings

    def ours(self, dataset: str) -> str:
        """The network whose predictions are the result: triple distillation with the first seed.

        If training.variants omits it, the last variant that learns without labels.
        """
        training = self.settings.of(dataset)["training"]
        variants = [v for v in training["variants"] if v != "supervised"] or training["variants"]
        variant = "triple" if "triple" in variants else variants[-1]
        return f"{variant}_seed{training['seeds'][0]}"

    def files(self, dataset: str, name: str) -> list[str]:
        """The files of one product; none if no case has what it needs."""
        wanted = PRODUCTS[name]
        cases = self.cases.names(dataset, wanted.splits, wanted.labelled or None)
        if not cases:
            return []
        paths: list[str] = []
        for pattern in wanted.patterns:
            types = SUFFIXES.get(pattern.split("/")[0], ()) if "*" in pattern else ("",)
            methods = self.comparison.runnable(dataset) if "{baseline}" in pattern else [""]
            for suffix, method, case in product(types, methods, cases):
                file = pattern.replace("*", suffix)
                filled = file.format(case=case, ours=self.ours(dataset), baseline=method)
                paths.append(f"results/{dataset}/{filled}")
        return list(dict.fromkeys(paths))

    def of_run(self, *names: str) -> Callable[[Any], list[str]]:
        """A target's input: its products of all data sets of the run."""

        def paths(wildcards: Any) -> list[str]:
            files = [
                file
                for dataset in self.settings.run
                for name in names
                for file in self.files(dataset, name)
            ]
            if not files:
                wanted = PRODUCTS[names[0]]
                raise InputError(
                    f"{names[0]} needs a {'labelled ' if wanted.labelled else ''}case in the split "
                    f"{' or '.join(wanted.splits)}, and {', '.join(self.settings.run)} has none: "
                    "see the sample sheet."
                )
            return files

        return paths

    def everything(self, wildcards: Any) -> list[str]:
        """What `snakemake` without a target makes."""
        return self.of_run(*(name for name, made in PRODUCTS.items() if made.default))(wildcards)

    def of_dataset(self, wildcards: Wildcards) -> list[str]:
        """The same of one data set: when it is there, the cost of all stages is known."""
        names = [name for name, made in PRODUCTS.items() if made.default]
        return [path for name in names for path in self.files(wildcards.dataset, name)]

    def provenance(self, wildcards: Any) -> list[str]:
        """The record of each data set."""
        return [f"results/{dataset}/provenance.json" for dataset in self.settings.run]

    def joint_table(self, wildcards: Any) -> list[str]:
        """Table 1 with columns for each data set, where several have labelled test cases."""
        several = sum(bool(self.files(dataset, "table1")) for dataset in self.settings.run) > 1
        return [f"results/tables/table1.{type}" for type in SUFFIXES["tables"]] if several else []

    def joined_tables(self, wildcards: Any) -> list[str]:
        """The tables that it joins."""
        tables = (self.files(dataset, "table1") for dataset in self.settings.run)
        return [path for paths in tables for path in paths if path.endswith("csv")]

    def from_tables(self, wildcards: Any) -> list[str]:
        """Everything that can be made of the run's tables alone.

        Raises
        ------
        InputError
            Names every table that is missing.
        """
        files = self.joint_table(wildcards)
        missing: dict[str, str] = {}
        for dataset in self.settings.run:
            for name, sources in self._sources(dataset).items():
                products = self.files(dataset, name)
                files += products
                if products:
                    missing |= {path: name for path in sources if not Path(path).is_file()}
        if missing:
            names = ", ".join(f"{table} ({name})" for table, name in missing.items())
            raise InputError(
                f"{len(missing)} table(s) of the run are not here: {names}. Copy them from where "
                "the pipeline ran, or run the pipeline itself: snakemake --cores 8."
            )
        return files

    def _sources(self, dataset: str) -> dict[str, list[str]]:
        """Product -> the tables that it is made of."""
        sources = {
            name: [f"results/{dataset}/{table}" for table in made.tables]
            for name, made in PRODUCTS.items()
            if made.tables
        }
        return sources | {"table1": self.comparison.metrics(_Dataset(dataset))}

    # ---- Fig. 2 and the overview

    def shown_cases(self, wildcards: Wildcards) -> list[str]:
        """Rows of Fig. 2: the first test cases, those with a label first."""
        dataset = wildcards.dataset
        labelled = self.cases.names(dataset, "test", labelled=True)
        others = self.cases.names(dataset, "test", labelled=False)
        return [*labelled, *others][: self.settings.of(dataset)["figures"]["cases"]]

    def shown_methods(self, wildcards: Wildcards) -> dict[str, str]:
        """Columns of Fig. 2 after the image: method -> title."""
        result = self.ours(wildcards.dataset)
        rows = {row.name: row.method for row in self.comparison.rows(wildcards) if not row.skipped}
        title = OURS if result.startswith("triple") else f"UNet ({result.rsplit('_seed')[0]})"
        rows[title] = result
        order = [title if name == OURS else name for name in SHOWN_IN_FIG2]
        return {rows[name]: name for name in order if name in rows}

    def shown_volumes(self, wildcards: Wildcards) -> list[str]:
        """The volumes of Fig. 2."""
        folder = f"results/{wildcards.dataset}/volumes"
        return [f"{folder}/{case}.nii.gz" for case in self.shown_cases(wildcards)]

    def shown_labels(self, wildcards: Wildcards) -> list[str]:
        """The labels of Fig. 2."""
        folder = f"results/{wildcards.dataset}/labels"
        labelled = self.cases.names(wildcards.dataset, "test", labelled=True)
        return [
            f"{folder}/{case}.nii.gz" for case in self.shown_cases(wildcards) if case in labelled
        ]

    def shown_predictions(self, wildcards: Wildcards) -> list[str]:
        """The predictions of Fig. 2: of all methods for labelled cases, of networks for others."""
        folder = f"results/{wildcards.dataset}/predictions"
        labelled = self.cases.names(wildcards.dataset, "test", labelled=True)
        return [
            f"{folder}/{method}/{case}.nii.gz"
            for case in self.shown_cases(wildcards)
            for method in self.shown_methods(wildcards)
            if case in labelled or not method.startswith("kmeans")
        ]

    def overview_inputs(self, wildcards: Wildcards) -> dict[str, str]:
        """Every stage of one case: the first test case, or the first case of all."""
        dataset, names = wildcards.dataset, self.cases.names
        case = (names(dataset, "test", labelled=True) or names(dataset, "test") or names(dataset))[
            0
        ]
        folder = f"results/{dataset}"
        files = {
            "volume": f"{folder}/volumes/{case}.nii.gz",
            "masks": f"{folder}/sam_masks/{case}",
            "rois": f"{folder}/rois/{case}.csv",
            "pseudo_label": f"{folder}/pseudo_labels/{case}.nii.gz",
            "prediction": f"{folder}/predictions/{self.ours(dataset)}/{case}.nii.gz",
        }
        if case in names(dataset, labelled=True):
            files["label"] = f"{folder}/labels/{case}.nii.gz"
        return files


class _Dataset:
    """The wildcards of a data set, outside of any job."""

    case = method = variant = ""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset

    def items(self) -> list[tuple[str, str]]:
        return [("dataset", self.dataset)]
