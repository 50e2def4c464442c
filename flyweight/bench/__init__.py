"""Our training loop beside the course's, in one run on this machine, as ratios; and what our own costs depend on.

sides        what is compared, as processes of their own
asking       one of these processes: how fast a network answers
comparisons  ours over the peer's: training, time to the target
costs        augmentation, inference, growth with images and MACs
benchmark    all parts in one result
figure     the result as one figure
"""

from typing import Literal, get_args

Part = Literal["training", "target", "augmentation", "inference", "growth"]
PARTS: tuple[Part, ...] = get_args(Part)
