"""Label ids of what is drawn: those of Cityscapes, and unlabeled for what has no class there.

A negative id marks geometry of that class which only the label shows: the filled holes of fences and wheels.
"""

from seglab.labels import CITYSCAPES

NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "bicycle",
)  # fmt: skip
DRAWN = (0, *(int(CITYSCAPES.encode[CITYSCAPES.names.index(name)]) for name in NAMES))
(
    UNLABELED, ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR,
    TRUCK, BUS, BICYCLE,
) = DRAWN  # fmt: skip
PALETTE = CITYSCAPES.colours[CITYSCAPES.decode]  # 256 3 uint8, by label id; void is black
