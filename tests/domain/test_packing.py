import io
import zipfile

import numpy as np
import pytest
from PIL import Image as Pillow

from orchestrator.domain import label_map, packing, rle
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.masks import Mask

SIZE = (30, 40)


def rectangle(x: int, y: int, wide: int, high: int) -> Mask:
    inside = np.zeros(SIZE, np.bool_)
    inside[y : y + high, x : x + wide] = True
    return Mask(rle.encode(inside), (x, y, wide - 1, high - 1), wide * high, 0.9, 0.8, (), (0, 0, 40, 30))


LARGE, SMALL, APART = rectangle(2, 2, 30, 20), rectangle(10, 5, 5, 6), rectangle(35, 25, 3, 2)


def test_a_label_map_numbers_the_masks_of_the_answer_smaller_ones_on_top() -> None:
    for order in ([LARGE, SMALL, APART], [SMALL, APART, LARGE]):
        read = np.asarray(Pillow.open(io.BytesIO(label_map.to_png(label_map.draw(order, SIZE)))))
        for number, mask in enumerate(order, 1):
            others = [other for other in order if other.area < mask.area]
            covered = np.zeros(SIZE, np.bool_)
            for other in others:
                covered |= rle.decode(other.segmentation)
            assert np.array_equal(read == number, rle.decode(mask.segmentation) & ~covered)


def test_a_label_map_is_of_16_bits() -> None:
    many = [rectangle(index % 40, index // 40, 1, 1) for index in range(600)]
    picture = Pillow.open(io.BytesIO(label_map.to_png(label_map.draw(many, SIZE))))
    assert picture.mode == "I;16"
    assert int(np.asarray(picture).max()) == 600


def test_more_masks_than_labels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_map, "MOST_LABELS", 2)
    with pytest.raises(InvalidPrompt, match="max_masks"):
        label_map.draw([LARGE, SMALL, APART], SIZE)


@pytest.mark.parametrize("masks", [[LARGE, SMALL], []])
def test_arrays_are_read_by_numpy_without_pickle(masks: list[Mask]) -> None:
    found = np.load(io.BytesIO(packing.npz(masks, SIZE)), allow_pickle=False)
    assert set(found.files) == {"masks", "bbox", "area", "predicted_iou", "stability_score", "crop_box"}
    assert found["masks"].shape == (len(masks), *SIZE)
    assert found["masks"].dtype == np.bool_
    for array, mask in zip(found["masks"], masks, strict=True):
        assert np.array_equal(array, rle.decode(mask.segmentation))
    assert found["area"].tolist() == [mask.area for mask in masks]
    assert found["bbox"].shape == (len(masks), 4)


def test_a_zip_holds_what_it_was_given_and_equal_content_gives_equal_bytes() -> None:
    files = [("a.png", b"one"), ("b.json", b"{}")]
    packed = packing.zipped(files)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == dict(files)
    assert packing.zipped(files) == packed
