"""A hash of the code that the result of a script depends on: the script and the modules it imports.

Snakemake detects changed input files and parameters, but not a changed function in an imported
module. With this hash as a parameter, an edit of the losses reruns the training and the stages
after it, and no stage before it. The hash covers the syntax tree without docstrings: comments and
formatting do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

WITHOUT_EFFECT = {"umsam/jobs.py", "umsam/errors.py"}
"""Modules that no result depends on: logging of jobs, and the class of user errors."""


def script_hash(name: str, scripts: str | Path) -> str:
    """Hash of the script `name` in the folder `scripts`, for the parameter `code` of a rule."""
    return code_hash(Path(scripts) / f"{name}.py", scripts)


def code_hash(script: str | Path, root: str | Path) -> str:
    """Hash of `script` and of every module under `root` that it imports, directly or indirectly.

    Imports inside functions count as well. `root` is the folder of the packages, which is on
    ``sys.path``.
    """
    root = Path(root)
    hashes: dict[Path, str] = {}
    waiting = [Path(script)]
    while waiting:
        path = waiting.pop()
        if path in hashes or path.as_posix().endswith(tuple(WITHOUT_EFFECT)):
            continue
        status = path.stat()
        hashes[path], imports = _read_module(path, root, status.st_mtime_ns, status.st_size)
        waiting += imports
    digest = hashlib.sha256()
    for path in sorted(hashes):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        digest.update(f"{name} {hashes[path]}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _read_module(path: Path, root: Path, mtime_ns: int, size: int) -> tuple[str, list[Path]]:
    """Hash of a file's syntax tree without docstrings, and the modules under `root` it imports.

    Scripts share most modules, so each is read once, and again when the file changes.
    """
    tree = ast.parse(path.read_text(), filename=str(path))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), _imported(tree, path, root)


def _imported(tree: ast.Module, path: Path, root: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _package(node, path, root)
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    found = []
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):  # a module also runs its packages' __init__
            module = root.joinpath(*parts[:depth])
            candidates = (module.with_suffix(".py"), module / "__init__.py")
            found += [candidate for candidate in candidates if candidate.is_file()]
    return found


def _package(node: ast.ImportFrom, path: Path, root: Path) -> str:
    """The absolute name of the module that an ``import from`` names, which may be relative."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(root).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])
