"""The command line: the only room that prints.

A command is one file with a function and its `App`, and one entry in the table of `app`, which imports the file when
the command is called: `flyweight --help` reads the help texts without importing what the commands need, torch above
all.
A command reads its options, calls the rooms above, prints what they return, and returns the exit code.

app       the table of commands, the exit codes, `main`
options   what several commands share: types of options, examples, the size of an image
job       from options to what can be run: data, paths, rules, a run folder
console   what the terminal shows: answers on standard output, messages and bars on standard error
"""
