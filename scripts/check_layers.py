#!/usr/bin/env python3
"""Think hard before changing this file.

Checks who includes whom. An arrow never points up a level, the pure libraries stay pure, and each outside library is
included in its own place only. A new arrow here is a decision about the design, not a way to make a build pass.
Prints file:line for every breach and exits 1. Argument: the root of the source tree (default: this one).
"""

import pathlib
import re
import sys

# Library -> libraries of ours it may include, besides itself.
LIBS = {
    "base": set(),
    "record": {"base"},
    "raft": {"base"},
    "telemetry": {"base"},
    "coordination": {"base", "record", "raft"},
    "cluster": {"base", "record", "raft"},
    "replica": {"base", "record", "raft"},
    "group": {"base", "record", "raft"},
    "txn": {"base", "record", "raft"},
    "log": {"base", "record", "raft", "telemetry"},
    "rpc": {"base", "record", "telemetry", "cluster"},
    "http": {"base", "telemetry"},
    "client": {"base", "record", "telemetry", "rpc"},
}

# State machines: no threads, no clock, no randomness of their own, no files, no network. Their tests may read files.
PURE = {"record", "raft", "coordination", "cluster", "replica", "group", "txn"}
IMPURE = re.compile(r"thread|mutex|shared_mutex|condition_variable|future|atomic|chrono|random|fstream|iostream"
                    r"|filesystem|(sys|netinet|arpa)/.*|unistd\.h|fcntl\.h|time\.h|ctime|libs/base/(log|mutex|gate)\.h")

# Include prefix -> folders that may include it.
OUTSIDE = {
    "grpcpp/": {"libs/rpc", "libs/client", "services"},
    "grpc/": {"libs/rpc", "libs/client", "services"},
    "rocksdb/": {"libs/log"},
    "prometheus/": {"libs/telemetry"},
    "civetweb": {"libs/http"},
    "CivetServer": {"libs/http"},
    "spdlog/": {"libs/base"},
    "CLI/": {"services/cli"},
    "nlohmann/": {"services", "tests"},
    "librdkafka/": {"tests"},
}

# The command line runs all three services in one process (`falaj dev`); otherwise services never include each other.
RUNS_ALL = "services/cli"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def is_test(path):
    return re.search(r"(_test|_fixture|_main)\.(cc|h)$|(^|/)testing/", path) is not None


def breach(path, include):
    """Why the file at `path` may not include `include`, or None."""
    parts = path.split("/")
    folder = "/".join(parts[:2])
    generated_grpc = include.endswith(".grpc.pb.h")
    for prefix, homes in OUTSIDE.items():
        # Generated health messages live under grpc/ too, but are plain messages.
        if include.startswith(prefix) and not include.endswith(".pb.h") and not {parts[0], folder} & homes:
            return f"{prefix} is for {', '.join(sorted(homes))} only"
    if generated_grpc and not {parts[0], folder} & (OUTSIDE["grpcpp/"] | {"tests"}):
        return "generated services are for libs/rpc, libs/client and services only"
    if folder == "libs/client" and include.startswith("falaj/internal/"):
        return "a client knows the public protos only"
    if parts[0] == "libs":
        lib = parts[1]
        if lib not in LIBS:
            return f"libs/{lib} is not in the table of scripts/check_layers.py"
        if include.startswith(("services/", "tests/")):
            return "a library includes neither services nor tests"
        if lib in PURE and not is_test(path) and IMPURE.fullmatch(include):
            return f"libs/{lib} is pure: no threads, clock, randomness, files, logs or network"
        target = include.split("/")[1] if include.startswith("libs/") else lib
        if target != lib and target not in LIBS[lib]:
            return f"libs/{lib} may not include libs/{target}"
    if parts[0] == "services" and include.startswith("services/") and folder != RUNS_ALL:
        if "/".join(include.split("/")[:2]) != folder:
            return "services never include each other"
    return None


def check(root):
    """Breaches as 'file:line: include: why'."""
    found = []
    for top in ("libs", "services", "tests"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".cc", ".h"):
                continue
            path = file.relative_to(root).as_posix()
            for number, line in enumerate(file.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                why = match and breach(path, match.group(1))
                if why:
                    found.append(f"{path}:{number}: {match.group(1)}: {why}")
    return found


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    found = check(root)
    print("\n".join(found + [f"check_layers: {len(found)} breaches"] if found else ["check_layers: ok"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
