"""Class names of data sets that have many, in the order of their ids."""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", " ").split(","))


ADE20K = _listed("""
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat,
fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter,
sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop,
stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land, bannister,
escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything,
swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name,
microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
""")

COCO_THINGS = _listed("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush
""")

COCO_STUFF = _listed("""
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile,
cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other,
floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill,
house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other,
plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other,
skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree,
vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
window-blind, window-other, wood
""")

PASCAL_CONTEXT = _listed("""
aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, motorbike, person, pottedplant,
sheep, sofa, train, tvmonitor, bag, bed, bench, book, building, cabinet, ceiling, cloth, computer, cup, door, fence,
floor, flower, food, grass, ground, keyboard, light, mountain, mouse, curtain, platform, sign, plate, road, rock,
shelves, sidewalk, sky, snow, bedclothes, track, tree, truck, wall, water, window, wood
""")

MAPILLARY_1_2 = _listed("""
Bird, Ground Animal, Curb, Fence, Guard Rail, Barrier, Wall, Bike Lane, Crosswalk - Plain, Curb Cut, Parking,
Pedestrian Area, Rail Track, Road, Service Lane, Sidewalk, Bridge, Building, Tunnel, Person, Bicyclist, Motorcyclist,
Other Rider, Lane Marking - Crosswalk, Lane Marking - General, Mountain, Sand, Sky, Snow, Terrain, Vegetation, Water,
Banner, Bench, Bike Rack, Billboard, Catch Basin, CCTV Camera, Fire Hydrant, Junction Box, Mailbox, Manhole,
Phone Booth, Pothole, Street Light, Pole, Traffic Sign Frame, Utility Pole, Traffic Light, Traffic Sign (Back),
Traffic Sign (Front), Trash Can, Bicycle, Boat, Bus, Car, Caravan, Motorcycle, On Rails, Other Vehicle, Trailer, Truck,
Wheeled Slow, Car Mount, Ego Vehicle
""")

MAPILLARY_2_0 = _listed("""
Bird, Ground Animal, Ambiguous Barrier, Concrete Block, Curb, Fence, Guard Rail, Barrier, Road Median, Road Side,
Lane Separator, Temporary Barrier, Wall, Bike Lane, Crosswalk - Plain, Curb Cut, Driveway, Parking, Parking Aisle,
Pedestrian Area, Rail Track, Road, Road Shoulder, Service Lane, Sidewalk, Traffic Island, Bridge, Building, Garage,
Tunnel, Person, Person Group, Bicyclist, Motorcyclist, Other Rider, Lane Marking - Dashed Line,
Lane Marking - Straight Line, Lane Marking - Zigzag Line, Lane Marking - Ambiguous, Lane Marking - Arrow (Left),
Lane Marking - Arrow (Other), Lane Marking - Arrow (Right), Lane Marking - Arrow (Split Left or Straight),
Lane Marking - Arrow (Split Right or Straight), Lane Marking - Arrow (Straight), Lane Marking - Crosswalk,
Lane Marking - Give Way (Row), Lane Marking - Give Way (Single), Lane Marking - Hatched (Chevron),
Lane Marking - Hatched (Diagonal), Lane Marking - Other, Lane Marking - Stop Line, Lane Marking - Symbol (Bicycle),
Lane Marking - Symbol (Other), Lane Marking - Text, Lane Marking (only) - Dashed Line, Lane Marking (only) - Crosswalk,
Lane Marking (only) - Other, Lane Marking (only) - Test, Mountain, Sand, Sky, Snow, Terrain, Vegetation, Water, Banner,
Bench, Bike Rack, Catch Basin, CCTV Camera, Fire Hydrant, Junction Box, Mailbox, Manhole, Parking Meter, Phone Booth,
Pothole, Signage - Advertisement, Signage - Ambiguous, Signage - Back, Signage - Information, Signage - Other,
Signage - Store, Street Light, Pole, Pole Group, Traffic Sign Frame, Utility Pole, Traffic Cone,
Traffic Light - General (Single), Traffic Light - Pedestrians, Traffic Light - General (Upright),
Traffic Light - General (Horizontal), Traffic Light - Cyclists, Traffic Light - Other, Traffic Sign - Ambiguous,
Traffic Sign (Back), Traffic Sign - Direction (Back), Traffic Sign - Direction (Front), Traffic Sign (Front),
Traffic Sign - Parking, Traffic Sign - Temporary (Back), Traffic Sign - Temporary (Front), Trash Can, Bicycle, Boat,
Bus, Car, Caravan, Motorcycle, On Rails, Other Vehicle, Trailer, Truck, Vehicle Group, Wheeled Slow, Water Valve,
Car Mount, Dynamic, Ego Vehicle, Ground, Static
""")

IDD_LEVEL_3 = _listed("""
road, drivable fallback, sidewalk, non-drivable fallback, person, rider, motorcycle, bicycle, autorickshaw, car, truck,
bus, vehicle fallback, curb, wall, fence, guard rail, billboard, traffic sign, traffic light, pole,
obs-str-bar-fallback, building, bridge, vegetation, sky
""")
