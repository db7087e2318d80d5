"""What must hold of the history of a run against the log. Every check returns the violations it found, as sentences.

A history ends with "final" records: all of every partition, read when all was whole again. The names are those of
Jepsen's Kafka workload, where it has them.
"""

import bisect
import collections

PRODUCED = ("produce", "command")


def partition_of(record):
    return record["topic"], record["partition"]


def finals_of(history):
    """{(topic, partition): [(who read it, {offset: value})]}"""
    finals = collections.defaultdict(list)
    for record in history:
        if record["f"] == "final":
            finals[partition_of(record)].append((record["client"], dict(map(tuple, record["records"]))))
    return finals


def places_of(history):
    """Everything anybody was told: ((topic, partition), offset, value, by whom)."""
    for record in history:
        if record["f"] in ("read", "final") and record["outcome"] == "ok":
            for offset, value in record["records"]:
                yield partition_of(record), offset, value, f'{record["client"]}, which read it'
        elif record["f"] in PRODUCED and record["outcome"] == "ok" and record["offsets"] is not None:
            for offset, value in zip(record["offsets"], record["values"]):
                yield partition_of(record), offset, value, f'{record["client"]}, which wrote it'


def check_offsets(history):
    """inconsistent-offsets: an offset holds one value, whoever reads it, whenever."""
    violations, known, told = [], {}, set()
    for partition, offset, value, who in places_of(history):
        before, by_whom = known.setdefault((partition, offset), (value, who))
        if before != value and (partition, offset, value) not in told:
            told.add((partition, offset, value))
            violations.append(f"{partition} at {offset}: {before} for {by_whom}; {value} for {who}")
    return violations


def check_duplicates(history):
    """duplicate: a value is at one place, as nobody sends it twice and what is repeated is recognised."""
    violations, known, told = [], {}, set()
    for partition, offset, value, who in places_of(history):
        place = (partition, offset)
        before = known.setdefault((partition[0], value), place)
        if before != place and (value, place) not in told:
            told.add((value, place))
            violations.append(f"{value} is at {before} and at {place}, for {who}")
    return violations


def check_lost(history):
    """lost-write: what was acknowledged, or read by anybody, is there at the end, where it was, whoever looks."""
    violations, finals, told = [], finals_of(history), set()
    values = {(topic, value) for (topic, _), logs in finals.items() for _, log in logs for value in log.values()}
    for partition, offset, value, who in places_of(history):
        if (partition, offset, value) in told:
            continue
        missed_by = [reader for reader, log in finals.get(partition, [("anybody", {})]) if log.get(offset) != value]
        if missed_by:
            told.add((partition, offset, value))
            violations.append(f"{value} at {partition}, offset {offset}, is lost for {who}: not seen by {missed_by[0]}")
    for record in history:
        if record["f"] in PRODUCED and record["outcome"] == "ok" and record["offsets"] is None:
            lost = [value for value in record["values"] if (record["topic"], value) not in values]
            if lost:
                violations.append(f'{record["client"]} was told that {lost[0]} and {len(lost) - 1} more are there')
    return violations


def check_aborted(history):
    """aborted-read: an error that promises that nothing was appended is true."""
    failed = {(record["topic"], value): record for record in history
              if record["f"] in PRODUCED and record["outcome"] not in ("ok", "unknown") for value in record["values"]}
    violations, told = [], set()
    for partition, offset, value, _ in places_of(history):
        record = failed.get((partition[0], value))
        if record is not None and value not in told:
            told.add(value)
            violations.append(f'{value} was refused with {record["outcome"]} and is at {partition}, offset {offset}')
    return violations


def check_origin(history):
    """Everything that is read was written by somebody, and to that partition."""
    sent = {(record["topic"], value): record["partition"] for record in history if record["f"] in PRODUCED
            for value in record["values"]}
    violations, told = [], set()
    for partition, offset, value, _ in places_of(history):
        wanted = sent.get((partition[0], value), "nowhere")
        if wanted not in (None, partition[1]) and (partition, value) not in told:
            told.add((partition, value))
            violations.append(f"{value} is at {partition}, offset {offset}; it was sent to {wanted}")
    return violations


def check_polls(history):
    """nonmonotonic-poll and poll-skip: offsets rise, and what a read passed over holds no record."""
    violations = []
    final = {partition: sorted(set().union(*(log for _, log in logs)))
             for partition, logs in finals_of(history).items()}
    for record in history:
        if record["f"] != "read":
            continue
        about = f'{record["client"]} at {partition_of(record)} from {record["from"]}'
        if record["outcome"] == "OFFSET_OUT_OF_RANGE":
            violations.append(f"{about}: the place it had read up to was refused")
        if record["outcome"] != "ok":
            continue
        offsets = [offset for offset, _ in record["records"]]
        if any(b <= a for a, b in zip([record["from"] - 1] + offsets, offsets)):
            violations.append(f"{about}: the offsets do not rise: {offsets[:20]}")
            continue
        if record["next"] < record["from"] or (offsets and offsets[-1] >= record["next"]):
            violations.append(f'{about}: it is sent on to {record["next"]}, after {offsets[-1:]}')
            continue
        if offsets and offsets[-1] >= record["high_watermark"]:
            violations.append(f'{about}: {offsets[-1]} is above the high watermark {record["high_watermark"]}')
        there = final.get(partition_of(record), [])
        passed = there[bisect.bisect_left(there, record["from"]):bisect.bisect_left(there, record["next"])]
        skipped = set(passed) - set(offsets)
        if skipped:
            violations.append(f"{about}: {len(skipped)} records were skipped, the first at {min(skipped)}")
    return violations


def check_time(history):
    """nonmonotonic-send: a write that began after another had been acknowledged has a higher offset, unless they are of
    different partitions."""
    writes = [r for r in history if r["f"] == "produce" and r["outcome"] == "ok"]
    by_return = sorted(writes, key=lambda r: r["returned"])
    violations, returned, highest = [], 0, {}
    for record in sorted(writes, key=lambda r: r["invoked"]):
        while returned < len(by_return) and by_return[returned]["returned"] < record["invoked"]:
            done = by_return[returned]
            highest[partition_of(done)] = max(highest.get(partition_of(done), -1), max(done["offsets"]))
            returned += 1
        before = highest.get(partition_of(record), -1)
        if min(record["offsets"]) <= before:
            violations.append(f'{record["client"]} wrote at {partition_of(record)}, offset {min(record["offsets"])}, '
                              f"after {before} had been acknowledged")
    return violations


CHECKS = {
    "nothing acknowledged or read is lost": check_lost,
    "nothing is there twice": check_duplicates,
    "an offset holds one value for everybody": check_offsets,
    "what was refused for certain is not there": check_aborted,
    "nothing is there that nobody sent": check_origin,
    "reads rise and skip nothing": check_polls,
    "offsets follow real time": check_time,
}
