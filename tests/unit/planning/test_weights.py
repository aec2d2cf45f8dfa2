"""Where weights are searched for, what is said if they are missing, and which file a job uses."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from umsam.errors import InputError
from umsam.planning.configuration import Settings
from umsam.planning.weights import (
    COLUMNS,
    Weights,
    explain_missing,
    find_folder,
    is_offline,
    read_registry,
)

ROOT = Path(__file__).parents[3]
FILES = ("config.json", "model.safetensors")
CHECKSUM = "0" * 64
JOB = SimpleNamespace(dataset="mine", case="a")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def registry(tmp_path):
    rows = [
        ["big", "someone/big-model", "abc123", "config.json", "", "", ""],
        ["big", "someone/big-model", "abc123", "model.safetensors", "", CHECKSUM, "7"],
        ["sam_vit_b", "", "", "sam_vit_b.pth", "https://example.org/b_1.pth", CHECKSUM, ""],
    ]
    table = tmp_path / "weights.tsv"
    table.write_text("\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\n")
    return read_registry(table)


def fill(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)


def test_addresses_are_the_hubs_or_stated(registry):
    hub = "https://huggingface.co/someone/big-model/resolve/abc123"
    assert [file.url for file in registry["big"].files.values()] == [f"{hub}/{f}" for f in FILES]
    assert registry["big"].checksums == {"config.json": None, "model.safetensors": CHECKSUM}
    assert registry["sam_vit_b"].files["sam_vit_b.pth"].url == "https://example.org/b_1.pth"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["big", "a/b", "c", "f", "", "123", ""], "'123', does not have 64 hexadecimal digits"),
        (["big", "a/b", "c", "f", "", "", "1 GB"], "the size of f, '1 GB', is not a number"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, words):
    table = tmp_path / "weights.tsv"
    table.write_text("\t".join(COLUMNS) + "\n" + "\t".join(row) + "\n")
    with pytest.raises(InputError, match=words):
        read_registry(table)


def test_the_message_names_files_source_and_folder(registry, tmp_path):
    model = registry["big"]
    assert find_folder(model, tmp_path) is None
    fill(tmp_path / "weights/big-model", "config.json")
    text = explain_missing(model, tmp_path)
    assert text.startswith("weights/big-model lacks model.safetensors:")
    assert "https://huggingface.co/someone/big-model/resolve/abc123" in text
    assert "snakemake baseline_weights" in text
    assert "baselines.weights.big.folder" in text
    fill(tmp_path / "weights/big-model", "model.safetensors")
    assert explain_missing(model, tmp_path) == ""
    assert find_folder(model, tmp_path) == tmp_path / "weights/big-model"


def test_the_users_folder_is_the_only_place_and_has_the_users_checksums(registry, tmp_path):
    fill(tmp_path / "weights/big-model", *FILES)
    own = registry["big"].override({"folder": str(tmp_path / "mine")})
    assert find_folder(own) is None
    assert "mine (baselines.weights.big.folder) lacks config.json, model" in explain_missing(own)
    fill(tmp_path / "mine", *FILES)
    assert find_folder(own) == tmp_path / "mine"
    assert own.checksums == dict.fromkeys(FILES)
    stated = registry["big"].override({"folder": "mine", "sha256": {"config.json": "1" * 64}})
    assert stated.checksums == {"config.json": "1" * 64, "model.safetensors": None}


def test_the_cache_of_the_hub_is_found_by_commit_and_by_branch(registry, tmp_path):
    snapshot = tmp_path / "cache/models--someone--big-model/snapshots/abc123"
    fill(snapshot, *FILES)
    assert find_folder(registry["big"], tmp_path) == snapshot
    branch = registry["big"].override({"revision": "main"})
    assert find_folder(branch, tmp_path) is None
    fill(tmp_path / "cache/models--someone--big-model/refs")
    (tmp_path / "cache/models--someone--big-model/refs/main").write_text("abc123\n")
    assert find_folder(branch, tmp_path) == snapshot


def test_another_address_has_other_files():
    registry = read_registry(ROOT / "resources/weights.tsv")
    moved = registry["sam2"].override({"url": "https://example.org/files/"})
    assert moved.source == "https://example.org/files"
    assert moved.checksums == dict.fromkeys(FILES)
    hub = registry["sam2"].override({"hub": "me/mine", "revision": "v1"})
    assert hub.source == "https://huggingface.co/me/mine/resolve/v1"
    assert hub.target == Path("weights/mine")
    pinned = registry["sam2"].override({"sha256": {"config.json": "1" * 64}})
    assert pinned.checksums == registry["sam2"].checksums | {"config.json": "1" * 64}
    assert pinned.source == registry["sam2"].source


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_offline_is_read_as_the_hubs_client_reads_it(value, offline, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() == offline


def weights(**sections):
    block = {"like": "phantom", "samples": "samples.tsv", **sections}
    return Weights(Settings({"run": ["mine"], "datasets": {"mine": block}}, ROOT))


def test_the_checkpoint_is_the_users_the_shipped_or_the_downloaded_one(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert weights().sam(JOB) == "resources/compact_sam.pt"
    assert weights().dino(JOB) == "resources/compact_dino.pt"
    assert weights(sam={"model": "vit_h"}).sam(JOB) == "weights/sam_vit_h.pth"
    assert weights(dino={"model": "vit_small_patch8_224.dino"}).dino(JOB) == []
    assert weights(sam={"checkpoint": "my.pth"}).sam(JOB) == "my.pth"
    monkeypatch.chdir(tmp_path)
    assert weights().sam(JOB) == str(ROOT / "resources/compact_sam.pt")


def test_the_content_of_a_checkpoint_identifies_it_and_its_path_does_not(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    identities = []
    for name, content in (("a.pth", "x"), ("b.pth", "x"), ("c.pth", "y")):
        (tmp_path / name).write_text(content)
        identities.append(weights(sam={"checkpoint": name}).sam_identity(JOB))
    assert identities[0] == identities[1] != identities[2]
    assert weights(sam={"model": "vit_b"}).sam_content(JOB) == ""  # it may not be there yet


def test_a_checkpoint_that_does_not_exist_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dino\.checkpoint: none\.pth: no such file"):
        weights(dino={"checkpoint": "none.pth"}).check_files()
    with pytest.raises(InputError, match=r"sam\.checkpoint: .*: is a folder, not a file"):
        weights(sam={"checkpoint": str(tmp_path)}).check_files()
    weights().check_files()


def test_downloads_are_all_sams_and_the_models_of_the_rows(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    files = weights().downloads({"mine": ["clip"]})
    assert {"sam_vit_b.pth", "clip-vit-large-patch14/config.json"} <= set(files)
    assert not [name for name in files if name.startswith("sam2.1")]
    own = weights(baselines={"weights": {"clip": {"folder": "mine"}}})
    assert not [name for name in own.downloads({"mine": ["clip"]}) if "clip" in name]
