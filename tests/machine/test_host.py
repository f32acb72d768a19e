"""Memory allocator and threads, tried in processes of their own because both are settings of a whole process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tao_lite.machine.host import available_memory, usable_cores

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(code: str, **environment: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True).stdout


COUNT_FAULTS = """
import resource
from tao_lite.machine import host
kept = {call}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * 2**25
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    kept, faults = run(COUNT_FAULTS.format(call="host.keep_freed_memory()")).split()
    if kept == "False":
        pytest.skip("needs glibc")
    _, faults_without = run(COUNT_FAULTS.format(call="None")).split()
    # Twenty blocks of 32 MiB are taken from the kernel once instead of each time.
    assert int(faults) < int(faults_without) / 4


def group(root: Path, cgroup: str, **files: str) -> Path:
    """A machine whose process is in these control groups and whose files under sys/fs/cgroup are these."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "190000 100000\n"}, 1),  # a started core does not count
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),  # but one there must be
        ("0::/\n", {"cpu.max": "max 100000\n"}, CORES),
        ("0::/\n", {"cpu.max": "99900000 100000\n"}, CORES),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, 1),  # the group around it
        ("0::/host/path\n", {"cpu.max": "100000 100000\n"}, 1),  # a container that sees its group at the top
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            1,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ("3:cpuset:/\n0::/\n", {}, CORES),
        ("0::/\n", {"cpu.max": "\n"}, CORES),
    ],
)
def test_usable_cores_heed_quotas_of_both_kinds_of_control_group(
    tmp_path: Path, cgroup: str, files: dict[str, str], cores: int
) -> None:
    assert usable_cores(group(tmp_path, cgroup, **files)) == cores


def test_usable_cores_without_control_groups_are_those_of_the_affinity(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == CORES


SET_THREADS = """
import logging, sys, torch
from tao_lite.machine import host
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
print(host.set_threads(), torch.get_num_threads(), host.usable_cores())
"""


def test_torch_gets_one_thread_per_usable_core_and_the_log_says_so() -> None:
    logged, numbers = run(SET_THREADS).splitlines()
    threads, torch_threads, cores = map(int, numbers.split())
    assert threads == torch_threads == cores
    assert logged == f"torch got {cores} threads on {cores} usable cores"


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_omp_num_threads_outweighs_the_usable_cores() -> None:
    logged, numbers = run(SET_THREADS, OMP_NUM_THREADS="1").splitlines()
    assert numbers.split()[:2] == ["1", "1"]
    assert logged.startswith("torch got 1 threads")


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_is_what_the_machine_has_free(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"proc/meminfo": "MemTotal:  9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n"})
    assert available_memory(root) == 4000 * 1024


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("1000000\n", 1000000 - 700000 + 200000), ("max\n", 4000 * 1024)],
)
def test_memory_is_limited_by_the_container_whose_idle_file_pages_are_free(
    tmp_path: Path, limit: str, expected: int
) -> None:
    files = {
        "proc/meminfo": "MemAvailable:    4000 kB\n",
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": limit,
        "sys/fs/cgroup/memory.current": "700000\n",
        "sys/fs/cgroup/memory.stat": "anon 100\ninactive_file 200000\n",
    }
    assert available_memory(lay_out(tmp_path, files)) == expected


def test_memory_is_limited_by_an_old_style_group(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": "MemAvailable:    4000 kB\n",
        "proc/self/cgroup": "5:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "900000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "500000\n",
        "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 100\n",
    }
    assert available_memory(lay_out(tmp_path, files)) == 900000 - 500000 + 100


def test_unknown_memory_is_none_at_all(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 0
