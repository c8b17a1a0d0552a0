"""The JSON against its schema, the contract's keys, and hostile content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files

import jsonschema
import pytest

from hfmem.answer import Estimate, Failure
from hfmem.checkpoint.snapshot import Note
from hfmem.memory.workload import Workload
from hfmem.model.parameters import Parameters
from hfmem.report.json import dumps, envelope, line

SCHEMA = json.loads(files("hfmem").joinpath("schema.json").read_text(encoding="utf-8"))
HOSTILE = "evil\x1b[31m\u202e\ud800|`<b>[red]\n\x7f"
MakeEstimate = Callable[..., Estimate]
MakeFailure = Callable[..., Failure]

# The contract's keys, by path.
PROMISED = {
    "": "schema_version tool workload results failures",
    "tool": "name version",
    "workload": "ctx batch runtime kv_dtype",
    "results.0": "model revision source architecture parameters checkpoint_bytes memory kv_cache "
    "terms range_bytes per_gpu download fit throughput notes input",
    "results.0.architecture": "model_type class layers hidden_size attention_heads kv_heads "
    "head_dim max_context cache_kinds",
    "results.0.parameters": "total active by_dtype by_component",
    "results.0.memory": "total_bytes weights_bytes kv_cache_bytes activations_bytes overhead_bytes",
    "results.0.kv_cache": "bytes_per_token dtype",
    "results.0.terms.0": "name bytes basis because parts",
    "results.0.download": "files_bytes repository_bytes cached_bytes disk_free_bytes",
    "results.0.fit.0": "gpu count verdict fits decided_by usable_bytes headroom_bytes max_ctx "
    "max_batch kv_pool_bytes kv_pool_tokens",
    "results.0.notes.0": "code message",
    "failures.0": "model code message hint input",
}


def checked(document: object) -> object:
    """The document as a program reads it, valid by the schema."""
    parsed = json.loads(dumps(document))
    jsonschema.validate(parsed, SCHEMA)
    return parsed


def at(document: object, path: str) -> Mapping[str, object]:
    for step in filter(None, path.split(".")):
        document = document[int(step) if step.isdigit() else step]
    return document


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", PROMISED)
def test_every_promised_key_is_there(
    path: str, full_estimate: Estimate, make_failure: MakeFailure
) -> None:
    document = checked(envelope((full_estimate, make_failure()), Workload(ctx=8192)))
    assert set(PROMISED[path].split()) <= at(document, path).keys()


def objects(document: object, schema: Mapping[str, object]) -> Iterator[tuple[set[str], set[str]]]:
    """Keys of every object of a document, with those that the schema names."""
    if "$ref" in schema:
        target = str(schema["$ref"]).rpartition("/")[2]
        schema = SCHEMA["$defs"][target]
    if isinstance(document, dict) and "properties" in schema:
        yield set(document), set(schema["properties"])
        for key, value in document.items():
            yield from objects(value, schema["properties"][key])
    if isinstance(document, list) and "items" in schema:
        for value in document:
            yield from objects(value, schema["items"])


def test_schema_names_every_key(full_estimate: Estimate, make_failure: MakeFailure) -> None:
    document = checked(envelope((full_estimate, make_failure()), Workload()))
    pairs = list(objects(document, SCHEMA["$defs"]["envelope"]))
    assert len(pairs) > 20
    for written, named in pairs:
        assert written == named


def test_parts_add_up_to_the_total(make_estimate: MakeEstimate) -> None:
    result = at(checked(envelope((make_estimate(),), Workload())), "results.0")
    memory = dict(result["memory"])
    assert memory.pop("total_bytes") == 16 * 2**30 == sum(memory.values())
    assert result["phase"] == "prefill"
    assert result["range_bytes"] == [16_770_505_113, 17_998_597_324]


def test_unknown_is_null_and_not_nothing(make_estimate: MakeEstimate) -> None:
    estimate = make_estimate(
        unknown=("weights", "kv_cache"), parameters=None, checkpoint_bytes=None
    )
    result = at(checked(envelope((estimate,), Workload())), "results.0")
    memory = result["memory"]
    assert memory == {
        "total_bytes": None,
        "weights_bytes": None,
        "kv_cache_bytes": None,
        "activations_bytes": 2**30,
        "overhead_bytes": 576 * 2**20,
    }
    unknown = dict.fromkeys(("total", "active", "by_dtype", "by_component"))
    assert result["parameters"] == {**unknown, "packed": []}
    assert at(result, "range_bytes")[1] is None
    assert at(result, "terms.0")["bytes"] is None
    assert at(result, "kv_cache")["bytes_per_token"] is None


@pytest.mark.parametrize(
    ("verdict", "fits"),
    [("fits", True), ("tight", True), ("offload", False), ("no", False), (None, None)],
)
def test_fits_follows_the_verdict(
    verdict: str | None,
    fits: bool | None,
    make_estimate: MakeEstimate,
    make_fit: Callable[..., object],
) -> None:
    document = checked(envelope((make_estimate(fit=(make_fit(verdict),)),), Workload()))
    assert at(document, "results.0.fit.0")["fits"] is fits


def test_lines_are_single_and_typed(make_estimate: MakeEstimate, make_failure: MakeFailure) -> None:
    lines = [line(make_estimate(columns={"note": "two\nlines"})), line(make_failure())]
    assert not any("\n" in text for text in lines)
    parsed = [json.loads(text) for text in lines]
    for document in parsed:
        jsonschema.validate(document, SCHEMA)
    assert [document["type"] for document in parsed] == ["result", "failure"]
    assert parsed[0]["input"] == {"note": "two\nlines"}


def test_hostile_text_stays_text(make_estimate: MakeEstimate, make_failure: MakeFailure) -> None:
    answers = (
        make_estimate(
            HOSTILE,
            class_name=HOSTILE,
            dtype=HOSTILE,
            parameters=Parameters(
                total=1, active=1, by_dtype={HOSTILE: 1}, by_component={HOSTILE: 1}
            ),
            notes=(Note(code=HOSTILE, message=HOSTILE),),
            columns={HOSTILE: HOSTILE},
        ),
        make_failure(HOSTILE, message=HOSTILE, hint=HOSTILE),
    )
    text = dumps(envelope(answers, Workload()))
    assert text.isascii()
    assert "\x1b" not in text
    # No half of a surrogate pair is left: strict parsers refuse a document with one.
    json.dumps(checked(envelope(answers, Workload())), ensure_ascii=False).encode()


def test_to_dict_is_the_element(make_estimate: MakeEstimate, make_failure: MakeFailure) -> None:
    estimate, failure = make_estimate(), make_failure()
    document = envelope((estimate, failure), Workload())
    assert document["results"] == [estimate.to_dict()]
    assert document["failures"] == [failure.to_dict()]
