"""README and docs do what they say: their Python runs, their commands exist, their figures are those of the results files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demo.run import markdown_table, packaged_teacher
from evaluation.interpretability import document

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
READ = ["training.md", "index.md", "folder.md", "reading.md"]
"""Pages with Python, in the order in which one needs what the other has made."""


def snippets(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_snippets_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(tmp_path / "cache"))
    for name in ("teacher", "sentence-transformers/all-MiniLM-L6-v2"):
        packaged_teacher().save_pretrained(str(tmp_path / name), create_model_card=False)
    assert {name for name, text in PAGES.items() if snippets(text, "python")} == set(READ)
    programs = [program for text in (README, *(PAGES[name] for name in READ)) for program in snippets(text, "python")]
    assert len(programs) == 8
    runner = "import json, sys\nfor program in json.load(sys.stdin):\n    exec(program, {}), print('-' * 9)"
    command = [sys.executable, "-c", runner]  # one process, each program with names of its own
    result = subprocess.run(command, cwd=tmp_path, input=json.dumps(programs), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    first = [int(number) for number in re.findall(r"\d+", result.stdout.split("-" * 9)[0])]
    assert set(first) == {6, 7}, "the README's first example should find hearing loss and deafness"
    assert (tmp_path / "texts.codes").is_file()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_commands_and_options_exist(tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    everything = "\n".join([README, *PAGES.values()])
    commands = re.findall(r"^bsa-st (\w+) (.*)$", everything, flags=re.MULTILINE)
    assert {name for name, _ in commands} == {
        "distill",
        "encode",
        "explain",
        "explore",
        "export",
        "index",
        "names",
        "push",
        "search",
        "tags",
        "engine",
    }
    shown: dict[tuple[str, ...], str] = {}
    for name, rest in commands:
        words = (name, *rest.split()[:1]) if name in ("engine", "index") else (name,)
        if words not in shown:
            shown[words] = command(*words, "--help", cwd=tmp_path).stdout
        assert all(option in shown[words] for option in re.findall(r"--[a-z-]+", rest.split("#")[0]))
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^make (\w+)", everything, flags=re.MULTILINE))


def test_links_lead_somewhere() -> None:
    for folder, text in ((ROOT, README), *((ROOT / "docs", text) for text in PAGES.values())):
        for link in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (folder / link).exists(), link


@pytest.mark.docs
def test_the_table_is_the_one_in_the_results_file() -> None:
    results = ROOT / "evaluation" / "results" / "demo.json"
    shown = README.split("<!-- demo table -->\n")[1].split("<!-- end -->")[0]
    assert shown == (markdown_table(json.loads(results.read_text())["rows"]) if results.is_file() else "")


@pytest.mark.docs
@pytest.mark.parametrize(
    ("method", "claim"),
    [
        ("compact", r"\*\*([\d.]+) %\*\*"),
        ("OPQ", r"optimised product quantisation of as many bytes finds ([\d.]+) %"),
        ("PQ", r"and product quantisation ([\d.]+) %"),
    ],
)
def test_the_claim_is_what_was_measured(method: str, claim: str) -> None:
    cells = json.loads((ROOT / "evaluation" / "results" / "encoders" / "all-MiniLM-L6-v2.json").read_text())["cells"]
    found = [cell["found"][cell["estimate"]] for cell in cells if cell["method"] == method and cell["budget"] == 64]
    claimed = re.search(claim, README)
    assert claimed is not None
    assert float(claimed[1]) == round(100 * float(np.mean(found)), 1)


@pytest.mark.docs
def test_the_figures_of_names_are_those_in_the_results_file() -> None:
    results = ROOT / "evaluation" / "results" / "interpretability.json"
    shown = PAGES["reading.md"].split("<!-- interpretability -->\n")[1].split("<!-- end -->")[0]
    assert shown == (document.claim(json.loads(results.read_text())) if results.is_file() else "")
