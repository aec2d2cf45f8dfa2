# Volumes in: generated, downloaded, or the user's own; scaled to [0, 1], labels as 0 and 1.
import re

from umsam.planning.remote_files import read_remote_files

FETAL_SAMPLE = read_remote_files(Path(workflow.basedir) / "resources/fetal_sample_files.tsv")
PROMISE12 = read_remote_files(Path(workflow.basedir) / "resources/promise12_files.tsv")
PHANTOMS = [name for name, block in config["datasets"].items() if "phantom" in block]
PROMISE12_HOME = "data/promise12"
PROMISE12_FOLDERS = [file.removesuffix(".zip") for file in PROMISE12]


def one_of(names):
    """A wildcard constraint: one of these names, or nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def of_file(table, field):
    """A function of the wildcards that gives a field of {file} in a table of remote files."""
    return lambda wildcards: getattr(table[wildcards.file], field)


def promise12_root(wildcards):
    """Where PROMISE12 lies for the run's data sets that use its sheet: they share it."""
    users = [name for name in config["run"] if settings(name)["samples"] == PROMISE12_SHEET]
    roots = {data_root(name) or PROMISE12_HOME for name in users or ["promise12"]}
    if len(roots) > 1:
        raise WorkflowError(
            f"data_root: {', '.join(users)} share the sheet {PROMISE12_SHEET}, so they need the same "
            f"folder, and have {', '.join(sorted(roots))}."
        )
    return roots.pop()


def promise12_folders(wildcards):
    """PROMISE12's folders: those of a local copy, or those that are downloaded and unzipped."""
    root = Path(promise12_root(wildcards))
    if root == Path(PROMISE12_HOME):
        return [root / name for name in PROMISE12_FOLDERS]
    return [root / name for name in PROMISE12_FOLDERS if (root / name).is_dir()]


# Nodes of a cluster often see no network. No `code` below: the checksum says what a download holds.
localrules:
    download_fetal_sample,
    download_promise12,


rule preprocess:
    input:
        image=image_of,
    output:
        volume="results/{dataset}/volumes/{case}.nii.gz",
    log:
        "logs/{dataset}/preprocess/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/preprocess/{case}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=by_size(1000, 50),
        runtime=by_size(5, 1),
    params:
        intensity=section("intensity"),
        code=code("preprocess"),
    script:
        "../workflow_scripts/preprocess.py"


rule preprocess_label:
    input:
        image=image_of,
        label=label_of,
    output:
        label="results/{dataset}/labels/{case}.nii.gz",
    log:
        "logs/{dataset}/preprocess_label/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/preprocess_label/{case}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=by_size(1000, 30),
        runtime=by_size(5, 1),
    params:
        code=code("preprocess_label"),
    script:
        "../workflow_scripts/preprocess_label.py"


rule phantom:
    output:
        image="data/{dataset}/{case}_T2w.nii.gz",
        label="data/{dataset}/{case}_mask.nii.gz",
    log:
        "logs/{dataset}/phantom/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/phantom/{case}.tsv"
    wildcard_constraints:
        dataset=one_of(PHANTOMS),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        phantom=section("phantom"),
        code=code("phantom"),
    script:
        "../workflow_scripts/phantom.py"


rule download_fetal_sample:
    output:
        ensure("data/fetal_sample/{file}", sha256=of_file(FETAL_SAMPLE, "sha256")),
    log:
        "logs/fetal_sample/download/{file}.log",
    benchmark:
        "results/fetal_sample/benchmarks/download/{file}.tsv"
    wildcard_constraints:
        file=one_of(FETAL_SAMPLE),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        url=of_file(FETAL_SAMPLE, "url"),
        sha256=of_file(FETAL_SAMPLE, "sha256"),
    script:
        "../workflow_scripts/download.py"


rule download_promise12:
    output:
        ensure(f"{PROMISE12_HOME}/{{file}}", non_empty=True),
    log:
        "logs/promise12/download/{file}.log",
    benchmark:
        "results/promise12/benchmarks/download/{file}.tsv"
    wildcard_constraints:
        file=one_of(PROMISE12),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        url=of_file(PROMISE12, "url"),
        sha256=of_file(PROMISE12, "sha256"),
    script:
        "../workflow_scripts/download.py"


rule promise12_unzip:
    input:
        archive=f"{PROMISE12_HOME}/{{folder}}.zip",
    output:
        folder=directory(f"{PROMISE12_HOME}/{{folder}}"),
    log:
        "logs/promise12/unzip/{folder}.log",
    benchmark:
        "results/promise12/benchmarks/unzip/{folder}.tsv"
    wildcard_constraints:
        folder=one_of(PROMISE12_FOLDERS),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        code=code("promise12_unzip"),
    script:
        "../workflow_scripts/promise12_unzip.py"


# A checkpoint: which cases there are, and their split, follows from the labels in the archives.
checkpoint promise12_sheet:
    input:
        folders=promise12_folders,
    output:
        sheet=f"{PROMISE12_HOME}/samples.tsv",
        split=f"{PROMISE12_HOME}/split.txt",
    log:
        "logs/promise12/promise12_sheet.log",
    benchmark:
        "results/promise12/benchmarks/promise12_sheet.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        root=promise12_root,
        code=code("promise12_sheet"),
    script:
        "../workflow_scripts/promise12_sheet.py"
