# The methods of Table 1 that look for a text: SaLIP and MedCLIP-SAM.


# Everything mode's masks are those that the pseudo-labels are made of.
rule salip:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        descriptions=descriptions_of("salip"),
        sam_weights=ancient(sam_weights_of),
        weights=ancient(weights_of("clip")),
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
        mem_mb=by_size(12000, 200),
        runtime=by_size(30, 20),
        gpu=1,
    params:
        sam=sam_identity,
        settings=setting("baselines.salip"),
        sha256=checksums_of("clip"),
        code=code("salip"),
    script:
        "../workflow_scripts/salip.py"


def medclip_sam_weights(wildcards):
    """The checkpoint of the SAM that is given the box."""
    if medclip_sam_model(wildcards.dataset) == "own":
        return sam_weights_of(wildcards)
    return weights_of("sam_vit_b")(wildcards)[0]


def medclip_sam_identity(wildcards):
    """Which SAM that is."""
    if medclip_sam_model(wildcards.dataset) == "own":
        return sam_identity(wildcards)
    (sha256,) = checksums_of("sam_vit_b")(wildcards).values()
    return {"model": "vit_b", "sha256": sha256}


def medclip_sam_settings(wildcards):
    """Without the choice of SAM, which `sam` states."""
    chosen = settings(wildcards.dataset)["baselines"]["medclip_sam"]
    return {key: value for key, value in chosen.items() if key != "sam"}


rule medclip_sam:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        descriptions=descriptions_of("medclip_sam"),
        sam_weights=ancient(medclip_sam_weights),
        weights=ancient(weights_of("biomedclip")),
        text_weights=ancient(weights_of("biomedbert")),
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
        mem_mb=by_size(12000, 200),
        runtime=by_size(30, 40),
        gpu=1,
    params:
        sam=medclip_sam_identity,
        settings=medclip_sam_settings,
        sha256=checksums_of("biomedclip"),
        text_sha256=checksums_of("biomedbert"),
        code=code("medclip_sam"),
    script:
        "../workflow_scripts/medclip_sam.py"
