# Volumes in: generated, downloaded, or the user's own; scaled to [0, 1], labels as 0 and 1.
FETAL_SAMPLE = read_remote_files(ROOT / "resources/fetal_sample_files.tsv")
PROMISE12 = read_remote_files(ROOT / "resources/promise12_files.tsv")


rule preprocess:
    input:
        image=cases.image,
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
        mem_mb=requests.by_volume(1000, 50),
        runtime=requests.by_volume(5, 1),
    params:
        intensity=settings.section("intensity"),
        code=code("preprocess"),
    script:
        "../workflow_scripts/preprocess.py"


rule preprocess_label:
    input:
        image=cases.image,
        label=cases.label,
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
        mem_mb=requests.by_volume(1000, 30),
        runtime=requests.by_volume(5, 1),
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
        dataset=one_of(cases.phantoms()),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        phantom=settings.section("phantom"),
        code=code("phantom"),
    script:
        "../workflow_scripts/phantom.py"


# Compute nodes often have no network, so downloads are local. No `code`: the checksum states the content.
rule download_fetal_sample:
    output:
        ensure("data/fetal_sample/{file}", sha256=field_of(FETAL_SAMPLE, "sha256")),
    log:
        "logs/fetal_sample/download/{file}.log",
    benchmark:
        "results/fetal_sample/benchmarks/download/{file}.tsv"
    wildcard_constraints:
        file=one_of(FETAL_SAMPLE),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        url=field_of(FETAL_SAMPLE, "url"),
        sha256=field_of(FETAL_SAMPLE, "sha256"),
    script:
        "../workflow_scripts/download.py"


rule download_promise12:
    output:
        ensure("data/promise12/{file}", non_empty=True),
    log:
        "logs/promise12/download/{file}.log",
    benchmark:
        "results/promise12/benchmarks/download/{file}.tsv"
    wildcard_constraints:
        file=one_of(PROMISE12),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        url=field_of(PROMISE12, "url"),
        sha256=field_of(PROMISE12, "sha256"),
    script:
        "../workflow_scripts/download.py"


rule promise12_unzip:
    input:
        archive="data/promise12/{folder}.zip",
    output:
        folder=directory("data/promise12/{folder}"),
    log:
        "logs/promise12/unzip/{folder}.log",
    benchmark:
        "results/promise12/benchmarks/unzip/{folder}.tsv"
    wildcard_constraints:
        folder=one_of(folders_of(PROMISE12)),
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


# A checkpoint, because the labels in the archives decide which cases there are, and their split.
checkpoint promise12_sheet:
    input:
        folders=cases.promise12_folders(PROMISE12),
    output:
        sheet="data/promise12/samples.tsv",
        split="data/promise12/split.txt",
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
        root=cases.promise12_root,
        code=code("promise12_sheet"),
    script:
        "../workflow_scripts/promise12_sheet.py"
