"""From images to answers: `classifier` is the one path that test passes, evaluations and predictions take.

`fold` makes a network that says the same sooner, and proves it; `batch` chooses how many images it is asked about at
once. `predict` says what is in images, whoever runs the network: a `Predictor` is either `loaded`, by PyTorch, or
`exported`, by onnxruntime without PyTorch. `opening` finds the one that somebody names. A stranger's ONNX file is
looked into by `graph_file` before `runtime` opens it. `confidence` is how logits become probabilities, and when an
image is of none of the classes.
"""
