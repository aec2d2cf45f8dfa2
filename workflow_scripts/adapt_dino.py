"""DINO's training gone on with on the training slices: no label, SAM's ROIs as regions."""

from umsam.jobs import job

with job(snakemake):
    from pathlib import Path

    import torch

    from umsam.data.volumes import read_array
    from umsam.devices import default_device
    from umsam.files import atomic_write
    from umsam.pretraining.dino_training import adaptation, train_dino
    from umsam.pretraining.slice_pairs import CaseRois, slice_pairs
    from umsam.models.compact_dino import save_weights
    from umsam.models.dino import load_dino
    from umsam.pseudo_labels.shape_priors import read_rois

    torch.set_num_threads(snakemake.threads)
    device, settings = default_device(), snakemake.params.dino
    initial = snakemake.input.get("dino_weights")
    dino = load_dino(settings["model"], initial, device, settings["image_size"], settings["sha256"])

    cases = []
    files = (snakemake.input.volumes, snakemake.input.rois, snakemake.input.masks)
    for volume, table, masks in zip(*files, strict=True):
        rois = read_rois(table)
        cases.append(CaseRois(read_array(volume), rois[rois["valid"]], Path(masks)))

    source, count = slice_pairs(cases, dino)
    training = adaptation(snakemake.params.steps, count, dino.patch)
    adapted = train_dino(training, source, initial=dino.model, device=device)
    with atomic_write(snakemake.output.weights) as path:
        save_weights(adapted, path)
