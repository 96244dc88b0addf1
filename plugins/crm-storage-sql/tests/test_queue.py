"""Writers come in the order in which they asked, threads of a process and processes; who gives up is not waited for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core.errors import StorageLocked
from crm_storage_sql import lock
from crm_storage_sql.lock import WriterQueue

pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crm.db-lock"


@pytest.fixture
def queue(path: Path) -> Iterator[WriterQueue]:
    made = WriterQueue(path, 30)
    yield made
    made.close()


def _in_turn(queue: WriterQueue, name: str, came: list[str]) -> threading.Thread:
    """Start a thread that asks for the right to write, and wait until it stands in line."""

    def work() -> None:
        queue.acquire()
        came.append(name)
        queue.release()

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    return thread


def test_threads_come_in_the_order_in_which_they_asked(queue: WriterQueue) -> None:
    came: list[str] = []
    queue.acquire()
    waiting = [_in_turn(queue, name, came) for name in "abcd"]
    queue.release()
    queue.acquire()  # who has just written asks at once, and comes last
    came.append("again")
    queue.release()
    for thread in waiting:
        thread.join(30)
    assert ["a", "b", "c", "d", "again"] == came


def test_a_process_that_writes_again_and_again_lets_another_one_go_first(queue: WriterQueue, path: Path) -> None:
    other = WriterQueue(path, 30)  # files of its own: to the operating system it is another process
    for _ in range(20):
        came: list[str] = []
        queue.acquire()
        waiting = _in_turn(other, "other", came)
        queue.release()
        queue.acquire()
        came.append("again")
        queue.release()
        waiting.join(30)
        assert ["other", "again"] == came
    other.close()


@pytest.mark.parametrize("same_process", [True, False])
def test_who_gives_up_is_not_waited_for(queue: WriterQueue, path: Path, same_process: bool) -> None:
    other = queue if same_process else WriterQueue(path, 30)
    third = WriterQueue(path, 30)
    came: list[str] = []

    def give_up() -> None:
        with pytest.raises(StorageLocked):
            other.acquire(timeout=0.05)
        came.append("gave up")

    queue.acquire()
    impatient = threading.Thread(target=give_up)
    impatient.start()
    impatient.join(30)
    waiting = _in_turn(third, "third", came)
    queue.release()
    waiting.join(30)
    other.acquire(timeout=30)
    other.release()
    assert ["gave up", "third"] == came
    for each in {other, third}:
        each.close()


@pytest.mark.skipif(sys.platform == "win32", reason="NOT RUN: nothing waits in a thread of its own on Windows")
def test_who_is_interrupted_in_line_does_not_keep_the_lock_that_comes_later(
    queue: WriterQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    monkeypatch.setattr(lock, "say_waiting", interrupted)
    holder, third = WriterQueue(path, 30), WriterQueue(path, 30)
    holder.acquire()
    with pytest.raises(KeyboardInterrupt):
        queue.acquire()
    holder.release()
    for each in (third, queue):
        each.acquire(timeout=2)
        each.release()
    holder.close()
    third.close()


def test_the_right_is_taken_again_within_itself(queue: WriterQueue, path: Path) -> None:
    other = WriterQueue(path, 30)
    queue.acquire()
    queue.acquire()
    queue.release()
    with pytest.raises(StorageLocked):
        other.acquire(timeout=0)
    queue.release()
    other.acquire(timeout=5)
    other.release()
    other.close()
