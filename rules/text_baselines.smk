# The comparison methods that search for a text: SaLIP and MedCLIP-SAM.


# SaLIP uses the same everything-mode masks as the pseudo-labels.
rule salip:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        descriptions=comparison.descriptions("salip"),
        sam_weights=ancient(weights.sam),
        weights=ancient(weights.files("clip")),
    output:
        mask="results/{dataset}/predictions/salip/{case}.nii.gz",
        time="results/{dataset}/predictions/salip/{case}.json",
    log:
        "logs/{dataset}/salip/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/salip/{case}.tsv"
    conda:
        "../envs/baselines.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_volume(12000, 200),
        runtime=requests.by_volume(30, 20),
        gpu=1,
    params:
        sam=weights.sam_identity,
        settings=settings.value("baselines.salip"),
        sha256=weights.checksums("clip"),
        code=code("salip"),
    script:
        "../workflow_scripts/salip.py"


rule medclip_sam:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        descriptions=comparison.descriptions("medclip_sam"),
        sam_weights=ancient(comparison.medclip_sam_weights),
        weights=ancient(weights.files("biomedclip")),
        text_weights=ancient(weights.files("biomedbert")),
    output:
        mask="results/{dataset}/predictions/medclip_sam/{case}.nii.gz",
        time="results/{dataset}/predictions/medclip_sam/{case}.json",
    log:
        "logs/{dataset}/medclip_sam/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/medclip_sam/{case}.tsv"
    conda:
        "../envs/baselines.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_volume(12000, 200),
        runtime=requests.by_volume(30, 40),
        gpu=1,
    params:
        sam=comparison.medclip_sam_identity,
        settings=comparison.medclip_sam_settings,
        sha256=weights.checksums("biomedclip"),
        text_sha256=weights.checksums("biomedbert"),
        code=code("medclip_sam"),
    script:
        "../workflow_scripts/medclip_sam.py"
