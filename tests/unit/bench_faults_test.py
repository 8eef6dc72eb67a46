"""bench/faults.py: how the requests of a row are counted, and what it says of those that failed."""
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import faults  # noqa: E402


def request(how, why="", begun=0.0, ended=1.0):
    return {"begun": begun, "ended": ended, "how": how, "why": why}


class Accounted(unittest.TestCase):
    def test_in_flight_began_before_the_fault_and_ended_after_its_beginning(self):
        row = faults.accounted("x", [request("answered", begun=b, ended=e)
                                     for b, e in ((0, 4), (0, 6), (4, 9), (5.5, 7))], 5)
        self.assertEqual((row["requests"], row["in_flight"], row["answered"]), (4, 2, 4))

    def test_each_reason_is_named_with_its_count_the_most_frequent_first(self):
        reset = "ConnectionResetError: [Errno 104] Connection reset by peer"
        said = '500: {"error": {"message": "no memory | here", "code": "x"}}'
        row = faults.accounted("x", [request("failed", why) for why in (said, reset, reset)], 5)
        self.assertEqual(row["failed_because"],
                         ["2 × Connection reset by peer", "1 × 500: no memory / here"])

    def test_a_reason_keeps_the_words_that_are_no_exceptions_name(self):
        self.assertEqual(faults.short("node edge-b: the connection was lost"),
                         "node edge-b: the connection was lost")
        self.assertEqual(len(faults.short("a " * 200)), 80)

    def test_a_request_that_ended_in_no_word_stops_the_run(self):
        with self.assertRaises(SystemExit):
            faults.accounted("x", [request(None)], 5)


class Rows(unittest.TestCase):
    def test_what_was_not_done_says_why(self):
        found = {"date": "d", "commit": "c", "cpu": "p", "cores": 2, "capacity": 3.0, "part": 0.5,
                 "tokens": 200, "faults": [{"fault": "clock", "left_out": "no libfaketime"}]}
        self.assertIn("| clock | | | | | | | | not done: no libfaketime |",
                      faults.markdown(found))


if __name__ == "__main__":
    unittest.main()
