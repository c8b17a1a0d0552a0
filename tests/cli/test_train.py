"""``hfmem train`` end to end on the facts of the package: output, flags, exit codes."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

import hfmem
from hfmem.cli import main

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "overhead")


def run(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    code = main(["train", *words.split(), "--source", "recorded"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def answered(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, object]:
    """The one result of ``--json``."""
    code, out, _ = run(capsys, f"{words} --json")
    assert code == 0
    document = json.loads(out)
    schema = json.loads(files("hfmem").joinpath("schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    (result,) = document["results"]
    return result


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, f"{LLAMA} --method lora")
    assert (code, err) == (0, "")
    assert "41,943,040 trained (0.52 %)" in out
    assert "backward" in out
    assert all(part in out for part in PARTS)
    assert "fits on" in out


def test_json_has_the_keys_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    result = answered(capsys, f"{LLAMA} --method lora --gpu h100")
    assert result["parameters"]["trainable"] == 41_943_040
    memory = result["memory"]
    assert memory["total_bytes"] == sum(memory[f"{part}_bytes"] for part in PARTS)
    assert result["per_gpu"]["count"] == 1
    assert result["per_gpu"]["memory"] == memory
    assert result["fit"][0]["verdict"] == "fits"
    assert result["phase"] in ("forward", "backward", "step")


@cache
def plain() -> dict[str, int]:
    """The memory without any flag."""
    return hfmem.train(LLAMA, source="recorded").to_dict()["memory"]


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ("--gradient-checkpointing", "activations_bytes"),
        ("--checkpointing selective", "activations_bytes"),
        ("--optimizer adamw-8bit", "optimizer_bytes"),
        ("--precision bf16", "weights_bytes"),
        ("--loss fused", "logits_bytes"),
        ("--activation-offload", "activations_bytes"),
        ("--compile", "activations_bytes"),
        ("--attention eager", "activations_bytes"),
        ("--seq-len 4k", "logits_bytes"),
        ("--micro-batch 2", "logits_bytes"),
        ("--grad-accum 2", "gradients_bytes"),
        ("--method qlora", "weights_bytes"),
        ("--method lora --lora-rank 64", "optimizer_bytes"),
        ("--method lora --lora-targets q_proj", "optimizer_bytes"),
        ("--objective dpo", "weights_bytes"),
        ("--recipe torchtune", "total_bytes"),
        ("--tp 2", "total_bytes"),
        ("--dp 2 --zero 3", "total_bytes"),
        ("--dp 2 --fsdp full", "total_bytes"),
        ("--pp 2", "total_bytes"),
    ],
)
def test_every_flag_does_something(
    capsys: pytest.CaptureFixture[str], flags: str, changed: str
) -> None:
    assert answered(capsys, f"{LLAMA} {flags}")["memory"][changed] != plain()[changed]


def test_optimizer_in_backward_frees_the_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    words = f"{LLAMA} --precision bf16 --gradient-checkpointing"
    with_all = answered(capsys, words)["memory"]["total_bytes"]
    without = answered(capsys, f"{words} --optimizer-in-backward")["memory"]["total_bytes"]
    assert with_all - without > 2 * 6_000_000_000


def test_gpus_are_data_parallel_unless_said_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    result = answered(capsys, f"{LLAMA} --gpu h100:8 --zero 3")
    assert result["per_gpu"]["count"] == 8
    assert result["run"]["parallel"]["dp"] == 8
    per_gpu = result["per_gpu"]["memory"]
    assert result["memory"]["total_bytes"] == 8 * per_gpu["total_bytes"]


def test_all_gpus_of_a_pipeline_hold_the_model_once(capsys: pytest.CaptureFixture[str]) -> None:
    result = answered(capsys, f"{LLAMA} --pp 4 --precision bf16")
    assert result["memory"]["weights_bytes"] == 2 * 8_030_261_248


def test_jsonl_and_several_models(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, f"{LLAMA} no/such --format jsonl")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 2
    assert [line["type"] for line in lines] == ["result", "failure"]
    assert "error:" in err


def test_explain_tells_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, f"{LLAMA} --explain")
    assert "saved by layers" in out
    assert "log-softmax" in out
    assert "transformers 5.23 loss/loss_utils.py" in out


def test_rules_stand_beside_the_exact_figures(capsys: pytest.CaptureFixture[str]) -> None:
    rules = {rule["id"]: rule for rule in answered(capsys, f"{LLAMA} --rules")["rules"]}
    assert set(rules) == {"A3", "D4", "E2", "E3", "E4", "E5", "Megatron"}
    assert rules["E2"]["bytes"] == rules["E2"]["exact_bytes"] == 16 * 8_030_261_248
    assert rules["Megatron"]["bytes"] == 18 * 8_030_261_248
    assert rules["D4"]["exact_bytes"] == 12 * 8_030_261_248 - 4 * 8_030_261_248
    sharded = answered(capsys, f"{LLAMA} --rules --dp 8 --zero 3")["rules"]
    (deepspeed,) = (rule for rule in sharded if rule["id"] == "DeepSpeed")
    # 2 of weights, 2 of gradients, 12 of states and 4 of fp32 gradients in the step; it counts 18.
    assert deepspeed["bytes"] == 18 * 8_030_261_248 // 8
    assert deepspeed["exact_bytes"] == pytest.approx(20 * 8_030_261_248 / 8, rel=1e-6)


def test_adapter_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}),
        encoding="utf-8",
    )
    result = answered(capsys, f"{LLAMA} --method lora --adapter {tmp_path}")
    assert result["parameters"]["trainable"] == 32 * 8 * (8192 + 5120)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (f"{LLAMA} --gpu rtx-4090", 1, ""),
        (f"{LLAMA} --fail-over 24GiB", 1, "over the limit"),
        (f"{LLAMA} --optimizer lamb", 2, "lamb"),
        (f"{LLAMA} --recipe colossal", 2, "colossal"),
        (f"{LLAMA} --lora-rank 8", 2, "full fine-tuning"),
        (f"{LLAMA} --gpu h100:8 --dp 4", 2, "8 GPUs"),
        (f"{LLAMA} --gpu h100:3 --tp 2", 2, "3 GPUs"),
        (f"{LLAMA} --method lora --adapter nowhere.json", 2, "nowhere.json"),
        (f"{LLAMA} --method lora --lora-targets c_attn", 2, "c_attn"),
        (f"{LLAMA} --zero 5", 2, "stage"),
        (f"{LLAMA} --zero 2 --fsdp full", 2, "two ways"),
        (f"{LLAMA} --gradient-checkpointing --checkpointing full", 2, "say the same"),
        (f"{LLAMA} --format parquet", 2, "Parquet"),
        (f"{LLAMA} --micro-batch 0", 2, "micro-batch"),
        (f"{LLAMA} --method qlora --quantize awq-4bit", 2, "awq-4bit"),
        ("deepseek-ai/DeepSeek-V3", 2, "cannot be trained in full"),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], words: str, code: int, says: str) -> None:
    found, _, err = run(capsys, words)
    assert found == code
    assert says in err
    assert "Traceback" not in err


def test_the_python_interface_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    result = answered(capsys, f"{LLAMA} --method qlora --seq-len 4096 --gpu rtx-4090")
    plan = hfmem.train(LLAMA, method="qlora", seq_len=4096, gpu="rtx-4090", source="recorded")
    assert plan.to_dict() == result
    with pytest.raises(hfmem.UsageError, match="precision"):
        hfmem.train(LLAMA, precision="int3", source="recorded")
