# A DINO that goes on learning on the training slices before it is used, where `dino.adapt` says so.
# No label has part in it: an ROI that SAM finds again on the next slice is one thing seen twice.
ADAPTED = [
    name
    for name in config["datasets"]
    for chosen in [or_stop(configuration.resolve, config, name)]
    if chosen["dino"]["adapt"] and chosen["clustering"]["features"] != "sam"
]


def dino_to_adapt(wildcards):
    """The checkpoint that it starts from; none where timm's hub has it."""
    return {"dino_weights": ancient(dino_weights_of(wildcards))} if dino_weights_of(wildcards) else {}


def adapted_dino(wildcards):
    """Of the checkpoint that a rule has made there is no checksum."""
    return dino_identity(wildcards) | {"sha256": None}


rule adapt_dino:
    input:
        unpack(dino_to_adapt),
        volumes=per_case("results/{dataset}/volumes/{case}.nii.gz", "train"),
        masks=per_case("results/{dataset}/sam_masks/{case}", "train"),
        rois=per_case("results/{dataset}/rois/{case}.csv", "train"),
    output:
        weights="results/{dataset}/dino/adapted.pt",
    log:
        "logs/{dataset}/adapt_dino.log",
    benchmark:
        "results/{dataset}/benchmarks/adapt_dino.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=by_size(4000, 10, training_volumes_in_all),
        runtime=60,
        gpu=1,
    params:
        dino=dino_identity,
        steps=setting("dino.adapt_steps"),
        code=code("adapt_dino"),
    script:
        "../workflow_scripts/adapt_dino.py"


ruleorder: adapted_features > dino_features


# A rule of its own, because on a cluster dino_features shares a submission with what comes before.
use rule dino_features as adapted_features with:
    input:
        unpack(sam_source),
        dino_weights="results/{dataset}/dino/adapted.pt",
        volume="results/{dataset}/volumes/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        rois="results/{dataset}/rois/{case}.csv",
    log:
        "logs/{dataset}/adapted_features/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/adapted_features/{case}.tsv"
    wildcard_constraints:
        dataset=one_of(ADAPTED),
    params:
        source=setting("clustering.features"),
        dino=adapted_dino,
        field_of_view=view_of_features,
        rim=setting("clustering.rim"),
        code=code("dino_features"),
