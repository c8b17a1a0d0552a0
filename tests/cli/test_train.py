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
        ("--objective grpo --reference-model", "weights_bytes"),
        ("--objective grpo --completion-len 8", "activations_bytes"),
        ("--objective ppo", "optimizer_bytes"),
        ("--packed", "activations_bytes"),
        ("--global-batch 4", "gradients_bytes"),
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


def test_no_zero_leaves_fsdp(capsys: pytest.CaptureFixture[str]) -> None:
    with_both = answered(capsys, f"{LLAMA} --dp 2 --zero 0 --fsdp full")
    assert with_both["run"]["parallel"]["fsdp"] == "full"
    assert with_both["memory"] == answered(capsys, f"{LLAMA} --dp 2 --fsdp full")["memory"]


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


def test_expert_parallel_ranks_divide_the_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    words = "Qwen/Qwen3-30B-A3B --gpu h100:8 --zero 3"
    result = answered(capsys, f"{words} --ep 4")
    assert result["run"]["parallel"]["dp"] == 8
    code, _, err = run(capsys, f"{words} --ep 3")
    assert code == 2
    assert "do not divide dp × tp = 8" in err


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
    assert set(rules) == {"A3", "D4", "E2", "E3", "E4", "E5", "Megatron", "Megatron activations"}
    assert rules["E2"]["bytes"] == rules["E2"]["exact_bytes"] == 16 * 8_030_261_248
    assert rules["Megatron"]["bytes"] == 18 * 8_030_261_248
    assert rules["D4"]["exact_bytes"] == 12 * 8_030_261_248 - 4 * 8_030_261_248
    sharded = answered(capsys, f"{LLAMA} --rules --dp 8 --zero 3")["rules"]
    (deepspeed,) = (rule for rule in sharded if rule["id"] == "DeepSpeed")
    # 2 of weights, 2 of gradients, 12 of states and 4 of fp32 gradients in the step; it counts 18.
    assert deepspeed["bytes"] == 18 * 8_030_261_248 // 8 + 4 * 128_256 * 4096
    # The fp32 gradients are those of a group of 1e9 elements.
    exact = 16 * 8_030_261_248 / 8 + 4e9
    assert deepspeed["exact_bytes"] == pytest.approx(exact, rel=1e-6)


def test_adapter_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}),
        encoding="utf-8",
    )
    result = answered(capsys, f"{LLAMA} --method lora --adapter {tmp_path}")
    assert result["parameters"]["trainable"] == 32 * 8 * (8192 + 5120)


# A file of one tensor without a config.json: nobody knows its activations.
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--gpu h100", "whether it fits cannot be judged without activations and logits."),
        ("--fail-over 1TiB", "the limit cannot be judged without activations and logits."),
    ],
)
def test_what_nobody_can_judge_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, says: str
) -> None:
    entry = {"dtype": "BF16", "shape": [64, 64], "data_offsets": [0, 8192]}
    header = json.dumps({"model.layers.0.self_attn.q_proj.weight": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8192))
    code, _, err = run(capsys, f"{path} {words}")
    assert code == 2
    assert says in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (f"{LLAMA} --gpu rtx-4090", 1, ""),
        (f"{LLAMA} --fail-over 24GiB", 1, "over the limit"),
        (f"{LLAMA} --optimizer lamb", 2, "lamb"),
        (f"{LLAMA} --recipe colossal", 2, "colossal"),
        (f"{LLAMA} --lora-rank 8", 2, "full fine-tuning"),
        (f"{LLAMA} --gpu h100:8 --dp 4", 2, "h100-sxm:8 was named"),
        (f"{LLAMA} --gpu h100:3 --tp 2", 2, "h100-sxm:3 is no multiple"),
        (f"{LLAMA} --method lora --adapter nowhere.json", 2, "nowhere.json"),
        (f"{LLAMA} --method lora --lora-targets c_attn", 2, "c_attn"),
        (f"{LLAMA} --zero 5", 2, "stage"),
        (f"{LLAMA} --zero 2 --fsdp full", 2, "two ways"),
        (f"{LLAMA} --generations 4", 2, "GRPO alone"),
        (f"{LLAMA} --objective ppo --generations 4", 2, "GRPO alone"),
        (f"{LLAMA} --objective grpo --completion-len 0", 2, "not a number of tokens"),
        (f"{LLAMA} --objective grpo --completion-len 3k --seq-len 2k", 2, "cannot be longer"),
        (f"{LLAMA} --gradient-checkpointing --checkpointing full", 2, "say the same"),
        (f"{LLAMA} --format parquet", 2, "Parquet"),
        (f"{LLAMA} --micro-batch 0", 2, "micro-batch"),
        (f"{LLAMA} --micro-batch 2 --global-batch 33", 2, "multiple"),
        (f"{LLAMA} --grad-accum 2 --global-batch 8", 2, "settle the same"),
        (f"{LLAMA} --mfu 2", 2, "mfu"),
        (f"{LLAMA} --explain --format csv", 2, "CSV"),
        (f"{LLAMA} --objective grpo --vllm-gpu-memory-utilization 0.3", 2, "--gpu"),
        (f"{LLAMA} --vllm-sleep", 2, "sleep"),
        (f"{LLAMA} --method lora --optimizer adamw-8bit --gpu apple-m4-max-64gb", 1, ""),
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


@pytest.mark.parametrize(
    ("suffix", "holds"), [("csv", "per_gpu_bytes"), ("md", "| weights |"), ("html", "<!doctype")]
)
def test_other_formats(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str, holds: str
) -> None:
    target = tmp_path / f"plan.{suffix}"
    code, out, err = run(capsys, f"{LLAMA} --method lora -o {target}")
    assert (code, out, err) == (0, "", "")
    assert holds in target.read_text(encoding="utf-8")


def test_the_recipe_of_trl_loads_in_fp32_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    """trl 1.16: a model that is named is loaded in fp32; adapters over 4 bits are bf16."""
    wide = answered(capsys, f"{LLAMA} --recipe trl --method lora")
    narrow = answered(capsys, f"{LLAMA} --recipe trl --method lora --precision bf16-mixed")
    assert wide["memory"]["weights_bytes"] - narrow["memory"]["weights_bytes"] == 2 * 8_030_261_248
    assert "loaded_in_fp32" in [note["code"] for note in wide["notes"]]
    quantized = answered(capsys, f"{LLAMA} --recipe trl --method qlora")
    (weights,) = (term for term in quantized["terms"] if term["name"] == "weights")
    (adapters,) = (part for part in weights["parts"] if part["name"] == "adapters")
    assert adapters["bytes"] == 2 * quantized["parameters"]["trainable"]


def test_a_shared_card_counts_the_engine(capsys: pytest.CaptureFixture[str]) -> None:
    words = f"{LLAMA} --objective grpo --method lora --gradient-checkpointing --gpu h100"
    alone = answered(capsys, words)["fit"][0]
    shared = answered(capsys, f"{words} --vllm-gpu-memory-utilization 0.3 --vllm-sleep")
    assert shared["phase"] == "generation"
    assert shared["fit"][0]["usable_bytes"] == alone["usable_bytes"]
    assert shared["run"]["rollout"]["vllm_gpu_memory_utilization"] == 0.3


@pytest.mark.parametrize("recipe", ["", "--recipe trl", "--recipe litgpt"])
@pytest.mark.parametrize("asked", ["full", "qlora", "dora"])
def test_the_methods_are_what_each_method_answers(
    capsys: pytest.CaptureFixture[str], recipe: str, asked: str
) -> None:
    """Neither a recipe's defaults for the method that was asked nor its savers reach the others."""
    words = f"{LLAMA} --gpu b200 {recipe}"
    told = {
        row["name"]: row["per_gpu_bytes"]
        for row in answered(capsys, f"{words} --method {asked}")["methods"]
    }
    for name, method in (("full", "full"), ("DoRA" if asked == "dora" else "LoRA", "")):
        alone = answered(capsys, f"{words} --method {method or name.lower()}")
        assert told[f"{name}, as asked"] == alone["memory"]["total_bytes"]


@pytest.mark.parametrize(
    "words",
    [
        "--recipe trl --method full --gpu a100-40gb",
        "--recipe torchtitan --method lora --gpu rtx-4090",
        "--recipe megatron --method full --gpu rtx-4090:4",
        "--recipe litgpt --method dora --gpu rtx-3060-12gb",
        "--method lora --micro-batch 8 --global-batch 8 --gpu a100-40gb",
    ],
)
def test_advice_holds_under_a_recipe(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """What is advised is what the command answers, with the recipe's defaults for its method."""
    asked = f"{LLAMA} --seq-len 4k {words}"
    _, out, _ = run(capsys, f"{asked} --json")
    advice = json.loads(out)["results"][0]["fit"][0]["advice"]
    assert advice
    _, out, _ = run(capsys, f"{asked} {advice} --json")
    assert json.loads(out)["results"][0]["fit"][0]["verdict"] in ("fits", "tight")


def test_a_method_that_cannot_be_asked_for_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    result = answered(capsys, f"{LLAMA} --precision fp32 --global-batch 8")
    assert "full, as asked" in {row["name"] for row in result["methods"]}


def test_methods_are_judged_on_the_named_card(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", LLAMA, "--gpu", "24GiB", "--source", "recorded", "--json"])
    result = json.loads(capsys.readouterr().out)["results"][0]
    held = {row["name"]: row["cards"]["24GiB"] for row in result["methods"]}
    assert held["full, as asked"] is False
    assert held["QLoRA, checkpointed, fused loss"] is True
    assert result["fit"][0]["advice"] == "--method lora --gradient-checkpointing"


def test_sparse_attention_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    result = answered(capsys, f"{LLAMA} --sparse-attention")
    (note,) = (note for note in result["notes"] if note["code"] == "sparse_attention")
    assert "not applicable" in note["message"]
    assert result["memory"] == plain()
