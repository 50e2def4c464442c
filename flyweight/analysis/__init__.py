"""Facts of any ``nn.Module``: parameters, MACs, receptive field, layer kinds; each with what it rests on."""

from flyweight.analysis.analyzer import analyze, centres
from flyweight.analysis.facts import (
    Convolution,
    ConvolutionLayer,
    DeadTaps,
    Facts,
    Head,
    HeadFault,
    Layer,
    Pooling,
    ReceptiveField,
    UnknownOperator,
    Unreached,
    Unregistered,
)

__all__ = [
    "Convolution",
    "ConvolutionLayer",
    "DeadTaps",
    "Facts",
    "Head",
    "HeadFault",
    "Layer",
    "Pooling",
    "ReceptiveField",
    "UnknownOperator",
    "Unreached",
    "Unregistered",
    "analyze",
    "centres",
]
