"""Facts of any ``nn.Module``: parameters, MACs, receptive field, layer kinds; each with what it rests on.

Run the network once under a dispatch mode: a trace. Walk forwards: for each tensor which dimensions are height and
width, for each operator which positions it reads. Walk backwards from the last map: the receptive field. Poison pixels
with NaN in the real network: the proof. All else are queries on that graph.

Each sentence is a room: ``trace``, ``positions`` (the table of operators stands there), ``proof`` and ``findings``; a
room imports only from rooms before it. :mod:`facts` and :mod:`convolution` are the records
that come out, :mod:`analyzer` puts them together.
"""

from flyweight.analysis.analyzer import analyze, centres
from flyweight.analysis.convolution import Convolution, ConvolutionLayer
from flyweight.analysis.facts import (
    DeadTaps,
    Facts,
    Head,
    HeadFault,
    Layer,
    Peak,
    Pooling,
    ReceptiveField,
    UnknownOperator,
    Unreached,
    Unregistered,
)
from flyweight.analysis.findings.memory import activation_peak

__all__ = [
    "Convolution",
    "ConvolutionLayer",
    "DeadTaps",
    "Facts",
    "Head",
    "HeadFault",
    "Layer",
    "Peak",
    "Pooling",
    "ReceptiveField",
    "UnknownOperator",
    "Unreached",
    "Unregistered",
    "activation_peak",
    "analyze",
    "centres",
]
