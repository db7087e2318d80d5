"""What a fault run prints at its end."""

import collections

import notes

DRAWN_AFTER_S = 20  # A run of this length must have broken something.
DATA = ("get", "create", "set", "delete", "multi", "pulse")
RECOVERY_NS = 2_000_000_000  # A pause that begins so soon after a fault has healed still belongs to it.


def write_pauses(records, client):
    """The gaps between two answered writes of a pulse writer: [(seconds, kinds of the faults meanwhile)], longest
    first."""
    answers = sorted(r["returned"] for r in records if r["f"] == "pulse" and r["outcome"] == "ok"
                     and r["client"] == client)
    faults = [r for r in records if r["f"] == "fault" and r["kinds"] != ["quiet"]]
    pauses = []
    for before, after in zip(answers, answers[1:]):
        kinds = [kind for fault in faults if fault["invoked"] < after and before < fault["returned"] + RECOVERY_NS
                 for kind in fault["kinds"]]
        pauses.append(((after - before) / 1e9, kinds))
    return sorted(pauses, reverse=True)


def has_majority(kinds):
    return len(kinds) <= 1 and not any(kind.endswith("-majority") for kind in kinds)


def print_report(options, records, fault_counts, verdicts):
    bug = f", with the planted bug {options.planted_bug}" if options.planted_bug else ""
    print(f"fault run: seed {options.seed}, {options.seconds:.0f} s, three metadata nodes{bug}")
    operations = [r for r in records if "outcome" in r]
    kinds = collections.Counter(r["f"] for r in operations)
    print(f"operations: {len(operations):,}: " + ", ".join(f"{kind} {n:,}" for kind, n in kinds.most_common()))
    unknown = sum(r["outcome"] == "unknown" for r in operations)
    none = sum(r["outcome"] == "none" for r in operations)
    print(f"without answer: {unknown:,} of unknown outcome, {none:,} certainly without effect")
    print(f"faults: {sum(n for kind, n in fault_counts.items() if kind != 'quiet')}: " +
          ", ".join(f"{kind} {n}" for kind, n in sorted(fault_counts.items())))
    for client in sorted({r["client"] for r in records if r["f"] == "pulse"}):
        pauses = write_pauses(records, client)
        print(f"longest write pause of {client}: " + _describe(pauses) +
              "; with one node at a time in trouble: " + _describe([p for p in pauses if has_majority(p[1])]))
    streams = [r for r in records if r["f"] == "stream"]
    ends = collections.Counter(r["outcome"] for r in streams)
    print(f"streams of writes: {len(streams)}, {sum(len(r['sent']) for r in streams):,} writes, "
          f"{sum(len(r['results']) for r in streams):,} answered; ended well {ends['ok']}, without effect of the rest "
          f"{ends['none']}, unknown {ends['unknown']}")
    watched = sum(len(r["events"]) for r in records if r["f"] == "watch")
    print(f"watches: {watched:,} events; {sum(r['f'] == 'watch_resync' for r in records)} times behind what is kept")
    expired = {r["session"] for r in operations if r["f"] == "keep" and r["outcome"] == "SESSION_EXPIRED"}
    print(f"sessions: {kinds['open']} opened, {len(expired)} expired under their client; "
          f"elections: {kinds['lead']} leaders")
    print_verdicts(verdicts)


def check_drawn(name, options, nemesis):
    """Says which faults the run has drawn, also where nobody reads its report, and which not. A run that has broken
    nothing proves nothing."""
    drawn = {kind: count for kind, count in nemesis.counts.items() if kind != "quiet"}
    missing = [kind for kind in nemesis.FAULTS if kind not in drawn]
    notes.note("faults", f"{name}, seed {options.seed}, {options.seconds:.0f} s: " +
               (", ".join(f"{kind} {count}" for kind, count in sorted(drawn.items())) or "none") +
               "; not drawn: " + (", ".join(missing) or "none"))
    return [] if drawn or options.seconds < DRAWN_AFTER_S else ["nothing was broken"]


def print_verdicts(verdicts):
    """{what was checked: the violations found}"""
    for name, violations in verdicts.items():
        count = f": {len(violations)} violations" if violations else ""
        print(f"{'FAILED' if violations else 'ok':6} {name}{count}")
        for violation in violations[:3]:
            print(f"       {violation[:600]}")


def _describe(pauses):
    if not pauses:
        return "no writes"
    seconds, kinds = pauses[0]
    return f"{seconds:.2f} s ({' + '.join(kinds) or 'no fault'})"
