"""Leases: who is asked what, for how long, and what they see of it."""

import json
import threading
import time
from collections import Counter

import pytest

from components.labeling import leases
from components.labeling.answers import Given
from components.labeling.journal import LeaseError
from tests.components.labels import SOURCE, answer_all, make_task, ranked, tasks

MINUTES = 60.0


def test_a_task_is_in_one_workers_hands_and_a_worker_holds_one_task(journal):
    journal.add(tasks(2, workers=2))
    first, second = journal.take("ann"), journal.take("bob")
    assert {first.task.id, second.task.id} == {"t000", "t001"}
    assert journal.take("ann").id == first.id and journal.take("cat") is None
    journal.answer("ann", first.id, ranked())
    assert journal.take("ann") is None  # the other one is bob's, and her own is answered
    assert journal.take("cat").task.id == "t000"  # two are asked


def test_a_lease_ends_after_fifteen_minutes_unless_it_is_renewed(journal, clock):
    journal.add(tasks(1))
    lease = journal.take("ann")
    clock.now += 14 * MINUTES
    assert journal.renew("ann", lease.id).expires_at == clock.now + 15 * MINUTES
    clock.now += 14 * MINUTES
    assert journal.take("bob") is None
    clock.now += 2 * MINUTES
    taken = journal.take("bob")
    assert taken.task.id == lease.task.id
    for late in (lambda: journal.answer("ann", lease.id, ranked()), lambda: journal.renew("ann", lease.id)):
        with pytest.raises(LeaseError, match="its time was up"):
            late()
    journal.answer("bob", taken.id, ranked())


def test_an_answer_that_comes_late_counts_where_nobody_has_taken_the_task(journal, clock):
    journal.add(tasks(1))
    lease = journal.take("ann")
    clock.now += 60 * MINUTES
    assert journal.answer("ann", lease.id, ranked()).answered_at == clock.now


def test_what_is_given_back_or_skipped_goes_to_others(journal):
    journal.add(tasks(1))
    lease = journal.take("ann")
    journal.give_back("ann", lease.id)
    with pytest.raises(LeaseError, match="given back"):
        journal.answer("ann", lease.id, ranked())
    again = journal.take("ann")
    journal.consent("ann", "v1")
    journal.answer("ann", again.id, Given(kind="skip", reason="no language of mine", seconds=2.0))
    assert journal.take("ann") is None  # not asked again
    for worker in ("bob", "cat"):
        journal.answer(worker, journal.take(worker).id, Given(kind="skip", seconds=1.0))
    assert journal.take("dan") is None  # three have skipped it
    (progress,) = journal.progress()
    assert (progress.wanted, progress.given, progress.skipped, progress.is_done) == (1, 0, 1, True)


def test_who_held_a_task_of_a_round_that_was_closed_is_asked_the_next_rounds(journal):
    journal.add(tasks(1))
    held = journal.take("ann")
    journal.close_round(1)
    assert journal.take("ann") is None
    journal.add([make_task("later", round=2)])
    later = journal.take("ann")
    assert later.task.id == "later"
    with pytest.raises(LeaseError):
        journal.answer("ann", held.id, ranked())
    journal.answer("ann", later.id, ranked())


def test_a_lease_is_its_workers_alone(journal):
    journal.add(tasks(1))
    lease = journal.take("ann")
    for refused in (journal.renew, journal.give_back):
        with pytest.raises(LeaseError, match="bob has no lease"):
            refused("bob", lease.id)
    with pytest.raises(LeaseError, match="bob has no lease"):
        journal.answer("bob", lease.id, ranked())


def test_replies_are_shown_in_an_order_of_each_worker_and_each_time(journal):
    orders = Counter(leases.shown_order(task, worker, again=again)
                     for task in tasks(300) for worker in ("ann", "bob") for again in (False, True))  # fmt: skip
    assert len(orders) == 24 and max(orders.values()) < 90  # of 1,200; 50 expected, 7 standard deviation
    own = [leases.shown_order(task, "ann", again=again) for task in tasks(300) for again in (False, True)]
    same = sum(first == second for first, second in zip(own[::2], own[1::2], strict=True))
    assert same < 30  # 12.5 expected by chance


def test_a_page_hears_nothing_of_who_wrote_a_reply_nor_of_known_ranks(journal):
    journal.add([make_task("t", gold=(1, 2, 3, 4), sampled=((1,), (2,), (3,), (4,)))])
    page = journal.take("ann").page()
    assert page.keys() == {"lease", "round", "kind", "messages", "replies", "expires_at", "undoes"}
    assert SOURCE.model not in json.dumps(page) and "gold" not in json.dumps(page)


def test_a_worker_answers_some_tasks_again_after_twenty_others(journal):
    journal.add([make_task(f"t{number:03d}", again=number == 3) for number in range(40)])
    seen = []
    while lease := journal.take("ann"):
        seen.append((lease.task.id, lease.again))
        assert journal.answer("ann", lease.id, ranked()).repeat == lease.again
    assert [name for name, again in seen if again] == ["t003"] and len(seen) == 41
    assert seen.index(("t003", True)) - seen.index(("t003", False)) == 21  # twenty others lie between
    assert journal.progress()[0].given == 40  # a repetition is no further answer


def test_gold_comes_first_and_everybody_is_asked(journal):
    journal.add([*tasks(3), make_task("gold", gold=(1, 2, 3, 4))])
    for worker in ("ann", "bob"):
        lease = journal.take(worker)
        assert lease.task.id == "gold"
        journal.answer(worker, lease.id, ranked())
    assert (answer_all(journal, "ann"), answer_all(journal, "bob")) == (3, 0)
    assert (journal.progress()[0].tasks, journal.progress()[0].given) == (3, 3)


def test_many_workers_at_once_never_hold_the_same_task(journal):
    journal.add(tasks(60, workers=2))
    holding, problems, lock = set(), [], threading.Lock()

    def work(worker):
        while lease := journal.take(worker):
            with lock:
                if lease.task.id in holding:
                    problems.append(lease.task.id)
                holding.add(lease.task.id)
            time.sleep(0.001)
            with lock:
                holding.remove(lease.task.id)
            journal.answer(worker, lease.id, ranked())

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(answer.task for answer in journal.answers())
    assert not problems and max(counts.values()) <= 2 and journal.progress()[0].given == sum(counts.values()) >= 110
