"""The comparison of a data set: which rows of Table 1 can run, and what their jobs need."""

from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.planning.baselines import (
    Baseline,
    Row,
    ablation_methods,
    baseline,
    box_scale,
    comparison_rows,
)
from umsam.planning.cases import Cases
from umsam.planning.descriptions import read_descriptions
from umsam.planning.sample_sheet import SPLITS
from umsam.planning.weights import (
    Weights,
    explain_missing,
    find_folder,
    is_offline,
)
from umsam.planning.wildcards import Files, Wildcards

METRICS = "results/{dataset}/metrics/{method}.csv"


class Comparison:
    """The comparison methods of each data set.

    Parameters
    ----------
    tables_only
        Whether a row with metrics counts as run although its weights are not here.
    """

    def __init__(self, cases: Cases, weights: Weights, tables_only: bool = False) -> None:
        self.cases, self.weights, self.settings = cases, weights, cases.settings
        self.tables_only = tables_only

    # ---- which rows can run

    def models(self, dataset: str, method: str) -> list[str]:
        """Models of resources/weights.tsv that a row needs: keys of the table."""
        models = list(_known(method).weights)
        if method == "cryosam" and self.cryosam_extractor(dataset) == "dinov2":
            models.append("dinov2")
        if method == "medclip_sam" and self.medclip_sam_model(dataset) == "vit_b":
            models.append("sam_vit_b")
        return models

    def why_not(self, dataset: str, method: str) -> str:
        """Why a row of Table 1 cannot run here, in one sentence; empty if it can."""
        if self.tables_only and Path(METRICS.format(dataset=dataset, method=method)).is_file():
            return ""
        row = _known(method)
        if row.package and not find_spec(row.package.split("=")[0]):
            return f"not installed: pip install {row.package}"
        models = (self.weights.model(dataset, key) for key in self.models(dataset, method))
        reasons = [explain_missing(model) for model in models]
        if row.described:
            try:
                read_descriptions(self.settings.of(dataset)["baselines"]["descriptions"], method)
            except InputError as error:
                reasons.append(str(error).rstrip("."))
        return "; ".join(filter(None, reasons))

    def runnable(self, dataset: str) -> list[str]:
        """The methods that the configuration asks for and that can run."""
        methods = self.settings.of(dataset)["baselines"]["methods"]
        return [method for method in methods if not self.why_not(dataset, method)]

    def notes_on_rows(self) -> list[str]:
        """The rows that the configuration asks for and that cannot run, one line each."""
        notes = [
            f"{method}: not run: {reason}."
            for dataset in self.settings.run
            for method in self.settings.of(dataset)["baselines"]["methods"]
            if (reason := self.why_not(dataset, method))
        ]
        return list(dict.fromkeys(notes))

    # ---- pretrained models to download

    def downloads(self) -> dict[str, Any]:
        """Path below ``weights/`` -> source, for every file that a rule can download."""
        return self.weights.downloads(
            {dataset: self._models_of_rows(dataset) for dataset in self.settings.run}
        )

    def missing_files(self, wildcards: Any) -> list[str]:
        """What `baseline_weights` has to download."""
        models = [
            self.weights.model(dataset, key)
            for dataset in self.settings.run
            for key in self._models_of_rows(dataset)
        ]
        files = dict.fromkeys(
            str(model.target / name)
            for model in models
            if not model.folder and not find_folder(model)
            for name in model.files
        )
        if files and is_offline():
            raise InputError(
                "HF_HUB_OFFLINE is set, so nothing is downloaded. Unset it, or copy these files by "
                f"hand: {', '.join(files)}."
            )
        return list(files)

    def _models_of_rows(self, dataset: str) -> list[str]:
        methods = self.settings.of(dataset)["baselines"]["methods"]
        return [key for method in methods for key in self.models(dataset, method)]

    # ---- tables

    def chosen_by_labels(self, wildcards: Wildcards) -> bool:
        """Whether validation labels choose the epoch of a network."""
        training = self.settings.of(wildcards.dataset)["training"]
        several = training["validate_every"] < training["epochs"]
        return several and bool(self.cases.names(wildcards.dataset, "val", labelled=True))

    def rows(self, wildcards: Wildcards) -> list[Row]:
        """The rows of Table 1."""
        dataset = wildcards.dataset
        chosen = self.settings.of(dataset)
        methods = chosen["baselines"]["methods"]
        return comparison_rows(
            methods,
            {method: self.why_not(dataset, method) for method in methods},
            chosen["training"]["variants"],
            chosen["training"]["seeds"],
            {split: len(self.cases.names(dataset, split, labelled=True)) for split in SPLITS},
            self.chosen_by_labels(wildcards),
        )

    def row_records(self, wildcards: Wildcards) -> list[dict[str, str]]:
        """The rows as plain values, for the parameters of a rule."""
        return [asdict(row) for row in self.rows(wildcards)]

    def metrics(self, wildcards: Wildcards) -> list[str]:
        """The metrics of the rows that were run."""
        methods = [row.method for row in self.rows(wildcards) if not row.skipped]
        return [METRICS.format(dataset=wildcards.dataset, method=method) for method in methods]

    def ablation(self, wildcards: Wildcards) -> dict[str, tuple[str, str]]:
        """Method -> (variant, seed) of the ablation."""
        training = self.settings.of(wildcards.dataset)["training"]
        return ablation_methods(training["variants"], training["seeds"])

    def ablation_metrics(self, wildcards: Wildcards) -> list[str]:
        """The metrics of the ablation."""
        methods = self.ablation(wildcards)
        return [METRICS.format(dataset=wildcards.dataset, method=method) for method in methods]

    def validation_files(self, pattern: str) -> Files:
        """Files of the labelled validation cases, for networks: no baseline is chosen by them."""
        files = self.cases.each(pattern, "val", labelled=True)
        return lambda wildcards: [] if baseline(wildcards.method) else files(wildcards)

    # ---- inputs and parameters of single rows

    def descriptions(self, method: str) -> Callable[[Wildcards], str]:
        """A function of the wildcards that gives the file of the method's texts."""

        def file(wildcards: Wildcards) -> str:
            path = self.settings.of(wildcards.dataset)["baselines"]["descriptions"]
            read_descriptions(path, method)
            return path

        return file

    def prompt_scale(self, wildcards: Wildcards) -> float | None:
        """How much the boxes are enlarged; None for clicks."""
        return box_scale(wildcards.method)

    def click_seed(self, wildcards: Wildcards) -> int | None:
        """The seed of the background clicks; boxes have none."""
        seed = self.settings.of(wildcards.dataset)["baselines"]["seed"]
        return seed if wildcards.method == "sam_point" else None

    def kmeans_weights(self, wildcards: Wildcards) -> str | list[str]:
        """DINO's checkpoint, for the row that uses its features."""
        return self.weights.dino(wildcards) if wildcards.method == "kmeans_dino" else []

    def kmeans_dino(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """Which DINO it is; None for intensities, which another DINO does not change."""
        return self.weights.dino_identity(wildcards) if wildcards.method == "kmeans_dino" else None

    def kmeans_clusters(self, wildcards: Wildcards) -> str | list[str]:
        """The file that holds K, where K is the knee of the training ROIs' curve."""
        automatic = self.settings.of(wildcards.dataset)["clustering"]["k"] == "auto"
        return f"results/{wildcards.dataset}/clusters/kmeans.npz" if automatic else []

    def kmeans_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """The number of clusters and of starts, as for the ROIs."""
        clustering = self.settings.of(wildcards.dataset)["clustering"]
        return {key: clustering[key] for key in ("k", "n_init")}

    def kmeans_gpus(self, wildcards: Wildcards) -> int:
        """One GPU for the row that computes DINO's features."""
        return 1 if wildcards.method == "kmeans_dino" else 0

    def cryosam_extractor(self, dataset: str) -> str:
        """Which extractor CryoSAM uses: dinov2, or own (the data set's)."""
        chosen = self.settings.of(dataset)
        features = chosen["baselines"]["cryosam"]["features"]
        if features != "auto":
            return features
        return "own" if chosen["dino"]["model"] == "compact" else "dinov2"

    def cryosam_dino(self, wildcards: Wildcards) -> dict[str, Any]:
        """The extractor of CryoSAM: the data set's own, or DINOv2 as in the original."""
        own = self.weights.dino_identity(wildcards)
        if self.cryosam_extractor(wildcards.dataset) == "own":
            return own
        name = self.weights.model(wildcards.dataset, "dinov2").hub.split("/")[-1]
        return {"model": name, "sha256": None, "image_size": 518, "batch_size": own["batch_size"]}

    def cryosam_weights(self, wildcards: Wildcards) -> str | list[str]:
        """The checkpoint of the extractor."""
        if self.cryosam_extractor(wildcards.dataset) == "own":
            return self.weights.dino(wildcards)
        return self.weights.files("dinov2")(wildcards)[0]

    def cryosam_checksums(self, wildcards: Wildcards) -> dict[str, str | None] | None:
        """Checksums of DINOv2; the data set's own extractor has its own check."""
        own = self.cryosam_extractor(wildcards.dataset) == "own"
        return None if own else self.weights.checksums("dinov2")(wildcards)

    def cryosam_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """All settings but the extractor's name, which is a parameter of its own."""
        chosen = self.settings.of(wildcards.dataset)["baselines"]["cryosam"]
        return {key: value for key, value in chosen.items() if key != "features"}

    def medclip_sam_model(self, dataset: str) -> str:
        """Which SAM gets MedCLIP-SAM's box: vit_b, or own (the data set's)."""
        chosen = self.settings.of(dataset)
        model = chosen["baselines"]["medclip_sam"]["sam"]
        if model != "auto":
            return model
        return "own" if chosen["sam"]["model"] == "compact" else "vit_b"

    def medclip_sam_weights(self, wildcards: Wildcards) -> str:
        """The checkpoint of that SAM."""
        if self.medclip_sam_model(wildcards.dataset) == "own":
            return self.weights.sam(wildcards)
        return self.weights.files("sam_vit_b")(wildcards)[0]

    def medclip_sam_identity(self, wildcards: Wildcards) -> dict[str, Any]:
        """Which SAM that is."""
        if self.medclip_sam_model(wildcards.dataset) == "own":
            return self.weights.sam_identity(wildcards)
        (sha256,) = self.weights.checksums("sam_vit_b")(wildcards).values()
        return {"model": "vit_b", "sha256": sha256}

    def medclip_sam_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """All settings but the choice of SAM, which is a parameter of its own."""
        chosen = self.settings.of(wildcards.dataset)["baselines"]["medclip_sam"]
        return {key: value for key, value in chosen.items() if key != "sam"}


def _known(method: str) -> Baseline:
    row = baseline(method)
    if row is None:
        raise InputError(f"baselines.methods: {method!r} is not a row of Table 1.")
    return row
