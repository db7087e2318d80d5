"""The checkers of the log find what is wrong, and nothing in what is right; and the network cuts what it is told to."""

import unittest

import log_checks

T, P = "ledger", 0


def produce(invoked, returned, values, offsets, outcome="ok", partition=P, client="w"):
    return {"f": "produce", "client": client, "node": "g", "topic": T, "partition": partition, "invoked": invoked,
            "returned": returned, "outcome": outcome, "values": values, "offsets": offsets}


def command(values, outcome="ok"):
    return {**produce(0, 5, values, None, outcome), "f": "command"}


def read(begin, end, records, client="r", high_watermark=100, outcome="ok", partition=P):
    return {"f": "read", "client": client, "node": "g", "topic": T, "partition": partition, "from": begin, "next": end,
            "high_watermark": high_watermark, "records": records, "invoked": 0, "returned": 1, "outcome": outcome}


def final(records, client="last", partition=P):
    return {"f": "final", "client": client, "node": "g", "topic": T, "partition": partition, "records": records,
            "invoked": 90, "returned": 91, "outcome": "ok"}


# Offset 2 is a control record: nobody is given it.
WRITES = [produce(0, 10, ["a", "b"], [0, 1]), produce(20, 30, ["c"], [3]), produce(40, None, ["d"], None, "unknown"),
          produce(50, 60, ["e"], None, "NOT_ENOUGH_REPLICAS"), command(["f"])]
LOG = [(0, "a"), (1, "b"), (3, "c"), (4, "f")]
RIGHT = WRITES + [read(0, 2, LOG[:2]), read(2, 4, [(3, "c")]), read(4, 5, [(4, "f")], client="s"), final(LOG),
                  final(LOG, client="other")]


class LogChecksTest(unittest.TestCase):

    def assert_finds(self, name, history):
        """The check finds something, and nothing in the history that is right."""
        check = getattr(log_checks, f"check_{name}")
        self.assertEqual(check(RIGHT), [])
        self.assertNotEqual(check(history), [])

    def test_a_right_history_passes(self):
        for about, check in log_checks.CHECKS.items():
            self.assertEqual(check(RIGHT), [], about)

    def test_what_has_no_answer_may_be_there_or_not(self):
        history = WRITES + [read(3, 6, [(3, "c"), (4, "f"), (5, "d")]), final(LOG + [(5, "d")])]
        for about, check in log_checks.CHECKS.items():
            self.assertEqual(check(history), [], about)

    def test_an_acknowledged_record_that_is_gone_is_found(self):
        self.assert_finds("lost", WRITES + [final(LOG[:1] + LOG[2:])])

    def test_an_acknowledged_record_at_another_offset_is_found(self):
        self.assert_finds("lost", WRITES + [final([(0, "a"), (1, "b"), (4, "c"), (5, "f")])])

    def test_a_record_that_was_read_and_is_gone_is_found(self):
        self.assert_finds("lost", RIGHT[:-2] + [read(5, 6, [(5, "d")]), final(LOG)])

    def test_a_record_the_command_was_told_of_and_is_gone_is_found(self):
        self.assert_finds("lost", WRITES + [final(LOG[:3])])

    def test_a_record_that_is_gone_at_one_gateway_is_found(self):
        self.assert_finds("lost", WRITES + [final(LOG), final(LOG[:3], client="other")])
        self.assert_finds("lost", WRITES + [final(LOG[:3]), final(LOG, client="other")])

    def test_a_record_that_was_read_and_replaced_is_found(self):
        self.assert_finds("offsets", WRITES + [read(3, 5, [(3, "c"), (4, "d")]), final(LOG)])

    def test_an_empty_log_is_found(self):
        self.assert_finds("lost", WRITES)

    def test_a_value_that_is_there_twice_is_found(self):
        self.assert_finds("duplicates", WRITES + [final(LOG + [(7, "f")])])
        self.assert_finds("duplicates", WRITES + [final(LOG + [(5, "d"), (6, "d")])])
        self.assert_finds("duplicates", RIGHT + [final([(9, "a")], partition=1)])

    def test_an_offset_with_two_values_is_found(self):
        self.assert_finds("offsets", RIGHT + [read(3, 4, [(3, "d")], client="s")])
        self.assert_finds("offsets", WRITES + [final(LOG), final(LOG[:3] + [(4, "d")], client="other")])
        self.assert_finds("offsets", RIGHT + [produce(70, 80, ["g"], [3])])

    def test_a_refused_record_that_is_there_is_found(self):
        self.assert_finds("aborted", WRITES + [final(LOG + [(5, "e")])])
        self.assert_finds("aborted", RIGHT + [read(5, 6, [(5, "e")])])

    def test_a_record_that_nobody_sent_is_found(self):
        self.assert_finds("origin", WRITES + [final(LOG + [(5, "z")])])

    def test_a_record_in_another_partition_is_found(self):
        self.assert_finds("origin", RIGHT + [read(0, 1, [(0, "d")], partition=1)])

    def test_a_read_that_goes_back_is_found(self):
        self.assert_finds("polls", RIGHT + [read(0, 4, [(1, "b"), (0, "a"), (3, "c")])])
        self.assert_finds("polls", RIGHT + [read(1, 2, [(0, "a"), (1, "b")])])
        self.assert_finds("polls", RIGHT + [read(1, 2, [(1, "b"), (1, "b")])])
        self.assert_finds("polls", RIGHT + [read(3, 2, [])])

    def test_a_read_that_skips_is_found(self):
        self.assert_finds("polls", RIGHT + [read(0, 4, [(0, "a"), (3, "c")])])
        self.assert_finds("polls", RIGHT + [read(0, 4, [])])

    def test_a_read_above_the_high_watermark_is_found(self):
        self.assert_finds("polls", RIGHT + [read(3, 5, [(3, "c"), (4, "f")], high_watermark=4)])

    def test_a_reader_whose_place_is_refused_is_found(self):
        self.assert_finds("polls", RIGHT + [read(3, 3, [], outcome="OFFSET_OUT_OF_RANGE")])

    def test_a_later_write_at_a_lower_offset_is_found(self):
        self.assert_finds("time", WRITES + [produce(70, 80, ["g"], [2])])
        self.assertEqual(log_checks.check_time(WRITES + [produce(25, 80, ["g"], [2])]), [])


if __name__ == "__main__":
    unittest.main()
