"""BSA models on the Hub: pushing one in a single commit, and downloading no more of one than is needed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not re-exported explicitly
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.hub.card import PLACEHOLDER
from bsa_st.hub.checks import PICKLES, read_modules
from bsa_st.hub.folder import FOLDER, check_folder, load_head_config, save

FIRST = ["modules.json", f"{FOLDER}/config.json"]
NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.vocab", "*.bpe", "*.jinja"]
NOT_NEEDED = ["onnx/*", "openvino/*", "checkpoint*/*", "runs/*", "README*", *PICKLES]
REPLACED = ["bsa/*", "[0-9]*_*/*", "model*.safetensors", "model.safetensors.index.json", *PICKLES]
"""Files of an earlier push that go when the new model does not have them; others in the repository stay."""

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 1.0

T = TypeVar("T")


def push_to_hub(
    model: SentenceTransformer,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    card: str | Path | None = None,
    token: bool | str | None = None,
) -> str:
    """Publish a BSA model on the Hub; whoever downloads it needs only sentence-transformers.

    Everything goes in one commit, so that readers see the old model or the new one. Files of an earlier model that the new one does
    not have are deleted, other files of the repository stay.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`bsa_st.load`.
        repo_id: ``organization/name``; created if there is none.
        private: Whether a repository that is created is private; default what the organization has set.
        revision: Branch to push to, created if there is none; default ``main``.
        create_pr: Open a pull request with the commit instead of pushing to the branch.
        commit_message: First line of the commit.
        card: Markdown file for the model card; default the one made by :func:`bsa_st.save`.
        token: Access token; default ``HF_TOKEN`` or the one logged in with.

    Returns:
        Address of the commit, or of the pull request.

    Raises:
        BSAError: If the model has no BSA head, the name is malformed, the Hub refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory() as scratch:
        save(model, Path(scratch) / "model")
        return push_folder(
            Path(scratch) / "model",
            repo_id,
            private=private,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message,
            card=card,
            token=token,
        )


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    card: str | Path | None = None,
    token: bool | str | None = None,
) -> str:
    """Publish a folder written by :func:`bsa_st.save`; see :func:`push_to_hub`. The folder is checked first, and left as it is."""
    folder = Path(folder)
    check_name(repo_id)
    if not folder.is_dir():
        raise BSAError(f"model folder not found: {folder}")
    check_folder(folder)
    try:
        text = Path(card or folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BSAError(f"cannot read the model card {card or folder / 'README.md'}: {error}") from error
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in files.items() if not any(part.startswith(".") for part in Path(name).parts)}
    additions = [
        CommitOperationAdd(name, str(path) if name != "README.md" else text.replace(PLACEHOLDER, repo_id).encode())
        for name, path in files.items()
    ]
    api = HfApi(token=token, library_name="bsa-st")
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        stale = [
            CommitOperationDelete(name)
            for name in api.list_repo_files(repo_id, revision=None if create_pr else revision)
            if name not in files and any(fnmatch(name, pattern) for pattern in REPLACED)
        ]
        done = api.create_commit(
            repo_id,
            [*stale, *additions],
            commit_message=commit_message or "Upload a BSA model",
            revision=None if create_pr else revision,
            create_pr=create_pr,
        )
    except Exception as error:  # of huggingface_hub, or of the HTTP library that its version uses
        raise BSAError(f"cannot push to {repo_id!r}: {_reason(error)}{_login_hint(error)}") from error
    return str(done.pr_url or done.commit_url)


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
        first = _with_retries(lambda: fetch(revision, FIRST, []))
        if not (first / FOLDER / "config.json").is_file():
            raise BSAError(f"the model {name!r} on the Hub is no BSA model: it has no {FOLDER}/config.json")
        load_head_config(first / FOLDER)
        read_modules(first)
        return _with_retries(lambda: fetch(first.name, NEEDED, NOT_NEEDED))
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
        raise BSAError(f"cannot download the model {name!r}: {_reason(error)}") from error


def check_name(repo_id: str) -> None:
    """Raise :class:`BSAError` unless a name reads ``organization/name``."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise BSAError(f"{repo_id!r} is no name on the Hub: {str(error).splitlines()[0]}") from error
    if "/" not in repo_id:
        raise BSAError(f"the name on the Hub must read organization/name, got {repo_id!r}")


def _with_retries(action: Callable[[], T]) -> T:
    """The result of an action, tried again where the Hub has a fault of its own (status 5xx)."""
    for attempt in range(1, ATTEMPTS):
        try:
            return action()
        except Exception as error:
            if not any(isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500 for cause in _causes(error)):
                raise
            time.sleep(FIRST_WAIT_SECONDS * attempt)
    return action()


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _reason(error: Exception) -> str:
    """First line of the first cause: what the network or the Hub said."""
    cause = _causes(error)[-1]
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _login_hint(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return "; log in with `hf auth login` or set HF_TOKEN to a token with write access" if status in (401, 403) else ""
