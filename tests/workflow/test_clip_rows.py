"""SaLIP and MedCLIP-SAM in the plan of a run: each where its texts and weights are there."""

CLIP = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
        "model.safetensors")  # fmt: skip
BIOMEDCLIP = ("open_clip_config.json", "open_clip_pytorch_model.bin")
SETTINGS = """
datasets:
  phantom:
    baselines:
      methods: [salip, medclip_sam]
      descriptions: mine.yaml
      weights:
        clip: {folder: models}
        biomedclip: {folder: models}
        biomedbert: {folder: models}
"""


def test_a_row_without_texts_is_left_out_and_says_why(checkout):
    (checkout.path / "models").mkdir()
    for name in {*CLIP, *BIOMEDCLIP, "vocab.txt"}:
        (checkout.path / "models" / name).touch()
    (checkout.path / "overlay.yaml").write_text(SETTINGS)
    overlay = ("--configfile", "config.yaml", "overlay.yaml", "--")
    (checkout.path / "mine.yaml").write_text("salip: [a round brain]\n")
    planned = checkout.planned(*overlay, "baselines")
    assert planned["salip"] == 2  # test cases
    assert planned["everything_mode"] > 2
    assert "medclip_sam" not in planned
    row = "results/phantom/predictions/medclip_sam/site2-02.nii.gz"
    text = checkout.snakemake("--dry-run", *overlay, row, check=False)
    assert (
        "mine.yaml: needs at least one text that describes the organ under 'medclip_sam:'" in text
    )
