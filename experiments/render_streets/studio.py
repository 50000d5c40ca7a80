"""What all frames share in Blender: render settings, materials, the models built so far, camera, sun and sky."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from PIL import Image

from experiments.render_streets.blender import make_image, make_label_material, make_material, make_mesh
from experiments.render_streets.camera import SENSOR, Camera
from experiments.render_streets.ids import DRAWN, SKY
from experiments.render_streets.library import make_model
from experiments.render_streets.light import SKY as SKY_SIZE
from experiments.render_streets.light import Light
from experiments.render_streets.materials import MATERIALS
from experiments.render_streets.scene import Scene
from experiments.render_streets.street import Placement
from experiments.render_streets.textures import make_textures
from seglab.types import SeglabError


class Studio:
    """Renders scenes one after the other; Blender has one scene per process, which this takes over.

    Args:
        size: width and height in pixels.
        samples: paths per pixel of a picture.
        seed: of textures and models.
        threads: processor threads; 0: one per core.
        open_holes: labels show what is behind railings and bicycle wheels, in place of their filled outline.
    """

    def __init__(self, size: tuple[int, int], samples: int, seed: int, threads: int, open_holes: bool) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.seed, self.samples, self.open_holes = seed, samples, open_holes
        self.scene = bpy.context.scene
        self._set_up_render(size, threads)
        images = {name: make_image(name, grey) for name, grey in make_textures(_generator(seed)).items()}
        self.materials = [make_material(name, images) for name in MATERIALS]
        self.label_material = make_label_material()
        self.models: dict[tuple[str, int], dict[int, Any]] = {}  # meshes by label id
        self.objects: list[Any] = []  # of the frame
        self.meshes: list[Any] = []  # of the frame alone
        self.label_only: list[Any] = []  # objects that no picture shows
        self.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self.camera.data.clip_start, self.camera.data.clip_end = 0.05, 2000
        self.camera.data.sensor_width = SENSOR
        self.sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
        for thing in (self.camera, self.sun):
            self.scene.collection.objects.link(thing)
        self.scene.camera = self.camera
        self._set_up_sky()

    def _set_up_render(self, size: tuple[int, int], threads: int) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine = "CYCLES"
        render.resolution_x, render.resolution_y = size
        render.resolution_percentage = 100
        if threads:
            render.threads_mode, render.threads = "FIXED", threads
        render.use_compositing = render.use_sequencer = False
        render.dither_intensity = 0
        output = render.image_settings
        output.file_format, output.color_mode, output.color_depth, output.compression = "PNG", "RGB", "8", 0
        cycles.device = "CPU"
        cycles.diffuse_bounces = cycles.glossy_bounces = 1
        cycles.transmission_bounces = cycles.transparent_max_bounces = cycles.volume_bounces = 0
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.sample_clamp_indirect = 3
        cycles.use_adaptive_sampling = cycles.use_auto_tile = False
        cycles.denoiser, cycles.denoising_quality = "OPENIMAGEDENOISE", "FAST"
        cycles.denoising_prefilter = "NONE"

    def _set_up_sky(self) -> None:
        """As in a picture with much contrast, the sky is brighter to the camera than to the street that it lights."""
        world = self.scene.world = bpy.data.worlds.new("sky")
        world.cycles.sampling_method = "NONE"
        tree = self.tree = world.node_tree
        self.background = tree.nodes["Background"]
        self.sky = tree.nodes.new("ShaderNodeTexEnvironment")
        height, width = SKY_SIZE
        self.sky.image = bpy.data.images.new("sky", width, height, float_buffer=True)
        path, self.strength = tree.nodes.new("ShaderNodeLightPath"), tree.nodes.new("ShaderNodeMapRange")
        tree.links.new(path.outputs["Is Camera Ray"], self.strength.inputs[0])

    def load(self, scene: Scene) -> None:
        """Put a scene in the place of the one before."""
        bpy.data.batch_remove(self.objects + self.meshes)
        self.objects, self.meshes, self.label_only = [], [], []
        self._aim(scene.camera)
        self.light = scene.light
        for placement in scene.placements:
            self._place(placement)
        for label, soup in scene.soups.items():
            if soup.points:
                mesh = make_mesh("frame", soup, self.materials)
                self.meshes.append(mesh)
                self._add(mesh, label, Matrix.Identity(4), (1.0, 1.0, 1.0, 1.0))

    def _aim(self, camera: Camera) -> None:
        self.camera.data.lens = camera.focal
        self.camera.location, self.camera.rotation_euler = camera.position, camera.rotation

    def _place(self, placement: Placement) -> None:
        key = placement.thing, placement.variant
        if key not in self.models:
            soups = make_model(self.seed, *key)
            self.models[key] = {label: make_mesh("model", soup, self.materials) for label, soup in soups.items()}
        turned = Matrix.Translation(placement.position) @ Matrix.Rotation(placement.heading, 4, "Z")
        red, green, blue = (float(value) for value in np.asarray(placement.colour))
        for label, mesh in self.models[key].items():
            self._add(mesh, label, turned @ Matrix.Scale(placement.scale, 4), (red, green, blue, 1.0))

    def _add(self, mesh: Any, label: int, matrix: Matrix, colour: tuple[float, float, float, float]) -> None:
        thing = bpy.data.objects.new("thing", mesh)
        thing.matrix_world, thing.color, thing.pass_index = matrix, colour, abs(label)
        self.scene.collection.objects.link(thing)
        self.objects.append(thing)
        if label < 0:
            self.label_only.append(thing)

    def picture(self, seed: int) -> np.ndarray:
        """The loaded scene path traced and denoised, H W 3 uint8; ``seed`` is that of the paths."""
        self._light(self.light)
        bpy.context.view_layer.material_override = None
        for thing in self.label_only:
            thing.hide_render = True
        cycles = self.scene.cycles
        cycles.samples, cycles.use_denoising, cycles.max_bounces = self.samples, True, 2
        cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
        return self._shoot(seed)

    def _light(self, light: Light) -> None:
        rgba = np.ones((*SKY_SIZE, 4), np.float32)
        rgba[..., :3] = light.sky
        self.sky.image.pixels.foreach_set(rgba.ravel())
        self.sky.image.update()
        self.strength.inputs["To Min"].default_value = light.strength
        self.strength.inputs["To Max"].default_value = light.strength * light.seen
        self.tree.links.new(self.sky.outputs[0], self.background.inputs[0])
        self.tree.links.new(self.strength.outputs[0], self.background.inputs[1])
        self.sun.rotation_euler = light.sun_rotation
        sun = self.sun.data
        sun.energy, sun.angle, sun.color = light.sun_strength, light.sun_angle, light.sun_colour
        view = self.scene.view_settings
        view.view_transform, view.look, view.exposure = light.transform, light.look, light.exposure

    def label(self, seed: int) -> np.ndarray:
        """Label ids of the loaded scene, H W uint8: one ray through each pixel's centre, and no colour transform.

        Raises:
            SeglabError: a pixel has a value that is no id.
        """
        for socket in self.background.inputs[:2]:
            for link in list(socket.links):
                self.tree.links.remove(link)
        self.background.inputs[0].default_value = (SKY / 255, SKY / 255, SKY / 255, 1)
        self.background.inputs[1].default_value = 1
        bpy.context.view_layer.material_override = self.label_material
        for thing in self.label_only:
            thing.hide_render = self.open_holes
        view, cycles = self.scene.view_settings, self.scene.cycles
        view.look, view.exposure = "None", 0
        view.view_transform = "Raw"
        cycles.samples, cycles.use_denoising, cycles.max_bounces = 1, False, 0
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
        ids = self._shoot(seed)[..., 0]
        if strange := sorted(set(np.unique(ids)) - set(DRAWN)):
            raise SeglabError(
                f"the label has the values {', '.join(map(str, strange))}, which are no ids: "
                "this renderer was written for bpy 5.0.1, install that version"
            )
        return ids

    def _shoot(self, seed: int) -> np.ndarray:
        self.scene.cycles.seed = seed & 0x7FFFFFFF
        with tempfile.TemporaryDirectory() as folder:
            self.scene.render.filepath = str(Path(folder) / "frame.png")
            with interrupted_afterwards():
                bpy.ops.render.render(write_still=True)
            return np.asarray(Image.open(self.scene.render.filepath))


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Ctrl-C waits until the block ends: a KeyboardInterrupt inside Blender's own Python code crashes the process."""
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True
        print("render_streets: stopping after this pass", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _generator(seed: int) -> np.random.Generator:
    """What textures are drawn from; no frame has this number."""
    return np.random.default_rng([seed, 2**31])
