import os
from pathlib import Path

import pytest

from umsam.planning.code_hash import code_hash

ROOT = Path(__file__).parents[3] / "workflow_scripts"

FILES = {
    "script.py": "from package.a import f\nf()\n",
    "other.py": "from package import c\n",
    "package/__init__.py": "",
    "package/a.py": "def f():\n    from package.sub import b\n    return b.g()\n",
    "package/c.py": "X = 1\n",
    "package/sub/__init__.py": "",
    "package/sub/b.py": "from ..c import X\n\ndef g():\n    '''Doc.'''\n    return X\n",
    "package/unrelated.py": "Y = 1\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def rewrite(path, text):
    path.write_text(text)
    os.utime(path, ns=(path.stat().st_mtime_ns + 10**9,) * 2)


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("script.py", "f()", "f(); f()", True),
        ("package/a.py", "b.g()", "b.g() + 1", True),
        ("package/sub/b.py", "return X", "return -X", True),  # imported inside a function
        ("package/c.py", "X = 1", "X = 2", True),  # by a relative import, two steps away
        ("package/sub/__init__.py", "", "Z = 0\n", True),
        ("package/unrelated.py", "Y = 1", "Y = 2", False),
        ("other.py", "import c", "import c as d", False),
        ("package/a.py", "def f():", "# why\n\n\ndef f():", False),
        ("package/sub/b.py", "'''Doc.'''", "'''Said better.'''", False),
    ],
)
def test_what_changes_the_hash(tree, file, old, new, changes):
    before = code_hash(tree / "script.py", tree)
    text = (tree / file).read_text()
    rewrite(tree / file, text.replace(old, new) if old else new)
    assert (code_hash(tree / "script.py", tree) != before) == changes


def test_the_place_of_the_checkout_does_not_matter(tree, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    for name, text in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    assert code_hash(tree / "script.py", tree) == code_hash(copy / "script.py", copy)


def test_every_script_of_the_pipeline_has_its_own_hash():
    hashes = {script.name: code_hash(script, ROOT) for script in ROOT.glob("*.py")}
    assert len(set(hashes.values())) == len(hashes) > 15
