"""Downloading a BSA model from the Hub, and no more of it than is needed."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not re-exported explicitly
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_incrementing

from bsa_st.errors import BSAError
from bsa_st.hub.checks import FOLDER, PICKLES, load_head_config, read_modules

FIRST = ["modules.json", f"{FOLDER}/config.json"]
NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.vocab", "*.bpe", "*.jinja"]
NOT_NEEDED = ["onnx/*", "openvino/*", "checkpoint*/*", "runs/*", "README*", *PICKLES]


def download(
    name: str, *, revision: str | None, cache_folder: str | Path | None, local_files_only: bool, token: bool | str | None
) -> Path:
    """Folder with the files of a BSA model on the Hub, from the cache where they are there already.

    The head's config comes first and is checked: a repository without a BSA model, or of a newer format, costs no more than that. The
    rest then comes from the same commit.

    Raises:
        BSAError: If there is no such model or revision, access is denied, the download fails after retries, or the repository
            holds no BSA model.
    """

    def fetch(commit: str | None, wanted: list[str], unwanted: list[str]) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=commit,
                cache_dir=cache_folder,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=wanted,
                ignore_patterns=unwanted,
                library_name="bsa-st",
            )
        )

    try:
        validate_repo_id(name)
        first = RETRYING(fetch, revision, FIRST, [])
        if not (first / FOLDER / "config.json").is_file():
            raise BSAError(f"the model {name!r} on the Hub is no BSA model: it has no {FOLDER}/config.json")
        load_head_config(first / FOLDER)
        read_modules(first)
        return RETRYING(fetch, first.name, NEEDED, NOT_NEEDED)
    except BSAError:
        raise
    except HFValidationError as error:
        raise BSAError(f"model folder not found: {name}") from error
    except RepositoryNotFoundError as error:
        raise BSAError(
            f"model not found: no folder and no model on the Hub is called {name!r}; a private one needs a token "
            "(`hf auth login`, HF_TOKEN or token=)"
        ) from error
    except RevisionNotFoundError as error:
        raise BSAError(f"the model {name!r} on the Hub has no revision {revision!r}") from error
    except Exception as error:  # of huggingface_hub, or of the HTTP library that its version uses
        raise BSAError(f"cannot download the model {name!r}: {reason(error)}") from error


def check_name(repo_id: str) -> None:
    """Raise :class:`BSAError` unless a name reads ``organization/name``."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise BSAError(f"{repo_id!r} is no name on the Hub: {str(error).splitlines()[0]}") from error
    if "/" not in repo_id:
        raise BSAError(f"the name on the Hub must read organization/name, got {repo_id!r}")


def _is_fault_of_the_hub(error: BaseException) -> bool:
    return any(isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500 for cause in _causes(error))


RETRYING = Retrying(
    retry=retry_if_exception(_is_fault_of_the_hub), stop=stop_after_attempt(3), wait=wait_incrementing(1, 1), reraise=True
)


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def reason(error: Exception) -> str:
    """First line of the first cause: what the network or the Hub said."""
    cause = _causes(error)[-1]
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def login_hint(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return "; log in with `hf auth login` or set HF_TOKEN to a token with write access" if status in (401, 403) else ""
