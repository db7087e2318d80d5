"""What processes cost, from /proc: processor time and resident memory; and what the disk under a directory costs."""

import os
import statistics
import time


def cpu_seconds(process):
    """User and system time of all threads of a tests/integration/cluster.py Process so far."""
    with open(f"/proc/{process.child.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process):
    """Its memory now."""
    with open(f"/proc/{process.child.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def total(measure, processes):
    """The sum of cpu_seconds or resident_mib."""
    return sum(measure(process) for process in processes)


def fdatasync_ms(directory, size_bytes=16384, rounds=200):
    """Median of an append and fdatasync of so many bytes: what the disk allows on its own."""
    path = os.path.join(directory, "fdatasync")
    times = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(rounds):
            begin = time.monotonic()
            file.write(os.urandom(size_bytes))
            os.fdatasync(file.fileno())
            times.append(1000 * (time.monotonic() - begin))
    os.remove(path)
    return statistics.median(times)
