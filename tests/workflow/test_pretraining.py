"""The compact SAM, trained by its rule: several runs, each from where the one before ended."""

import json

import torch

from umsam.models.compact_sam import build_compact_sam

TINY = {
    "steps": 1, "batch_size": 1, "processes": 1, "points": 1, "background_points": 1, "anchors": 2,
    "validation_scenes": 1, "calibration_scenes": 1, "warm_up": 0,
}  # fmt: skip


def test_a_run_starts_where_the_one_before_ended(checkout):
    """The second run, at a learning rate of 0, leaves the encoder as it found it."""
    runs = [TINY, {**TINY, "learning_rate": 0.0, "seed": 1}]
    settings = {"pretraining": {"sam": runs, "dino": {}}}
    (checkout.path / "tiny.yaml").write_text(json.dumps(settings))
    last = "results/pretraining/compact_sam.pt"
    arguments = ("--cores", "1", "--configfile", "tiny.yaml", "--", last)
    assert checkout.planned(*arguments) == {"pretrain_sam": 2}
    checkout.snakemake(*arguments)
    first = "results/pretraining/compact_sam_1.pt"
    started, ended = (
        build_compact_sam(checkout.path / name).image_encoder.state_dict() for name in (first, last)
    )
    assert all(torch.equal(value, ended[name]) for name, value in started.items())
