"""A model without the list of its files: when it is done without, and when the list must follow."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import ModelNotFoundError
from hfmem.source import cache, hub
from hfmem.source.patience import Patience
from hfmem.source.ref import parse
from tests.loopback import COMMIT, LoopbackHub, Reply, Repository, Sparse, safetensors

pytestmark = pytest.mark.enable_socket
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "rope_scaling": {"factor": 8.0},
}
# 4 x 8 bfloat16 are 64 bytes each.
BODY = {"model.layers.0.weight": ("BF16", [4, 8], 64)}
HEAD = {"lm_head.weight": ("BF16", [4, 8], 64)}
LIST = "hub /api/models/org/model/revision/main"
IMPATIENT = Patience(backoff=0.001, silence=0.2, hedge=0.5, total=20.0)


def repository(
    config: Mapping[str, object] = CONFIG,
    tensors: Mapping[str, tuple[str, list[int], int]] = {**BODY, **HEAD},
    **files: bytes | Sparse,
) -> Repository:
    return Repository(
        files={
            "config.json": json.dumps(config).encode(),
            "model.safetensors": safetensors(tensors),
            "README.md": b"a" * 1000,
            **files,
        }
    )


def ask(model: str = "org/model", *, route: hub.Route = "unlisted") -> Snapshot:
    return hub.snapshot(parse(model), wire=hub.connect(patience=IMPATIENT), route=route)


def test_two_files_are_asked_for_and_nothing_else(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = repository()
    found = ask()
    assert sorted(loopback.paths()) == [
        "cdn /org/model/model.safetensors",
        f"hub /api/resolve-cache/models/org/model/{COMMIT}/config.json",
        "hub /org/model/resolve/main/config.json",
        "hub /org/model/resolve/main/model.safetensors",
    ]
    assert [note.code for note in found.notes] == ["unlisted"]
    assert not found.listed
    # What is not whole is not kept: a later question has all the facts.
    assert cache.load(parse("org/model")) is None


def test_it_is_what_the_list_leads_to(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = repository()
    spared, listed = ask(), ask(route="listed")
    assert spared.checkpoint == listed.checkpoint
    assert spared.config == listed.config
    assert (spared.model, spared.revision) == (listed.model, listed.revision)
    sizes = {file.name: file.bytes for file in listed.files}
    assert {file.name: sizes[file.name] for file in spared.files} == {
        file.name: file.bytes for file in spared.files
    }


def test_a_listed_model_costs_four_requests(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = repository()
    ask(route="listed")
    assert sorted(loopback.paths()) == [
        "cdn /org/model/model.safetensors",
        LIST,
        f"hub /api/resolve-cache/models/org/model/{COMMIT}/config.json",
        f"hub /org/model/resolve/{COMMIT}/model.safetensors",
    ]


def test_an_endpoint_without_direct_addresses_is_asked_as_usual(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = loopback.repositories["org/other"] = repository()
    loopback.fault("resolve-cache", Reply(status=404), times=1)
    wire = hub.connect(patience=IMPATIENT)
    first = hub.snapshot(parse("org/model"), wire=wire, route="listed")
    second = hub.snapshot(parse("org/other"), wire=wire, route="listed")
    assert first.config == second.config == CONFIG
    asked = [path for path in loopback.paths() if path.endswith("config.json")]
    # The refused one, and each over its redirect.
    assert len(asked) == 5


QUANTIZED = {**CONFIG, "quantization_config": {"quant_method": "gptq", "bits": 4}}
SHARDS = {
    f"model-0000{number}-of-00002.safetensors": safetensors(
        {f"model.layers.{number}.weight": ("BF16", [4, 8], 64)}
    )
    for number in (1, 2)
}


def renamed() -> Repository:
    return Repository(renamed_to="org/new")


@pytest.mark.parametrize(
    "made",
    [
        repository(QUANTIZED),
        repository({**CONFIG, "vision_config": {}}),
        repository({**CONFIG, "architectures": ["LlamaModel"]}),
        repository({**CONFIG, "architectures": None}),
        repository({**CONFIG, "transformers_weights": "x.safetensors"}),
        repository({**CONFIG, "model_type": "mistral3"}),
        repository({**CONFIG, "model_type": 7}),
        repository(tensors=BODY),
        repository(tensors={"layers.0.weight": ("BF16", [4, 8], 64)}),
        repository(tensors={**HEAD, "a.qweight": ("I32", [4, 8], 128)}),
        repository(tensors={**HEAD, "a.k_scale": ("F32", [1], 4)}),
        repository(tensors={**HEAD, "a.lora_A.weight": ("F32", [1], 4)}),
        Repository(
            files={
                "config.json": json.dumps(CONFIG).encode(),
                "model.safetensors.index.json": b"{}",
                **SHARDS,
            }
        ),
    ],
    ids=[
        *("quantized", "pictures", "no head by name", "no architecture", "other weights"),
        *(
            "another loader",
            "no type",
            "no head",
            "no base",
            "packed",
            "scaled",
            "adapter",
            "shards",
        ),
    ],
)
def test_where_a_doubt_is_left_the_list_follows(loopback: LoopbackHub, made: Repository) -> None:
    loopback.repositories["org/model"] = made
    found = ask()
    assert LIST in loopback.paths()
    assert found.listed
    assert len(loopback.requests) <= 5
    loopback.requests.clear()
    again = ask("org/model", route="at once")
    assert (found.checkpoint, found.config) == (again.checkpoint, again.config)


def test_a_tied_head_is_a_head(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = repository({**CONFIG, "tie_word_embeddings": True}, BODY)
    assert not ask().listed


def test_a_renamed_model_is_told_under_its_own_name(loopback: LoopbackHub) -> None:
    loopback.repositories |= {"org/model": renamed(), "org/new": repository()}
    found = ask()
    assert (found.model, found.listed) == ("org/new", True)
    assert "renamed" in [note.code for note in found.notes]


def test_a_model_that_is_not_there_is_refused_as_ever(loopback: LoopbackHub) -> None:
    with pytest.raises(ModelNotFoundError):
        ask("org/none")


@pytest.mark.parametrize(
    ("where", "headers"),
    [
        ("hub .*resolve/main/config", {"X-Repo-Commit": "f" * 40}),
        ("hub .*resolve/main/model", {"X-Repo-Commit": "f" * 40}),
        ("hub .*resolve/main/model", {"X-Repo-Commit": "main"}),
        ("hub .*resolve/main/model", {"X-Linked-Size": "7"}),
    ],
)
def test_answers_that_disagree_are_not_believed(
    loopback: LoopbackHub, where: str, headers: Mapping[str, str]
) -> None:
    loopback.repositories["org/model"] = repository()

    def lie(_: object, honest: Reply) -> Reply:
        return Reply(status=honest.status, body=honest.body, headers={**honest.headers, **headers})

    loopback.fault(where, lie)
    found = ask()
    assert found.listed
    assert found.revision == COMMIT
