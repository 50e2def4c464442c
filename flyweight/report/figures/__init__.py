"""All figures of a report. Each function draws one from data alone; `png` turns it into the bytes of a file.

augmented  training images under each transform
curves     loss, accuracy and learning rate by epoch
galleries  images that were not recognised, and where the network looked
charts     confusions and calibration
style      colours, fonts, and what several figures draw

Any number of classes, any size and proportion of images, one channel or three. A new figure is a function here and an
entry in `report.drawings.DRAWINGS`.
"""

from flyweight.report.figures.augmented import augmentation
from flyweight.report.figures.charts import calibration, confusion
from flyweight.report.figures.curves import metrics
from flyweight.report.figures.galleries import gradcam, misclassified
from flyweight.report.figures.style import BLUE, GREEN, GREY, INK, ORANGE, png, spread, styled

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "augmentation",
    "calibration",
    "confusion",
    "gradcam",
    "metrics",
    "misclassified",
    "png",
    "spread",
    "styled",
]
