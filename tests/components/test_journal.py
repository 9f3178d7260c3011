"""The journal: answers, undo, withdrawal, consent, export; several processes, one of them killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from components.labeling.answers import Given
from components.labeling.journal import ConsentError, Journal, JournalError, LeaseError
from components.labeling.snapshot import export, take_in
from tests.components.labels import SOURCE, answer_all, make_answer, make_task, ranked, said, tasks
from tests.contracts.imports import ROOT


def test_what_was_given_in_the_shown_order_is_stored_in_the_tasks(journal):
    journal.add([make_task("t", replies=("a", "b", "c"))])
    lease = journal.take("ann")
    page = lease.page()
    best_first = {"c": 1, "a": 2, "b": 2}
    flags = tuple(("opinion",) if reply == "a" else () for reply in page["replies"])
    given = ranked(*(best_first[reply] for reply in page["replies"]), flags=flags,
                   quality=tuple({"c": 7, "a": 2, "b": 1}[reply] for reply in page["replies"]))  # fmt: skip
    answer = journal.answer("ann", lease.id, given)
    assert answer.ranks == (2, 2, 1) and answer.quality == (2, 1, 7) and answer.flags == (("opinion",), (), ())
    assert [("a", "b", "c")[place] for place in answer.shown_order] == page["replies"]
    assert tuple(answer.ranks[place] for place in answer.shown_order) == given.ranks
    assert journal.task(answer.task) == lease.task
    with pytest.raises(JournalError, match="no task 'u'"):
        journal.task("u")


def test_the_same_answer_sent_twice_is_accepted_once_and_another_is_refused(journal):
    journal.add(tasks(1))
    lease = journal.take("ann")
    first = journal.answer("ann", lease.id, ranked())
    assert journal.answer("ann", lease.id, ranked()) == first and len(journal.answers()) == 1
    with pytest.raises(LeaseError, match="was answered; undo that first"):
        journal.answer("ann", lease.id, ranked(4, 3, 2, 1))


def test_what_does_not_fit_a_task_is_refused_and_the_lease_stays(journal):
    journal.add([make_task("t", replies=("a", "b"))])
    lease = journal.take("ann")
    with pytest.raises(JournalError, match="ranks: 4 for 2 replies"):
        journal.answer("ann", lease.id, ranked())
    with pytest.raises(JournalError, match="kind: a demonstration does not answer a ranking"):
        journal.consent("ann", "v1")
        journal.answer("ann", lease.id, Given(kind="demonstration", text="so", seconds=1.0))
    assert journal.take("ann").id == lease.id and not journal.answers()


def test_undo_is_another_answer_that_supersedes(journal):
    journal.add(tasks(3))
    first = journal.answer("ann", journal.take("ann").id, ranked())
    held = journal.take("ann")
    undone = journal.reopen("ann", first.id)
    assert undone.task.id == first.task and undone.shown_order == first.shown_order
    assert journal.answers() == [first]  # until there is another
    second = journal.answer("ann", undone.id, ranked(2, 1, 1, 1))
    assert second.supersedes == first.id and journal.answers() == [second]
    assert journal.take("bob").task.id == held.task.id  # it was given back
    with pytest.raises(JournalError, match="nothing that counts"):
        journal.reopen("ann", first.id)
    with pytest.raises(JournalError, match="nothing that counts"):
        journal.reopen("bob", second.id)


def test_what_is_withdrawn_is_in_no_later_export_nor_is_what_it_replaced(journal, tmp_path):
    journal.add(tasks(2))
    kept = journal.answer("ann", journal.take("ann").id, ranked())
    first = journal.answer("ann", journal.take("ann").id, ranked())
    second = journal.answer("ann", journal.reopen("ann", first.id).id, ranked(4, 3, 2, 1))
    export(journal, tmp_path / "before")
    with pytest.raises(JournalError, match="nothing that counts"):
        journal.withdraw("bob", second.id)
    journal.withdraw("ann", second.id)
    assert journal.answers() == [kept] == journal.answers("ann")
    export(journal, tmp_path / "after")
    count = [len((tmp_path / name / "round-01/answers.jsonl").read_text().splitlines()) for name in ("before", "after")]
    assert count == [2, 1]
    with pytest.raises(JournalError):
        journal.withdraw("ann", second.id)
    assert journal.take("ann") is None and journal.take("bob").task.id == second.task  # somebody else may


def test_no_text_is_stored_before_its_writer_has_agreed(journal):
    journal.add([make_task("d", kind="demonstration")])
    lease = journal.take("ann")
    given = Given(kind="demonstration", text="As I would say it.", seconds=60.0)
    thumb = {"conversation": "c", "messages": said("hello"), "reply": "hi", "source": SOURCE, "value": 1}
    with pytest.raises(ConsentError, match="ann has not agreed"):
        journal.answer("ann", lease.id, given)
    with pytest.raises(ConsentError):
        journal.thumb("ann", **thumb)
    assert not journal.answers() and not journal.feedback() and not journal.has_consented("ann")
    journal.consent("ann", "wording 1")
    assert journal.answer("ann", lease.id, given).text == given.text
    assert journal.thumb("ann", **thumb).round == 1


def test_a_second_thumb_on_a_reply_replaces_the_first(journal):
    journal.consent("ann", "v1")
    thumb = {"conversation": "c", "messages": said("hello"), "source": SOURCE}
    first = journal.thumb("ann", reply="hi", value=1, **thumb)
    other = journal.thumb("ann", reply="hello", value=1, **thumb)
    second = journal.thumb("ann", reply="hi", value=-1, correction="Hi! How are you?", **thumb)
    assert first.round == 0 and second.supersedes == first.id and journal.feedback() == [other, second]
    with pytest.raises(JournalError, match="tags"):
        journal.thumb("ann", reply="x", value=1, tags=("no good!",), **thumb)
    journal.withdraw("ann", second.id)
    assert journal.feedback() == [other]


def test_a_closed_round_asks_nothing_and_takes_nothing(journal):
    journal.add([*tasks(2), make_task("next", round=2)])
    given = journal.answer("ann", journal.take("ann").id, ranked())
    lease = journal.take("ann")
    journal.close_round(1)
    with pytest.raises(LeaseError, match="round 1 is closed"):
        journal.answer("ann", lease.id, ranked())
    with pytest.raises(JournalError, match="closed"):
        journal.reopen("ann", given.id)
    with pytest.raises(JournalError, match="round 1 is closed"):
        journal.add([make_task("more")])
    assert journal.take("bob").task.id == "next"
    journal.withdraw("ann", given.id)  # stays their right
    assert [(each.round, each.is_done) for each in journal.progress()] == [(1, True), (2, False)]


def test_nothing_is_ever_changed_or_deleted(journal, tmp_path):
    journal.add(tasks(1))
    journal.answer("ann", journal.take("ann").id, ranked())
    with sqlite3.connect(tmp_path / "labels.sqlite") as database:
        for table in ("tasks", "answers", "leases"):
            for change in (f"DELETE FROM {table}", f"UPDATE {table} SET id = 'other'"):
                with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                    database.execute(change)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_same_journal_exports_the_same_bytes_and_an_import_makes_the_same_journal(journal, tmp_path, clock):
    journal.add([*tasks(5, workers=2), make_task("second", round=2)])
    journal.consent("ann", "v1")
    answer_all(journal, "ann"), answer_all(journal, "bob")
    journal.thumb("ann", conversation="c", messages=said("안녕"), reply="hi", source=SOURCE, value=-1)
    for name in ("one", "two"):
        assert export(journal, tmp_path / name) == 6 + 11 + 1
    files = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.jsonl")}
    assert {str(name) for name in files} == {f"round-0{n}/{f}.jsonl" for n, f in
        ((1, "tasks"), (1, "answers"), (2, "tasks"), (2, "answers"), (2, "feedback"))}  # fmt: skip
    assert files == {name: (tmp_path / "two" / name).read_bytes() for name in files}
    other = Journal(tmp_path / "other.sqlite", clock=clock)
    assert take_in(other, tmp_path / "one") == 18 and take_in(other, tmp_path / "one") == 0
    export(other, tmp_path / "three")
    assert files == {name: (tmp_path / "three" / name).read_bytes() for name in files}
    assert other.progress() == journal.progress() and other.take("cat") is None


def voted(journal, worker, outcome):
    return journal.vote(worker, messages=said("hello"), replies=("hi", "go away"), sources=(SOURCE, SOURCE),
                        outcome=outcome, seconds=2.0)  # fmt: skip


def test_votes_need_consent_are_taken_back_and_come_out_and_in_again(journal, clock, tmp_path):
    with pytest.raises(ConsentError):
        voted(journal, "ann", "a")
    journal.add(tasks(1))
    export(journal, tmp_path / "none")
    assert not (tmp_path / "none/votes.jsonl").exists()
    journal.consent("ann", "v1")
    given = []
    for outcome in ("a", "tie", "both_bad", "b"):
        clock.now += 1
        given.append(voted(journal, "ann", outcome))
    with pytest.raises(JournalError, match="outcome"):
        voted(journal, "ann", "neither")
    assert journal.votes() == given
    assert export(journal, tmp_path / "before") == 1 + 4
    with pytest.raises(JournalError, match="nothing that counts"):
        journal.withdraw("bob", given[1].id)
    journal.withdraw("ann", given[1].id)
    assert journal.votes() == [given[0], *given[2:]]
    for name in ("one", "two"):
        assert export(journal, tmp_path / name) == 1 + 3
    text = (tmp_path / "one/votes.jsonl").read_bytes()
    assert text == (tmp_path / "two/votes.jsonl").read_bytes()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in rows] == sorted(vote.id for vote in journal.votes())
    other = Journal(tmp_path / "other.sqlite", clock=clock)
    assert take_in(other, tmp_path / "one") == 4 and take_in(other, tmp_path / "one") == 0
    assert other.votes() == journal.votes()  # by their times, whatever the order in the file
    export(other, tmp_path / "three")
    assert (tmp_path / "three/votes.jsonl").read_bytes() == text
    assert take_in(journal, tmp_path / "before") == 0 and len(journal.votes()) == 3  # withdrawn is withdrawn
    changed = text.replace(b'"outcome": "a"', b'"outcome": "b"')
    (tmp_path / "one/votes.jsonl").write_bytes(changed)
    with pytest.raises(JournalError, match="votes: the journal has another"):
        take_in(other, tmp_path / "one")


def test_an_import_that_contradicts_changes_nothing(journal):
    journal.add(tasks(1))
    with pytest.raises(JournalError, match="the journal has another 't000'"):
        journal.take_in([make_task("t001"), make_task("t000", group="other")], [], [])
    with pytest.raises(JournalError, match="answers a task that is not there"):
        journal.take_in([make_task("t002")], [make_answer("a", "nowhere")], [])
    assert [task.id for task in journal.tasks()] == ["t000"]


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database at all, but longer than a header of one hundred bytes " * 3)
    with pytest.raises(JournalError, match="is no journal"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as database:
        database.execute("CREATE TABLE runs (id)")
    with pytest.raises(JournalError, match="version 0, or none"):
        Journal(tmp_path / "other")


WORKER = """
import sys
from pathlib import Path
from components.labeling.answers import Given
from components.labeling.journal import Journal
journal = Journal(Path(sys.argv[1]))
while lease := journal.take("ann"):
    print(journal.answer("ann", lease.id, Given(kind="ranking", ranks=(1, 2, 3, 4), seconds=1.0)).id, flush=True)
"""


def test_a_killed_process_has_lost_no_answer_that_was_accepted(journal, tmp_path):
    journal.add(tasks(2000))
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "labels.sqlite")], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    accepted = [process.stdout.readline().strip() for _ in range(25)]
    os.kill(process.pid, signal.SIGKILL)
    accepted += process.stdout.read().split()
    process.wait()
    stored = [answer.id for answer in journal.answers()]
    assert 25 <= len(accepted) < 2000 and stored[: len(accepted)] == accepted
    assert len(stored) <= len(accepted) + 1  # written, and killed before it was said
    assert journal.take("bob").task.id not in {answer.task for answer in journal.answers()}


def command(tmp_path, *words):
    return subprocess.run([sys.executable, "-m", "components.labeling.journal", "--journal", "labels.sqlite", *words],
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
                          capture_output=True, text=True)  # fmt: skip


def test_the_command_line(journal, tmp_path):
    assert "there is no journal" in command(tmp_path / "..", "status").stderr
    journal.add(tasks(2, workers=2))
    answer_all(journal, "ann")
    assert command(tmp_path, "export").stdout == "4 records in labels/\n"
    assert command(tmp_path, "import").stdout == "0 new records of labels/\n"
    assert command(tmp_path, "status").stdout == "round 1: 2 of 4 answers, 0 skipped, open\nann: 2 answers\n"
    assert not command(tmp_path, "close", "1").stderr and "closed" in command(tmp_path, "status").stdout
    (tmp_path / "labels/round-01/answers.jsonl").write_text('{"id": "x"}\n')
    refused = command(tmp_path, "import")
    assert refused.returncode == 1 and refused.stderr.startswith("labelling: 1 malformed answer row(s)")
