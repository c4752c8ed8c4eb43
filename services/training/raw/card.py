"""Licences of sources, for layouts; see `services.imaging.licence`."""

from services.imaging.licence import UNSTATED, Licence, Term

__all__ = ["UNSTATED", "Licence", "Term"]
