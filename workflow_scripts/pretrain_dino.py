"""Train the compact DINO on procedural images; a run that was stopped goes on from its state."""

from umsam.jobs import job

with job(snakemake):
    from pathlib import Path

    import torch

    from umsam.files import whole
    from umsam.pretraining.dino_criterion import tissue_monitor
    from umsam.pretraining.dino_training import dino_settings, procedural_source, train_dino
    from umsam.pseudo_labels.compact_dino import save_compact_dino

    torch.set_num_threads(snakemake.threads)
    torch.set_flush_denormal(True)  # as `default_device` does: a softmax is full of them
    checkpoint = Path(snakemake.output[0])
    state_file = checkpoint.with_suffix(".state")
    settings = dino_settings(snakemake.params.dino)
    backbone = train_dino(
        settings, procedural_source(settings.seed), state_file, monitor=tissue_monitor()
    )
    with whole(checkpoint) as temporary:
        save_compact_dino(backbone, temporary)
    state_file.unlink()
