"""The cards of the shipped heads, and the table of what they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bsa_st.shipped.packed import FOLDER, HeadFacts, read_names, shipped_heads
from evaluation.jsonfiles import read_json
from evaluation.markdown import markdown_table

README = Path(__file__).parent.parent.parent / "README.md"

CARD = """# {name}

A {kind} head for [{encoder}](https://huggingface.co/{encoder}) ({license}): {bytes} bytes per text, {hidden_dim} bits, {active}.

```python
model = bsa_st.attach("{encoder}", {argument})
```

- Trained on {texts:,} texts, none of them of a benchmark: {source}. English only. The texts are not in the package.
- Of float32's ten nearest among held-out texts of these kinds it finds {found:.1%} refined and {unrolled:.1%} in plain sentence-transformers.{general}{names}
- The encoder's licence, languages, maximum length and biases hold for the codes too. Texts of a special kind are worth a head of their own: `bsa_st.distill`.
- Written by `python -m evaluation.heads train`{measured}; {seconds:.0f} s on {hardware}, without the embedding. Weights: Apache-2.0.
"""

NAMED = """
- It comes with {count:,} named features, words and pairs of words of its training texts that tell texts apart: what `bsa_st.tags` and `bsa_st.explain` read \
(`python -m evaluation.heads names`). Names for texts of a special kind: `bsa_st.name_features`."""


def write_cards(results: Path) -> None:
    """Write the card of every shipped head beside it, and the README's table of them."""
    measured = {row["head"]: row for row in read_json(results)} if results.is_file() else {}
    for facts in shipped_heads():
        FOLDER.joinpath(f"{facts.name}.md").write_text(card(facts, measured.get(facts.name)), encoding="utf-8")
    write_readme()


def _argument(facts: HeadFacts) -> str:
    """What :func:`bsa_st.attach` takes for this head."""
    return "sparse=True" if facts.code_bytes is None else f"code_bytes={facts.code_bytes}"


def card(facts: HeadFacts, measured: dict[str, Any] | None) -> str:
    """Markdown text."""
    figures = facts.report["figures"]
    general = ""
    if measured is not None:
        general = (
            f"\n- On {measured['documents']:,} general sentences (`evaluation/results/heads.json`): {measured['found']:.1%} refined, "
            f"{measured['found_flag_free']:.1%} in plain sentence-transformers"
        )
        other = measured["found_general"]
        general += "." if other is None else f"; a head trained on 30,000 such sentences finds {other:.1%} refined."
    names = read_names(facts.encoder) if facts.code_bytes is None else None
    named = "" if names is None else NAMED.format(count=len(names))
    return CARD.format(
        name=facts.name,
        kind="sparse" if facts.code_bytes is None else "compact",
        encoder=facts.encoder,
        license=facts.license,
        bytes=facts.hidden_dim // 8,
        hidden_dim=facts.hidden_dim,
        active=f"about {facts.k} of them set" if facts.code_bytes is None else "about half of them set",
        argument=_argument(facts),
        texts=facts.report["texts"],
        source=facts.report["texts_from"],
        found=figures["found_at_10"],
        unrolled=figures["found_at_10_unrolled"],
        general=general,
        names=named,
        measured="" if measured is None else " and `measure`",
        seconds=facts.report["seconds_training"],
        hardware=facts.report["hardware"],
    )


def write_readme() -> None:
    """Write the table of the shipped heads into the README."""
    rows = ["| heads that ship | | bytes | found@10 refined | flag-free |", "|---|---|---:|---:|---:|"]
    for facts in sorted(shipped_heads(), key=lambda facts: (facts.encoder, facts.code_bytes or facts.hidden_dim)):
        figures = facts.report["figures"]
        shares = " | ".join(f"{100 * figures[name]:.1f}" for name in ("found_at_10", "found_at_10_unrolled"))
        rows.append(f"| {facts.encoder} | `{_argument(facts)}` | {facts.hidden_dim // 8} | {shares} |")
    before, rest = README.read_text(encoding="utf-8").split("<!-- heads -->\n")
    after = rest.split("<!-- end of heads -->")[1]
    README.write_text(f"{before}<!-- heads -->\n" + "\n".join(rows) + f"\n<!-- end of heads -->{after}", encoding="utf-8")


def table(results: Path) -> str:
    """found@10 of every head as a Markdown table."""
    rows = []
    for row in read_json(results):
        shares = [row["found"], row["found_flag_free"], row["found_general"]]
        rows.append([row["head"], str(row["bytes"]), *("-" if share is None else f"{100 * share:.1f}" for share in shares)])
    return markdown_table(["head", "bytes", "refined", "flag-free", "refined, trained on general sentences"], rows)
