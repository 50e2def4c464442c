"""Judge a network, and its training, by a set of rules; each verdict names the margin, the layer at fault and a cure.

rule      what a rule judges by (`Evidence`) and what comes out (`Verdict`, `Judgement`)
kinds     rules about a network, judged by its facts
training  rules about a training: its augmentation and its accuracy, not judged before they are known
ruleset   the table of all kinds, rule sets read from YAML, and `check`
summary   facts and verdicts as text or JSON

A new kind of rule is one class (in a file of its own, if you like) and one entry in `ruleset.KINDS`. A new rule set is
a file in `rulesets/`.
"""

from flyweight.rules.rule import Evidence, Judgement, Rule, Score, Verdict
from flyweight.rules.ruleset import KINDS, RuleSet, check, known_rulesets, load_ruleset

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
]
