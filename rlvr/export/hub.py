"""Upload of an exported folder to the Hugging Face hub (huggingface_hub)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlvr.errors import ModelError, UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FIXES = {
    401: "the token is not valid: make one with write access on the hub and set HF_TOKEN to it",
    403: "the token may not write there: use one with write access, or a namespace of yours",
    404: "no such namespace: check ORG in ORG/NAME",
}


def push(folder: Path, repo: str) -> str:
    """Upload `folder` to the model repository `repo` ("ORG/NAME", made where there is none) and return its address.

    The token comes from HF_TOKEN or the hub's login. Weight files of an earlier upload that `folder` lacks are removed
    in the same commit. Raises UserError for a bad name, no token, a refusal or a hub that cannot be reached.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    check_repo(repo)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: is not an exported model (no config.json): run `rlvr export` first")
    api = HfApi()
    try:
        return _upload(api, folder, repo)
    except OfflineModeIsEnabled as error:
        raise UserError(f"push to {repo!r}: HF_HUB_OFFLINE is set: unset it to upload") from error
    except HfHubHTTPError as error:
        raise _refused(repo, error.response.status_code) from error
    except httpx2.HTTPError as error:
        raise UserError(
            f"push to {repo!r}: {api.endpoint} cannot be reached ({type(error).__name__}): check the network and"
            " HF_ENDPOINT, then push again"
        ) from error
    except RuntimeError as error:
        # The uploads of single files are wrapped in a RuntimeError; the refusal is its cause.
        if not isinstance(error.__cause__, HfHubHTTPError):
            raise
        raise _refused(repo, error.__cause__.response.status_code) from error


def check_repo(repo: str) -> None:
    """Raise UserError unless `repo` is a name the hub accepts, with an organisation or user before it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"push to {repo!r}: not a repository name ({reason}): give ORG/NAME") from error
    if repo.count("/") != 1:
        raise UserError(f"push to {repo!r}: the organisation or user is missing: give ORG/NAME")


def _upload(api: HfApi, folder: Path, repo: str) -> str:
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(f"push to {repo!r}: no hub token: set HF_TOKEN, or log in with `hf auth login`")
    # Without `private` the hub applies the organisation's own default, which may be stricter than public.
    url = api.create_repo(repo, exist_ok=True)
    api.upload_folder(
        repo_id=repo, folder_path=folder, commit_message="Export from rlvr", delete_patterns="*.safetensors*"
    )
    return str(url)


def _refused(repo: str, status: int) -> UserError:
    fix = _FIXES.get(status, "push again in a while" if status >= 500 else "check the repository's page on the hub")
    return UserError(f"push to {repo!r}: the hub answered {status}: {fix}")
