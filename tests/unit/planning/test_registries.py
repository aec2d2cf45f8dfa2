"""Each fact is registered once; the schema, the documentation and the profiles agree with it."""

import re
from pathlib import Path

import pytest
import yaml

from umsam.planning.baselines import BASELINES, EXTRA, SAM_BOX, baseline, shown_baselines
from umsam.planning.figures import PRODUCTS
from umsam.planning.validation import read_yaml
from umsam.planning.weights import read_registry
from umsam.pseudo_labels.pseudo_labels import SELECTIONS
from umsam.pseudo_labels.shape_priors import BOUNDED, MEASURES
from umsam.training.variants import VARIANTS

ROOT = Path(__file__).parents[3]
SCHEMA = read_yaml(ROOT / "schemas/config.schema.yaml")["$defs"]
METHODS = {**BASELINES, **EXTRA}
RULES = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))


def test_the_schema_lists_the_comparison_methods():
    items = SCHEMA["baselines"]["properties"]["methods"]["items"]
    named, boxes = items["anyOf"]
    assert set(named["enum"]) == {name for name in METHODS if not SAM_BOX.fullmatch(name)}
    assert re.fullmatch(boxes["pattern"], "sam_box_1.3")
    assert all(name in items["description"] for name in set(METHODS) - {"sam_box_1.4"})


def test_the_defaults_are_the_papers_methods():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert config["baselines"]["methods"] == list(BASELINES)


def test_the_documentation_has_every_method():
    page = (ROOT / "docs/comparison.md").read_text()
    assert all(f"`{name}`" in page for name in METHODS)


def test_every_method_has_a_rule_that_predicts_it():
    constraints = re.findall(r'method=r?"([^"]+)"', RULES)
    own = set(re.findall(r"predictions/([a-z_]+)/\{case\}", RULES))
    for name in METHODS:
        made = name in own or any(re.fullmatch(pattern, name) for pattern in constraints[:-1])
        assert made, name


def test_models_of_methods_are_in_the_table_of_weights():
    registry = read_registry(ROOT / "resources/weights.tsv")
    needed = {key for method in METHODS.values() for key in method.weights}
    needed |= {"dinov2", "sam_vit_b"}  # of CryoSAM and MedCLIP-SAM, depending on the settings
    assert needed == {key for key in registry if not key.startswith("sam_")} | {"sam_vit_b"}
    assert set(SCHEMA["baselines"]["properties"]["weights"]["properties"]) == needed


def test_packages_are_pinned_as_in_the_test_requirements():
    pinned = (ROOT / "requirements-test.txt").read_text().split()
    for method in METHODS.values():
        assert all(package in pinned for package in method.package.split())


def test_every_method_is_shown_once_and_in_order():
    rows = shown_baselines([*METHODS, "sam_box_2", "sam_box_1.1"])
    assert [row for row in rows if row in BASELINES] == list(BASELINES)
    assert rows[3:5] == ["sam_box_1.1", "sam_box_2"]
    assert rows[-1] == "nnunet"
    assert all(baseline(row) for row in rows)


def test_the_schema_lists_variants_attributes_and_choices():
    training = SCHEMA["training"]["properties"]
    assert set(training["variants"]["items"]["enum"]) == set(VARIANTS)
    target = SCHEMA["target"]["properties"]
    assert set(target["attribute"]["enum"]) <= set(MEASURES)
    assert set(target["select"]["enum"]) == set(SELECTIONS)
    assert set(SCHEMA["shape_priors"]["properties"]) == set(BOUNDED)
    assert set(BOUNDED.values()) <= set(MEASURES)


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_has_a_target_or_is_made_by_default(name):
    snakefile = (ROOT / "Snakefile").read_text()
    assert PRODUCTS[name].default or f'of_run("{name}")' in snakefile


@pytest.mark.parametrize("name", [n for n, p in PRODUCTS.items() if "figures" in p.patterns[0]])
def test_every_figure_has_a_rule_and_a_caption(name):
    assert f"figures/{name}.pdf" in RULES
    assert (ROOT / f"captions/{name}.rst").is_file()
    assert f'caption="../captions/{name}.rst"' in RULES
