import numpy as np
import pytest

from orchestrator.domain import prompts
from orchestrator.domain.errors import InvalidPrompt

SIZE = (480, 640)


def test_points_without_a_box_end_in_one_padding_token() -> None:
    found = prompts.from_points([[5, 6], [7, 8]], [1, 0], None, SIZE)
    assert found.labels.tolist() == [[1, 0, -1]]
    assert found.coords.tolist() == [[[5, 6], [7, 8], [0, 0]]]


def test_points_with_a_box_are_followed_by_its_corners_and_not_padded() -> None:
    found = prompts.from_points([[5, 6]], None, [1, 2, 30, 40], SIZE)
    assert found.labels.tolist() == [[1, 2, 3]]
    assert found.coords[0, 1:].tolist() == [[1, 2], [30, 40]]


def test_the_default_box_is_the_whole_picture() -> None:
    assert prompts.whole_picture(SIZE).coords.tolist() == [[[0, 0], [640, 480]]]


def test_a_box_over_the_edge_is_taken_as_it_is() -> None:
    assert prompts.from_boxes([[-5, -5, 700, 100]], SIZE).coords.tolist() == [[[-5, -5], [700, 100]]]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([30, 40, 1, 2], "x0 < x1"),
        ([5, 5, 5, 9], "x0 < x1"),
        ([650, 10, 700, 20], "outside"),
        ([-20, -20, -10, -10], "outside"),
        ([0, 0, 1e300, 10], "outside"),
        ([0, 0, float("nan"), 10], "finite"),
        ([0, 0, float("inf"), 10], "finite"),
        ([0, 0, 10], "4 numbers"),
    ],
)
def test_boxes_that_make_no_sense_are_refused(box: list[float], words: str) -> None:
    with pytest.raises(InvalidPrompt, match=words):
        prompts.from_boxes([box], SIZE)


@pytest.mark.parametrize(
    ("points", "labels", "words"),
    [
        ([], None, "at least one"),
        ([[1, 2, 3]], None, "2 numbers"),
        ([[float("nan"), 2]], None, "finite"),
        ([[641, 2]], None, "outside"),
        ([[-1, 2]], None, "outside"),
        ([[1, 2]], [1, 0], "as many labels"),
        ([[1, 2]], [2], "foreground"),
        ([[1, 2]] * 10_000, None, "too many"),
    ],
)
def test_points_that_make_no_sense_are_refused(points: list[list[float]], labels: list[int] | None, words: str) -> None:
    with pytest.raises(InvalidPrompt, match=words):
        prompts.from_points(points, labels, None, SIZE)


def test_too_many_boxes_are_refused() -> None:
    with pytest.raises(InvalidPrompt, match="too many"):
        prompts.from_boxes([[0, 0, 5, 5]] * 1001, SIZE)


def test_coordinates_are_kept_in_double_precision_until_they_reach_the_model() -> None:
    found = prompts.from_points([[1 / 3, 2 / 3]], None, None, SIZE)
    assert found.coords.dtype == np.float64
    assert found.in_model_frame(SIZE, 384).dtype == np.float32
