"""What must hold of the sessions and elections of a fault run. Every check returns the violations, as sentences."""

import bisect


def check_sessions(history):
    """An ephemeral znode is there while its session surely lives, and gone once its session has surely ended."""
    violations = []
    timeouts, alive, ended = {}, {}, {}
    for record in history:
        if record["f"] == "open":
            timeouts[record["session"]] = record["timeout_ns"]
            alive.setdefault(record["session"], []).append((record["invoked"], record["returned"]))
        elif record["f"] == "keep" and record["outcome"] == "ok":
            alive.setdefault(record["session"], []).append((record["invoked"], record["returned"]))
        if record["f"] == "close" or (record["f"] == "keep" and record["outcome"] == "SESSION_EXPIRED"):
            ended[record["session"]] = min(ended.get(record["session"], record["returned"]), record["returned"])
    closed = {}  # When a client first asked for the end.
    for record in history:
        if record["f"] == "close":
            closed[record["session"]] = min(closed.get(record["session"], record["invoked"]), record["invoked"])
    for record in history:
        if record["f"] != "look":
            continue
        session = record["session"]
        if record["found"] and record["invoked"] > ended.get(session, float("inf")):
            violations.append(f'{record["path"]} was there after session {session} had ended')
        if not record["found"] and record["returned"] < closed.get(session, float("inf")):
            # Signs of life answered before the look; the session lives a timeout longer than the last was sent.
            signs = alive[session]
            last = bisect.bisect([returned for _, returned in signs], record["invoked"]) - 1
            if signs[last][0] + timeouts[session] > record["returned"]:
                violations.append(f'{record["path"]} was gone while session {session} lived')
    return violations


def check_early_ends(history):
    """No session expired although a sign of life younger than its timeout had been answered."""
    violations, signs, timeouts, closed = [], {}, {}, set()
    for record in history:
        if record["f"] == "open":
            timeouts[record["session"]] = record["timeout_ns"]
            signs[record["session"]] = record["invoked"]
        elif record["f"] == "close":
            closed.add(record["session"])
        elif record["f"] == "keep" and record["session"] not in closed:
            session = record["session"]
            if record["outcome"] == "ok":
                signs[session] = record["invoked"]
            elif record["outcome"] == "SESSION_EXPIRED" and record["returned"] < signs[session] + timeouts[session]:
                violations.append(f"session {session} expired {(record['returned'] - signs[session]) / 1e9:.2f} s "
                                  f"after a sign of life; its timeout is {timeouts[session] / 1e9:.0f} s")
    return violations


def check_elections(history):
    """Tokens rise, no two candidates ever have the same one, and no two lead at one time."""
    violations, owners = [], {}
    told = [r for r in history if r["f"] in ("lead", "get_leader")]
    for record in told:
        owner = owners.setdefault(record["token"], record["path"])
        if owner != record["path"]:
            violations.append(f'token {record["token"]} belongs to {owner} and to {record["path"]}')
    highest = 0
    for record in sorted(told, key=lambda r: (r["index"], r["token"])):
        if record["token"] < highest:
            violations.append(f'at index {record["index"]} {record["path"]} led with token {record["token"]}, '
                              f"after token {highest}")
        highest = max(highest, record["token"])
    leads = sorted((r for r in history if r["f"] == "lead"), key=lambda r: r["returned"])
    for before, after in zip(leads, leads[1:]):
        if after["session"] != before["session"] and after["returned"] < before["until"]:
            violations.append(f'{after["client"]} led with token {after["token"]} while {before["client"]} still did '
                              f'with token {before["token"]}')
        if after["token"] <= before["token"]:
            violations.append(f'token {after["token"]} was handed out after {before["token"]}')
    return violations


def check_candidates(history):
    """Who was told that it leads was the candidate that had stood the longest, as a watcher of the tree saw it."""
    entries, up_to = _longest_watch(history)
    violations, candidates, at = [], [], 0
    indexes = sorted(entries)
    for record in sorted((r for r in history if r["f"] in ("lead", "get_leader")), key=lambda r: r["index"]):
        if record["index"] > up_to:
            break
        while at < len(indexes) and indexes[at] <= record["index"]:
            for event in entries[indexes[at]]:
                if event["path"].startswith("/fault/election/") and event["type"] == "CREATED":
                    candidates.append(event["path"])
                elif event["path"] in candidates and event["type"] == "DELETED":
                    candidates.remove(event["path"])
            at += 1
        if not candidates or candidates[0] != record["path"]:
            violations.append(f'at index {record["index"]} {record["path"]} led, but the candidates were {candidates}')
    return violations


def _longest_watch(history):
    """What one watcher saw from the beginning on, until it had to begin anew if it had to: ({index: events}, up to)."""
    seen = {}
    for record in history:
        if record["f"] == "watch_begin":
            seen.setdefault(record["client"], [{}, record["after"], True])
        elif record["f"] == "watch_resync":
            seen[record["client"]][2] = False
        elif record["f"] == "watch" and seen[record["client"]][2]:
            if record["events"]:
                seen[record["client"]][0][record["index"]] = record["events"]
            seen[record["client"]][1] = record["index"]
    entries, up_to, _ = max(seen.values(), key=lambda of_watcher: of_watcher[1])
    return entries, up_to
