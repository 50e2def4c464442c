"""How a network is trained: `loop.fit` takes a network, data, a recipe and a run folder, and goes on where that ended.

`checks` refuses what could only fail later. `trainer` takes the steps and the test pass after each epoch; `batches` is
what a step reads, `objective` what it minimises, `teaching` a teacher's part in that, `optimizer` and `schedule` are
how, and `graphs` replays them on a GPU. `state` is all that a training changes, and so what a checkpoint holds;
`resume` refuses a checkpoint of another recipe or other data. `start` is fine-tuning, `calibrate` says how sure the
network may be, `history` what is told, `interrupt` Ctrl-C as a polite question, `record` on what machine and data a run
was made.
"""
