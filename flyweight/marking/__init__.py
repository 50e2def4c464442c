"""Mark what people hand in: each network is judged in a process of its own, which can harm nobody, and all in a table.

task      what is to be judged (`Task`), and the judging itself
fence     what a process takes from itself before it runs somebody's code: network, files, memory, time
child     that process: reads a task, puts up the fence, judges, answers
isolated  starts such processes, several at once, watches over them and ends them
marks     what came out (`Mark`): the table for people, CSV for spreadsheets, claims beside proofs
page      the same as one offline page
"""
