"""What a training leaves behind: `folder` is the run folder with all its files, `card` what travels with weights.

The networks that ship, in `flyweight/zoo`, are folders of weights with a card, and are found by their names. A network
of the user's own is run by the copy of its files that `code` keeps, where its user allowed them (`allowing`).
"""
