"""What files are called that more than one room looks for. No torch here: exports are asked without it."""

WEIGHTS = "model.safetensors"
"""What makes a folder one of a trained network."""

CARD = "config.json"
"""Beside the weights: what they are of."""

EXPORT_RECORD = "export.json"
"""What was exported, and what was found: in every folder of an export."""
