"""The machine: what it is, what it gains from, and how its C library is told to keep freed memory.

allocator    the C library's allocator, tuned
device       the precision and workers that the machine gains from; how a batch gets there
environment  on what machine and with which versions a run was made
launched     which of how many processes this is, read without torch
signals      those that ask the program to end, from its first moment to its last
together     sums over all processes, words of the first one, one voice for an error
"""
