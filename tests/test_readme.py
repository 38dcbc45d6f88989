"""The README does what it says: its Python runs, its commands exist, its table is the one in the results file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bsa_st.demo.run import markdown_table, packaged_teacher
from evaluation.interpretability.document import claim

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_snippets_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(tmp_path / "cache"))
    packaged_teacher().save_pretrained(str(tmp_path / "teacher"), create_model_card=False)
    programs = snippets("python")
    assert len(programs) == 5
    for program in programs:
        result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "texts.codes").is_file()


def test_commands_and_options_exist() -> None:
    commands = re.findall(r"^bsa-st (\w+) (.*)$", README, flags=re.MULTILINE)
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
    for name, rest in commands:
        words = [name, *rest.split()[:1]] if name in ("engine", "index") else [name]
        text = subprocess.run(
            [sys.executable, "-m", "bsa_st.cli.main", *words, "--help"], capture_output=True, text=True, check=True
        )
        assert all(option in text.stdout for option in re.findall(r"--[a-z-]+", rest))
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE))


def test_the_table_is_the_one_in_the_results_file() -> None:
    rows = json.loads((ROOT / "evaluation" / "demo.json").read_text())["rows"]
    shown = README.split("<!-- demo table -->\n")[1].split("<!-- end -->")[0]
    assert shown == markdown_table(rows)


def test_the_figures_of_names_are_those_in_the_results_file() -> None:
    found = json.loads((ROOT / "evaluation" / "interpretability.json").read_text())
    shown = README.split("<!-- interpretability -->\n")[1].split("<!-- end -->")[0]
    assert shown == claim(found)
