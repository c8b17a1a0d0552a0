"""The accelerator catalogue: its rows, how names are understood, and sizes in place of names."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.errors import HfmemError, UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware import names
from hfmem.hardware.catalogue import (
    COMMON,
    find,
    gpus,
    metal_working_set,
    parse_gpu,
    recognise,
    search,
    spellings,
    usable_from_driver,
)
from hfmem.units import GIB, MIB

EVERY = pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.id)


@EVERY
def test_a_row_is_consistent(gpu: Gpu) -> None:
    assert gpu.source
    assert gpu.vendor in ("nvidia", "amd", "intel", "google", "apple")
    assert gpu.marketed_gb is not None
    # The box means GB or GiB; GiB is the larger reading. TPU v5p alone says 95 for 95.74 GiB.
    most = gpu.marketed_gb * GIB if gpu.id != "tpu-v5p" else 96 * GIB
    assert gpu.usable_bytes <= (gpu.driver_bytes or most) <= most
    # ECC on GDDR takes 6.25 %; a Mac's limit is two thirds, Strix Halo's three quarters.
    shared = 0.66 if gpu.unified_memory else 0.9
    assert gpu.usable_bytes > shared * gpu.marketed_gb * 10**9


@EVERY
def test_rates_are_dense_and_bandwidth_is_plausible(gpu: Gpu) -> None:
    assert gpu.bandwidth_bytes_per_second is not None
    assert 60 * 10**9 <= gpu.bandwidth_bytes_per_second <= 8 * 10**12
    # Half the bits is twice the rate at most (GeForce halves fp32 accumulation, not int8 or fp4);
    # a sparse figure that slipped in would double these.
    base = gpu.fp16_flops
    for rate, most in ((gpu.fp8_flops, 2.05), (gpu.int8_ops, 4.05), (gpu.fp4_flops, 8.1)):
        assert rate is None or base is None or rate <= most * base
    # No published dense 16-bit figure exceeds 2.6 PFLOP/s (MI355X); its sparse one is 5.0.
    assert base is None or base <= 2.6e15
    if gpu.vendor == "nvidia" and base is not None:
        capability = float(gpu.compute_capability)
        assert (gpu.bf16_flops is not None) == (capability >= 8.0)
        assert (gpu.fp8_flops is not None) == (capability >= 8.9)
        assert (gpu.fp4_flops is not None) == (capability >= 10.0)


def test_no_spelling_means_two_cards() -> None:
    owners: dict[str, set[str]] = {}
    for gpu in gpus():
        for key in names.keys(spellings(gpu)):
            owners.setdefault(key, set()).add(gpu.id)
    assert {key: ids for key, ids in owners.items() if len(ids) > 1} == {}


def test_a_row_is_a_line() -> None:
    text = files("hfmem.hardware").joinpath("gpus.json").read_text(encoding="utf-8")
    lines = [line.rstrip(",") for line in text.splitlines() if line.startswith('{"id"')]
    assert [json.loads(line) for line in lines] == json.loads(text)["gpus"]


@pytest.mark.parametrize(
    ("id_", "driver_mib", "usable_gib"),
    [
        # nvidia-smi's total and torch's, as logs in these threads print them.
        ("h100-sxm", 81559, 79.11),  # vllm-project/vllm#27508
        ("a100-40gb-sxm", 40960, 39.45),  # LianjiaTech/BELLE#137
        ("rtx-5090", 32607, 31.36),  # TrajectoryCrafter#20
        ("rtx-4090", 24564, 23.64),  # 3DTopia/Phidias-Diffusion#8
        ("a10", 23028, 21.99),  # THUDM/CogVLM#236
        ("b200-sxm", 183359, 178.35),  # pytorch/ao#4002
        ("rx-7900-xtx", None, 23.98),  # Tongyi-MAI/Z-Image#103
        ("dgx-spark", None, 121.69),  # nvidia-smi prints [N/A] on GB10
    ],
)
def test_observed_sizes(id_: str, driver_mib: int | None, usable_gib: float) -> None:
    gpu = find(id_)
    assert gpu.usable_basis == "observed"
    assert gpu.driver_bytes == (None if driver_mib is None else driver_mib * MIB)
    assert gpu.usable_bytes / GIB == pytest.approx(usable_gib, abs=0.006)


def test_the_estimate_of_usable_memory_holds_for_every_card_that_was_observed() -> None:
    observed = [
        gpu
        for gpu in gpus()
        if gpu.vendor == "nvidia" and gpu.driver_bytes and gpu.usable_basis == "observed"
    ]
    assert len(observed) >= 10
    for gpu in observed:
        assert gpu.driver_bytes is not None
        assert usable_from_driver(gpu.driver_bytes) == pytest.approx(gpu.usable_bytes, rel=0.008)


@pytest.mark.parametrize(
    ("memory_gib", "usable_gib"),
    [
        (16, 10.67),  # abetlen/llama-cpp-python#687, exo-explore/exo#1672
        (32, 21.33),  # ollama/ollama#434
        (64, 48.0),
        (96, 72.0),  # ggml-org/llama.cpp#3213
        (128, 96.0),
        (192, 144.0),
    ],
)
def test_metal_working_set(memory_gib: int, usable_gib: float) -> None:
    assert metal_working_set(memory_gib * GIB) / GIB == pytest.approx(usable_gib, abs=0.005)


def test_links_count_one_direction() -> None:
    h100 = find("h100-sxm")
    assert h100.link_bytes_per_second == 450 * 10**9  # NVLink 4: 900 GB/s in both
    assert h100.host_bytes_per_second == pytest.approx(63.0e9, rel=0.001)  # PCIe 5.0 x16
    assert find("rtx-4060").host_bytes_per_second == pytest.approx(15.75e9, rel=0.001)  # 4.0 x8


@EVERY
def test_every_spelling_finds_its_card(gpu: Gpu) -> None:
    for name in spellings(gpu):
        for spelled in (name, name.upper(), name.replace(" ", "-"), name.replace("-", "")):
            assert find(spelled) is gpu


@pytest.mark.parametrize(
    ("query", "id_"),
    [
        ("rtx4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("4090 24GB", "rtx-4090"),
        ("4090 laptop", "rtx-4090-laptop"),
        ("4070tisuper", "rtx-4070-ti-super"),
        ("3060 8gb", "rtx-3060-8gb"),
        ("h100", "h100-sxm"),
        ("H100 SXM", "h100-sxm"),
        ("H100 80GB", "h100-sxm"),
        ("h100 pcie", "h100-pcie"),
        ("a100", "a100-80gb-sxm"),
        ("a100-40gb", "a100-40gb-sxm"),
        ("A100 PCIe", "a100-80gb-pcie"),
        ("v100", "v100-sxm2-16gb"),
        ("a6000", "rtx-a6000"),
        ("6000 ada", "rtx-6000-ada"),
        ("pro 6000", "rtx-pro-6000-blackwell"),
        ("mi300x", "mi300x"),
        ("7900xtx", "rx-7900-xtx"),
        ("m3 max 64gb", "apple-m3-max-64gb"),
        ("M2 Ultra 192", "apple-m2-ultra-192gb"),
        ("gb10", "dgx-spark"),
        ("strix halo", "ryzen-ai-max-395-128gb"),
    ],
)
def test_names_as_people_write_them(query: str, id_: str) -> None:
    assert find(query).id == id_


@pytest.mark.parametrize(
    ("query", "candidates"),
    [
        ("m3", ["apple-m3-8gb", "apple-m3-16gb", "apple-m3-24gb"]),
        ("m4 max", ["apple-m4-max-36gb", "apple-m4-max-128gb"]),
        ("rtx 6000", ["quadro-rtx-6000", "rtx-6000-ada", "rtx-pro-6000-blackwell"]),
        ("7900", ["rx-7900-gre", "rx-7900-xt", "rx-7900-xtx"]),
    ],
)
def test_a_name_of_several_cards_lists_them(query: str, candidates: list[str]) -> None:
    with pytest.raises(UsageError, match="could be several") as error:
        find(query)
    assert [id_ for id_ in candidates if id_ not in error.value.hint] == []


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("rtx4900", "rtx-4090"),
        ("h10o", "h100-sxm"),
        ("mi300z", "mi300x"),
        ("h100 40gb", "h100"),
        ("rtx 4090 ti", "rtx-4070-ti"),
        ("ti", "`hfmem gpus`"),
        ("40", "`hfmem gpus`"),
        ("", "`hfmem gpus`"),
        ("auto", "`hfmem gpus`"),
        ("2xh100", "h100:2"),
        ("8 x H100", "H100:8"),
        ("foo", "rtx-4090, rtx-5090,"),
        ("rtx4900", "h100-sxm"),
    ],
)
def test_an_unknown_name_gets_a_hint(query: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        find(query)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("text", "id_", "count", "usable_bytes"),
    [
        ("h200:8", "h200-sxm", 8, None),
        ("RTX 4090 : 2", "rtx-4090", 2, None),
        ("24GiB", "24GiB", 1, 25_769_803_776),
        ("24 gib:2", "24gib", 2, 25_769_803_776),
        ("80GB", "80GB", 1, 80_000_000_000),
        ("1.5TiB:4096", "1.5TiB", 4096, 1_649_267_441_664),
    ],
)
def test_parse_gpu(text: str, id_: str, count: int, usable_bytes: int | None) -> None:
    group = parse_gpu(text)
    assert (group.gpu.id, group.count) == (id_, count)
    if usable_bytes is not None:
        assert group.gpu.usable_basis == "given"
        assert group.gpu.usable_bytes == usable_bytes


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("-1GiB", "'-1GiB' is no memory size of a GPU.", "24GiB or 80GB"),
        ("1e3GiB", "'1e3GiB' is no memory size of a GPU.", "24GiB or 80GB"),
        ("h100:x", "'x' is no count.", "Write h100:COUNT with a COUNT of 1 to 4096."),
        ("h100:", "'h100:' is no GPU: '' is no count.", "Write h100:COUNT"),
        ("24GiB:", "'24GiB:' is no GPU: '' is no count.", "Write 24GiB:COUNT"),
        ("h100::2", "':2' is no count.", "Write h100:COUNT"),
        ("h100,", "'h100,' is no GPU", "one at a time: --gpu h100"),
        ("h100,,l40s:2", "a comma is part of no name", "--gpu h100 --gpu l40s:2"),
        (",", "',' is no GPU", "--gpu h100 --gpu l40s"),
        ("auto:2", "takes no count", "Write --gpu auto"),
        ("auto:", "takes no count", "Write --gpu auto"),
    ],
)
def test_a_wrong_size_or_count_is_said(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_gpu(text)
    assert message in error.value.message
    assert hint in error.value.hint
    assert "Did you mean" not in error.value.hint


@pytest.mark.parametrize(
    "text",
    ["24G", "24G:2", "h100:0", "h100:-1", "h100:4097", ":2", "", "0GiB", "100TiB", "999999999TB"],
)
def test_parse_gpu_refuses(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_gpu(text)
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a100", ["a100-80gb-sxm", "a100-40gb-sxm", "a100-80gb-pcie"]),
        ("h100:2", ["h100-sxm", "h100-pcie", "h100-nvl"]),
        ("3080", ["rtx-3080-10gb", "rtx-3080-12gb"]),
        ("4090", []),
        ("mi300x", []),
        ("24GiB", []),
    ],
)
def test_a_choice_that_the_name_left_open_is_told(text: str, said: list[str]) -> None:
    note = parse_gpu(text).note
    assert bool(note) == bool(said)
    assert [id_ for id_ in said if id_ not in note] == []


def test_the_fullest_device_decides_for_its_group() -> None:
    gpu = parse_gpu("24GiB").gpu
    assert GpuGroup(gpu=gpu, count=4, used_bytes=4 * GIB).usable_bytes == 80 * GIB
    assert GpuGroup(gpu=gpu, used_bytes=30 * GIB).usable_bytes == 0


@given(st.text(max_size=80))
def test_any_text_is_a_card_a_size_or_a_usage_error(text: str) -> None:
    try:
        group = parse_gpu(text)
    except HfmemError as error:
        assert "\n" not in error.message  # noqa: PT017
        assert error.hint  # noqa: PT017
    else:
        assert group.count >= 1
        assert group.gpu.usable_bytes > 0


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("hopper nvl", {"h100-nvl", "h200-nvl"}),
        ("rtx4090", {"rtx-4090", "rtx-4090-d", "rtx-4090-laptop"}),
        ("google", {"tpu-v5e", "tpu-v5p", "tpu-v6e", "tpu7x"}),
        ("a100 sxm", {"a100-40gb-sxm", "a100-80gb-sxm"}),
        ("no such card", set()),
    ],
)
def test_search(query: str, ids: set[str]) -> None:
    assert {gpu.id for gpu in search(query)} == ids


def test_search_for_nothing_lists_everything() -> None:
    assert search() == gpus()


def test_common_cards_are_in_the_catalogue_in_order() -> None:
    sizes = [gpu.marketed_gb for gpu in gpus() for id_ in COMMON if gpu.id == id_]
    assert len(sizes) == len(COMMON)
    ordered = [find(id_).marketed_gb or 0 for id_ in COMMON]
    assert ordered == sorted(ordered)
    assert {16, 24, 32, 48, 40, 80, 141, 180, 192} <= set(ordered)


@pytest.mark.parametrize(
    ("device", "memory_mib", "id_"),
    [
        # Names as the drivers print them, with their totals.
        ("NVIDIA H100 80GB HBM3", 81559, "h100-sxm"),
        ("NVIDIA H100 PCIe", 81559, "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", 81920, "a100-80gb-sxm"),
        ("NVIDIA A100-PCIE-40GB", 40960, "a100-40gb-pcie"),
        ("NVIDIA A100 80GB PCIe", 81920, "a100-80gb-pcie"),
        ("Tesla V100-SXM2-32GB", 32768, "v100-sxm2-32gb"),
        ("Tesla T4", 15360, "t4"),
        ("Tesla T4", 15109, "t4"),
        ("NVIDIA A10G", 23028, "a10g"),
        ("NVIDIA L40S", 46068, "l40s"),
        ("NVIDIA GH200 480GB", 97871, "gh200-96gb"),
        ("NVIDIA GB10", None, "dgx-spark"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "rtx-pro-6000-blackwell"),
        ("NVIDIA GeForce RTX 3060", 12288, "rtx-3060-12gb"),
        ("NVIDIA GeForce RTX 3060", 8192, "rtx-3060-8gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "rtx-4060-ti-16gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "rtx-4060-ti-8gb"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "rtx-4090-laptop"),
        ("AMD Instinct MI300X", 196592, "mi300x"),
        ("AMD INSTINCT MI250X (MCM) OAM AC MBA", 65520, "mi250x"),
        ("Intel(R) Arc(TM) A770 Graphics", 15473, "arc-a770-16gb"),
        # Other cards than those whose name theirs contains.
        ("NVIDIA GeForce RTX 3050 Ti Laptop GPU", 4096, None),
        ("NVIDIA GeForce RTX 4090", 49140, None),
        ("NVIDIA RTX 4000 SFF Ada Generation", 20475, None),
        ("NVIDIA GeForce GTX 1660", 6144, None),
    ],
)
def test_recognise(device: str, memory_mib: int | None, id_: str | None) -> None:
    found = recognise(device, None if memory_mib is None else memory_mib * MIB)
    assert (found.id if found else None) == id_


@pytest.mark.shared
def test_agrees_with_the_reference(shared: Path) -> None:
    # Rows that the reference had wrong: bins of a chip with a narrower bus, two devices as one.
    corrected = {
        "apple-m3-max-36gb",
        "apple-m4-max-36gb",
        "apple-m5-max-36gb",
        "mi250x",
        "max-1550",
    }
    rows = json.loads((shared / "reference" / "gpus.json").read_text(encoding="utf-8"))["gpus"]
    ours = {gpu.id: gpu for gpu in gpus()}
    for row in rows:
        gpu = ours[row["id"]]
        if row["id"] in corrected:
            continue
        assert gpu.bandwidth_bytes_per_second == round(row["bandwidth_gbps"] * 10**9)
        assert gpu.usable_bytes == pytest.approx(row["memory_bytes_usable"], rel=0.001)
        assert gpu.driver_bytes == (
            None if row["driver_total_mib"] is None else row["driver_total_mib"] * MIB
        )


# A number is the number on the box or a number of a name, never a part of one: 48 is not in 5480.
@pytest.mark.parametrize(
    ("query", "inside", "outside"),
    [
        ("48", {"l40s", "rtx-a6000", "apple-m4-max-48gb"}, {"rtx-4080", "rtx-3080-12gb"}),
        ("48gb", {"l40s", "a40"}, {"rtx-4080"}),
        ("24GiB", {"rtx-4090", "l4"}, {"rtx-4080"}),
        ("40", {"a100-40gb-sxm", "l40"}, {"rtx-4090", "rtx-4060"}),
        ("100", {"a100-80gb-sxm", "h100-sxm", "mi100"}, {"rtx-5090"}),
        ("ada 24", {"rtx-4090", "l4"}, {"rtx-3090", "rtx-4080"}),
    ],
)
def test_search_by_number(query: str, inside: set[str], outside: set[str]) -> None:
    found = {gpu.id for gpu in search(query)}
    assert inside <= found
    assert not outside & found
