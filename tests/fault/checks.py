"""What must hold of a fault run's history. Every check returns the violations it found, as sentences."""

DEFINITE_INDEX_OPS = ("get", "create", "set", "delete", "multi", "pulse")


def changes_of(history):
    """What each entry did to each znode of the data: {path: {index: (version, value, created)}}; deleted: None.

    From the answers to writers, from what readers saw, and from watches. Violations where they contradict each other.
    """
    changes, violations = {}, []

    def note(path, index, change, whence):
        known = changes.setdefault(path, {}).setdefault(index, change)
        if known != change:
            violations.append(f"{path} at index {index}: {known}, but {change} according to {whence}")

    for record in history:
        if record["f"] == "watch":
            for event in record["events"]:
                if event["path"].startswith("/fault/data/"):
                    gone = event["type"] == "DELETED"
                    change = None if gone else (event["version"], int(event["value"] or 0), event["created"])
                    note(event["path"], record["index"], change, record["client"])
        if record.get("outcome") != "ok":
            continue
        if record["f"] in ("get", "create", "set"):
            change = (record["version"], record["value"], record["created"])
            note(record["path"], record["modified"], change, f'{record["client"]}, a {record["f"]}')
        elif record["f"] == "multi":
            for step in record["steps"]:
                change = (step["version"], step["value"], step["created"])
                note(step["path"], step["modified"], change, f'{record["client"]}, a multi')
        elif record["f"] == "delete":
            note(record["path"], record["index"], None, record["client"])
    return changes, violations


def check_reads(history):
    """Every read at an index saw the last change up to it, and none an index lower than it asked for."""
    changes, violations = changes_of(history)
    for record in history:
        if record["f"] != "get" or record["outcome"] != "ok":
            continue
        index = record["index"]
        if index < record["min_index"]:
            violations.append(f'{record["client"]} asked for index {record["min_index"]} and got {index}')
        last = max(i for i in changes[record["path"]] if i <= index)
        if last != record["modified"]:
            violations.append(f'{record["client"]} read {record["path"]} at index {index} as of {record["modified"]}, '
                              f"which was overwritten at {last}")
    return violations


def check_time(history):
    """An operation that began after another had returned has a higher index (a linearizable read: no lower one)."""
    operations = [r for r in history if r["f"] in DEFINITE_INDEX_OPS and r["outcome"] == "ok" and not r.get("local")]
    by_return = sorted(operations, key=lambda r: r["returned"])
    violations = []
    returned, highest = 0, {"index": 0, "f": "get", "client": "nobody"}
    for record in sorted(operations, key=lambda r: r["invoked"]):
        while returned < len(by_return) and by_return[returned]["returned"] < record["invoked"]:
            highest = max(highest, by_return[returned], key=lambda r: r["index"])
            returned += 1
        allowed = highest["index"] if record["f"] == "get" else highest["index"] + 1
        if record["index"] < allowed:
            violations.append(f'{record["client"]}: a {record["f"]} of {record["path"] if "path" in record else "two"} '
                              f'at {record["index"]}, begun after {highest["client"]} had seen {highest["index"]}')
    return violations


def check_watches(history):
    """No gap, no duplicate, no disorder: all watchers saw the same entries, and every write that was answered."""
    violations = []
    truth = {}  # index -> events
    spans = []  # What one watcher saw without beginning anew: {"client", "after", "up_to", "entries": {index: events}}
    latest = {}  # watcher -> its span
    for record in history:
        if record["f"] == "watch_begin":
            latest[record["client"]] = {"client": record["client"], "after": record["after"],
                                        "up_to": record["after"], "entries": {}}
            spans.append(latest[record["client"]])
        elif record["f"] == "watch":
            span, index, events = latest[record["client"]], record["index"], record["events"]
            if index < span["up_to"] or (events and index == span["up_to"]):
                violations.append(f'{record["client"]} was at {span["up_to"]} and got {index}')
            span["up_to"] = max(span["up_to"], index)
            if events:
                span["entries"][index] = events
                if truth.setdefault(index, events) != events:
                    violations.append(f'{record["client"]} saw at {index} {events}, others {truth[index]}')
    for record in history:  # What was answered, but no watcher saw.
        if record["f"] in ("create", "set", "delete", "multi", "pulse") and record["outcome"] == "ok":
            covered = any(span["after"] < record["index"] <= span["up_to"] for span in spans)
            if covered and record["index"] not in truth:
                violations.append(f'no watcher saw the {record["f"]} at index {record["index"]}')
    for span in spans:
        missed = {i for i in truth if span["after"] < i <= span["up_to"]} - span["entries"].keys()
        if missed:
            violations.append(f'{span["client"]} missed {len(missed)} entries after {span["after"]}, '
                              f"the first at {min(missed)}")
        violations += _check_versions(span["client"], span["entries"])
    return violations


def _check_versions(client, entries):
    """The events of each znode follow from one another."""
    violations, versions = [], {}
    for index in sorted(entries):
        for event in entries[index]:
            path, kind, version = event["path"], event["type"], event["version"]
            before = versions.get(path, "unknown")
            possible = before == "unknown" or (
                kind == "CREATED" and before is None and version == 0
                or kind == "CHANGED" and before is not None and version == before + 1
                or kind == "DELETED" and before is not None and version == before)
            if not possible:
                violations.append(f"{client} saw {path} {kind} at {index} with version {version}, after {before}")
            versions[path] = None if kind == "DELETED" else version
    return violations


def check_queue(history, final):
    """Requests with a number took effect exactly once. `final`: what is there at the end, [(path, name)]."""
    violations = []
    answered = {r["name"]: r["path"] for r in history if r["f"] == "enqueue" and r["outcome"] == "ok"}
    known = {r["name"] for r in history if r["f"] == "enqueue"}
    there = {}
    for path, name in final:
        if name in there:
            violations.append(f"{name} is there twice: {there[name]} and {path}")
        if name not in known:
            violations.append(f"{path} holds {name}, which nobody wrote")
        there[name] = path
    for name, path in answered.items():
        if there.get(name) != path:
            violations.append(f"{name} was created as {path} and is at {there.get(name)}")
    return violations
