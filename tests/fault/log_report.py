"""What a fault run against the log prints at its end."""

import collections

from report import RECOVERY_NS, print_verdicts

REPLICAS_DOWN = {"kill-two", "pause-two"}  # Then writes with acks ALL stop, as they must.


def write_pauses(records):
    """The gaps between two acknowledged writes of a partition, by any producer of the unary door, from 0.1 s on:
    [(seconds, kinds of the faults meanwhile, partition)], longest first."""
    times = collections.defaultdict(list)
    for record in records:
        if record["f"] == "produce" and record["outcome"] == "ok":
            times[record["topic"], record["partition"]].append(record["returned"])
    faults = [r for r in records if r["f"] == "fault" and r["kinds"] != ["quiet"]]
    pauses = []
    for partition, answers in times.items():
        answers.sort()
        for before, after in zip(answers, answers[1:]):
            if after - before < 100_000_000:
                continue
            kinds = [kind for fault in faults if fault["invoked"] < after and before < fault["returned"] + RECOVERY_NS
                     for kind in fault["kinds"]]
            pauses.append(((after - before) / 1e9, kinds, partition))
    return sorted(pauses, key=lambda pause: pause[0], reverse=True)


def print_report(options, records, fault_counts, verdicts, facts):
    """`facts`: further lines."""
    what = "flights, " if options.flights else ""
    bug = f", with the planted bug {options.planted_bug}" if options.planted_bug else ""
    print(f"fault run against the log: {what}seed {options.seed}, {options.seconds:.0f} s, three metadata nodes, "
          f"{options.storage} storage nodes, two gateways{bug}")
    produced = [r for r in records if r["f"] in ("produce", "command")]
    outcomes = collections.Counter(r["outcome"] for r in produced)
    acknowledged = sum(len(r["values"]) for r in produced if r["outcome"] == "ok")
    print(f"batches sent: {len(produced):,}: " + ", ".join(f"{kind} {n:,}" for kind, n in outcomes.most_common()))
    reads = [r for r in records if r["f"] == "read" and r["outcome"] == "ok"]
    failed = collections.Counter(r["outcome"] for r in records if r["f"] == "read" and r["outcome"] != "ok")
    print(f"records acknowledged: {acknowledged:,}; read: {sum(len(r['records']) for r in reads):,} in "
          f"{len(reads):,} answers; reads refused: " + (", ".join(f"{k} {n:,}" for k, n in failed.items()) or "none"))
    print(f"faults: {sum(n for kind, n in fault_counts.items() if kind != 'quiet')}: " +
          ", ".join(f"{kind} {n}" for kind, n in sorted(fault_counts.items())))
    admin = [r for r in records if r["f"] == "admin"]
    if admin:
        print(f"administration: {len(admin)} commands, {sum(not r['ok'] for r in admin)} failed")
    pauses = write_pauses(records)
    one = [pause for pause in pauses if len(pause[1]) <= 1 and not REPLICAS_DOWN & set(pause[1])]
    print(f"longest write pause of a partition: {_describe(pauses)}; with one fault at a time: {_describe(one)}")
    by_kind = {}
    for seconds, kinds, _ in one:
        by_kind.setdefault(kinds[0] if kinds else "no fault", seconds)
    print("longest write pause by fault: " + (", ".join(f"{k} {s:.2f} s" for k, s in by_kind.items()) or "none"))
    for fact in facts:
        print(fact)
    print_verdicts(verdicts)


def _describe(pauses):
    if not pauses:
        return "below 0.1 s"
    seconds, kinds, partition = pauses[0]
    return f"{seconds:.2f} s ({' + '.join(kinds) or 'no fault'}, {partition[0]}/{partition[1]})"
