"""Everything that is drawn or laid out for people: tables, figures, contact sheets and the page."""

from georgia.report.contact_sheet import SheetConfig, draw_contact_sheet

__all__ = ["SheetConfig", "draw_contact_sheet"]
