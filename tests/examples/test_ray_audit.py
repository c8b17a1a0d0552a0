"""The example for a cluster, on a local one: every model once, whatever is repeated."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.loopback import LoopbackHub, Repository, Running, safetensors

# Ray warns of its own settings.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("default"),
]
ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}
ASKED = {"ctx": 1024, "gpu": ["24GiB"]}


def repository(commit: str) -> Repository:
    tensors = {"model.embed_tokens.weight": ("BF16", [100, 64], 12_800)}
    return Repository(
        files={
            "config.json": json.dumps(CONFIG).encode(),
            "model.safetensors": safetensors(tensors),
        },
        commit=commit,
    )


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("ray.data", reason="pip install 'hfmem-cli[ray]'")
    spec = importlib.util.spec_from_file_location("ray_audit", ROOT / "examples" / "ray_audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with Running() as hub:
        hub.repositories = {f"org/m{number}": repository("a" * 40) for number in range(6)}
        yield hub


@pytest.fixture
def cluster(example: ModuleType, hub: LoopbackHub, tmp_path: Path) -> Iterator[None]:
    import ray

    variables = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}",
        "NO_PROXY": "*",
    }
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables})
    yield
    ray.shutdown()


def rows(out: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    found = [row for path in out.rglob("*.parquet") for row in parquet.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["model"], row["revision"] or ""))


@pytest.mark.usefixtures("cluster")
def test_every_model_once_by_commit(example: ModuleType, hub: LoopbackHub, tmp_path: Path) -> None:
    lists, out = tmp_path / "lists", tmp_path / "out"
    lists.mkdir()
    (lists / "a.txt").write_text("org/m0\norg/m1\norg/m2\norg/none\n")
    (lists / "b.csv").write_text("model,team\norg/m3,x\norg/m4,y\norg/m0,z\n")

    def run() -> dict[str, int]:
        return example.audit(lists, out, asked=ASKED, workers=2, sharing=2)

    first = run()
    assert first["failed"] == 1
    before = rows(out)
    models = {row["model"]: row for row in before}
    assert set(models) == {"org/none", *(f"org/m{number}" for number in range(5))}
    assert models["org/none"]["error_code"] == "model_not_found"
    assert models["org/m3"]["revision"] == "a" * 40
    assert dict(models["org/m3"]["input"]) == {"list": "b.csv", "team": "x"}

    again = run()
    assert (again["new"], again["failed"]) == (0, 1)
    assert rows(out) == before

    hub.repositories["org/m1"] = repository("b" * 40)
    changed = run()
    assert changed["new"] == 1
    commits = [row["revision"] for row in rows(out) if row["model"] == "org/m1"]
    assert commits == ["a" * 40, "b" * 40]

    with pytest.raises(SystemExit, match="another question"):
        example.audit(lists, out, asked={**ASKED, "ctx": 2048}, workers=1, sharing=1)


@pytest.mark.parametrize(
    ("words", "says"), [(["nowhere"], "no folder of lists"), ([".", "--gpu", "voodoo2"], "voodoo2")]
)
def test_what_is_wrong_is_said_before_a_cluster_starts(
    example: ModuleType, tmp_path: Path, words: list[str], says: str
) -> None:
    with pytest.raises(SystemExit, match=says):
        example.main([str(tmp_path / words[0]), str(tmp_path / "out"), *words[1:]])
    assert not (tmp_path / "out").exists()
