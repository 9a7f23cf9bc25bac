"""Draws masks on a picture, to be looked at: `python -m export.tiny.look PICTURE OUT --box 10 20 300 200`.

With `--point x y` the best of the three masks, with neither all automatic masks.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from segment_anything import SamPredictor

from export.tiny import weights
from export.tiny.automatic import automatic_masks

COLOURS = np.array([[255, 64, 64], [64, 160, 255], [255, 200, 32], [64, 220, 120], [220, 96, 255], [64, 224, 224]])


def overlay(image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture under its masks [n, H, W], larger ones first, each with a light border."""
    drawn = image.astype(np.float32)
    for count, index in enumerate(np.argsort(-masks.sum(axis=(1, 2)))):
        colour = COLOURS[count % len(COLOURS)].astype(np.float32)
        drawn[masks[index]] += 0.5 * (colour - drawn[masks[index]])
        edges, _ = cv2.findContours(masks[index].astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, edges, -1, (255.0, 255.0, 255.0), max(1, image.shape[1] // 500))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--box", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"))
    parser.add_argument("--point", type=float, nargs=2, metavar=("X", "Y"))
    parser.add_argument("--width", type=int, default=640, help="of the drawing")
    chosen = parser.parse_args()
    read = cv2.imread(str(chosen.picture))
    if read is None:
        parser.error(f"{chosen.picture} is no picture that can be read.")
    image = np.asarray(read[..., ::-1], np.uint8)
    predictor = SamPredictor(weights.load())
    if chosen.box or chosen.point:
        predictor.set_image(image)
        masks, scores, _ = predictor.predict(
            point_coords=np.array([chosen.point]) if chosen.point else None,
            point_labels=np.array([1]) if chosen.point else None,
            box=np.array(chosen.box) if chosen.box else None,
            multimask_output=bool(chosen.point),
        )
        masks = masks[[int(np.argmax(scores))]]
        print(f"predicted IoU {scores.max():.3f}")
    else:
        masks = automatic_masks(predictor, image)
        print(f"{len(masks)} masks")
    drawn = overlay(image, masks)
    if chosen.box:
        corners = [round(value) for value in chosen.box]
        cv2.rectangle(drawn, (corners[0], corners[1]), (corners[2], corners[3]), (255, 255, 255), 3)
    if chosen.point:
        cv2.circle(drawn, (round(chosen.point[0]), round(chosen.point[1])), image.shape[1] // 100, (255, 255, 255), -1)
    height = round(image.shape[0] * chosen.width / image.shape[1])
    small = cv2.resize(drawn, (chosen.width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(chosen.out), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
