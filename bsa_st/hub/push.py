"""Pushing a BSA model to the Hub in a single commit."""

from __future__ import annotations

import tempfile
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not re-exported explicitly
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.hub.card import PLACEHOLDER
from bsa_st.hub.checks import PICKLES
from bsa_st.hub.folder import check_folder, save
from bsa_st.hub.remote import reason

REPLACED = ["bsa/*", "[0-9]*_*/*", "model*.safetensors", "model.safetensors.index.json", *PICKLES]
"""Files of an earlier push that go when the new model does not have them; others in the repository stay."""


def push_to_hub(
    model: SentenceTransformer | str | Path,
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
        model: A model from :func:`bsa_st.distill` or :func:`bsa_st.load`, or a folder written by :func:`bsa_st.save`, which is checked first and left as it is.
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
        BSAError: If the model has no BSA head, the folder holds none, the name is malformed, the Hub refuses or cannot be reached.

    Example: ``bsa_st.push_to_hub(model, "org/model-bsa", private=True)``
    """
    try:
        validate_repo_id(repo_id)
        if "/" not in repo_id:
            raise HFValidationError("it must read organization/name")
    except HFValidationError as error:
        raise BSAError(f"{repo_id!r} is no name on the Hub: {str(error).splitlines()[0]}") from error
    with tempfile.TemporaryDirectory() as scratch:
        if isinstance(model, SentenceTransformer):
            folder = Path(scratch) / "model"
            save(model, folder)
        else:
            folder = Path(model)
            if not folder.is_dir():
                raise BSAError(f"model folder not found: {folder}")
            check_folder(folder)
        try:
            text = Path(card or folder / "README.md").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BSAError(f"cannot read the model card {card or folder / 'README.md'}: {error}") from error
        found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        files: dict[str, Path | bytes] = {name: path for name, path in found.items() if "/." not in f"/{name}"}
        files["README.md"] = text.replace(PLACEHOLDER, repo_id).encode()
        branch = None if create_pr else revision
        api = HfApi(token=token, library_name="bsa-st")
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            gone = [name for name in api.list_repo_files(repo_id, revision=branch) if name not in files]
            stale = [CommitOperationDelete(name) for name in gone if any(fnmatch(name, pattern) for pattern in REPLACED)]
            added = [CommitOperationAdd(name, content) for name, content in files.items()]
            message = commit_message or "Upload a BSA model"
            done = api.create_commit(repo_id, [*stale, *added], commit_message=message, revision=branch, create_pr=create_pr)
        except Exception as error:  # of huggingface_hub, or of the HTTP library that its version uses
            refused = getattr(getattr(error, "response", None), "status_code", None) in (401, 403)
            hint = "; log in with `hf auth login` or set HF_TOKEN to a token with write access" if refused else ""
            raise BSAError(f"cannot push to {repo_id!r}: {reason(error)}{hint}") from error
        return str(done.pr_url or done.commit_url)
