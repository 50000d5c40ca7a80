"""Procedural synthetic streets: pictures and pixel-exact labels with Cityscapes' ids, from code alone.

    pip install bpy==5.0.1                                            # Blender as a module, for Python 3.11
    python -m experiments.render_streets --out data/rendered          # from the root of the repository

Every frame is one small street, rendered twice from one geometry with Cycles on the CPU: the picture is path traced,
denoised and gets the faults of a camera; the label is one ray through the centre of each pixel that returns the label
id of what it hits. No mesh, picture or texture of others is used. A frame depends on its seed and number alone, so that
frames may be rendered in any order, by several processes.

The files in the order of the story; all but the last two are NumPy alone:

    ids        label ids of what is drawn
    textures   tileable noise, bricks, asphalt
    materials  what surfaces look like, as a table
    soup       quads of several materials that become a mesh: boxes, tubes, balls, leaves
    trees, cars, lorries, people, fixtures      models, each made from a generator of its own
    library    all models and the colours they come in
    street     one street: its centre line, what is taken, what is placed
    ground, markings, buildings, boundaries, frontage, furniture, traffic      the parts of a street
    camera, light                               where the picture is taken from, the sun and the sky
    scene      a whole frame, in the order in which its random numbers are drawn
    finish     white balance, vignette, softness and grain of a cheap camera
    blender    images, materials and meshes of Blender
    studio     what all frames share in Blender; takes the picture and the label

`seglab data streets` is another generator: quick 2-D drawings, for tests and tutorials.
"""
