"""Settings-dependent inputs and parameters of the stages, from everything mode to
training.

A parameter holds only what its rule uses, so that no other setting reruns it.
"""

from typing import Any

from umsam.planning.cases import Cases
from umsam.planning.sam_variants import SAM_VARIANTS, resolve_thresholds
from umsam.planning.weights import Weights
from umsam.planning.wildcards import Wildcards
from umsam.training.variants import VARIANTS, select_settings

SPACE_KEYS = ("l2_normalise", "position_weight", "centre_per_volume", "pca_components")


class Stages:
    """Functions of the wildcards for `input`, `params` and `resources` of the rules."""

    def __init__(self, cases: Cases, weights: Weights) -> None:
        self.cases, self.weights, self.settings = cases, weights, cases.settings

    def _keys(self, wildcards: Wildcards, section: str, keys: tuple[str, ...]) -> dict[str, Any]:
        chosen = self.settings.of(wildcards.dataset)[section]
        return {key: chosen[key] for key in keys}

    # ---- pseudo-labels

    def sam(self, wildcards: Wildcards) -> dict[str, Any]:
        """Settings of everything mode, with the model's own thresholds for those that are null."""
        sam = resolve_thresholds(self.settings.of(wildcards.dataset)["sam"])
        del sam["checkpoint"]  # an input; its content is a parameter of its own
        return sam

    def pools(self, wildcards: Wildcards, model: str) -> bool:
        """Whether ROI features are pooled from a map of the model, sam or dino."""
        features = self.settings.of(wildcards.dataset)["clustering"]["features"]
        return features in (model, "both")

    def feature_maps(self, wildcards: Wildcards) -> dict[str, str]:
        """The maps that ROI features are pooled from: SAM's embedding, DINO's map, or both."""
        dataset, case = wildcards.dataset, wildcards.case
        return {
            f"{model}_features": f"results/{dataset}/{model}_features/{case}.npy"
            for model in ("sam", "dino")
            if self.pools(wildcards, model)
        }

    def view_of_features(self, wildcards: Wildcards) -> float | None:
        """The part of a slice that SAM's embedding covers, in mm; DINO sees the whole slice."""
        view = self.settings.of(wildcards.dataset)["sam"]["field_of_view"]
        return view if self.pools(wildcards, "sam") else None

    def feature_space(self, wildcards: Wildcards) -> dict[str, Any]:
        """How K-means sees the pooled features."""
        return self._keys(wildcards, "clustering", SPACE_KEYS)

    def sse_curve(self, wildcards: Wildcards) -> dict[str, Any]:
        """Settings of the SSE curve, which does not depend on the K in use."""
        chosen = self._keys(wildcards, "clustering", ("n_init", "seed", "sse_k", "sse_rois"))
        return {**chosen, "space": self.feature_space(wildcards)}

    def kmeans(self, wildcards: Wildcards) -> dict[str, Any]:
        """Settings of K-means."""
        chosen = self._keys(wildcards, "clustering", ("k", "n_init", "seed", "max_rois"))
        return {**chosen, "space": self.feature_space(wildcards)}

    def knee(self, wildcards: Wildcards) -> dict[str, str]:
        """The SSE curve, from which `k: auto` takes its knee."""
        automatic = self.settings.of(wildcards.dataset)["clustering"]["k"] == "auto"
        return {"curve": f"results/{wildcards.dataset}/clusters/sse.csv"} if automatic else {}

    def target(self, wildcards: Wildcards) -> dict[str, Any]:
        """How the target cluster is chosen; the choice among a slice's ROIs changes no cluster."""
        return self._keys(wildcards, "target", ("attribute", "prior", "near_tie", "choose_by"))

    def evidence(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """The masks of the training cases, where evidence helps to choose the cluster."""
        if self.settings.of(wildcards.dataset)["target"]["choose_by"] != "evidence":
            return {}
        return {"masks": self.cases.each("results/{dataset}/sam_masks/{case}", "train")(wildcards)}

    # ---- training

    def training(self, wildcards: Wildcards) -> dict[str, Any]:
        """Settings that the variant uses: a new lambda_1 retrains no variant without that term.

        An epoch is validated on what will be predicted, so post-processing is among them.
        """
        chosen = self.settings.of(wildcards.dataset)
        training = chosen["training"] | chosen["prediction"]
        if training["feature_scale"] is None:
            training["feature_scale"] = SAM_VARIANTS[chosen["sam"]["model"]].feature_scale
        return select_settings(wildcards.variant, training)

    def _training_files(self, pattern: str, wildcards: Wildcards) -> list[str]:
        """One file per training case; for the supervised variant, per labelled one."""
        labelled = True if VARIANTS[wildcards.variant].supervised else None
        return self.cases.each(pattern, "train", labelled)(wildcards)

    def training_volumes(self, wildcards: Wildcards) -> list[str]:
        """The volumes that a variant learns from."""
        return self._training_files("results/{dataset}/volumes/{case}.nii.gz", wildcards)

    def training_labels(self, wildcards: Wildcards) -> list[str]:
        """The labels that a variant learns from: pseudo-labels, refined labels or the user's."""
        source = self.settings.of(wildcards.dataset)["training"]["label_source"]
        folder = "labels" if VARIANTS[wildcards.variant].supervised else source
        return self._training_files(f"results/{{dataset}}/{folder}/{{case}}.nii.gz", wildcards)

    def teacher_features(self, wildcards: Wildcards) -> list[str]:
        """SAM's features, for the variants that distill."""
        if not VARIANTS[wildcards.variant].distills:
            return []
        return self._training_files("results/{dataset}/sam_features/{case}.npy", wildcards)

    def teacher_view(self, wildcards: Wildcards) -> float | None:
        """The part of a slice that SAM saw, in mm, for the variants that distill."""
        view = self.settings.of(wildcards.dataset)["sam"]["field_of_view"]
        return view if VARIANTS[wildcards.variant].distills else None

    # ---- evaluation and provenance

    def refined_labels(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """The refined labels of the labelled training cases, where networks learn from them."""
        if self.settings.of(wildcards.dataset)["training"]["label_source"] != "refined_labels":
            return {}
        pattern = "results/{dataset}/refined_labels/{case}.nii.gz"
        return {"refined_labels": self.cases.each(pattern, "train", labelled=True)(wildcards)}

    def all_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """The complete settings of a data set."""
        return self.settings.of(wildcards.dataset)

    def threads(self, wildcards: Wildcards) -> dict[str, int]:
        """Threads of the jobs whose result depends on their number."""
        threads = self.settings.of(wildcards.dataset)["training"]["threads"]
        return {"train": threads, "refinement": threads}


class Pretraining:
    """The runs that train the compact models."""

    def __init__(self, settings: Any) -> None:
        self.config = settings.config["pretraining"]

    def _number(self, wildcards: Any) -> int:
        """1 for compact_sam_1.pt; compact_sam.pt is the last run's."""
        return int(wildcards.run[1:]) if wildcards.run else len(self.config["sam"])

    def sam(self, wildcards: Any) -> dict[str, Any]:
        """The settings of a run of the compact SAM."""
        return self.config["sam"][self._number(wildcards) - 1]

    def initial_sam(self, wildcards: Any) -> str | list[str]:
        """The checkpoint that a run starts from: the one before it, or what its settings name."""
        number = self._number(wildcards)
        if number > 1:
            return f"results/pretraining/compact_sam_{number - 1}.pt"
        return self.sam(wildcards).get("initial") or []

    def dino(self, wildcards: Any) -> dict[str, Any]:
        """The settings of the compact DINO."""
        return self.config["dino"]
