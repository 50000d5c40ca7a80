"""Textures, materials and geometry as data of Blender."""

from collections.abc import Mapping, Sequence
from typing import Any

import bpy
import numpy as np

from experiments.render_streets.materials import MATERIALS
from experiments.render_streets.soup import Soup, texture_coordinates


def make_image(name: str, grey: np.ndarray) -> Any:
    """An image of a grey factor H W, stored halved so that 1 is mid grey."""
    height, width = grey.shape
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = np.clip(grey, 0, 2)[..., None] * 0.5
    image = bpy.data.images.new(name, width, height, float_buffer=False)
    image.colorspace_settings.name = "Non-Color"
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    return image


def make_material(name: str, images: Mapping[str, Any]) -> Any:
    """A material of ``MATERIALS``: the attribute "Col" of the corners, times textures, times the object's colour."""
    surface = MATERIALS[name]
    material = bpy.data.materials.new(name)
    nodes, link = material.node_tree.nodes, material.node_tree.links.new

    def scaled(vector: Any, factor: float) -> Any:
        node = nodes.new("ShaderNodeVectorMath")
        node.operation = "SCALE"
        node.inputs["Scale"].default_value = factor
        link(vector, node.inputs[0])
        return node.outputs[0]

    def product(a: Any, b: Any) -> Any:
        node = nodes.new("ShaderNodeVectorMath")
        node.operation = "MULTIPLY"
        link(a, node.inputs[0])
        link(b, node.inputs[1])
        return node.outputs[0]

    def lookup(texture: str, metres: float) -> Any:
        node = nodes.new("ShaderNodeTexImage")
        node.image = images[texture]
        link(scaled(nodes.new("ShaderNodeUVMap").outputs[0], 1 / metres), node.inputs[0])
        return node.outputs[0]

    shader, attribute = nodes["Principled BSDF"], nodes.new("ShaderNodeAttribute")
    attribute.attribute_name = "Col"
    colour = attribute.outputs["Color"]
    if surface.texture:
        colour = scaled(product(colour, lookup(surface.texture, surface.metres)), 2)
    if surface.over:
        colour = scaled(product(colour, lookup(surface.over, surface.over_metres)), 2)
    if surface.tinted:
        colour = product(colour, nodes.new("ShaderNodeObjectInfo").outputs["Color"])
    link(colour, shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = surface.roughness
    shader.inputs["Metallic"].default_value = surface.metallic
    if surface.glows:
        link(colour, shader.inputs["Emission Color"])
        shader.inputs["Emission Strength"].default_value = 2.5
    return material


def make_label_material() -> Any:
    """Emits the pass index of the object, divided by 255."""
    material = bpy.data.materials.new("label")
    nodes, link = material.node_tree.nodes, material.node_tree.links.new
    nodes.clear()
    info, divide = nodes.new("ShaderNodeObjectInfo"), nodes.new("ShaderNodeMath")
    emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    divide.operation = "DIVIDE"
    divide.inputs[1].default_value = 255
    link(info.outputs["Object Index"], divide.inputs[0])
    link(divide.outputs[0], emission.inputs[0])
    link(emission.outputs[0], output.inputs[0])
    return material


def make_mesh(name: str, soup: Soup, materials: Sequence[Any]) -> Any:
    """A mesh of a soup; ``materials`` are those of ``MATERIALS`` in order."""
    quads = soup.quads()
    count = len(quads.corners)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(quads.vertices))
    mesh.vertices.foreach_set("co", quads.vertices.astype(np.float32).ravel())
    mesh.loops.add(4 * count)
    mesh.loops.foreach_set("vertex_index", quads.corners.astype(np.int32).ravel())
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 4 * count, 4, dtype=np.int32))
    for material in materials:
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", quads.slots.astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", quads.smooth)
    rgba = np.ones((count, 4, 4), np.float32)
    rgba[..., :3] = quads.colours[:, None]
    mesh.attributes.new("Col", "FLOAT_COLOR", "CORNER").data.foreach_set("color", rgba.ravel())
    uv = texture_coordinates(quads).astype(np.float32)
    mesh.uv_layers.new(name="UVMap").data.foreach_set("uv", uv.ravel())
    mesh.update(calc_edges=True)
    mesh.validate()
    return mesh
