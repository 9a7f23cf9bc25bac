from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.job import ACTIVE, Kind, Priority, Status, rank, sources
from orchestrator.domain.task import Task

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_what_has_ended_never_moves_again() -> None:
    assert {status for status in Status if status.ended} == {Status.succeeded, Status.failed, Status.canceled}
    for target in Status:
        assert sources(target) <= ACTIVE


def test_success_comes_from_running_alone() -> None:
    assert sources(Status.succeeded) == {Status.running}


def test_the_more_urgent_goes_first_and_interactive_work_before_batches() -> None:
    order = [
        rank(priority, NOON, in_batch=in_batch)
        for in_batch, priority in [
            (False, Priority.high), (False, Priority.default), (True, Priority.high), (False, Priority.low),
        ]
    ]  # fmt: skip
    assert order == sorted(order)


def test_whoever_has_waited_long_enough_goes_before_the_most_urgent() -> None:
    waited = rank(Priority.low, NOON - timedelta(minutes=20), in_batch=True)
    assert waited < rank(Priority.high, NOON, in_batch=False)


def test_a_task_comes_back_from_its_row() -> None:
    task = Task(Kind.auto, {"points_per_side": 4, "roi": [1, 2, 30, 40]}, "tiny", "rle")
    assert Task.from_json(task.as_json() | {"concurrency": 2}) == task


@pytest.mark.parametrize(
    "task",
    [
        Task(Kind.box, {"boxes": [[900, 900, 990, 990]]}, "tiny"),
        Task(Kind.auto, {"points": [[900, 900]]}, "tiny"),
        Task(Kind.auto, {"roi": {"size": [5, 5], "counts": "4"}}, "tiny"),
        Task(Kind.auto, {"points_per_side": 256, "crop_n_layers": 4}, "tiny"),
    ],
)
def test_fields_that_make_no_sense_on_the_picture_are_refused(task: Task) -> None:
    with pytest.raises(InvalidPrompt):
        task.check((300, 400))
