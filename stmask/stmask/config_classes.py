"""Names of the classes of the three data sets, in the order of their labels 1, 2, ..."""

from __future__ import annotations

YOUTUBE_VIS_2019 = (
    *("person", "giant_panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake"),
    *("monkey", "hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle", "bear"),
    *("motorbike", "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane", "truck"),
    *("zebra", "tiger", "elephant", "snowboard", "boat", "shark", "mouse", "frog", "eagle"),
    *("earless seal", "tennis_racket"),
)

YOUTUBE_VIS_2021 = (
    *("airplane", "bear", "bird", "boat", "car", "cat", "cow", "deer", "dog", "duck"),
    *("earless_seal", "elephant", "fish", "flying_disc", "fox", "frog", "giant_panda", "giraffe"),
    *("horse", "leopard", "lizard", "monkey", "motorbike", "mouse", "parrot", "person", "rabbit"),
    *("shark", "skateboard", "snake", "snowboard", "squirrel", "surfboard", "tennis_racket"),
    *("tiger", "train", "truck", "turtle", "whale", "zebra"),
)

OVIS = (
    *("person", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra"),
    *("giraffe", "poultry", "giant panda", "lizard", "parrot", "monkey", "rabbit", "tiger"),
    *("fish", "turtle", "bicycle", "motorcycle", "airplane", "boat", "vehicle"),
)
