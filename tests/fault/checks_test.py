"""The checkers find what is wrong, and nothing in what is right."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import checks
import session_checks
import stream_checks

CHECKER = os.path.join(os.environ["FALAJ_BINARIES"], "falaj_check_history")


def get(invoked, returned, value, version, modified, index, **fields):
    return {"f": "get", "client": "r", "path": "/fault/data/a", "local": False, "min_index": 0, "outcome": "ok",
            "invoked": invoked, "returned": returned, "value": value, "version": version, "created": 1,
            "modified": modified, "index": index, **fields}


def put(kind, invoked, returned, value, version, index, **fields):
    return {"f": kind, "client": "w", "path": "/fault/data/a", "outcome": "ok", "invoked": invoked,
            "returned": returned, "value": value, "version": version, "created": 1, "modified": index,
            "index": index, "expected": None, **fields}


def unknown(kind, invoked, value):
    return {"f": kind, "client": "w", "path": "/fault/data/a", "outcome": "unknown", "invoked": invoked,
            "returned": None, "value": value, "expected": None}


RIGHT = [put("create", 0, 10, 1, 0, 1), put("set", 20, 30, 2, 1, 2), get(40, 50, 2, 1, 2, 2),
         unknown("set", 60, 3), get(70, 80, 2, 1, 2, 3),
         get(90, 100, 3, 2, 4, 4)]
STALE = RIGHT[:2] + [get(40, 50, 1, 0, 1, 1)]


def begin(client, after=0):
    return {"f": "watch_begin", "client": client, "after": after}


def seen(client, index, *events):
    return {"f": "watch", "client": client, "index": index, "events": [
        {"type": kind, "path": path, "version": version, "created": 1, "modified": index, "value": "0", "session": 0}
        for kind, path, version in events]}


class DataChecksTest(unittest.TestCase):

    def judge(self, history):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.writelines(json.dumps(record) + "\n" for record in history)
            file.flush()
            return subprocess.run([CHECKER, file.name], check=False, capture_output=True).returncode

    def test_a_right_history_passes(self):
        self.assertEqual(self.judge(RIGHT), 0)
        self.assertEqual(checks.check_reads(RIGHT), [])
        self.assertEqual(checks.check_time(RIGHT), [])

    def test_a_stale_read_is_found(self):
        self.assertEqual(self.judge(STALE), 1)
        self.assertEqual(len(checks.check_time(STALE)), 1)

    def test_a_lost_write_is_found(self):
        lost = RIGHT[:1] + [put("set", 20, 30, 2, 1, 2), put("set", 40, 50, 3, 1, 3)]
        self.assertEqual(self.judge(lost), 1)
        self.assertNotEqual(checks.check_watches([begin("a"), seen("a", 1, ("CREATED", "/fault/data/a", 0)),
                                                  seen("a", 3, ("CHANGED", "/fault/data/a", 2))] + lost), [])

    def test_a_write_without_answer_may_come_later_or_never_but_not_before_it_was_sent(self):
        late = unknown("set", 60, 3)
        self.assertEqual(self.judge(RIGHT[:2] + [late, get(70, 80, 2, 1, 2, 2)]), 0)
        self.assertEqual(self.judge(RIGHT[:2] + [late, get(50, 55, 3, 2, 3, 3)]), 1)

    def test_a_read_of_something_overwritten_is_found(self):
        self.assertEqual(len(checks.check_reads(RIGHT + [get(110, 120, 2, 1, 2, 4)])), 1)

    def test_two_answers_that_contradict_each_other_are_found(self):
        self.assertEqual(len(checks.check_reads(RIGHT + [get(110, 120, 9, 1, 2, 2)])), 1)

    def test_a_read_below_its_minimum_is_found(self):
        self.assertEqual(len(checks.check_reads(RIGHT + [get(45, 50, 2, 1, 2, 2, local=True, min_index=3)])), 1)


class WatchChecksTest(unittest.TestCase):

    CREATED = ("CREATED", "/fault/x", 0)
    CHANGED = ("CHANGED", "/fault/x", 1)

    def test_gaps_duplicates_and_disorder_are_found(self):
        first, second = seen("a", 1, self.CREATED), seen("a", 2, self.CHANGED)
        other = [begin("b"), seen("b", 1, self.CREATED), seen("b", 2, self.CHANGED), seen("b", 9)]
        self.assertEqual(checks.check_watches([begin("a"), first, second, seen("a", 9)] + other), [])
        for wrong in ([second, seen("a", 9)], [first, seen("a", 9)], [first, first, second], [second, first]):
            self.assertNotEqual(checks.check_watches([begin("a"), *wrong, *other]), [], wrong)

    def test_a_write_that_nobody_saw_is_found(self):
        history = [begin("a"), seen("a", 9), put("set", 20, 30, 2, 1, 2)]
        self.assertEqual(len(checks.check_watches(history)), 1)

    def test_a_watcher_that_begins_anew_may_miss_what_was_between(self):
        resync = {"f": "watch_resync", "client": "a", "after": 1}
        history = [begin("a"), seen("a", 1, self.CREATED), resync, begin("a", 7), seen("a", 9)]
        other = [begin("b"), seen("b", 1, self.CREATED), seen("b", 2, self.CHANGED), seen("b", 9)]
        self.assertEqual(checks.check_watches(history + other), [])


class SessionChecksTest(unittest.TestCase):

    def lead(self, token, index, returned, until, session):
        return {"f": "lead", "client": f"c{session}", "session": session, "token": token, "path": f"/e/{token}",
                "index": index, "invoked": returned - 1, "returned": returned, "until": until}

    def test_elections(self):
        first, second = self.lead(5, 5, 10, 20, 1), self.lead(8, 9, 30, 40, 2)
        self.assertEqual(session_checks.check_elections([first, second]), [])
        self.assertNotEqual(session_checks.check_elections([first, self.lead(4, 9, 30, 40, 2)]), [])
        self.assertNotEqual(session_checks.check_elections([first, self.lead(8, 9, 15, 40, 2)]), [])
        self.assertNotEqual(session_checks.check_elections([first, {**second, "token": 5}]), [])

    def test_who_came_first_leads_first(self):
        watch = [begin("w"), seen("w", 1, ("CREATED", "/fault/election/1", 0)),
                 seen("w", 2, ("CREATED", "/fault/election/2", 0)), seen("w", 5, ("DELETED", "/fault/election/1", 0)),
                 seen("w", 9)]
        first = {"f": "get_leader", "index": 3, "path": "/fault/election/1"}
        second = {"f": "get_leader", "index": 6, "path": "/fault/election/2"}
        self.assertEqual(session_checks.check_candidates(watch + [first, second]), [])
        self.assertEqual(len(session_checks.check_candidates(watch + [{**second, "index": 3}])), 1)

    def session(self, *records):
        opened = {"f": "open", "session": 1, "timeout_ns": 100, "invoked": 0, "returned": 10, "outcome": "ok"}
        return [opened, *({"session": 1, "path": "/x", **record} for record in records)]

    def test_ephemeral_znodes_go_with_their_sessions(self):
        close = {"f": "close", "invoked": 50, "returned": 60}
        after = {"f": "look", "invoked": 70, "returned": 80}
        self.assertEqual(session_checks.check_sessions(self.session(close, {**after, "found": False})), [])
        self.assertEqual(len(session_checks.check_sessions(self.session(close, {**after, "found": True}))), 1)
        self.assertEqual(len(session_checks.check_sessions(self.session({**after, "found": False}))), 1)
        late = {"f": "look", "invoked": 90, "returned": 110, "found": False}
        self.assertEqual(session_checks.check_sessions(self.session(late)), [])

    def test_sessions_do_not_end_early(self):
        keep = {"f": "keep", "invoked": 50, "returned": 60, "outcome": "ok"}
        expired = {"f": "keep", "invoked": 120, "returned": 130, "outcome": "SESSION_EXPIRED"}
        self.assertEqual(session_checks.check_early_ends(self.session(expired)), [])
        self.assertEqual(len(session_checks.check_early_ends(self.session(keep, expired))), 1)

    def test_numbered_requests_take_effect_once(self):
        done = {"f": "enqueue", "name": "n", "path": "/q/1", "outcome": "ok"}
        self.assertEqual(checks.check_queue([done], [("/q/1", "n")]), [])
        self.assertNotEqual(checks.check_queue([done], []), [])
        self.assertNotEqual(checks.check_queue([done], [("/q/1", "n"), ("/q/2", "n")]), [])
        self.assertEqual(checks.check_queue([{**done, "outcome": "unknown"}], []), [])


def stream(sent, results, outcome="ok", client="s"):
    """`results`: the places that were answered, from the first write on; each at an index of its own."""
    told = [{"outcome": "ok", "path": f"/fault/streams/{value}-{place:010d}", "index": 100 + place}
            for value, place in zip(sent, results)]
    return {"f": "stream", "client": client, "node": 1, "invoked": 0, "returned": 1, "outcome": outcome, "sent": sent,
            "results": told}


def there(**places):
    return [f"{value}-{place:010d}" for value, place in places.items()]


class StreamChecksTest(unittest.TestCase):

    ALL = ["a", "b", "c", "d"]

    def assert_right(self, history, final):
        self.assertEqual(stream_checks.check_streams(history, final), [])

    def assert_found(self, history, final):
        self.assertEqual(len(stream_checks.check_streams(history, final)), 1)

    def test_streams_that_are_right_pass(self):
        self.assert_right([], [])
        self.assert_right([stream(self.ALL, [0, 1, 4, 5])], there(a=0, b=1, c=4, d=5))
        lost = stream(self.ALL, [0], "unknown")
        for left in (there(a=0), there(a=0, b=1), there(a=0, b=2, c=3), there(a=0, b=1, c=2, d=3)):
            self.assert_right([lost], left)
        self.assert_right([stream(self.ALL, [0, 1], "none")], there(a=0, b=1))
        self.assert_right([stream(["a"], [0]), stream(["b"], [1])], there(a=0, b=1))
        # What was not answered may come later than what the next stream wrote.
        self.assert_right([stream(["a"], [], "unknown"), stream(["b"], [0])], there(b=0, a=1))

    def test_a_write_behind_one_that_is_not_there_is_found(self):
        self.assert_found([stream(self.ALL, [0], "unknown")], there(a=0, c=1))

    def test_writes_in_another_order_are_found(self):
        self.assert_found([stream(self.ALL, [0], "unknown")], there(a=0, c=1, b=2))
        answered = stream(["a", "b"], [1, 0])
        self.assertNotEqual(stream_checks.check_streams([answered], there(a=1, b=0)), [])

    def test_an_answered_write_that_is_gone_or_elsewhere_is_found(self):
        self.assertNotEqual(stream_checks.check_streams([stream(["a", "b"], [0, 1])], there(b=1)), [])
        self.assert_found([stream(["a"], [0])], there(a=1))

    def test_an_effect_where_none_was_promised_is_found(self):
        self.assert_found([stream(self.ALL, [0], "none")], there(a=0, b=1))
        refused = stream(["a", "b"], [0])
        refused["results"].append({"outcome": "QUOTA_EXCEEDED"})
        self.assert_right([refused], there(a=0))
        self.assert_found([refused], there(a=0, b=1))

    def test_a_write_that_is_there_twice_or_that_nobody_sent_is_found(self):
        self.assertNotEqual(stream_checks.check_streams([stream(["a"], [0])], there(a=0) + there(a=1)), [])
        self.assert_found([stream(["a"], [0])], there(a=0, z=1))

    def test_a_missing_answer_is_found(self):
        self.assert_found([stream(["a", "b"], [0])], there(a=0, b=1))

    def test_a_later_stream_before_what_was_answered_is_found(self):
        self.assert_found([stream(["a"], [1]), stream(["b"], [], "unknown")], there(b=0, a=1))


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
