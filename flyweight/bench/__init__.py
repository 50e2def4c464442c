"""Our training loop beside the course's, in one run on this machine, as ratios; and what our own costs depend on.

Each side runs in a process of its own, in turn (A B A B ...), and a figure is the median over the rounds. The peers are
modules of this package, so that a wheel is enough to measure: ``python -m flyweight.bench.peers.course_loop``.

peers/       what ours is measured against: the course's own loop, MLPerf Tiny's ResNet-8
sides        what is compared, as processes of their own
asking       one of these processes: how fast a network answers
comparisons  ours over the peer's: training, time to the target
exports      what a network comes to elsewhere: accuracy, bytes, memory, time
latency      one of these processes: how long one image takes, by every export
costs        augmentation, inference, growth with images and MACs
benchmark    all parts in one result
figure       the result as one figure
"""

from typing import Literal, get_args

Part = Literal["training", "target", "augmentation", "inference", "growth"]
PARTS: tuple[Part, ...] = get_args(Part)

PeerData = Literal["cifar10", "digits"]
"""What the peers can train on: their networks are built for 10 classes of 3x32x32."""
DATA: PeerData = "cifar10"
