# Helpers of the rules: settings, cases, paths. No rule here.
import os
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from umsam.planning import configuration
from umsam.planning.descriptions import read_descriptions
from umsam.baselines.weights import folder_of, is_offline, missing_weights, read_part
from umsam.planning.code_hash import code_hash
from umsam.checksums import fingerprint
from umsam.planning.sample_sheet import read_sample_sheet
from umsam.errors import InputError
from umsam.planning.job_logs import failed_jobs

STARTED = time.time()
SPLITS = ("train", "val", "test")
DOWNLOADED = ("data/fetal_sample", "data/promise12")
PROMISE12_SHEET = "data/promise12/samples.tsv"


def or_stop(function, *arguments):
    """Call `function`; a user's mistake ends the run with its message, not a traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        sys.exit(str(error))


# ---- settings


if isinstance(config["run"], str):
    config["run"] = config["run"].split(",")
or_stop(configuration.check, config, Path(workflow.basedir) / "schemas/config.schema.yaml")


@cache
def settings(dataset):
    """The resolved settings of a data set."""
    resolved = or_stop(configuration.resolve, config, dataset)
    or_stop(configuration.check_resolved, resolved, dataset)
    return resolved


for name in config["run"]:
    settings(name)


def section(name):
    """A function of the wildcards that gives one section of the data set's settings."""
    return lambda wildcards: settings(wildcards.dataset)[name]


def setting(path):
    """The same for one value, by a dotted path such as clustering.k."""

    def value(wildcards):
        result = settings(wildcards.dataset)
        for key in path.split("."):
            result = result[key]
        return result

    return value


def code(script):
    """Hash of a rule's script and of the package modules that it imports."""
    return code_hash(SCRIPTS / f"{script}.py", SCRIPTS)


# ---- cases


def data_root(dataset):
    """The folder that holds a data set's files: its own key, or a local copy named by UMSAM_DATA_ROOT."""
    own, local = settings(dataset).get("data_root"), os.environ.get("UMSAM_DATA_ROOT")
    if own in DOWNLOADED and local:
        below = Path(local) / Path(own).name
        return str(below if below.is_dir() else local)
    return own


def sample_sheet(dataset):
    """The sample sheet's path; PROMISE12's is written once its archives have been looked into."""
    if settings(dataset)["samples"] == PROMISE12_SHEET:
        return checkpoints.promise12_sheet.get().output.sheet
    return settings(dataset)["samples"]


@cache
def read_samples(sheet, root, stamp):
    return or_stop(read_sample_sheet, sheet, root)


@cache
def samples_by_case(sheet, root, stamp):
    return {sample.case: sample for sample in read_samples(sheet, root, stamp)}


def sheet_as_it_is(dataset):
    """The sample sheet, its root and its age: what `read_samples` keeps its tables by."""
    sheet = Path(sample_sheet(dataset))
    return sheet, data_root(dataset), sheet.stat().st_mtime_ns if sheet.is_file() else 0


def samples(dataset):
    """The cases of a data set, as its sample sheet lists them."""
    return read_samples(*sheet_as_it_is(dataset))


def cases(dataset, split=None, labelled=None):
    """Names of the cases of a split (or several), with or without labels where that is asked."""
    splits = SPLITS if split is None else (split,) if isinstance(split, str) else split
    return [
        sample.case
        for sample in samples(dataset)
        if sample.split in splits and labelled in (None, sample.label is not None)
    ]


def check_files(dataset):
    """Name what the user said is there and is not.

    Snakemake would take what was once made of a file for up to date, and say nothing.
    """
    chosen = settings(dataset)
    for key in ("sam", "dino"):
        own = chosen[key]["checkpoint"]
        if own and not own.startswith("results/") and not Path(own).is_file():
            raise InputError(f"{key}.checkpoint: {own}: no such file. Correct the path in the configuration.")
    if "phantom" in chosen or data_root(dataset) in DOWNLOADED or not Path(chosen["samples"]).is_file():
        return  # rules make the files, or a checkpoint the sheet
    files = [file for sample in samples(dataset) for file in (sample.image, sample.label) if file]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"{chosen['samples']}: {len(missing)} of its {len(files)} files are not there: "
            f"{', '.join(missing[:5])}{more}. Correct the paths (relative to the sheet, or to data_root "
            "where the data set gives one), or take these cases out."
        )


def case_names(wildcards):
    return cases(wildcards.dataset)


def splits(wildcards):
    """The split of each case, in the order of `cases`."""
    return [sample.split for sample in samples(wildcards.dataset)]


def sample_of(wildcards):
    found = samples_by_case(*sheet_as_it_is(wildcards.dataset)).get(wildcards.case)
    if found is not None:
        return found
    raise WorkflowError(
        f"{wildcards.dataset}: no case {wildcards.case!r} in {sample_sheet(wildcards.dataset)}."
    )


def image_of(wildcards):
    return str(sample_of(wildcards).image)


def label_of(wildcards):
    label = sample_of(wildcards).label
    if label is None:
        raise WorkflowError(f"{wildcards.dataset}: case {wildcards.case} has no label in its sheet.")
    return str(label)


def per_case(pattern, split=None, labelled=None):
    """A function of the wildcards that expands `pattern` over cases of the data set."""

    def paths(wildcards):
        return expand(pattern, case=cases(wildcards.dataset, split, labelled), **dict(wildcards.items()))

    return paths


def of_training(pattern):
    """The same over the training cases, of which there must be one."""
    files = per_case(pattern, "train")

    def paths(wildcards):
        found = files(wildcards)
        if not found:
            raise WorkflowError(
                f"{sample_sheet(wildcards.dataset)}: no case has the split train, and clusters and "
                "networks are learnt from those. Without labels, let all cases be train."
            )
        return found

    return paths


# ---- weights


def sam_weights_of(wildcards):
    """The checkpoint of SAM: the shipped one, the user's file, or the one a rule downloads."""
    sam = settings(wildcards.dataset)["sam"]
    if sam["checkpoint"]:
        return sam["checkpoint"]
    if sam["model"] == "compact":
        return "resources/compact_sam.pt"
    return f"weights/sam_{sam['model']}.pth"


def dino_weights_of(wildcards):
    """The checkpoint of DINO: the shipped one, the user's file, or none (timm's hub)."""
    dino = settings(wildcards.dataset)["dino"]
    if dino["checkpoint"]:
        return dino["checkpoint"]
    return "resources/compact_dino.pt" if dino["model"] == "compact" else []


@cache
def content_of(weights):
    """What is in a checkpoint of the user's or of ours, whatever its time stamp.

    Nothing is said of one that a rule makes or downloads: it may not be there yet.
    """
    made = not weights or weights.startswith(("weights/sam_", "results/"))
    return "" if made else fingerprint(weights)


def sam_content(wildcards):
    return content_of(sam_weights_of(wildcards))


def sam_identity(wildcards):
    """Which SAM it is; the thresholds of everything mode change no answer to a prompt."""
    sam = settings(wildcards.dataset)["sam"]
    return {key: sam[key] for key in ("model", "sha256")} | {"content": sam_content(wildcards)}


def dino_identity(wildcards):
    """Which DINO it is, and how it sees a slice."""
    dino = settings(wildcards.dataset)["dino"]
    keys = ("model", "sha256", "image_size", "batch_size")
    return {key: dino[key] for key in keys} | {"content": content_of(dino_weights_of(wildcards) or "")}


def parts_of(dataset, method):
    """The pretrained models, besides SAM, that a row of Table 1 needs: keys of baselines.weights."""
    if method == "cryosam":
        return ["dinov2"] if cryosam_features(dataset) == "dinov2" else []
    if method == "medclip_sam" and medclip_sam_model(dataset) == "vit_b":
        return [*PARTS[method], "sam_vit_b"]
    return PARTS.get(method, [])


PARTS = {
    "sam2_point": ["sam2"],
    "sam2_box": ["sam2"],
    "salip": ["clip"],
    "medclip_sam": ["biomedclip", "biomedbert"],
}
DESCRIBED = ("salip", "medclip_sam")


def cryosam_features(dataset):
    """Which extractor CryoSAM uses: dinov2, or own (the data set's)."""
    chosen = settings(dataset)
    features = chosen["baselines"]["cryosam"]["features"]
    if features == "auto":
        return "own" if chosen["dino"]["model"] == "compact" else "dinov2"
    return features


def medclip_sam_model(dataset):
    """Which SAM MedCLIP-SAM gives its box to: vit_b, or own (the data set's)."""
    chosen = settings(dataset)
    model = chosen["baselines"]["medclip_sam"]["sam"]
    if model == "auto":
        return "own" if chosen["sam"]["model"] == "compact" else "vit_b"
    return model


def weights_part(dataset, key):
    return read_part(settings(dataset)["baselines"]["weights"], key)


def why_not(dataset, method):
    """Why a row of Table 1 cannot be run here, in one sentence; empty where it can."""
    if method == "nnunet" and not find_spec("nnunetv2"):
        return "not installed: pip install nnunetv2==2.7.0 dynamic-network-architectures==0.4.2"
    reasons = [missing_weights(weights_part(dataset, key)) for key in parts_of(dataset, method)]
    if method in DESCRIBED:
        try:
            read_descriptions(settings(dataset)["baselines"]["descriptions"], method)
        except InputError as error:
            reasons.append(str(error).rstrip("."))
    return "; ".join(filter(None, reasons))


def runnable(dataset):
    """The comparison methods that are asked for and can be run."""
    return [m for m in settings(dataset)["baselines"]["methods"] if not why_not(dataset, m)]


def weights_of(key):
    """A function of the wildcards that gives the files of an entry of baselines.weights."""

    def files(wildcards):
        part = weights_part(wildcards.dataset, key)
        folder = folder_of(part)
        if folder is None:
            raise WorkflowError(f"{missing_weights(part)}.")
        return [str(folder / file) for file in part.files]

    return files


def descriptions_of(method):
    """A function of the wildcards that gives the file with the method's texts, once it holds some."""

    def file(wildcards):
        path = settings(wildcards.dataset)["baselines"]["descriptions"]
        or_stop(read_descriptions, path, method)
        return path

    return file


def checksums_of(key):
    """The same for file name -> sha256."""
    return lambda wildcards: dict(weights_part(wildcards.dataset, key).files)


def parts_of_run():
    """The pretrained models of the run's rows that are not the user's own copies."""
    return [
        part
        for dataset in config["run"]
        for method in settings(dataset)["baselines"]["methods"]
        for part in (weights_part(dataset, key) for key in parts_of(dataset, method))
        if not part.folder
    ]


def missing_weight_files(wildcards):
    """What `baseline_weights` has to fetch: the files of the models that are not here yet."""
    parts = [part for part in parts_of_run() if not folder_of(part)]
    files = list(dict.fromkeys(str(part.target / file) for part in parts for file in part.files))
    if files and is_offline():
        raise WorkflowError(
            f"HF_HUB_OFFLINE is set, so nothing is fetched. Unset it, or copy these by hand: {', '.join(files)}."
        )
    return files


# ---- targets

# What a target makes of a data set: files under its results; the splits of which one case must
# exist; whether that case needs a label.
PRODUCTS = {
    "predictions": (["predictions/{ours}/{case}.nii.gz"], SPLITS, None),
    "pseudo_labels": (["pseudo_labels/{case}.nii.gz"], SPLITS, None),
    "sse": (["figures/sse.*"], ["train"], None),
    "clusters": (["figures/clusters.*"], ["train"], None),
    "overview": (["figures/overview.*"], SPLITS, None),
    "diagnosis": (["tables/diagnosis.*"], ["train"], True),
    "table1": (["tables/table1.*"], ["test"], True),
    "fig2": (["figures/fig2.*"], ["test"], None),
    "fig3a": (["figures/fig3a.*"], ["train"], True),
    "fig3b": (["figures/fig3b.*"], ["val"], True),
    "baselines": (["predictions/{baseline}/{case}.nii.gz", "tables/table1.*"], ["test"], True),
}
SUFFIXES = {"figures": ("png", "pdf"), "tables": ("csv", "md", "tex")}


def ours(dataset):
    """The network whose predictions are the result: Ours, triple distillation, of the first seed.

    Where training.variants leaves it out, the last variant that learns without labels.
    """
    training = settings(dataset)["training"]
    variants = [v for v in training["variants"] if v != "supervised"] or training["variants"]
    variant = "triple" if "triple" in variants else variants[-1]
    return f"{variant}_seed{training['seeds'][0]}"


def products(dataset, name):
    """The files of one target for one data set; none where no case has what it needs."""
    patterns, split, labelled = PRODUCTS[name]
    names = cases(dataset, split, labelled)
    if not names:
        return []
    paths = []
    for pattern in patterns:
        types = SUFFIXES.get(pattern.split("/")[0], ())
        patterns_of_types = [pattern.replace("*", type) for type in types] or [pattern]
        paths += expand(
            [f"results/{dataset}/{each}" for each in patterns_of_types],
            case=names,
            ours=ours(dataset),
            baseline=runnable(dataset),
        )
    return list(dict.fromkeys(paths))


def of_run(*names):
    """A target's input: the files of its products for all data sets of the run."""

    def paths(wildcards):
        found = [p for dataset in config["run"] for name in names for p in products(dataset, name)]
        if not found:
            _, split, labelled = PRODUCTS[names[0]]
            raise WorkflowError(
                f"{names[0]} needs a {'labelled ' if labelled else ''}case in the split "
                f"{' or '.join(split)}, and {', '.join(config['run'])} has none: see the sample sheet."
            )
        return found

    return paths


def joint_table(wildcards):
    """Table 1 with a column group for each data set, where several have labelled test cases."""
    several = len([d for d in config["run"] if products(d, "table1")]) > 1
    return expand("results/tables/table1.{type}", type=SUFFIXES["tables"]) if several else []


def not_run(dataset):
    """The rows that are asked for and cannot be run, as lines for the user."""
    methods = settings(dataset)["baselines"]["methods"]
    reasons = {method: why_not(dataset, method) for method in methods}
    return [f"{method}: not run: {reason}." for method, reason in reasons.items() if reason]


def unlabelled(dataset):
    """What a run leaves out because cases have no label, as lines for the user."""
    if not Path(settings(dataset)["samples"]).is_file():  # a checkpoint will write it
        return []
    parts = {"train": "Fig. 3a and FullySup", "val": "Fig. 3b", "test": "Table 1"}
    lines = []
    for split, part in parts.items():
        names = cases(dataset, split, labelled=False)
        if names:
            how = "without them" if cases(dataset, split, labelled=True) else "skipped"
            lines.append(f"{dataset}: no label for {split} case(s) {', '.join(names)}: {part} {how}.")
    return lines
