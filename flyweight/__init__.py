"""flyweight: compact image classifiers that make weight."""

__version__ = "0.1.0"
