"""Everything laid out for people: tables, figures, contact sheets, pages and the model card."""

from georgia.report.contact_sheet import SheetConfig, draw_contact_sheet

__all__ = ["SheetConfig", "draw_contact_sheet"]
