"""The 66 classes of Mapillary Vistas 1.x. The id of a class is its label in the images plus 1.

Source: spec stemseg section 3.3 for the ids that matter there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One label.

    Attributes:
        name: as configuration files have it.
        readable: as people say.
        has_instances: its pixels are divided into objects.
    """

    name: str
    readable: str
    has_instances: bool = False


_TEXT = """
animal--bird|Bird|i
animal--ground-animal|Ground Animal|i
construction--barrier--curb|Curb
construction--barrier--fence|Fence
construction--barrier--guard-rail|Guard Rail
construction--barrier--other-barrier|Barrier
construction--barrier--wall|Wall
construction--flat--bike-lane|Bike Lane
construction--flat--crosswalk-plain|Crosswalk - Plain|i
construction--flat--curb-cut|Curb Cut
construction--flat--parking|Parking
construction--flat--pedestrian-area|Pedestrian Area
construction--flat--rail-track|Rail Track
construction--flat--road|Road
construction--flat--service-lane|Service Lane
construction--flat--sidewalk|Sidewalk
construction--structure--bridge|Bridge
construction--structure--building|Building
construction--structure--tunnel|Tunnel
human--person|Person|i
human--rider--bicyclist|Bicyclist|i
human--rider--motorcyclist|Motorcyclist|i
human--rider--other-rider|Other Rider|i
marking--crosswalk-zebra|Lane Marking - Crosswalk|i
marking--general|Lane Marking - General
nature--mountain|Mountain
nature--sand|Sand
nature--sky|Sky
nature--snow|Snow
nature--terrain|Terrain
nature--vegetation|Vegetation
nature--water|Water
object--banner|Banner|i
object--bench|Bench|i
object--bike-rack|Bike Rack|i
object--billboard|Billboard|i
object--catch-basin|Catch Basin|i
object--cctv-camera|CCTV Camera|i
object--fire-hydrant|Fire Hydrant|i
object--junction-box|Junction Box|i
object--mailbox|Mailbox|i
object--manhole|Manhole|i
object--phone-booth|Phone Booth|i
object--pothole|Pothole
object--street-light|Street Light|i
object--support--pole|Pole|i
object--support--traffic-sign-frame|Traffic Sign Frame|i
object--support--utility-pole|Utility Pole|i
object--traffic-light|Traffic Light|i
object--traffic-sign--back|Traffic Sign (Back)|i
object--traffic-sign--front|Traffic Sign (Front)|i
object--trash-can|Trash Can|i
object--vehicle--bicycle|Bicycle|i
object--vehicle--boat|Boat|i
object--vehicle--bus|Bus|i
object--vehicle--car|Car|i
object--vehicle--caravan|Caravan|i
object--vehicle--motorcycle|Motorcycle|i
object--vehicle--on-rails|On Rails
object--vehicle--other-vehicle|Other Vehicle|i
object--vehicle--trailer|Trailer|i
object--vehicle--truck|Truck|i
object--vehicle--wheeled-slow|Wheeled Slow|i
void--car-mount|Car Mount
void--ego-vehicle|Ego Vehicle
void--unlabeled|Unlabeled
"""

LABELS: tuple[Label, ...] = tuple(
    Label(name, readable, bool(mark))
    for name, readable, *mark in (line.split("|") for line in _TEXT.split("\n") if line)
)
"""All labels in the order of their numbers in the images, from 0."""
