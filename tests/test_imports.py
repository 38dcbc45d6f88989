"""Data goes one way through the folders: no circle of imports between files, and no torch below ``codes`` and ``search``."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def files(package: str) -> dict[str, Path]:
    """Every module of a package, by its dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run, those inside functions too; those for type checkers alone do not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        yield from imports(child)


def graph(package: str) -> dict[str, set[str]]:
    """Which modules of the package each one imports."""
    modules = files(package)
    arrows: dict[str, set[str]] = {}
    for name, path in modules.items():
        wanted: list[str] = []
        for node in imports(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names]
            elif node.module is not None:
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                wanted += [target if target in modules else node.module for target in inside]
        arrows[name] = {target for target in wanted if target in modules and target not in (name, package)}
    return arrows


@pytest.mark.parametrize("package", ["bsa_st", "evaluation"])
def test_no_circle_of_imports(package: str) -> None:
    try:
        TopologicalSorter(graph(package)).prepare()
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


def test_codes_search_and_the_package_itself_come_without_torch() -> None:
    code = "import bsa_st, bsa_st.codes, bsa_st.search.index, bsa_st.cli.main, sys; bsa_st.BinaryCodes; bsa_st.Index; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown.strip() == "False"
