"""Every form of MODEL."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from hfmem.errors import ModelNotFoundError, UsageError
from hfmem.source.ref import ModelRef, RefKind, is_repo_id, parse


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def hub(name: str, revision: str | None = None, quantization: str | None = None) -> ModelRef:
    return ModelRef(kind="hub", name=name, revision=revision, quantization=quantization)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt2", hub("gpt2")),
        (" org/name\n", hub("org/name")),
        ("org/name@v1.0", hub("org/name", "v1.0")),
        ("gpt2@refs/pr/2", hub("gpt2", "refs/pr/2")),
        ("org/name@refs/pr/12", hub("org/name", "refs/pr/12")),
        ("org/name@feature/a-b", hub("org/name", "feature/a-b")),
        ("org/name:Q4_K_M", hub("org/name", quantization="Q4_K_M")),
        ("org/name@main:UD-Q2_K_XL", hub("org/name", "main", "UD-Q2_K_XL")),
        ("hf://gpt2", hub("gpt2")),
        ("hf://org/name", hub("org/name")),
        ("hf://models/org/name", hub("org/name")),
        ("hf://org/name@main", hub("org/name", "main")),
        ("hf://org/name@refs/pr/1", hub("org/name", "refs/pr/1")),
        ("hf://org/name@refs/pr/1/config.json", hub("org/name", "refs/pr/1")),
        ("hf://org/name@feature%2Fa", hub("org/name", "feature/a")),
        ("hf://org/name/x-Q8_0.gguf", hub("org/name", quantization="x-Q8_0.gguf")),
        ("hf://org/name:Q8_0", hub("org/name", quantization="Q8_0")),
        ("hf://org/name@main:Q8_0", hub("org/name", "main", "Q8_0")),
        ("https://huggingface.co/gpt2", hub("gpt2")),
        ("https://huggingface.co/org/name", hub("org/name")),
        ("https://huggingface.co/org/name/", hub("org/name")),
        ("http://www.huggingface.co/org/name", hub("org/name")),
        ("HTTPS://HuggingFace.co/org/name", hub("org/name")),
        ("https://huggingface.co/org/name?library=transformers#files", hub("org/name")),
        ("https://huggingface.co/org/name/tree/main", hub("org/name", "main")),
        ("https://huggingface.co/gpt2/tree/main", hub("gpt2", "main")),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F3", hub("org/name", "refs/pr/3")),
        ("https://huggingface.co/org/name/blob/main/config.json", hub("org/name", "main")),
        (
            "https://huggingface.co/org/name/resolve/main/x-Q4_0.gguf?download=true",
            hub("org/name", "main", "x-Q4_0.gguf"),
        ),
        ("huggingface.co/org/name", hub("org/name")),
        ("hf.co/org/name:Q4_K_M", hub("org/name", quantization="Q4_K_M")),
        ("https://hub.example:8443/org/name/tree/v1", hub("org/name", "v1")),
    ],
)
def test_hub(text: str, expected: ModelRef) -> None:
    assert parse(text, endpoint="https://hub.example:8443/") == expected


def test_the_endpoint_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8800")
    assert parse("http://127.0.0.1:8800/org/name") == hub("org/name")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a b",
        "org/name\x1b[31m",
        "org/na\u202eme",
        "org/name@",
        "org/name@a b",
        "org/name@a..b",
        "org/name:",
        "org/name:Q4 K",
        "org/name@main@dev:",
        "-name",
        "a--b",
        "org/name.git",
        "org/..",
        "x" * 97,
        "x" * 5000,
        "https://example.com/org/name",
        "https://huggingface.co.example.com/org/name",
        "https://huggingface.co/",
        "https://huggingface.co/org/name/discussions/1",
        "https://huggingface.co/org/name/tree",
        "https://huggingface.co/org/name/tree/main/unet",
        "https://huggingface.co/[::1",
        "s3://bucket/name",
        "hf://",
        "hf:///name",
        "hf://org/name/unet",
        "hf://org/name/../x.gguf",
        "~no-such-user/model",
    ],
)
def test_usage_errors(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("kind", ["datasets", "spaces"])
@pytest.mark.parametrize("form", ["https://huggingface.co/{}/o/n", "hf://{}/o/n", "{}/o/n"])
def test_other_kinds_of_repositories(kind: str, form: str) -> None:
    with pytest.raises(UsageError, match=kind):
        parse(form.format(kind))


@pytest.mark.parametrize(
    "text", ["./x", "../x", "/no/such/x", "~/no-such-x", "a/b/c", "x/", "a\\b"]
)
def test_a_path_that_is_not_there(text: str) -> None:
    with pytest.raises(ModelNotFoundError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("gpt2/", "leave out the slash at its end: gpt2"),
        ("org/name/", "leave out the slash at its end: org/name"),
        ("a/b/c/", "Check the path"),
        ("./x/", "Check the path"),
    ],
)
def test_a_slash_at_the_end_of_a_name_is_told(text: str, hint: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        parse(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["config.json", "x/config.json", "model.safetensors"])
def test_a_file_that_is_not_there(text: str) -> None:
    with pytest.raises(ModelNotFoundError, match="no file"):
        parse(text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("config.json", "config"),
        ("llama.json", "config"),
        ("model.safetensors", "safetensors"),
        ("model-Q4_K_M.gguf", "gguf"),
        ("MODEL.GGUF", "gguf"),
        ("pytorch_model.bin", "torch"),
        ("consolidated.00.pth", "torch"),
    ],
)
def test_files(name: str, kind: RefKind) -> None:
    Path(name).touch()
    for text in (name, f"./{name}", str(Path(name).resolve())):
        assert parse(text) == ModelRef(kind=kind, name=text, path=Path(text))


def test_a_file_that_is_no_model() -> None:
    Path("model.safetensors.index.json").touch()
    Path("notes.txt").touch()
    for text in ("./notes.txt", "model.safetensors.index.json"):
        with pytest.raises(UsageError, match="does not read"):
            parse(text)


def test_a_folder_written_as_a_path() -> None:
    Path("org/name").mkdir(parents=True)
    for text in ("./org/name", "org/name/", "../" + Path.cwd().name + "/org/name"):
        assert parse(text) == ModelRef(kind="folder", name=text, path=Path(text))


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    assert parse("~/m") == ModelRef(kind="folder", name="~/m", path=tmp_path / "m")


@pytest.mark.parametrize("file", ["config.json", "model_index.json", "x.safetensors", "x.gguf"])
def test_a_folder_with_a_model_wins_over_a_repository_and_says_so(file: str) -> None:
    Path("org/name").mkdir(parents=True)
    assert parse("org/name") == hub("org/name")
    Path("org/name", file).touch()
    found = parse("org/name")
    assert (found.kind, found.path) == ("folder", Path("org/name"))
    assert [note.code for note in found.notes] == ["local_folder"]
    assert "hf://org/name" in found.notes[0].message
    assert parse("hf://org/name") == hub("org/name")


words = st.text(alphabet="aB9-_./é ", max_size=12)


@given(words | st.text(max_size=12) | st.sampled_from(["a" * 96, "a" * 97, f"{'a' * 96}/b"]))
def test_is_repo_id_is_the_hubs_rule(text: str) -> None:
    try:
        validate_repo_id(text)
    except HFValidationError:
        assert not is_repo_id(text)
    else:
        assert is_repo_id(text)


@given(st.text(max_size=40) | words)
def test_arbitrary_text_raises_promised_errors_only(text: str) -> None:
    try:
        found = parse(text)
    except (UsageError, ModelNotFoundError):
        return
    assert found.path is not None or is_repo_id(found.name)
