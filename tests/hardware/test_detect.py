"""What ``--gpu auto`` finds, from the text that the drivers' tools print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.errors import UsageError
from hfmem.hardware.catalogue import find
from hfmem.hardware.detect import Detected, apple_gpu, detect, visible
from hfmem.hardware.machine import read_host_memory, read_nvml, run_command
from hfmem.hardware.probes import (
    HostMemory,
    Reading,
    limited,
    parse_amd_smi,
    parse_meminfo,
    parse_nvidia_smi,
    parse_rocm_smi,
)
from hfmem.units import GIB, MIB

HOST = HostMemory(total_bytes=125 * GIB, available_bytes=110 * GIB)

# Formats: nvidia-smi --help-query-gpu; rocm_smi.py printJsonLog; amd-smi's amdsmi_commands.py.
H100S = "NVIDIA H100 80GB HBM3, 81559, 4, 81004\nNVIDIA H100 80GB HBM3, 81559, 20480, 60528\n"
MIXED = (
    "NVIDIA GeForce RTX 3090, 24576, 10, 24240\n"
    "NVIDIA GeForce RTX 4090, 24564, 1000, 23080\n"
    "NVIDIA GeForce RTX 3090, 24576, 300, 23950\n"
)
GB10 = "NVIDIA GB10, [N/A], [N/A], [N/A]\n"
ROCM = (
    "WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status\n"
    '{"card0": {"VRAM Total Memory (B)": "206141652992", "VRAM Total Used Memory (B)":'
    ' "297521152", "GTT Total Memory (B)": "1623439794176", "GTT Total Used Memory (B)":'
    ' "14000000", "Card Series": "AMD Instinct MI300X", "Card Model": "0x74a1",'
    ' "GFX Version": "gfx942"}, "system": {"Driver version": "6.8.5"}}'
)
STRIX = (
    '{"card1": {"VRAM Total Memory (B)": "536870912", "VRAM Total Used Memory (B)": "100000000",'
    ' "GTT Total Memory (B)": "67108864000", "GTT Total Used Memory (B)": "900000000",'
    ' "Card series": "Radeon 8060S Graphics"}}'
)
AMD_STATIC = '[{"gpu": 0, "asic": {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002"}}]'
AMD_METRIC = (
    '[{"gpu": 0, "mem_usage": {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram":'
    ' {"value": 285, "unit": "MB"}, "free_vram": {"value": 196307, "unit": "MB"}, "total_gtt":'
    ' {"value": 1548267, "unit": "MB"}, "used_gtt": {"value": 20, "unit": "MB"}}}]'
)


def machine(outputs: Mapping[str, str]) -> Callable[[Sequence[str]], str | None]:
    """A runner that knows these commands, each by its first words, and no other."""

    def run(command: Sequence[str]) -> str | None:
        line = " ".join(command)
        return next((text for start, text in outputs.items() if line.startswith(start)), None)

    return run


def detected(
    outputs: Mapping[str, str],
    *,
    host: HostMemory | None = HOST,
    environ: Mapping[str, str] | None = None,
    platform: str = "linux",
    nvml: tuple[Reading, ...] = (),
) -> Detected:
    return detect(
        run=machine(outputs),
        nvml=lambda: nvml,
        host=lambda: host,
        environ=environ or {},
        platform=platform,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (H100S, [("NVIDIA H100 80GB HBM3", 81559, 4), ("NVIDIA H100 80GB HBM3", 81559, 20480)]),
        (GB10, [("NVIDIA GB10", None, None)]),
        ("A, card with, commas, 8192, 1, 8191", [("A, card with, commas", 8192, 1)]),
        ("Tesla T4, 15360, [Insufficient Permissions], 14000", [("Tesla T4", 15360, None)]),
        ("No devices were found\n", []),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", []),
        ("Failed to initialize NVML: Driver/library version mismatch", []),
        ("a, b, c, d\n, 1, 2, 3\nx, -1, 2, 3\ny, ٣, 2, 3", []),
        ("", []),
    ],
)
def test_parse_nvidia_smi(text: str, expected: list[tuple[str, int | None, int | None]]) -> None:
    read = [(each.name, each.total_bytes, each.used_bytes) for each in parse_nvidia_smi(text)]
    assert read == [
        (name, total and total * MIB, used and used * MIB) for name, total, used in expected
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROCM, [("AMD Instinct MI300X", 206141652992, 297521152)]),
        (STRIX, [("Radeon 8060S Graphics", 536870912, 100000000)]),
        ('{"card0": {"VRAM Total Memory (B)": "N/A"}}', [("card0", None, None)]),
        ('{"card0": 3, "system": {}}', []),
        ("[]", []),
        ("{", []),
        ("[" * 100_000, []),
        ("ERROR: No AMD GPUs", []),
    ],
)
def test_parse_rocm_smi(text: str, expected: list[tuple[str, int | None, int | None]]) -> None:
    read = [(each.name, each.total_bytes, each.used_bytes) for each in parse_rocm_smi(text)]
    assert read == expected


@pytest.mark.parametrize(
    ("static", "metric", "expected"),
    [
        (AMD_STATIC, AMD_METRIC, [("AMD Instinct MI300X", 196592 * MIB, 285 * MIB)]),
        (
            '{"gpu_data": ' + AMD_STATIC + "}",
            '{"gpu_data": ' + AMD_METRIC + "}",
            [("AMD Instinct MI300X", 196592 * MIB, 285 * MIB)],
        ),
        ("", AMD_METRIC, [("AMD GPU", 196592 * MIB, 285 * MIB)]),
        (AMD_STATIC, '[{"gpu": 0, "mem_usage": {"total_vram": "N/A"}}]', [(..., None, None)]),
        (AMD_STATIC, '[{"gpu": 0, "mem_usage": "N/A"}, 7]', []),
        (AMD_STATIC, "garbage", []),
    ],
)
def test_parse_amd_smi(static: str, metric: str, expected: list[tuple[Any, ...]]) -> None:
    read = [
        (each.name, each.total_bytes, each.used_bytes) for each in parse_amd_smi(static, metric)
    ]
    assert len(read) == len(expected)
    for row, wanted in zip(read, expected, strict=True):
        assert row[1:] == wanted[1:]
        assert wanted[0] in (..., row[0])


@given(st.text(max_size=200), st.text(max_size=200))
def test_parsers_survive_garbage(text: str, other: str) -> None:
    for reading in (*parse_nvidia_smi(text), *parse_rocm_smi(text), *parse_amd_smi(text, other)):
        assert reading.total_bytes is None or reading.total_bytes >= 0
    parse_meminfo(text)


def test_equal_cards_are_one_group_and_the_fullest_decides() -> None:
    found = detected({"nvidia-smi": H100S})
    assert found.note == "found with nvidia-smi"
    (group,) = found.groups
    assert group.gpu == find("h100-sxm")
    assert (group.count, group.used_bytes) == (2, 20480 * MIB)


def test_different_cards_are_several_groups() -> None:
    found = detected({"nvidia-smi": MIXED})
    assert [(group.gpu.id, group.count) for group in found.groups] == [
        ("rtx-3090", 2),
        ("rtx-4090", 1),
    ]


def test_the_reserve_of_an_old_driver_is_not_counted_twice() -> None:
    # Before driver 510, used = total - free: an idle card shows its reserve of about 500 MiB.
    found = detected({"nvidia-smi": "NVIDIA GeForce RTX 4090, 24564, 450, 24114"})
    (group,) = found.groups
    assert group.used_bytes < 110 * MIB


def test_a_measured_total_replaces_that_of_the_catalogue() -> None:
    found = detected({"nvidia-smi": "Tesla T4, 15109, 0, 14900"})
    (group,) = found.groups
    assert group.gpu.id == "t4"
    assert group.gpu.driver_bytes == 15109 * MIB
    assert group.gpu.usable_basis == "estimated"
    assert group.gpu.bandwidth_bytes_per_second == 320 * 10**9
    assert group.gpu.usable_bytes / GIB == pytest.approx(14.43, abs=0.01)  # less 280 MiB, 0.35 %


def test_an_unknown_card_is_its_size() -> None:
    found = detected({"nvidia-smi": "NVIDIA GeForce RTX 3080 Laptop GPU, 16384, 0, 16000"})
    (group,) = found.groups
    assert (group.gpu.name, group.gpu.kind) == ("NVIDIA GeForce RTX 3080 Laptop GPU", "laptop")
    assert group.gpu.bandwidth_bytes_per_second is None
    assert group.gpu.driver_bytes == 16384 * MIB


def test_unified_memory_without_a_total_is_that_of_the_host() -> None:
    found = detected({"nvidia-smi": GB10})
    (group,) = found.groups
    assert group.gpu.id == "dgx-spark"
    assert (group.gpu.usable_bytes, group.used_bytes) == (125 * GIB, 15 * GIB)
    assert group.gpu.usable_basis == "measured"


@pytest.mark.parametrize("tool", ["rocm-smi", "amd-smi"])
def test_amd(tool: str) -> None:
    outputs = {
        "rocm-smi": {"rocm-smi": ROCM},
        "amd-smi": {"amd-smi static": AMD_STATIC, "amd-smi metric": AMD_METRIC},
    }[tool]
    found = detected(outputs)
    assert found.note == f"found with {tool}"
    (group,) = found.groups
    assert (group.gpu.id, group.gpu.usable_bytes) == ("mi300x", 206141652992)
    assert 280 * MIB < group.used_bytes < 290 * MIB


def test_an_apu_has_its_carve_out_and_what_it_may_map() -> None:
    (group,) = detected({"rocm-smi": STRIX}).groups
    assert group.gpu.unified_memory
    assert group.gpu.usable_bytes == 536870912 + 67108864000  # 0.5 + 62.5 GiB: the default
    assert group.used_bytes == 1_000_000_000
    assert group.gpu.bandwidth_bytes_per_second == 256 * 10**9


def test_a_display_adapter_is_no_accelerator() -> None:
    small = '{"card0": {"Card Series": "Vega 8", "VRAM Total Memory (B)": "536870912"}}'
    assert [group.gpu.id for group in detected({"rocm-smi": small}).groups] == ["cpu"]


@pytest.mark.parametrize(
    ("chip", "memory_gib", "wired", "id_", "usable_gib", "bandwidth"),
    [
        ("Apple M3 Max", 64, "0", "apple-m3-max-64gb", 48, 400),
        ("Apple M3 Max", 36, "0", "apple-m3-max-36gb", 27, 300),
        ("Apple M3 Max", 64, "57344", "apple-m3-max-64gb", 56, 400),
        ("Apple M3 Max", 64, None, "apple-m3-max-64gb", 48, 400),
        ("Apple M2", 24, "0", "apple-m2-24gb", 16, 100),
        ("Apple M4 Pro", 32, "0", "apple-m4-pro-32gb", 32 * 2 / 3, 273),
        ("Apple M9 Ultra", 1024, "0", "apple-m9-ultra-1024gb", 768, None),
    ],
)
def test_apple(
    chip: str,
    memory_gib: int,
    wired: str | None,
    id_: str,
    usable_gib: float,
    bandwidth: int | None,
) -> None:
    outputs = {
        "sysctl -n machdep.cpu.brand_string": f"{chip}\n",
        "sysctl -n hw.memsize": f"{memory_gib * GIB}\n",
    }
    if wired is not None:
        outputs["sysctl -n iogpu.wired_limit_mb"] = f"{wired}\n"
    (group,) = detected(outputs, platform="darwin").groups
    assert group.gpu.id == id_
    assert group.gpu.vendor == "apple"
    assert group.gpu.usable_bytes / GIB == pytest.approx(usable_gib)
    expected = None if bandwidth is None else bandwidth * 10**9
    assert group.gpu.bandwidth_bytes_per_second == expected


def test_a_wired_limit_is_no_more_than_the_memory() -> None:
    gpu = apple_gpu("Apple M1", 8 * GIB, wired_limit_mib=10**9)
    assert gpu.usable_bytes == 8 * GIB


def test_an_intel_mac_has_only_its_memory() -> None:
    outputs = {"sysctl -n machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz"}
    assert [group.gpu.id for group in detected(outputs, platform="darwin").groups] == ["cpu"]


def test_nothing_found_is_the_memory_of_the_host() -> None:
    found = detected({})
    (group,) = found.groups
    assert "no accelerator" in found.note
    assert (group.gpu.id, group.gpu.vendor) == ("cpu", "cpu")
    assert (group.gpu.usable_bytes, group.used_bytes) == (125 * GIB, 15 * GIB)


def test_a_machine_that_says_nothing_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as error:
        detected({}, host=None)
    assert "--gpu" in error.value.hint


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        (None, "abc"),
        ("0", "a"),
        ("2,0", "ca"),
        (" 1 , 2 ", "bc"),
        ("", ""),
        ("-1", ""),
        ("0,7,1", "a"),  # CUDA stops at the first invalid index
        ("GPU-8a5bc1d2", "abc"),
        ("9" * 30, ""),
    ],
)
def test_visible_devices(setting: str | None, kept: str) -> None:
    readings = [Reading(name=name) for name in "abc"]
    assert "".join(each.name for each in visible(readings, setting)) == kept


def test_hidden_devices_are_not_found() -> None:
    found = detected({"nvidia-smi": MIXED}, environ={"CUDA_VISIBLE_DEVICES": "1"})
    assert [(group.gpu.id, group.count) for group in found.groups] == [("rtx-4090", 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "MemTotal:       131072 kB\nMemFree:   1024 kB\nMemAvailable:   65536 kB\n",
            (128 * MIB, 64 * MIB),
        ),
        ("MemTotal: 1024 kB\nMemFree: 512 kB\n", (MIB, MIB // 2)),
        ("MemTotal: lots\n", None),
        ("", None),
    ],
)
def test_parse_meminfo(text: str, expected: tuple[int, int] | None) -> None:
    read = parse_meminfo(text)
    assert (read and (read.total_bytes, read.available_bytes)) == expected


@pytest.mark.parametrize(
    ("limit", "current", "expected"),
    [
        (None, None, (125 * GIB, 110 * GIB)),
        (16 * GIB, 4 * GIB, (16 * GIB, 12 * GIB)),
        (120 * GIB, None, (120 * GIB, 110 * GIB)),
        (200 * GIB, GIB, (125 * GIB, 110 * GIB)),
        (GIB, 2 * GIB, (GIB, 0)),
    ],
)
def test_a_container_has_its_limit(
    limit: int | None, current: int | None, expected: tuple[int, int]
) -> None:
    left = limited(HOST, limit=limit, current=current)
    assert (left.total_bytes, left.available_bytes) == expected


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (["no-such-command-for-hfmem"], None),
        ([sys.executable, "-c", "print('ok')"], "ok\n"),
        ([sys.executable, "-c", "raise SystemExit(9)"], None),
    ],
)
def test_a_command_that_fails_prints_nothing(command: list[str], printed: str | None) -> None:
    assert run_command(command) == printed


def test_this_machine_knows_its_memory() -> None:
    host = read_host_memory()
    assert host is not None
    assert 0 <= host.available_bytes <= host.total_bytes


class NVMLError(Exception):
    """Stands for pynvml's."""


def fake_nvml(*, init: bool = True, memory: SimpleNamespace | None = None) -> ModuleType:
    """A pynvml with one device, which may lack a driver or a memory of its own."""

    def fail(*_: object) -> None:
        raise NVMLError

    module = ModuleType("pynvml")
    module.__dict__.update(
        NVMLError=NVMLError,
        nvmlInit=(lambda: None) if init else fail,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: b"NVIDIA GB10",
        nvmlDeviceGetMemoryInfo=(lambda _: memory) if memory else fail,
    )
    return module


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (
            fake_nvml(memory=SimpleNamespace(total=8 * GIB, used=GIB, free=7 * GIB)),
            (Reading(name="NVIDIA GB10", total_bytes=8 * GIB, used_bytes=GIB, free_bytes=7 * GIB),),
        ),
        (fake_nvml(), (Reading(name="NVIDIA GB10"),)),
        (fake_nvml(init=False), ()),
        (None, ()),  # an import of None raises ImportError
    ],
)
def test_read_nvml(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, expected: tuple[Reading, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert read_nvml() == expected


def test_nvml_is_asked_first() -> None:
    reading = Reading(name="NVIDIA L4", total_bytes=23034 * MIB, used_bytes=0)
    found = detected({"nvidia-smi": H100S}, nvml=(reading,))
    assert found.note == "found with NVML"
    assert [group.gpu.id for group in found.groups] == ["l4"]
