"""What jobs ask of their machine, and what the profiles make of it; planned, not run."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from snakemake.profiles import ProfileConfigFileParser

ROOT = Path(__file__).parents[2]
SLURM = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
RULES = {
    block.split()[1].rstrip(":"): block
    for path in (ROOT / "rules").glob("*.smk")
    for block in re.split(r"(?m)^(?=\S)", path.read_text())
    if re.match(r"(?:rule|checkpoint) \w+:", block)
}
MINE = """
run: [mine]
datasets:
  mine:
    like: phantom
    samples: mine/samples.tsv
    training: {variants: [triple], seeds: [0]}
"""
CASES = 100
STAGES = {  # those that every volume goes through
    "preprocess",
    "preprocess_label",
    "everything_mode",
    "shape_priors",
    "roi_features",
    "pseudo_label",
    "predict",
}


GPU_RULES = {name for name, rule in RULES.items() if re.search(r"(?m)^ +gpu=", rule)}
USING = {"predict_last"}  # takes what it does not state from another rule
GPU_RULES |= USING


@pytest.fixture(scope="module")
def planned(shared_checkout):
    """Gives the output of a dry run for so many cases, of which one is larger than the others."""
    folder = shared_checkout.path / "mine"
    folder.mkdir()
    for name, shape in (("small", (4, 100, 100)), ("large", (100, 300, 400))):
        image = sitk.GetImageFromArray(np.zeros(shape, np.uint8))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"), useCompression=True)
    (shared_checkout.path / "mine.yaml").write_text(MINE)
    for model in ("sam", "dino"):
        (shared_checkout.path / f"resources/compact_{model}.pt").touch()

    def plan(*arguments: str, cases: int = 4) -> str:
        rows = ["case\timage\tlabel\tsplit"]
        for number in range(cases):
            name, split = "small" if number else "large", ("train", "val", "test")[number % 3]
            rows.append(f"p{number:03d}\t{name}.nii.gz\t{name}.nii.gz\t{split}")
        (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
        return shared_checkout.snakemake(*arguments, "--dry-run", "--configfile", "mine.yaml")

    return plan


def jobs(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """(rule, case) -> the resources of each job of a dry run's output, with its threads."""
    found = {}
    for block in re.split(r"(?m)^\s*(?=rule \w+:$)", text)[1:]:
        rule = re.match(r"rule (\w+):", block).group(1)
        case = re.search(r"wildcards:.*?\bcase=([\w-]+)", block)
        resources = re.search(r"resources: (.*)", block).group(1)
        pairs = dict(pair.split("=", 1) for pair in resources.split(", "))
        pairs["threads"] = (re.search(r"threads: (\d+)", block) or [0, "1"])[1]
        found[rule, case.group(1) if case else ""] = pairs
    return found


@pytest.fixture(scope="module")
def first_attempt(planned):
    return jobs(planned("--cores", "8"))


@pytest.fixture(scope="module")
def on_slurm(planned):
    return planned("--profile", "profiles/slurm", cases=CASES)


def test_a_larger_volume_asks_for_more(first_attempt):
    megavoxels = (100 * 300 * 400 - 4 * 100 * 100) / 1e6
    for rule in STAGES:
        small, large = (first_attempt[rule, case] for case in ("p001", "p000"))
        assert int(large["mem_mb"]) - int(small["mem_mb"]) > 20 * megavoxels, rule
        assert int(large["runtime"]) > int(small["runtime"]), rule


def test_a_new_attempt_asks_for_twice_as_much(planned, first_attempt):
    third = jobs(planned("--cores", "8", "--attempt", "3"))
    assert set(third) == set(first_attempt)
    for key, asked in first_attempt.items():
        if key[0] in {*STAGES, "train", "metrics", "roi_ious"}:
            for name in ("mem_mb", "runtime"):
                assert 4 * int(asked[name]) - int(third[key][name]) in range(4), key


def test_a_hundred_volumes_are_some_dozen_submissions(on_slurm):
    grouped = on_slurm.count("Group job ")
    assert sum(rule in STAGES for rule, _ in jobs(on_slurm)) == len(STAGES) * CASES
    alone = re.findall(r"(?m)^rule (\w+):$", on_slurm)
    assert not STAGES & set(alone)
    assert grouped + len(alone) < CASES


def test_every_rule_of_a_case_shares_submissions():
    """Also those of rows that only some configurations ask for."""
    groups = SLURM["groups"]
    outputs = {name: re.search(r"output:(.*?) log:", RULES[name], re.DOTALL) for name in RULES}
    of_a_case = {name for name, output in outputs.items() if output and "{case}" in output[1]}
    assert of_a_case > STAGES
    assert of_a_case <= set(groups)
    assert set(groups) - USING <= set(RULES)
    for name in of_a_case:
        assert SLURM["group-components"][groups[name]] > 1, name


def test_the_form_of_the_gpu_request_is_that_of_every_gpu_rule():
    assert set(SLURM["set-resources"]) == GPU_RULES


def test_gpu_stages_ask_slurm_for_a_gpu_and_the_others_do_not(on_slurm):
    asked = jobs(on_slurm)
    assert {rule for rule, _ in asked} > {"everything_mode", "train", "predict", "predict_last"}
    for (rule, _), resources in asked.items():
        expected = "1" if rule in GPU_RULES else "0"
        assert resources.get("gpu", "0") == expected, rule


def test_the_gres_form_is_one_commented_line_away(planned, shared_checkout):
    path = shared_checkout.path / "profiles/slurm/profile.yaml"
    before = path.read_text()
    of_gpu, of_gres = (
        "  everything_mode: &gpu_job {gpu: 1} #",
        "  # everything_mode: &gpu_job {gpu: 0,",
    )
    assert of_gpu in before
    assert of_gres in before
    path.write_text(before.replace(of_gpu, "  #").replace(of_gres, of_gres.replace("# ", "")))
    try:
        asked = jobs(planned("--profile", "profiles/slurm"))
    finally:
        path.write_text(before)
    forms = {(asked[key]["gpu"], asked[key]["gres"]) for key in asked if key[0] in GPU_RULES}
    assert forms == {("0", "gpu:1")}


@pytest.mark.parametrize(
    ("visible", "gpus"), [("2", 1), ("0,3,5", 3), ("GPU-a,GPU-b", 2), ("", os.cpu_count())]
)
def test_the_local_profile_counts_gpus_and_works_without_one(visible, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    path = ROOT / "profiles/local/profile.yaml"
    with open(path) as file:
        limits = dict(
            pair.split("=") for pair in ProfileConfigFileParser().parse(file)["resources"]
        )
    assert int(limits["gpu"]) == gpus
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    assert 0 < int(limits["mem_mb"]) < memory


def test_no_job_asks_for_more_than_the_machine_has(planned, first_attempt):
    assert max(int(job["mem_mb"]) for job in first_attempt.values() if "mem_mb" in job) > 1500
    assert max(int(job["threads"]) for job in first_attempt.values()) == 4
    limits = ["--cores", "3", "--resources", "mem_mb=1500", "gpu=1"]
    asked = jobs(planned("--profile", "profiles/local", *limits))
    assert max(int(job["mem_mb"]) for job in asked.values() if "mem_mb" in job) == 1500
    assert max(int(job["threads"]) for job in asked.values()) == 3


def test_rules_without_a_script_run_where_snakemake_runs():
    """Targets and downloads must not wait in the queue of a cluster."""
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    for block in re.split(r"(?m)^(?=\S)", "\n".join(path.read_text() for path in files)):
        if target := re.match(r"rule (\w+):", block):
            local = "localrule: True" in block
            assert local == ("script:" not in block or "download.py" in block), target.group(1)
