"""Search for the best networks that a rule set allows: `flyweight search`.

space       what may be drawn: choices of each number of a table's rows
arithmetic  facts of a table without building it, thousands a second
legal       rules judged by that arithmetic, and the proof by the analysis of what is trained
propose     tables drawn at random and bred from the best ones, made legal by small steps
pace        how long a training step takes on this machine, beside one of the network to beat
halving     results, which of them nobody beats, and which networks are trained longer
storage     where the trials are kept: a journal in the folder, or a database for many machines
trials      the trials of all workers: taken by one, given back when it dies, finished once
training    one trial: a run folder, gone on with where it ended
worker      the loop of one process
told        the front as a table, as a picture, and as recipes

A trial is one training: a network and how many epochs. A network that does well is trained again for longer, as a trial
of its own (asynchronous successive halving, Li et al. 2020, "A system for massively parallel hyperparameter tuning").
New networks are bred from those that do well (Real et al. 2019, "Regularized evolution for image classifier
architecture search"). Optuna keeps the trials; the test set has no part in any of it.
"""
