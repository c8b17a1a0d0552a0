"""Adapters: the base with the adapter on it, and every way in which that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from hfmem.checkpoint.snapshot import Checkpoint, RepoFile, Snapshot
from hfmem.checkpoint.tensor import TensorRun
from hfmem.errors import GatedModelError, HfmemError, ModelNotFoundError, NoWeightsError
from hfmem.memory.weights import weights
from hfmem.model.describe import describe
from hfmem.source import Access, find
from hfmem.source.adapters import is_adapter, on_base
from hfmem.source.recorded import bundled, read, write
from tests.loopback import LoopbackHub, Repository, Sparse, safetensors

BASE = "Qwen/Qwen3-8B"
# Rank 16 on q and v of 36 layers.
TENSORS = tuple(
    TensorRun(
        name=f"base_model.model.model.layers.{{0..35}}.self_attn.{name}.lora_{side}.weight",
        dtype="BF16",
        shape=shape,
        bytes=2 * shape[0] * shape[1],
        count=36,
    )
    for name, out in (("q_proj", 4096), ("v_proj", 1024))
    for side, shape in (("A", (16, 4096)), ("B", (out, 16)))
)
PARAMETERS = 36 * 16 * (4096 + 4096 + 4096 + 1024)


def adapter(settings: Mapping[str, object]) -> Snapshot:
    return Snapshot(
        model="a/adapter",
        revision="0" * 40,
        source="hub",
        config=None,
        documents={"adapter_config.json": settings},
        files=(RepoFile(name="adapter_model.safetensors", bytes=1000),),
        checkpoint=Checkpoint(files=("adapter_model.safetensors",), tensors=TENSORS, metadata={}),
    )


LORA = {"peft_type": "LORA", "r": 16, "base_model_name_or_path": BASE}


def base(name: str, revision: str | None) -> Snapshot:
    assert revision is None
    found = bundled(name)
    assert found is not None
    return found


def test_base_and_adapter() -> None:
    assert is_adapter(adapter(LORA))
    found = on_base(adapter(LORA), base)
    model = describe(found)
    assert (model.name, model.class_name) == ("a/adapter", "Qwen3ForCausalLM")
    assert model.parameters is not None
    assert model.parameters.total == 8_190_735_360 + PARAMETERS
    assert model.parameters.by_component["adapter"] == PARAMETERS
    held = weights(model.weights or (), dtype="BF16", model_type=model.model_type)
    parts = {part.name: part.bytes for part in held.parts}
    # PEFT 0.21 casts an adapter of 16 bits to float32 (autocast_adapter_dtype).
    assert parts["adapter"] == 4 * PARAMETERS
    assert held.bytes == 2 * 8_190_735_360 + 4 * PARAMETERS
    assert found.notes[0].code == "adapter"
    assert "rank 16" in found.notes[0].message


def repository(config: Mapping[str, object], **files: Sparse) -> Repository:
    name = "adapter_config.json" if "adapter_model" in files else "config.json"
    weights = {f"{stem}.safetensors": content for stem, content in files.items()}
    return Repository(files={name: json.dumps(config).encode(), **weights})


def test_over_the_network(loopback: LoopbackHub) -> None:
    # 4 x 8 bfloat16 are 64 bytes, 2 x 8 float32 as many.
    plain = safetensors({"model.layers.0.mlp.up_proj.weight": ("BF16", [4, 8], 64)})
    low = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    small = safetensors({low: ("F32", [2, 8], 64)})
    settings = {"base_model_name_or_path": "org/base", "peft_type": "LORA"}
    loopback.repositories["org/base"] = repository({"model_type": "llama"}, model=plain)
    loopback.repositories["org/adapter"] = repository(settings, adapter_model=small)
    found = find("org/adapter", Access(source="hub"))
    assert found.model == "org/adapter"
    assert found.config == {"model_type": "llama"}
    assert found.checkpoint is not None
    assert {run.name for run in found.checkpoint.tensors} == {
        "model.layers.{0..0}.mlp.up_proj.weight",
        "adapter/base_model.model.model.layers.{0..0}.mlp.up_proj.lora_A.weight",
    }
    assert {file.name for file in found.files} >= {
        "model.safetensors",
        "adapter_model.safetensors",
    }


def test_a_base_that_the_hub_lacks(loopback: LoopbackHub) -> None:
    small = safetensors({"base_model.lora_A.weight": ("F32", [2, 8], 64)})
    settings = {"base_model_name_or_path": "org/base"}
    loopback.repositories["org/adapter"] = repository(settings, adapter_model=small)
    with pytest.raises(ModelNotFoundError, match="org/adapter is an adapter on org/base"):
        find("org/adapter", Access(source="hub"))


def test_a_model_is_no_adapter() -> None:
    assert not is_adapter(base(BASE, None))


def test_the_revision_of_the_base() -> None:
    asked: list[str | None] = []

    def find(name: str, revision: str | None) -> Snapshot:
        asked.append(revision)
        return base(name, None)

    on_base(adapter({**LORA, "revision": "v2"}), find)
    on_base(adapter({**LORA, "revision": 7}), find)
    assert asked == ["v2", None]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "does not name its base"),
        ("", "does not name its base"),
        (7, "does not name its base"),
        ("/home/somebody/llama", "no repository of the Hub"),
        ("../../etc/passwd", "no repository of the Hub"),
        ("org/name/more", "no repository of the Hub"),
        ("https://example.org/model", "no repository of the Hub"),
        ("a/adapter", "names itself"),
    ],
)
def test_bases_that_cannot_be(name: object, message: str) -> None:
    with pytest.raises(NoWeightsError, match=message):
        on_base(adapter({**LORA, "base_model_name_or_path": name}), base)


def test_an_adapter_on_an_adapter_is_one_look_up() -> None:
    looked_up: list[str] = []

    def find(name: str, revision: str | None) -> Snapshot:
        looked_up.append(name)
        return adapter(LORA)

    with pytest.raises(NoWeightsError, match="adapter itself"):
        on_base(adapter(LORA), find)
    assert looked_up == [BASE]


@pytest.mark.parametrize("error", [ModelNotFoundError, GatedModelError])
def test_a_base_that_is_not_to_be_had(error: type[HfmemError]) -> None:
    def find(name: str, revision: str | None) -> Snapshot:
        raise error("There is nothing.", hint="Look elsewhere.")

    with pytest.raises(error, match=f"a/adapter is an adapter on {BASE}: There is nothing"):
        on_base(adapter(LORA), find)


def test_it_can_be_recorded() -> None:
    found = on_base(adapter(LORA), base)
    again = read(write(found, on="2026-01-01"))
    assert again.checkpoint is not None
    assert found.checkpoint is not None
    assert again.checkpoint.tensors == found.checkpoint.tensors
    assert not is_adapter(again)


@pytest.mark.shared
def test_published_adapters(shared: Path) -> None:
    """Every adapter_config.json either names a base that can be looked up, or is refused."""
    found = []
    for path in sorted((shared / "corpus" / "adapters").glob("*.json")):
        settings = json.loads(path.read_text(encoding="utf-8"))
        try:
            on_base(adapter(settings), lambda name, revision: base(BASE, None))
        except NoWeightsError:
            continue
        found.append(settings["base_model_name_or_path"])
    assert all(isinstance(name, str) for name in found)
    assert found
