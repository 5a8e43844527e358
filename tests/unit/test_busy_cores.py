"""How much of the cores is in use, by what Linux says in a machine, a container with a quota."""

from pathlib import Path

import pytest

from adapters.busy_cores import BusyCores

STAT = "cpu  {all}\ncpu0 {0}\ncpu1 {1}\nintr 12345 0 9\nctxt 99\n"
V2_MOUNTS = (
    "2175 2046 0:190 / / rw,relatime master:900 - overlay overlay rw,lowerdir=/l:/m,upperdir=/u\n"
    "2179 2178 0:31 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n"
)
V1_MOUNTS = (
    "604 603 0:28 /docker/4f1c /sys/fs/cgroup/cpu,cpuacct ro,relatime master:12 - cgroup cgroup rw,cpu,cpuacct\n"
    "605 603 0:29 /docker/4f1c /sys/fs/cgroup/systemd ro,relatime master:11 - cgroup systemd rw,xattr,name=systemd\n"
)
CPU_STAT = "usage_usec {0}\nuser_usec 1\nsystem_usec 2\nnr_periods 70\nnr_throttled 3\nthrottled_usec 44\n"


class Linux:
    """A root with the files as a kernel writes them, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 100.0
        self.write("proc/self/cgroup", "0::/\n")
        self.write("proc/self/mountinfo", "")
        self.cores((0, 0), (0, 0))

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def cores(self, *ticks: tuple[int, int]) -> None:
        """(busy, idle) of each core: half of the idle ones wait for a disk, and guests' time is user time as well."""
        lines = [f"{busy} 0 0 {idle - idle // 2} {idle // 2} 0 0 0 {busy} 0" for busy, idle in ticks]
        self.write("proc/stat", STAT.format(*lines, all=lines[0]))

    def watched(self, cores: set[int] | None = None) -> BusyCores:
        found = BusyCores(self.root, lambda: cores or {0, 1}, lambda: self.now)
        assert found.share() == 0.0, "nothing has passed yet"
        return found


@pytest.fixture
def linux(tmp_path: Path) -> Linux:
    return Linux(tmp_path)


def test_without_a_quota_the_cores_that_we_may_run_on_count(linux: Linux) -> None:
    """Waiting for a disk is no work; each answer is about the time since the last one."""
    both, second = linux.watched(), linux.watched({1})
    linux.cores((80, 20), (20, 80))
    assert (both.share(), second.share()) == (0.5, 0.2)
    linux.cores((80, 120), (20, 180))
    assert (both.share(), second.share()) == (0.0, 0.0)


def test_a_container_with_a_quota_is_busy_when_that_is_used_up_and_the_machine_is_not(linux: Linux) -> None:
    """Version 2: half a core of two, of which 0.4 were used."""
    linux.write("proc/self/mountinfo", V2_MOUNTS)
    linux.write("sys/fs/cgroup/cpu.max", "50000 100000\n")
    linux.write("sys/fs/cgroup/cpu.stat", CPU_STAT.format(7_000_000))
    busy = linux.watched()
    linux.now += 10.0
    linux.cores((400, 600), (0, 1000))
    linux.write("sys/fs/cgroup/cpu.stat", CPU_STAT.format(11_000_000))
    assert busy.share() == pytest.approx(0.8)


def test_a_busy_machine_counts_in_a_container_that_is_idle(linux: Linux) -> None:
    """Beside us, in containers of their own, run the lanes that metrics give way to."""
    linux.write("proc/self/mountinfo", V2_MOUNTS)
    linux.write("sys/fs/cgroup/cpu.max", "50000 100000\n")
    linux.write("sys/fs/cgroup/cpu.stat", CPU_STAT.format(0))
    busy = linux.watched()
    linux.now += 10.0
    linux.cores((900, 100), (900, 100))
    assert busy.share() == pytest.approx(0.9)


def test_the_quota_of_a_group_above_ours_counts_and_max_is_none(linux: Linux) -> None:
    """A pod's limit stands at the pod; what its other containers use is used."""
    linux.write("proc/self/mountinfo", V2_MOUNTS)
    linux.write("proc/self/cgroup", "0::/pod/ours\n")
    linux.write("sys/fs/cgroup/pod/ours/cpu.max", "max 100000\n")
    linux.write("sys/fs/cgroup/pod/cpu.max", "200000 100000\n")
    linux.write("sys/fs/cgroup/pod/cpu.stat", CPU_STAT.format(0))
    busy = linux.watched()
    linux.now += 1.0
    linux.write("sys/fs/cgroup/pod/cpu.stat", CPU_STAT.format(1_500_000))
    assert busy.share() == pytest.approx(0.75)


@pytest.mark.parametrize(("quota", "share"), [("100000", 0.7), ("-1", 0.0)])
def test_version_1_is_read_below_the_group_that_is_mounted(linux: Linux, quota: str, share: float) -> None:
    linux.write("proc/self/mountinfo", V1_MOUNTS)
    linux.write("proc/self/cgroup", "4:name=systemd:/docker/4f1c\n3:cpu,cpuacct:/docker/4f1c\n")
    folder = "sys/fs/cgroup/cpu,cpuacct"
    linux.write(f"{folder}/cpu.cfs_quota_us", f"{quota}\n")
    linux.write(f"{folder}/cpu.cfs_period_us", "100000\n")
    linux.write(f"{folder}/cpuacct.usage", "5000000000\n")
    busy = linux.watched()
    linux.now += 10.0
    linux.write(f"{folder}/cpuacct.usage", "12000000000\n")
    assert busy.share() == pytest.approx(share)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proc/self/cgroup", "0::/../other\n"),
        ("proc/self/cgroup", "nothing\n"),
        ("proc/self/mountinfo", "broken - line\n"),
        ("sys/fs/cgroup/cpu.max", "\n"),
        ("sys/fs/cgroup/cpu.stat", "user_usec 3\n"),
        ("proc/stat", "cpu0 a b\n"),
    ],
)
def test_what_cannot_be_read_says_nothing(linux: Linux, path: str, text: str) -> None:
    """Metrics are then computed as on an idle machine: late is better than never, and neither is an error."""
    linux.write("proc/self/mountinfo", V2_MOUNTS)
    linux.write("sys/fs/cgroup/cpu.max", "50000 100000\n")
    linux.write("sys/fs/cgroup/cpu.stat", CPU_STAT.format(0))
    linux.write(path, text)
    busy = linux.watched()
    linux.now += 10.0
    assert busy.share() == 0.0
    (linux.root / "proc/stat").unlink()
    assert busy.share() == 0.0


def test_on_this_machine_it_answers() -> None:
    """Not a recording: whatever kernel and container the tests run in."""
    busy = BusyCores()
    assert busy.share() == 0.0
    assert 0.0 <= busy.share() <= 1.0
