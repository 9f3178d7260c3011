"""What the rounds of the server come to: ratios within a round, times to stay under their goal, rates to reach it."""

import pytest

from benchmarks.serving import USERS, _rows


def figures(rate, first, p95=0.0):
    return {"tokens_per_second": rate, "first_token_p50": first, "first_token_p95": p95, "between_p50": 4.0}


def test_rows_hold_rates_and_times_against_one_slot_and_the_engine():
    many = {USERS: [figures(300.0, 20.0), figures(100.0, 10.0), figures(200.0, 30.0)],
            1: [figures(100.0, 100.0), figures(50.0, 200.0), figures(100.0, 200.0)]}  # fmt: skip
    few = [figures(0.0, 0.0, p95=wait) for wait in (60.0, 40.0, 45.0)]
    rates, times, share, wait = _rows("x", many, few, [400.0, 200.0, 250.0])
    assert (rates.ratio, rates.spread, rates.met) == (2.0, (2.0, 3.0), False)  # 3, 2, 2 where 2.5 is asked
    assert times.ratio == pytest.approx(0.15) and times.met is False  # 0.2, 0.05, 0.15 where 0.125 is asked
    assert share.ratio == 0.75 and share.met is True  # 0.75, 0.5, 0.8 where 0.6 is asked
    assert (wait.ours, wait.met) == (45.0, True) and "4.0 ms" in wait.note


def test_without_a_server_of_one_slot_nothing_is_said_of_it():
    share, wait = _rows("x", {USERS: [figures(10.0, 5.0)]}, [figures(0.0, 0.0, p95=900.0)], [20.0])
    assert (share.ratio, share.met) == (0.5, False)
    assert (wait.goal, wait.met) == ("", None)
