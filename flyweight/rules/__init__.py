"""Judge a network, and its training, by a set of rules; each verdict names the margin, the layer at fault and a cure.

rule      what a rule judges by (`Evidence`) and what comes out (`Verdict`, `Judgement`)
blocks    rules about blocks, and which submodules are blocks
kinds     rules about what a network is made of
counts    rules that count layers
limits    rules that limit a number: parameters, work, memory; `files` the file's size
operators a rule about the operators that run
training  rules about a training: its augmentation, start and accuracy, not judged before they are known
cures     edits that mend what fails, each tried on a copy
ruleset   the table of all kinds, rule sets read from YAML, and `check`
listing   kinds and rule sets, one line each
summary   facts and verdicts as text or JSON; `reports` as JUnit XML or Markdown

A new kind of rule is one class (in a file of its own, if you like) and one entry in `ruleset.KINDS`. A new rule set is
a file in `rulesets/`.
"""

from flyweight.rules.rule import Evidence, Judgement, Rule, Score, Verdict
from flyweight.rules.ruleset import KINDS, RuleSet, check, known_rulesets, load_ruleset, named_blocks

__all__ = [
    "KINDS",
    "Evidence",
    "Judgement",
    "Rule",
    "RuleSet",
    "Score",
    "Verdict",
    "check",
    "known_rulesets",
    "load_ruleset",
    "named_blocks",
]
