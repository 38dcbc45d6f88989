"""Downloading a BSA model from the Hub, and no more of it than is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_incrementing

from bsa_st.errors import BSAError
from bsa_st.hub.checks import FOLDER, PICKLES, load_head_config, read_modules

FIRST = ["modules.json", f"{FOLDER}/config.json"]
NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.vocab", "*.bpe", "*.jinja"]
NOT_NEEDED = ["onnx/*", "openvino/*", "checkpoint*/*", "runs/*", "README*", *PICKLES]


def download(name: str, *, revision: str | None, **options: Any) -> Path:
    """Folder with the files of a BSA model on the Hub, from the cache where they are there already; raises :class:`BSAError` if that fails.

    The head's config comes first and is checked: a repository without a BSA model, or of a newer format, costs no more than that. The
    rest then comes from the same commit. ``options`` are those of :func:`huggingface_hub.snapshot_download`.
    """
    options["library_name"] = "bsa-st"
    try:
        first = Path(RETRYING(snapshot_download, name, revision=revision, allow_patterns=FIRST, **options))
        if not (first / FOLDER / "config.json").is_file():
            raise BSAError(f"the model {name!r} on the Hub is no BSA model: it has no {FOLDER}/config.json")
        load_head_config(first / FOLDER)
        read_modules(first)
        selected = {"revision": first.name, "allow_patterns": NEEDED, "ignore_patterns": NOT_NEEDED}
        return Path(RETRYING(snapshot_download, name, **selected, **options))
    except BSAError:
        raise
    except HFValidationError as error:
        raise BSAError(f"model folder not found: {name}") from error
    except RepositoryNotFoundError as error:
        hint = "a private one needs a token (`hf auth login`, HF_TOKEN or token=)"
        raise BSAError(f"model not found: no folder and no model on the Hub is called {name!r}; {hint}") from error
    except RevisionNotFoundError as error:
        raise BSAError(f"the model {name!r} on the Hub has no revision {revision!r}") from error
    except Exception as error:  # of huggingface_hub, or of the HTTP library that its version uses
        raise BSAError(f"cannot download the model {name!r}: {reason(error)}") from error


def _is_fault_of_the_hub(error: BaseException | None) -> bool:
    if isinstance(error, HfHubHTTPError) and error.response.status_code >= 500:
        return True
    return error is not None and _is_fault_of_the_hub(error.__cause__)


RETRYING = Retrying(
    retry=retry_if_exception(_is_fault_of_the_hub), stop=stop_after_attempt(3), wait=wait_incrementing(1, 1), reraise=True
)


def reason(error: BaseException) -> str:
    """First line of the first cause: what the network or the Hub said."""
    if error.__cause__ is not None:
        return reason(error.__cause__)
    return (str(error).strip() or type(error).__name__).splitlines()[0]
