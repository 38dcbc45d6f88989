"""The commands ``bsa-st explain`` and ``bsa-st explore``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from bsa_st.errors import BSAError

ModelName = Annotated[str, typer.Argument(help="Name on the Hub or folder of a BSA model.")]


def explain(
    model: ModelName,
    a: Annotated[str, typer.Argument(help="First text, the query.")],
    b: Annotated[str, typer.Argument(help="Second text, the document.")],
    scoring: Annotated[str, typer.Option(help="Score to take apart: overlap, cosine, idf, decoded or asymmetric.")] = "decoded",
    top: Annotated[int, typer.Option(help="Features of each kind to name.", min=1)] = 8,
    words: Annotated[
        int, typer.Option(help="Shared features whose words are looked for, by leaving out each in turn.", min=0)
    ] = 6,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of one of the model's prompts, for the query.  [default: query, if it has one]")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the explanation to this file too, as JSON.")] = None,
) -> None:
    """Say why two texts match: shared features, with their labels and what each adds to the score."""
    from bsa_st.atomic import check_output
    from bsa_st.cli.models import load_model
    from bsa_st.demo.run import write_json
    from bsa_st.explain.pair import explain as run
    from bsa_st.explain.wording import as_json, describe

    if json is not None:
        check_output(json, b"{")
    result = run(load_model(model), a, b, scoring=scoring, words=words, prompt_name=prompt_name)  # type: ignore[arg-type]
    typer.echo(describe(result, top))
    if json is not None:
        write_json(as_json(result), json)


def explore(
    model: ModelName,
    texts: Annotated[
        Path | None,
        typer.Argument(
            help="Texts that show what the features mean (.txt[.gz], .jsonl[.gz], .parquet).  [default: labels there are]"
        ),
    ] = None,
    page: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("features.html"),
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Dense embeddings of the texts (.npy, same order).  [default: from the cache, or computed]"),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Field that holds the text in .jsonl and .parquet files.")] = "text",
    limit: Annotated[int | None, typer.Option(help="Read only the first so many texts.  [default: all]", min=1)] = None,
    sample: Annotated[
        int, typer.Option(help="Texts drawn at random for terms, label quality and neighbours.", min=2)
    ] = 100_000,
    shown: Annotated[int, typer.Option(help="Texts shown of each kind for a feature.", min=1)] = 5,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")] = None,
    save_labels: Annotated[bool, typer.Option(help="Keep the labels in the model folder (bsa/features.json).")] = True,
) -> None:
    """Label the features of a model from texts and write one self-contained HTML page about them."""
    from bsa_st.cli.models import load_model
    from bsa_st.encoding.encode import split_model
    from bsa_st.explain.labels import label_features
    from bsa_st.explain.page import write_page
    from bsa_st.explain.store import write_features
    from bsa_st.hub import FOLDER
    from bsa_st.inputs.prompts import document_prompt, under_prompt
    from bsa_st.inputs.row_shards import Embeddings, finished_together
    from bsa_st.inputs.texts import stream_texts
    from bsa_st.training.distill import ready_embeddings

    if not page.parent.is_dir():
        raise BSAError(f"cannot write {page}: there is no folder {page.parent}")
    loaded = load_model(model)
    encoder, head = split_model(loaded)
    if texts is None:
        if head.labels is None:
            raise BSAError(f"{model} carries no labels yet; name a file of texts: bsa-st explore {model} TEXTS")
        atlas = head.labels
    else:
        rows: Embeddings | None = None
        if embeddings is not None:
            rows = ready_embeddings(embeddings)
            if rows is None:
                raise BSAError(f"{embeddings}: embeddings come from an .npy file")
        elif limit is None:
            rows = finished_together(
                under_prompt(encoder, document_prompt(encoder)), stream_texts(texts, text_column), cache_dir=cache_dir
            )
        stream = itertools.islice(stream_texts(texts, text_column), limit)
        if rows is not None and limit is not None:
            rows = rows[:limit]
        atlas = label_features(loaded, stream, embeddings=rows, shown=shown, sample=sample)
        folder = Path(model) / FOLDER
        if save_labels and folder.is_dir():
            typer.echo(f"Labels saved in {write_features(atlas, folder)}")
        elif save_labels:
            typer.echo(f"Labels are only in the page: {model} is no folder on this disk")
    size = write_page(atlas, page, f"Features of {Path(model).name}")
    measured = sum(feature.auc is not None for feature in atlas.features)
    typer.echo(
        f"{len(atlas.features)} features from {atlas.texts} texts; labels of {atlas.share_reliable():.1%} predict firing on held-out "
        f"texts (AUC at least .8; {measured} could be measured)"
    )
    typer.echo(f"Page in {page} ({size / 1e6:.1f} MB); open it in a browser, also offline")
