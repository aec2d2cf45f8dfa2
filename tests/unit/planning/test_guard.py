import inspect

import pytest

from umsam.errors import InputError
from umsam.planning.guard import Guard, guard


class Planner:
    label = "a label"

    def sheet(self, case):
        if case == "bad":
            raise InputError("sheet.tsv, line 3: no such case. Correct it.")
        return case.upper()

    def later(self):
        return lambda wildcards, attempt: self.sheet(wildcards)


def test_results_pass_through():
    planner = Guard(Planner())
    assert planner.label == "a label"
    assert planner.sheet("good") == "GOOD"
    assert planner.later()("good", 1) == "GOOD"


@pytest.mark.parametrize("call", [lambda p: p.sheet("bad"), lambda p: p.later()("bad", 1)])
def test_a_mistake_ends_the_run_with_its_message(call):
    with pytest.raises(SystemExit, match=r"^sheet\.tsv, line 3: no such case\. Correct it\.$"):
        call(Guard(Planner()))


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        guard(lambda: 1 / 0)()


def test_snakemake_sees_the_parameters_of_the_function():
    """It decides by the signature which arguments it passes: wildcards, attempt and others."""
    later = Guard(Planner()).later()
    assert list(inspect.signature(later).parameters) == ["wildcards", "attempt"]
