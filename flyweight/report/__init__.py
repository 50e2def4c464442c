"""The report of a run: one page that opens anywhere, the same in Markdown, and the figures as files.

report         evaluate the run, draw, fill the templates, write
subject        what a report is about: the run, its network, its data, its scores, its rules
brief          what the brief asks for beyond that, where its rules are used: five numbered answers with their code
drawings       the figures of a report, in their order, with their captions
gallery        the mistakes on the page, and the matrix that leads to them
figures        draws them, from data alone
augmentations  the transforms of the training images in words
pages          templates, and their filters that make any name harmless
scanned        the page of `flyweight data`
templates      REPORT.md, report.html, and the page of a data set

A new figure is a function in `figures` and an entry in `drawings.DRAWINGS`.
"""
