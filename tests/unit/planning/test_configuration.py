from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest

from umsam.errors import InputError
from umsam.numbers import parse_number
from umsam.planning.configuration import (
    SECTIONS,
    Settings,
    merge,
    resolve,
    with_defaults,
)
from umsam.planning.validation import REMOVED, RENAMED, check, check_resolved, read_yaml

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "schemas/config.schema.yaml"


@pytest.fixture
def config():
    return with_defaults({}, ROOT)


def test_the_shipped_configuration_is_valid(config):
    check(config, SCHEMA)
    for dataset in config["datasets"]:
        check_resolved(resolve(config, dataset), dataset)


def test_the_reference_generator_has_one_precision(config):
    settings = resolve(config, "phantom")
    settings["sam"]["precision"] = "bf16"
    check_resolved(settings, "phantom")
    settings["sam"]["generator"] = "reference"
    with pytest.raises(InputError, match=r"'phantom', sam\.precision is bf16.*generator: fast"):
        check_resolved(settings, "phantom")


def test_the_papers_values(config):
    fetal, prostate = resolve(config, "fetal_brain"), resolve(config, "promise12")
    assert fetal["sam"]["points_per_side"] == 32
    assert prostate["sam"]["points_per_side"] == 48
    assert fetal["sam"]["model"] == prostate["sam"]["model"] == "vit_h"
    assert [
        parse_number(fetal["shape_priors"][b]) for b in ("v_min", "v_max", "a_min", "a_max")
    ] == [
        0.01,
        0.25,
        2 / 3,
        1.5,
    ]
    assert [prostate["shape_priors"][b] for b in ("v_min", "v_max", "a_min", "a_max")] == [
        0.01,
        0.2,
        0.5,
        2.0,
    ]
    assert (fetal["clustering"]["k"], prostate["clustering"]["k"]) == (8, 10)
    assert (fetal["target"]["attribute"], fetal["target"]["prior"]) == ("aspect_ratio", 1.0)
    assert (prostate["target"]["attribute"], prostate["target"]["prior"]) == ("area_mm2", 1200)
    for settings, lambda_1 in ((fetal, 0.1), (prostate, 0.5)):
        training = settings["training"]
        assert (training["lambda_1"], training["lambda_2"], training["tau"]) == (
            lambda_1,
            0.01,
            0.5,
        )
        assert (training["epochs"], training["batch_size"], training["patch_size"]) == (
            200,
            32,
            256,
        )
        assert (training["momentum"], training["weight_decay"]) == (0.9, 5e-4)


def test_every_section_of_a_data_set_exists_as_a_default(config):
    schema = read_yaml(SCHEMA)
    own = {"samples", "data_root", "like", "phantom"}
    assert set(schema["$defs"]["dataset"]["properties"]) == {*SECTIONS, *own}
    for section in SECTIONS:
        described = schema["$defs"][section]["properties"]
        assert set(described) == set(config[section]), section


def test_merge_replaces_lists_and_keeps_its_arguments():
    base, over = {"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}}
    assert merge(base, over) == {"a": {"x": 1, "y": [3]}}
    assert base == {"a": {"x": 1, "y": [1, 2]}}


def test_like_takes_the_science_but_not_the_files(config):
    config["datasets"]["mine"] = {
        "like": "promise12",
        "samples": "mine.tsv",
        "shape_priors": {"v_max": 0.3},
    }
    mine, other = resolve(config, "mine"), resolve(config, "promise12")
    assert mine["samples"] == "mine.tsv"
    assert "data_root" not in mine
    assert mine["shape_priors"] == {**other["shape_priors"], "v_max": 0.3}
    assert {s: mine[s] for s in SECTIONS if s != "shape_priors"} == {
        s: other[s] for s in SECTIONS if s != "shape_priors"
    }


def test_the_order_of_keys_does_not_matter(config):
    before = repr(resolve(config, "phantom"))
    config["shape_priors"] = dict(reversed(config["shape_priors"].items()))
    assert repr(resolve(config, "phantom")) == before


def test_like_of_like_and_circles(config):
    blocks = config["datasets"]
    blocks["a"] = {"samples": "a.tsv", "like": "b"}
    blocks["b"] = {"samples": "b.tsv", "like": "promise12", "clustering": {"k": 5}}
    assert resolve(config, "a")["clustering"]["k"] == 5
    blocks["b"]["like"] = "a"
    with pytest.raises(InputError, match="a -> b -> a"):
        resolve(config, "a")
    with pytest.raises(InputError, match="did you mean 'promise12'"):
        resolve(config, "promise")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["sam", "point_per_side"], 8, "did you mean 'points_per_side'"),
        (["sam", "model"], "vit_x", "'vit_x' is not one of"),
        (["clustering", "k"], 1, "clustering.k: 1 is not a number of clusters"),
        (["shape_priors", "v_min"], "a third", "or a fraction such as 2/3"),
        (["training", "patch_size"], 250, "250 is not a multiple of 16"),
        (["training", "crop"], 256, "training: the key 'crop' is called 'patch_size'"),
        (["datasets", "phantom", "clustering", "whiten"], 8, "'whiten' is called 'pca_components'"),
        (["dino", "adapt"], True, "dino: the key 'adapt' does not exist any more: delete it"),
        (["datasets", "phantom", "labels"], "x", "datasets.phantom: unknown key 'labels'"),
        (["datasets", "promise12", "training", "epoch"], 3, "did you mean 'epochs'"),
        (["baselines", "methods"], ["sam_box"], "'sam_box' is not a row of Table 1: sam_point"),
        (["baselines", "weights"], {"sam2": {"files": {}}}, "'files' is called 'sha256'"),
        (["baselines", "weights"], {"sam3": {}}, "unknown key 'sam3' (did you mean 'sam2'?)"),
        (["colour"], 1, "top level: unknown key 'colour'"),
        (
            ["training", "learning_rate"],
            float("nan"),
            "training.learning_rate: nan is not a finite",
        ),
        (
            ["datasets", "phantom", "target", "prior"],
            float("inf"),
            "prior: inf is not a finite number",
        ),
        (["training", "learning_rate"], "1e-2", "YAML takes it for text; write 0.01"),
        (["training", "epochs"], "3", "values given with --config are text; use --configfile"),
        (
            ["datasets", "mine"],
            None,
            "datasets.mine: None is not of type 'object': the block is emp",
        ),
        (["datasets", "mine"], {"like": "phantom"}, "state the path of the sample sheet"),
        (["baselines", "methods"], ["sam_box_0.0"], "'sam_box_0.0' is not a row of Table 1"),
    ],
)
def test_a_mistake_is_named(config, path, value, words):
    block = config
    for key in path[:-1]:
        block = block[key]
    block[path[-1]] = value
    with pytest.raises(InputError) as caught:
        check(config, SCHEMA)
    assert words in str(caught.value)


def test_bounds_the_wrong_way_round(config):
    settings = deepcopy(resolve(config, "fetal_brain"))
    settings["shape_priors"]["a_min"] = "8/5"
    with pytest.raises(InputError, match=r"shape_priors.a_min \(8/5\) must be below"):
        check_resolved(settings, "fetal_brain")


def test_former_keys_are_gone_and_their_new_names_exist(config):
    for section, keys in RENAMED.items():
        if section != "weights":
            assert set(keys.values()) <= set(config[section])
            assert not set(keys) & set(config[section])
    for section, names in REMOVED.items():
        assert not set(names) & set(config[section])


def test_the_users_values_come_last(tmp_path):
    mine = {
        "run": "phantom, mine",
        "clustering": {"n_init": 3},
        "figures": None,
        "datasets": {"mine": {"samples": "a.tsv"}},
    }
    settings = Settings(mine, ROOT)
    assert settings.run == ["phantom", "mine"]
    assert settings.of("mine")["clustering"]["n_init"] == 3
    assert settings.of("phantom")["clustering"] == {
        **settings.of("mine")["clustering"], "features": "sam", "k": 5, "sse_k": [2, 12]
    }  # fmt: skip


def test_files_of_shipped_data_sets_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    here = Settings({}, ROOT)
    assert here.of("phantom")["samples"] == "resources/phantom.tsv"
    monkeypatch.chdir(tmp_path)
    there = Settings({"datasets": {"mine": {"samples": "resources/mine.tsv"}}}, ROOT)
    assert there.of("phantom")["samples"] == str(ROOT / "resources/phantom.tsv")
    assert there.of("promise12")["samples"] == "data/promise12/samples.tsv"  # a rule makes it
    assert there.of("mine")["samples"] == "resources/mine.tsv"
    descriptions = there.of("fetal_brain")["baselines"]["descriptions"]
    assert descriptions == str(ROOT / "resources/descriptions/fetal_brain.yaml")


def test_values_and_sections_for_rules(monkeypatch):
    monkeypatch.chdir(ROOT)
    settings, job = Settings({}, ROOT), SimpleNamespace(dataset="phantom")
    assert settings.value("clustering.k")(job) == 5
    assert settings.section("figures")(job)["cases"] == 2


def test_a_change_of_a_result_is_a_return(config):
    """What `resolve` returns may be changed without an effect on the configuration."""
    resolve(config, "phantom")["clustering"]["k"] = 99
    assert resolve(config, "phantom")["clustering"]["k"] == 5
