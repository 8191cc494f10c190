"""Trunks, prediction heads, lanes: every weight has a leading axis K of lanes."""
