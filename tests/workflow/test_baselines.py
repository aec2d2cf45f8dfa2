"""Rows of Table 1 whose weights are here, missing, wrong or fetched."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
RUNNABLE = ["sam_point", "sam_box_1.3", "sam_box_1.4", "cryosam", "kmeans_intensity", "kmeans_dino"]
WITHOUT_WEIGHTS = {
    "sam2_point": "weights/sam2.1-hiera-large lacks config.json, model.safetensors",
    "sam2_box": "weights/sam2.1-hiera-large lacks config.json, model.safetensors",
    "salip": "weights/clip-vit-large-patch14 lacks",
    "medclip_sam": "weights/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224 lacks",
}


@pytest.fixture
def repository(checkout, monkeypatch, tmp_path):
    """A checkout whose phantom data set asks for every row of the paper; no hub's cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    overlay(checkout, methods=[*RUNNABLE, *WITHOUT_WEIGHTS])
    return checkout


def overlay(checkout, **baselines):
    text = yaml.safe_dump({"datasets": {"phantom": {"baselines": baselines}}})
    (checkout.path / "rows.yaml").write_text(text)


def with_rows(*targets):
    return "--configfile", "config.yaml", "rows.yaml", "--", *targets


def write_metrics(checkout, methods):
    folder = checkout.path / "results/phantom/metrics"
    folder.mkdir(parents=True)
    columns = "case,split,dsc,assd_mm,assd_voxel,dsc_positive_slices,flags,seconds\n"
    for method in methods:
        (folder / f"{method}.csv").write_text(columns + "a,test,0.5,1,1,0.5,,2\n")


def test_missing_weights_are_told_once_and_the_other_rows_complete(repository):
    networks = [f"{net}_seed0{end}" for net in ("supervised", "triple") for end in ("", "_last")]
    write_metrics(repository, [*RUNNABLE, *networks])
    table = "results/phantom/tables/table1.csv"
    text = repository.snakemake(
        "--cores", "1", "--allowed-rules", "comparison_table", *with_rows(table)
    )
    rows = pd.read_csv(repository.path / table).set_index("row")
    for method, message in WITHOUT_WEIGHTS.items():
        assert text.count(f"{method}: not run: {message}") == 1
        assert rows.loc[method, "n"] == 0
        assert message in rows.loc[method, "not_run"]
        assert "https://huggingface.co/" in rows.loc[method, "not_run"]
    assert (rows.loc[[*RUNNABLE, *networks], "n"] == 1).all()
    note = (repository.path / table.replace("csv", "md")).read_text()
    assert (
        f"SAM2 (1 fg/volume), SAM2 (1 bbox/volume): not run, {WITHOUT_WEIGHTS['sam2_box']}" in note
    )


def test_rows_run_once_their_weights_are_there(repository):
    folder = repository.path / "weights/sam2.1-hiera-large"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    planned = repository.planned(*with_rows("baselines"))
    assert planned["sam2_video"] == 4  # two rows, two labelled test cases
    assert (planned["sam_prompts"], planned["cryosam"], planned["kmeans_baseline"]) == (6, 2, 4)
    assert "download_weights" not in planned


def test_offline_nothing_is_fetched(repository):
    text = repository.snakemake(
        "-n", *with_rows("baseline_weights"), check=False, HF_HUB_OFFLINE="1"
    )
    assert "HF_HUB_OFFLINE is set" in text
    assert "weights/sam2.1-hiera-large/model.safetensors" in text


@pytest.fixture
def server(tmp_path):
    """A folder of files behind an address, in the place of the hub."""
    folder = tmp_path / "hub"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{service.server_port}"
    service.shutdown()


def test_weights_are_fetched_and_checked(repository, server):
    folder, url = server
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    weights = {
        "sam2": {"url": url, "sha256": {"model.safetensors": right}},
        "dinov2": {"url": url, "sha256": {"model.safetensors": "0" * 64}},
    }
    overlay(
        repository,
        methods=["sam2_point", "cryosam"],
        cryosam={"features": "dinov2"},
        weights=weights,
    )
    text = repository.snakemake(
        *("--cores", "1", "--keep-going"),
        *with_rows("baseline_weights"),
        check=False,
        no_proxy="127.0.0.1",
    )
    assert sorted(files_of_weights(repository)) == [
        "sam2.1-hiera-large/config.json",
        "sam2.1-hiera-large/model.safetensors",
    ], text
    assert f"{url}/model.safetensors: not the expected file: sha256 expected {'0' * 64}" in text


def files_of_weights(checkout):
    folder = checkout.path / "weights"
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_data_sets_side_by_side(repository):
    run = ("--config", "run=phantom,phantom_area")
    for name, value in (("phantom", 0.9), ("phantom_area", 0.5)):
        folder = repository.path / f"results/{name}/tables"
        folder.mkdir(parents=True)
        pd.DataFrame(
            {
                "dataset": [name],
                "method": ["Ours"],
                "supervision": ["none"],
                "n": [2],
                **{f"{m}_{s}": [value] for m in ("dsc", "assd_mm") for s in ("mean", "std")},
                "seconds_per_volume": [1.0],
                "prompt": ["/"],
                "row": ["triple_seed0"],
                "not_run": [""],
            }
        ).to_csv(folder / "table1.csv", index=False)
    table = "results/tables/table1.md"
    repository.snakemake("--cores", "1", "--allowed-rules", "joint_table", *run, "--", table)
    line = (repository.path / table).read_text().splitlines()[4]
    assert "90.00 ± 90.00" in line
    assert "50.00 ± 50.00" in line


@pytest.mark.slow
def test_small_models_of_the_same_classes_through_the_whole_path(repository, tmp_path, monkeypatch):
    """SAM2 and DINOv2 with random weights in the official formats, on the test volumes."""
    import timm
    from safetensors.torch import save_file

    monkeypatch.syspath_prepend(str(ROOT / "tests/unit/baselines"))
    from small_sam2 import small_sam2

    small_sam2().save_pretrained(tmp_path / "sam2")
    name = "vit_small_patch14_reg4_dinov2.lvd142m"
    (tmp_path / "dinov2").mkdir()
    save_file(timm.create_model(name).state_dict(), tmp_path / "dinov2/model.safetensors")
    overlay(
        repository,
        methods=["sam2_point", "sam2_box", "cryosam"],
        cryosam={"features": "dinov2", "top_k": 2},
        weights={
            "sam2": {"folder": str(tmp_path / "sam2")},
            "dinov2": {"hub": f"timm/{name}", "folder": str(tmp_path / "dinov2")},
        },
    )
    wanted = [f"results/phantom/metrics/{m}.csv" for m in ("sam2_point", "sam2_box", "cryosam")]
    repository.snakemake("--cores", "2", *with_rows(*wanted))
    for path in wanted:
        assert len(pd.read_csv(repository.path / path)) == 2
    sidecar = repository.path / "results/phantom/predictions/sam2_box/site2-02.json"
    assert json.loads(sidecar.read_text())["seconds"] > 0
