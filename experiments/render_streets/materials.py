"""What surfaces look like. A material multiplies the colour of its quads by its textures."""

from typing import NamedTuple


class Material(NamedTuple):
    """Physical values of a surface; textures are those of ``textures.make_textures``."""

    roughness: float
    texture: str | None = None
    metres: float = 1.0  # length of one tile
    over: str | None = None  # a second texture over the first
    over_metres: float = 1.0
    metallic: float = 0.0
    tinted: bool = False  # multiplied by the colour of the object, too: one model comes in many colours
    glows: bool = False


def soiled(texture: str, metres: float, roughness: float) -> Material:
    """A floor with dirt on it."""
    return Material(roughness, texture, metres, "dirt", metres * 4.3)


def stained(texture: str, metres: float, roughness: float) -> Material:
    """A wall with stains on it."""
    return Material(roughness, texture, metres, "stain", metres * 3.1)


MATERIALS = {
    "asphalt": soiled("asphalt", 5.0, 0.85),
    "paint": Material(0.7, "worn", 2.0),
    "paver": soiled("paver", 4.0, 0.85),
    "brick": stained("brick", 2.2, 0.9),
    "stone": stained("stone", 4.0, 0.85),
    "plaster": stained("plaster", 7.0, 0.85),
    "grass": soiled("grass", 3.0, 0.95),
    "roof": Material(0.8, "roof", 5.0),
    "leaf": Material(0.7, tinted=True),
    "bark": Material(0.95, "grass", 1.5),
    "plain": Material(0.6),
    "matt": Material(0.95),
    "metal": Material(0.35, metallic=0.6),
    "glass": Material(0.06),
    "coat": Material(0.22, metallic=0.15, tinted=True),
    "cloth": Material(0.95, tinted=True),
    "glow": Material(0.5, glows=True),
}
SLOTS = {name: slot for slot, name in enumerate(MATERIALS)}  # position of a material in every mesh
