"""The command line ``bsa-st``. Every user error is one line on standard error and exit status 2."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bsa_st import __version__
from bsa_st.atomic import check_output, write_json
from bsa_st.cli import concepts, engines, search
from bsa_st.cli.options import BatchSize, CacheDir, Column, Json, ModelName, Overwrite, Prompt, TextFile, with_settings
from bsa_st.errors import BSAError
from bsa_st.head.settings import DistillSettings, parse_nested

app = typer.Typer(
    name="bsa-st",
    help="Binary sparse codes for sentence-transformers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)


@app.command()
@with_settings
def distill(
    teacher: Annotated[str, typer.Argument(help="Name on the Hub or folder of a sentence-transformers model.")],
    texts: Annotated[Path, typer.Argument(help="Texts (.txt, .jsonl, .gz, .parquet), or embeddings (.npy, a folder of .npy).")],
    folder: Annotated[Path, typer.Argument(help="Where to save the model.")],
    code_bytes: Annotated[int | None, typer.Option(help="Bytes of a compact code.  [default: a sparse one, --k]")] = None,
    text_column: Column = "text",
    prompt_name: Prompt = None,
    precision: Annotated[str, typer.Option(help="Number format of the frozen encoder: auto, float32, bfloat16.")] = "auto",
    checkpoint_dir: Annotated[Path | None, typer.Option(help="Folder of checkpoints, to go on from.  [default: none]")] = None,
    cache_dir: CacheDir = None,
    json: Json = None,
    **chosen: Any,
) -> None:
    """Train a BSA head on texts behind a frozen encoder and save the model."""
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if "nested" in chosen:
        chosen["nested"] = parse_nested(chosen["nested"])
    settings = DistillSettings(**chosen) if code_bytes is None else DistillSettings.of_bytes(code_bytes, **chosen)

    from bsa_st.head.layer import head_of
    from bsa_st.hub.folder import check_target, save
    from bsa_st.inputs.distributed import join, leave
    from bsa_st.training.distill import distill as run

    check_target(folder)
    if json is not None:
        check_output(json, b"{")
    options: dict[str, Any] = {"text_column": text_column, "prompt_name": prompt_name, "precision": precision}
    model = run(teacher, texts, settings=settings, checkpoint_dir=checkpoint_dir, cache_dir=cache_dir, **options)
    if join()[0] == 0:  # the process that writes
        save(model, folder)
        report = head_of(model).report
        for name, value in {**report["figures"], "seconds_training": report["seconds_training"]}.items():
            typer.echo(f"{name.replace('_', ' '):<24}{value:>12}")
        typer.echo(f"Model saved in {folder}")
        if json is not None:
            write_json(json, report)
    leave()


@app.command()
def attach(
    encoder: Annotated[str, typer.Argument(help="Name on the Hub or folder of a sentence-transformers model.")],
    folder: Annotated[Path, typer.Argument(help="Where to save the model.")],
    code_bytes: Annotated[int | None, typer.Option(help="Bytes of a code.  [default: 64]")] = None,
    sparse: Annotated[bool, typer.Option("--sparse", help="The sparse head instead: the form that can be read.")] = False,
) -> None:
    """Put a head that ships with the package behind a known encoder and save the model: nothing to train."""
    from bsa_st.hub.folder import check_target, save
    from bsa_st.shipped.attach import attach as run

    check_target(folder)
    save(run(encoder, code_bytes=code_bytes, sparse=sparse), folder)
    typer.echo(f"Model saved in {folder}")


@app.command()
def encode(
    model: ModelName,
    texts: TextFile,
    codes: Annotated[Path, typer.Argument(help="Codes file to write, or folder of shards.")],
    batch_size: BatchSize = 32,
    text_column: Column = "text",
    prompt_name: Prompt = None,
    refine: Annotated[bool, typer.Option(help="Bring the codes closer to the dense embeddings.")] = True,
    hidden_dim: Annotated[int | None, typer.Option(help="Use only so many features.  [default: all]")] = None,
    max_active_dims: Annotated[int | None, typer.Option(help="Another k than the model's.  [default: the model's]")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes, or Ray actors.  [default: one per device]", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="E.g. cuda:0,cuda:1; ray: cpu or cuda.  [default: a GPU, if any]")] = None,
    engine: Annotated[str, typer.Option(help="local: here; ray: the Ray cluster of RAY_ADDRESS, or a local Ray.")] = "local",
    shards: Annotated[bool, typer.Option("--shards", help="Write a folder that an interrupted run continues.")] = False,
    shard_texts: Annotated[int, typer.Option(help="Texts per shard, a multiple of 4,096.")] = 65536,
    overwrite: Overwrite = False,
) -> None:
    """Encode texts into a compressed codes file, or into a folder of such files."""
    from bsa_st.codes.file import MAGIC
    from bsa_st.encoding.encode import encode as run
    from bsa_st.encoding.pool import choose_devices
    from bsa_st.encoding.shards import encode_to_shards
    from bsa_st.hub.folder import load
    from bsa_st.inputs.texts import read_texts, stream_texts

    next(stream_texts(texts, text_column))
    devices = choose_devices(device, processes) if engine == "local" else []
    settings: dict[str, Any] = {"batch_size": batch_size, "prompt_name": prompt_name, "refine": refine}
    settings |= {"hidden_dim": hidden_dim, "max_active_dims": max_active_dims, "show_progress_bar": True}
    in_shards = shards or engine == "ray" or len(devices) > 1
    if not in_shards:
        check_output(codes, MAGIC, overwrite)
    loaded = load(model, device=devices[0] if device and devices else None)
    if in_shards:
        settings |= {"text_column": text_column, "shard_texts": shard_texts, "engine": engine, "processes": processes}
        written = encode_to_shards(loaded, texts, codes, device=device, **settings)
        count, size = len(written), written.nbytes
    else:
        result = run(loaded, read_texts(texts, text_column), **settings)
        result.save(codes)
        count, size = len(result), codes.stat().st_size
    typer.echo(f"{count} texts in {codes}: {size} bytes, {size / count:.1f} per text")


@app.command()
def export(
    codes: Annotated[Path, typer.Argument(help="Codes file or folder of shards.")],
    target: Annotated[Path, typer.Argument(help="What its ending says: .npz, .npy, .jsonl, .parquet, .faiss or .usearch.")],
    overwrite: Overwrite = False,
) -> None:
    """Export a codes file for other tools."""
    check_output(target, overwrite=overwrite)
    from bsa_st.codes.export import export_codes
    from bsa_st.codes.shards import load_codes

    content = load_codes(codes)
    export_codes(content, target)
    typer.echo(f"{len(content)} texts in {target}: {target.stat().st_size} bytes")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a BSA model.")],
    name: Annotated[str, typer.Argument(help="organization/name; the token comes from HF_TOKEN or `hf auth login`.")],
    private: Annotated[bool, typer.Option(help="Create the repository as private, if there is none yet.")] = False,
    create_pr: Annotated[bool, typer.Option(help="Open a pull request instead of pushing to the branch.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, created if there is none.  [default: main]")] = None,
    card: Annotated[Path | None, typer.Option(help="File of the model card.  [default: the folder's README.md]")] = None,
    message: Annotated[str, typer.Option(help="First line of the commit.")] = "Upload a BSA model",
) -> None:
    """Publish a model folder on the Hugging Face Hub, in one commit."""
    from bsa_st.hub.push import push_to_hub

    options: dict[str, Any] = {"private": private or None, "create_pr": create_pr, "revision": revision, "card": card}
    typer.echo(f"Pushed to {push_to_hub(folder, name, commit_message=message, **options)}")


for command in (concepts.names, concepts.tags, concepts.explain, concepts.explore, search.search):
    app.command()(command)
app.add_typer(search.app, name="index")
app.add_typer(engines.app, name="engine")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bsa-st {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what other libraries say too.")] = False,
) -> None:
    say_little(verbose)


def say_little(verbose: bool = False) -> None:
    """Leave what other libraries say to ``verbose``; bars stay."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else forked workers warn
    if not verbose:  # what transformers and tokenizers say while they load and save weights
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO if verbose else logging.WARNING)


def main(program: Callable[[], object] = app) -> None:
    """Entry point: run the command; print a :class:`BSAError` as one line and exit with status 2."""
    try:
        program()
        return
    except BSAError as error:
        message, status = str(error), 2
    except OSError as error:  # a disk that is full or read-only, where no one below has said it better
        message, status = f"{error.filename or 'cannot write'}: {error.strerror or error}", 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    print(f"bsa-st: {message}", file=sys.stderr)
    sys.exit(status)
