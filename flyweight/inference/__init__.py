"""From images to answers: `classifier` is the one path that test passes, evaluations and predictions take.

`fold` makes a network that says the same sooner, and proves it; `predict` reads image files and names their classes.
`confidence` is how logits become probabilities, and when an image is of none of the classes.
"""
