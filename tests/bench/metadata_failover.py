"""How long writes to the metadata service pause when its leader is killed -9.

    tests/bench/metadata_failover.sh build/release [KILLS]

Three metadata nodes on loopback. Before each kill a write has just succeeded; the pause is the time from the kill to
the next write that succeeds (a topic's creation through the gateway, which is linearizable). Prints percentiles and one
line of JSON.
"""

import json
import os
import shutil
import sys
import tempfile
import time

from cluster import Cluster


def main(kills):
    directory = tempfile.mkdtemp(prefix="falaj-failover-")
    pauses = []
    try:
        with Cluster(os.environ["FALAJ_BINARIES"], directory, metadata_nodes=3) as cluster:
            cluster.start()
            cluster.wait_online(1)
            for number in range(kills):
                leader = cluster.metadata_leader()
                cluster.create_topic(f"before-{number}", 1)
                begin = time.monotonic()
                cluster.kill(leader)
                cluster.create_topic(f"after-{number}", 1)
                pauses.append((time.monotonic() - begin) * 1000)
                cluster.start_process(leader)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    pauses.sort()

    def percentile(percent):
        return round(pauses[min(len(pauses) - 1, int(len(pauses) * percent / 100))])

    result = {"kills": kills, "p50_ms": percentile(50), "p90_ms": percentile(90), "p99_ms": percentile(99),
              "max_ms": round(pauses[-1])}
    print(f"metadata leader killed {kills} times: writes paused p50 {result['p50_ms']} ms, "
          f"p99 {result['p99_ms']} ms, longest {result['max_ms']} ms")
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
