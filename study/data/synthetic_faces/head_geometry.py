"""Map pixels to azimuth and height on a cylinder-like head, with the way back; pure.

The unit of length is the distance from the eye line to the mouth line. Height 0 is the eye line, 1 the mouth
line, and grows towards the chin; azimuth 0 points along the nose and grows to the right of the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from study.data.synthetic_faces.drawing import FloatArray

EYE_HALF = 0.47
MOUTH_HALF = 0.37
NOSE_HEIGHT = 0.60
NOSE_LIFT = 0.30
HEAD_RADIUS = 1.06
USUAL_CHIN = 1.62
# Beyond this masks would flare.
CHIN_LIMITS = (1.42, 1.76)
CROWN = -1.42
_JAW_START = 0.30
_MID_DEPTH = 0.97
_MAX_YAW_RAD = 0.95
_TABLE_HEIGHTS = np.linspace(-2.0, 3.0, 251)

Point = tuple[float, float]


@dataclass(frozen=True)
class FaceLandmarks:
    """Where a face is in a picture, in pixels; of eyes and mouth corners the one on the viewer's left comes first."""

    eyes: tuple[Point, Point]
    nose_tip: Point
    mouth: tuple[Point, Point]
    chin: Point


class Surface(NamedTuple):
    """Head coordinates of a block of pixels, each [H, W].

    ``edge_px`` is the distance to the silhouette, positive inside; ``sine`` says where between the left (-1) and right
    (1) silhouette; ``azimuth`` is the angle around the head; ``height`` is in head units.
    """

    edge_px: FloatArray
    sine: FloatArray
    azimuth: FloatArray
    height: FloatArray


class Box(NamedTuple):
    """A block of pixels; the ends are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def cut(self, picture: FloatArray) -> FloatArray:
        """Return the view of a picture inside the box."""
        return picture[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class HeadFrame:
    """A head as the camera sees it.

    ``centre`` is the pixel where the head's axis meets the eye line, ``unit_px`` the distance from there to the mouth
    line; ``yaw_rad`` is positive when the nose points to the right, ``roll_rad`` when the head leans clockwise;
    ``chin`` is the chin's height, ``radius`` half the head's width; ``jaw`` 0 is a pointed chin, 1 a square one.
    """

    centre: Point
    unit_px: float
    yaw_rad: float = 0.0
    roll_rad: float = 0.0
    chin: float = USUAL_CHIN
    radius: float = HEAD_RADIUS
    jaw: float = 0.5

    def box(self, shape: Sequence[int], left: float, top: float, right: float, bottom: float) -> Box:
        """Return the pixel block that holds a rectangle given in head units, clipped to the picture."""
        corners = self.to_pixels((left, right, left, right), (top, top, bottom, bottom))
        low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        first_x, last_x = (int(min(max(0.0, x), shape[1])) for x in (low[0] - 1, high[0] + 2))
        first_y, last_y = (int(min(max(0.0, y), shape[0])) for y in (low[1] - 1, high[1] + 2))
        return Box(first_x, first_y, last_x, last_y)

    def to_pixels(self, x: npt.ArrayLike, height: npt.ArrayLike) -> FloatArray:
        """Map flat head units (x to the right of the axis) to [n, 2] pixels."""
        across, down = np.asarray(x), np.asarray(height)
        cosine, sine = math.cos(self.roll_rad) * self.unit_px, math.sin(self.roll_rad) * self.unit_px
        pixels = np.empty((max(across.size, down.size), 2), np.float32)
        pixels[:, 0] = self.centre[0] + cosine * across - sine * down
        pixels[:, 1] = self.centre[1] + sine * across + cosine * down
        return pixels

    def to_units(self, box: Box) -> tuple[FloatArray, FloatArray]:
        """Return x and height in head units for every pixel of a box, each [H, W]."""
        cosine, sine = math.cos(self.roll_rad) / self.unit_px, math.sin(self.roll_rad) / self.unit_px
        columns = np.arange(box.left, box.right, dtype=np.float32) - np.float32(self.centre[0])
        rows = np.arange(box.top, box.bottom, dtype=np.float32)[:, None] - np.float32(self.centre[1])
        return columns * np.float32(cosine) + rows * np.float32(sine), rows * np.float32(cosine) - columns * np.float32(
            sine
        )

    def narrowing(self, height: FloatArray, chin: float) -> FloatArray:
        """Return 0 where the head is widest, 1 at crown and chin; the width goes with sqrt(1 - this)."""
        low = np.clip((height - np.float32(_JAW_START)) * np.float32(1.0 / (chin - _JAW_START)), 0.0, 1.5)
        high = np.clip((height + np.float32(0.1)) * np.float32(1.0 / (CROWN + 0.1)), 0.0, 1.5)
        low *= low * (np.float32(1.0 - self.jaw) + np.float32(self.jaw) * low)
        high *= high * (np.float32(0.4) + np.float32(0.6) * high)
        return np.asarray(low + high, np.float32)

    def surface(self, box: Box, swell: float = 1.0, forward: float = 0.0, chin_drop: float = 0.0) -> Surface:
        """Return head coordinates of a block of pixels.

        Args:
            box: which pixels.
            swell: widens the head, for hair or cloth that lies on it.
            forward: head units by which the surface stands out towards the nose.
            chin_drop: head units by which the surface hangs below the chin.
        """
        x, height = self.to_units(box)
        turn = math.sin(self.yaw_rad)
        centre_height = np.float32(0.1)
        scaled = height if swell == 1.0 else centre_height + (height - centre_height) * np.float32(1.0 / swell)
        narrow = self.narrowing(scaled, self.chin + chin_drop)
        width = np.sqrt(np.maximum(np.float32(1.0) - narrow, np.float32(1e-4)))
        radius = np.float32(self.radius * swell)
        # The jaw is narrower than the skull but does not lie further back: its axis moves forward.
        jaw_shift = (np.float32(1.0) - width) * np.float32(0.9 * self.radius * turn)
        x -= np.where(height > _JAW_START, jaw_shift, np.float32(0.0)) + np.float32(forward * turn)
        across = x * (np.float32(1.0) / radius)
        edge_px = (np.float32(1.0) - narrow - across * across) * np.float32(0.5 * self.radius * self.unit_px)
        sine = np.clip(across / width, -1.0, 1.0)
        azimuth = np.arcsin(sine) - np.float32(self.yaw_rad)
        return Surface(edge_px, sine, azimuth, height)

    @cached_property
    def _half_width(self) -> npt.NDArray[np.float64]:
        """Half the width of the head at `_TABLE_HEIGHTS`; the table makes placing many small shapes quick."""
        narrow = self.narrowing(_TABLE_HEIGHTS.astype(np.float32), self.chin)
        return np.asarray(np.sqrt(np.maximum(1.0 - narrow, 0.01)), np.float64)

    def place(self, arc: npt.ArrayLike, height: npt.ArrayLike, lift: npt.ArrayLike = 0.0) -> FloatArray:
        """Map points on the face to [n, 2] pixels; all arguments are [n] or one number, in head units.

        ``arc`` is the distance from the nose line around the head, ``lift`` how far the point stands out from it.
        """
        sine = np.sin(np.asarray(arc) * (1.0 / self.radius) + self.yaw_rad)
        width = np.interp(np.asarray(height, np.float64), _TABLE_HEIGHTS, self._half_width)
        # Above the jaw the head narrows towards its axis, below towards the front of the face.
        jaw_shift = np.where(np.asarray(height) > _JAW_START, 0.9 * math.sin(self.yaw_rad), 0.0) * (1.0 - width)
        x = self.radius * (sine * width + jaw_shift) + np.asarray(lift) * sine
        return self.to_pixels(x, height)

    def spot(self, arc: float, height: float, lift: float = 0.0) -> Point:
        """Map one point on the face to pixels."""
        x, y = self.place([arc], [height], lift)[0].tolist()
        return x, y

    def landmarks(self) -> FaceLandmarks:
        """Return the points that a perfect detector would find."""
        eye_arc = self.radius * math.asin(EYE_HALF / self.radius)
        mouth_arc = self.radius * math.asin(MOUTH_HALF / self.radius)
        return FaceLandmarks(
            eyes=(self.spot(-eye_arc, 0.0), self.spot(eye_arc, 0.0)),
            nose_tip=self.spot(0.0, NOSE_HEIGHT, NOSE_LIFT),
            mouth=(self.spot(-mouth_arc, 1.0), self.spot(mouth_arc, 1.0)),
            chin=self.spot(0.0, self.chin),
        )

    @classmethod
    def from_landmarks(cls, marks: FaceLandmarks) -> "HeadFrame":
        """Fit a head to landmarks: roll and size from eyes and mouth, yaw from the nose."""
        (left_eye, right_eye), (left_mouth, right_mouth) = marks.eyes, marks.mouth
        eye = _middle(left_eye, right_eye)
        mouth = _middle(left_mouth, right_mouth)
        down = (mouth[0] - eye[0], mouth[1] - eye[1])
        unit_px = max(1.0, math.hypot(*down))
        # The eye line turns with the head too; adding it steadies the roll of frontal faces.
        lean = (down[0] - (right_eye[1] - left_eye[1]), down[1] + (right_eye[0] - left_eye[0]))
        roll_rad = math.atan2(-lean[0], lean[1])
        cosine, sine = math.cos(roll_rad), math.sin(roll_rad)

        def along(point: Point) -> Point:
            x, y = point[0] - eye[0], point[1] - eye[1]
            return (x * cosine + y * sine) / unit_px, (y * cosine - x * sine) / unit_px

        nose_x, nose_height = along(marks.nose_tip)
        offset = nose_x - along(mouth)[0] * nose_height
        turn = max(-1.0, min(1.0, offset / (HEAD_RADIUS + NOSE_LIFT - _MID_DEPTH)))
        yaw_rad = max(-_MAX_YAW_RAD, min(_MAX_YAW_RAD, math.asin(turn)))
        back = _MID_DEPTH * math.sin(yaw_rad) * unit_px
        chin = max(CHIN_LIMITS[0], min(CHIN_LIMITS[1], along(marks.chin)[1]))
        return cls((eye[0] - back * cosine, eye[1] - back * sine), unit_px, yaw_rad, roll_rad, chin)


def _middle(first: Point, second: Point) -> Point:
    return 0.5 * (first[0] + second[0]), 0.5 * (first[1] + second[1])
