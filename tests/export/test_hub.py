import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub, serve

from rlvr.errors import ModelError, UserError
from rlvr.export.hub import check_repo, push

PUSH = """
import sys
from pathlib import Path
from rlvr.errors import UserError
from rlvr.export.hub import push
try:
    print(push(Path(sys.argv[1]), sys.argv[2]))
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "export"
    out.mkdir()
    (out / "config.json").write_text('{"model_type": "qwen2"}')
    (out / "README.md").write_text("---\nlicense: apache-2.0\n---\n# n\n")
    (out / "model.safetensors").write_bytes(bytes(range(256)) * 8000)
    (out / "chat_template.jinja").write_text("{{ messages }}é\n", encoding="utf-8")
    return out


def run_push(folder: Path, endpoint: str, *, token: str | None = TOKEN, xet: bool = False) -> tuple[int, str, str]:
    """Push in a process of its own, since huggingface_hub reads its environment once."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder.parent / "hf-home"),
        "HF_HUB_DISABLE_XET": str(int(not xet)),
    }
    if token is not None:
        environment["HF_TOKEN"] = token
    done = subprocess.run(
        [sys.executable, "-c", PUSH, str(folder), "org/model"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_arrives_byte_for_byte(folder: Path) -> None:
    hub = FakeHub(files={"model-00001-of-00002.safetensors": b"stale", "model.safetensors.index.json": b"{}"})
    hub.files["notes.txt"] = b"kept"
    with serve(hub) as url:
        code, output, errors = run_push(folder, url)
    assert (code, output) == (0, f"{url}/org/model"), errors
    assert hub.files == {**contents(folder), "notes.txt": b"kept"}
    assert list(hub.stored.values()) == [(folder / "model.safetensors").read_bytes()]
    assert hub.created == [{"name": "model", "organization": "org"}]
    assert TOKEN not in output + errors


def test_the_streamed_upload_arrives_too(folder: Path) -> None:
    hub = FakeHub(lfs_suffixes=(".nothing",))
    with serve(hub) as url:
        code, output, errors = run_push(folder, url, xet=True)
    assert (code, output) == (0, f"{url}/org/model"), errors
    assert hub.files == contents(folder)


def test_an_existing_repository_is_pushed_to(folder: Path) -> None:
    hub = FakeHub(exists_public=True)
    with serve(hub) as url:
        assert run_push(folder, url)[0] == 0
    assert hub.files == contents(folder)


def test_a_wrong_token_is_one_line(folder: Path) -> None:
    hub = FakeHub()
    with serve(hub) as url:
        code, output, errors = run_push(folder, url, token="hf_wrong_token")
    assert code == 2
    assert output == (
        "push to 'org/model': the hub answered 401: the token is not valid: make one with write access on the hub"
        " and set HF_TOKEN to it"
    )
    assert "hf_wrong_token" not in output + errors
    assert hub.files == {}


@pytest.mark.parametrize(
    ("status", "fix"),
    [(403, "the token may not write there"), (404, "no such namespace"), (418, "check the repository's page")],
)
def test_a_refusal_names_status_and_fix(folder: Path, status: int, fix: str) -> None:
    with serve(FakeHub(status=status)) as url:
        code, output, _ = run_push(folder, url)
    assert code == 2
    assert output.startswith(f"push to 'org/model': the hub answered {status}: {fix}")
    assert "\n" not in output


def test_a_refused_weight_file_is_one_line(folder: Path) -> None:
    hub = FakeHub(put_status=403)
    with serve(hub) as url:
        code, output, _ = run_push(folder, url)
    assert code == 2
    assert output.startswith("push to 'org/model': the hub answered 403: ")
    assert "\n" not in output
    assert hub.files == {}


def test_no_token_asks_nobody(folder: Path) -> None:
    hub = FakeHub()
    with serve(hub) as url:
        code, output, _ = run_push(folder, url, token=None)
    assert code == 2
    assert output == "push to 'org/model': no hub token: set HF_TOKEN, or log in with `hf auth login`"
    assert hub.requests == []


def test_a_hub_out_of_reach_is_one_line(folder: Path) -> None:
    with serve(FakeHub()) as url:
        pass
    code, output, _ = run_push(folder, url)
    assert code == 2
    assert output.startswith(f"push to 'org/model': {url} cannot be reached (ConnectError): ")


@pytest.mark.parametrize("repo", ["", "model", "a/b/c", "org/mo del", "org/-x", "org/a..b", "https://hub/org/model"])
def test_bad_names_are_refused_before_anything(repo: str, folder: Path) -> None:
    with pytest.raises(UserError, match="give ORG/NAME") as caught:
        push(folder, repo)
    assert "\n" not in str(caught.value)
    assert repr(repo) in str(caught.value)


def test_a_good_name_passes() -> None:
    check_repo("my-org/Qwen2.5_tiny.v1")


def test_what_is_no_export_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        push(tmp_path, "org/model")
