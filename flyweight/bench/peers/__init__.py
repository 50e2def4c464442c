"""What our training loop is measured against, in plain PyTorch as it is usually written: neither slowed nor sped up.

A peer uses nothing of flyweight but the images, and is a program of its own that prints a record an epoch.

course_loop   the course's way to train its network
resnet8_loop  MLPerf Tiny's ResNet-8, as its reference trains it
"""
