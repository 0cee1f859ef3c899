"""What is wrong with a set of labelled images, before a model is trained on it."""

from georgia.audit.check import Check, Finding
from georgia.audit.checks import CHECKS
from georgia.audit.result import Audit
from georgia.audit.run import group_catalog, run_audit
from georgia.audit.settings import AuditConfig

__all__ = ["CHECKS", "Audit", "AuditConfig", "Check", "Finding", "group_catalog", "run_audit"]
