"""Installation and operation qualification: what is expected, what is found, passed or not."""

from georgia.service.qualify.records import Check, Outcome, Qualification
from georgia.service.qualify.run import qualify
from georgia.service.qualify.settings import QualifyConfig

__all__ = ["Check", "Outcome", "Qualification", "QualifyConfig", "qualify"]
